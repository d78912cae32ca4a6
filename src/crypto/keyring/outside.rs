//! What vouches for things outside of the database: backups, and the mark of how far a machine has seen a database come.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use data_encoding::HEXLOWER;

use super::{Key, Keyring};
use crate::crypto::aead::encode_parts;

const BACKUP: &[u8] = b"rekey backup";
const ANCHOR: &[u8] = b"rekey anchor";

/// Vouches for pieces in their order: the tag of each covers all before it.
pub struct Chain {
    key: hmac::Key,
    last: Vec<u8>,
}

impl Chain {
    /// Bytes of a tag.
    pub const TAG: usize = 32;

    fn new(key: &Key, salt: &[u8]) -> Self {
        let derived = key.mac(BACKUP, salt);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()), last: vec![0; Self::TAG] }
    }

    /// The tag of the next piece, which is these parts: HMAC-SHA-256 over the tag before and the piece.
    pub fn next(&mut self, parts: &[&[u8]]) -> &[u8] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.last);
        for part in parts {
            context.update(part);
        }
        self.last = context.sign().as_ref().to_vec();
        &self.last
    }

    /// Whether that is the tag of the next piece; constant time.
    pub fn matches_next(&mut self, parts: &[&[u8]], tag: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.next(parts), tag).is_ok()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain([redacted])")
    }
}

impl Keyring {
    /// The id of the primary digest key, and a chain for a new backup with this salt, under a key of its own derived
    /// from it.
    #[must_use]
    pub fn begin_backup(&self, salt: &[u8]) -> (String, Chain) {
        let key = &self.digest.primary;
        (key.id.clone(), Chain::new(key, salt))
    }

    /// The chain of a backup that was made with the key of this id and this salt; `None` where the key is unknown.
    #[must_use]
    pub fn follow_backup(&self, key_id: &str, salt: &[u8]) -> Option<Chain> {
        self.digest.find(key_id).map(|key| Chain::new(key, salt))
    }

    /// The id of the primary digest key, and what it vouches for an anchor with.
    #[must_use]
    pub fn sign_anchor(&self, parts: &[&[u8]]) -> (String, String) {
        let key = &self.digest.primary;
        (key.id.clone(), HEXLOWER.encode(key.mac(ANCHOR, &encode_parts(parts)).as_ref()))
    }

    /// Whether the key of this id vouched so for an anchor; constant time. `None` where the key is unknown.
    #[must_use]
    pub fn anchor_matches(&self, key_id: &str, parts: &[&[u8]], tag: &str) -> Option<bool> {
        let mac = self.digest.find(key_id)?.mac(ANCHOR, &encode_parts(parts));
        let tag = HEXLOWER.decode(tag.as_bytes()).unwrap_or_default();
        Some(constant_time::verify_slices_are_equal(mac.as_ref(), &tag).is_ok())
    }
}
