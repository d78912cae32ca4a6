//! Sealing: AES-256-GCM-SIV (RFC 8452) under a data key per tenant, bound to its place by associated data.

use zeroize::Zeroizing;

use crate::domain::{Entropy, Result, Slot, Uid};

/// Where a ciphertext belongs. Moved to another row, slot, version or tenant, it does not open.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose tenant.
    pub tenant: &'a Uid,
    /// Whose.
    pub subject: &'a Uid,
    /// Which secret.
    pub slot: &'a Slot,
    /// Which version of it.
    pub version: i64,
}

/// A tenant's key, in clear; wiped on drop.
pub struct DataKey {/* its id and 32 bytes */}

impl DataKey {
    /// A new key.
    #[must_use]
    pub fn make(id: Uid, entropy: &dyn Entropy) -> Self {
        let _ = (id, entropy);
        todo!()
    }

    /// Its id, which is kept with what it seals.
    #[must_use]
    pub fn id(&self) -> &Uid {
        todo!()
    }

    /// Encrypts, for this place alone. The nonce is random and part of the result.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let _ = (place, plaintext, entropy);
        todo!()
    }

    /// Decrypts what was sealed for this place.
    ///
    /// # Errors
    /// Internal, where it was altered, moved or sealed by another key.
    pub fn open(&self, place: Place<'_>, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let _ = (place, ciphertext);
        todo!()
    }
}
