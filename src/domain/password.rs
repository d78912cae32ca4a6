//! Secrets as people and machines type them: bounded, normalised, and then never changed again.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// A password or other secret in the one form that is hashed, sealed and compared: NFC (NIST SP 800-63B-4 section
/// 3.1.1.2), at most [`Password::MAX_BYTES`], without U+0000, never truncated.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// The most bytes of UTF-8 that are looked at, before and after normalisation.
    pub const MAX_BYTES: usize = 65_536;

    /// Normalises a secret.
    ///
    /// # Errors
    /// A sentence that names the rule and not the secret: empty, too long, or with U+0000.
    pub fn parse(text: String) -> Result<Self, &'static str> {
        let text = Zeroizing::new(text);
        if text.is_empty() {
            return Err("must have at least one character");
        }
        if text.len() > Self::MAX_BYTES {
            return Err("must have at most 65536 bytes");
        }
        if text.contains('\0') {
            return Err("must not contain U+0000");
        }
        let normalised: String = text.nfc().collect();
        if normalised.len() > Self::MAX_BYTES {
            return Err("must have at most 65536 bytes");
        }
        Ok(Self(normalised.into()))
    }

    /// The cleartext, for hashing, sealing and the policy.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// Its length in Unicode code points.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.expose_secret().chars().count()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([redacted])")
    }
}
