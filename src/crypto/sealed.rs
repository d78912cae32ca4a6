//! Cleartext that goes into an envelope and comes out of it: passwords, and the settings of third parties.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::{DataKey, Place};
use crate::domain::{Entropy, Error, Password, Result};

impl DataKey {
    /// Seals a password.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn seal_password(&self, place: Place<'_>, password: &Password, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        #[expect(clippy::disallowed_methods, reason = "sealed here")]
        self.seal(place, password.secret().expose_secret().as_bytes(), entropy)
    }

    /// Opens a password.
    ///
    /// # Errors
    /// Internal, where it was altered or moved.
    pub fn open_password(&self, place: Place<'_>, ciphertext: &[u8]) -> Result<Password> {
        let mut opened = self.open(place, ciphertext)?;
        let text = String::from_utf8(std::mem::take(&mut *opened));
        // The error would hold the bytes.
        let text = text.map_err(|error| Error::internal(error.utf8_error()))?;
        Password::parse(text).map_err(Error::internal)
    }

    /// Seals settings, names and values alike.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn seal_settings(
        &self,
        place: Place<'_>,
        settings: &BTreeMap<String, Zeroizing<String>>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>> {
        let settings: BTreeMap<&str, &str> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let json = Zeroizing::new(serde_json::to_vec(&settings).map_err(Error::internal)?);
        self.seal(place, &json, entropy)
    }

    /// Opens settings.
    ///
    /// # Errors
    /// Internal, where they were altered or moved.
    pub fn open_settings(&self, place: Place<'_>, ciphertext: &[u8]) -> Result<BTreeMap<String, Zeroizing<String>>> {
        let json = self.open(place, ciphertext)?;
        // The parser's error would quote the text.
        let settings: BTreeMap<String, String> = serde_json::from_slice(&json)
            .map_err(|error| Error::internal(format!("settings: {:?}", error.classify())))?;
        Ok(settings.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }
}

/// Whether two secrets are the same, in time that depends on their lengths alone. Nothing equals `None`, at no less cost.
#[must_use]
pub fn same_password(kept: Option<&Password>, shown: &Password) -> bool {
    #[expect(clippy::disallowed_methods, reason = "compared here")]
    let bytes = |password: &Password| Zeroizing::new(password.secret().expose_secret().as_bytes().to_vec());
    let same = bytes(kept.unwrap_or(shown)).ct_eq(&*bytes(shown));
    (same & Choice::from(u8::from(kept.is_some()))).into()
}
