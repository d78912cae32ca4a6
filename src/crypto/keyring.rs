//! The keyring: keys with ids, purposes and states, in a file that only its owner reads. Without it a database is useless.

use std::path::Path;

use zeroize::Zeroizing;

use super::DataKey;
use crate::domain::{Entropy, Result, Timestamp, Uid, WrappedKey};

/// What is wrong with a keyring file; its sentence names the file and the fix.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyringError(pub String);

/// The keys, in clear; wiped on drop.
pub struct Keyring {/* keys by purpose */}

impl Keyring {
    /// Makes a keyring with one primary key for each purpose, and its file (mode 0600, never over an existing one).
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<Self, KeyringError> {
        let _ = (path, now, entropy);
        todo!()
    }

    /// Reads a keyring.
    ///
    /// # Errors
    /// Where the file is missing, readable by others, or not a keyring.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let _ = path;
        todo!()
    }

    /// Ids of the wrapping keys it has, to compare with what a database needs.
    #[must_use]
    pub fn wrapping_key_ids(&self) -> Vec<&str> {
        todo!()
    }

    /// Wraps a data key under the primary wrapping key, bound to its tenant and id.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn wrap(&self, key: &DataKey, tenant_uid: &Uid, entropy: &dyn Entropy) -> Result<WrappedKey> {
        let _ = (key, tenant_uid, entropy);
        todo!()
    }

    /// Unwraps a data key.
    ///
    /// # Errors
    /// Internal, where the wrapping key is not here (its id is in the cause) or the ciphertext was altered or moved.
    pub fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey> {
        let _ = wrapped;
        todo!()
    }

    /// The primary digest key's id, and the keyed digest (HMAC-SHA-256) of a token under it.
    #[must_use]
    pub fn digest(&self, token: &[u8]) -> (String, [u8; 32]) {
        let _ = token;
        todo!()
    }

    /// Whether `digest` is the token's under the key of this id; constant time. False where the key is unknown.
    #[must_use]
    pub fn digest_matches(&self, key_id: &str, token: &[u8], digest: &[u8]) -> bool {
        let _ = (key_id, token, digest);
        todo!()
    }

    /// Ids under which a token that we did not make may be found, the primary digest key's first: `g` and 30 hex digits
    /// of a keyed digest in a domain of its own.
    #[must_use]
    pub fn given_token_ids(&self, token: &[u8]) -> Vec<String> {
        let _ = token;
        todo!()
    }

    /// Seals a page token: opaque, bound to `context` (who asked, for what).
    #[must_use]
    pub fn seal_page_token(&self, context: &str, position: &str, entropy: &dyn Entropy) -> String {
        let _ = (context, position, entropy);
        todo!()
    }

    /// Opens a page token; `None` where it was altered or made in another context.
    #[must_use]
    pub fn open_page_token(&self, context: &str, token: &str) -> Option<Zeroizing<String>> {
        let _ = (context, token);
        todo!()
    }
}
