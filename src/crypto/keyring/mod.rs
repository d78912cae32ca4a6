//! The keyring: keys with ids, purposes and states, in a file that only its owner reads. Without it a database is useless.

mod file;
mod outside;
mod signing;

use std::{fmt, path::Path};

use aws_lc_rs::{constant_time, hmac};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use self::{file::Purpose, signing::SigningKey};
use super::{
    DataKey,
    aead::{AeadKey, encode_parts},
};
use crate::domain::{Entropy, Error, Result, Timestamp, Uid, WrappedKey, tenant::JwtAlgorithm};

pub use file::KeyInfo;
pub use outside::Chain;
pub use signing::TokenHeader;

/// What is wrong with a keyring file; its sentence names the file and the fix.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyringError(pub String);

/// The keys, in clear; wiped on drop.
pub struct Keyring {
    wrapping: Ring,
    digest: Ring,
    page_token: Ring,
    /// None in a keyring that was made before there were any, until one is added.
    signing: Vec<SigningKey>,
}

/// The keys of one purpose: the primary one makes, all of them read.
struct Ring {
    primary: Key,
    others: Vec<Key>,
}

struct Key {
    id: String,
    secret: AeadKey,
}

impl Ring {
    /// The primary key first.
    fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.primary).chain(&self.others)
    }

    fn find(&self, id: &str) -> Option<&Key> {
        self.iter().find(|key| key.id == id)
    }
}

impl Key {
    /// HMAC-SHA-256 in a domain of its own, so that one key serves several ends.
    fn mac(&self, domain: &[u8], message: &[u8]) -> hmac::Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(&encode_parts(&[domain]));
        context.update(message);
        context.sign()
    }
}

const TOKEN_DIGEST: &[u8] = b"rekey token digest";
const GIVEN_TOKEN_ID: &[u8] = b"rekey given token id";
const ATTEMPT: &[u8] = b"rekey attempt";
const REQUEST: &[u8] = b"rekey request";

impl Keyring {
    /// Makes a keyring with one primary key for each purpose but signing tokens, and its file (mode 0600, never over an existing one).
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<Self, KeyringError> {
        let keyring = Self {
            wrapping: Ring::make(now, entropy),
            digest: Ring::make(now, entropy),
            page_token: Ring::make(now, entropy),
            signing: Vec::new(),
        };
        file::write(path, now, &keyring.rings())?;
        Ok(keyring)
    }

    /// Reads a keyring.
    ///
    /// # Errors
    /// Where the file is missing, readable by others, or not a keyring.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let mut keys = file::read(path)?;
        Ok(Self {
            wrapping: keys.take(Purpose::Wrapping)?,
            digest: keys.take(Purpose::Digest)?,
            page_token: keys.take(Purpose::PageToken)?,
            signing: keys.take_signing()?,
        })
    }

    /// Adds a key that signs tokens to a keyring's file, and returns its id. From the next start on it signs with its
    /// algorithm; the one that did until then verifies.
    ///
    /// # Errors
    /// Where the file is not a keyring, cannot be written, or is being written by another.
    pub fn add_signing_key(
        path: &Path,
        algorithm: JwtAlgorithm,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<String, KeyringError> {
        let id = Uid::make(now, entropy).to_string();
        let failed = |_unspecified| KeyringError("the cryptography library could not make a key".to_owned());
        file::add_signing_key(path, &id, algorithm, &SigningKey::make(algorithm).map_err(failed)?, now)?;
        Ok(id)
    }

    /// What keys a keyring's file holds, in its order.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn list(path: &Path) -> Result<Vec<KeyInfo>, KeyringError> {
        file::list(path)
    }

    fn rings(&self) -> [(Purpose, &Ring); 3] {
        [(Purpose::Wrapping, &self.wrapping), (Purpose::Digest, &self.digest), (Purpose::PageToken, &self.page_token)]
    }

    /// Ids of the wrapping keys it has, the primary one first, to compare with what a database needs.
    #[must_use]
    pub fn wrapping_key_ids(&self) -> Vec<&str> {
        self.wrapping.iter().map(|key| key.id.as_str()).collect()
    }

    /// Wraps a data key under the primary wrapping key, bound to its tenant and id.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn wrap(&self, key: &DataKey, tenant_uid: &Uid, entropy: &dyn Entropy) -> Result<WrappedKey> {
        let wrapping = &self.wrapping.primary;
        let associated = data_key_place(tenant_uid, key.id(), &wrapping.id);
        Ok(WrappedKey {
            id: key.id().clone(),
            tenant_uid: tenant_uid.clone(),
            wrapping_key_id: wrapping.id.clone(),
            ciphertext: wrapping.secret.seal(&associated, key.as_bytes(), entropy)?,
        })
    }

    /// Unwraps a data key.
    ///
    /// # Errors
    /// Internal, where the wrapping key is not here (its id is in the cause) or the ciphertext was altered or moved.
    pub fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey> {
        let Some(wrapping) = self.wrapping.find(&wrapped.wrapping_key_id) else {
            return Err(Error::internal(format!("the keyring has no wrapping key {}", wrapped.wrapping_key_id)));
        };
        let associated = data_key_place(&wrapped.tenant_uid, &wrapped.id, &wrapping.id);
        let key = wrapping.secret.open(&associated, &wrapped.ciphertext)?;
        DataKey::from_bytes(wrapped.id.clone(), key)
            .ok_or_else(|| Error::internal(format!("data key {} has a wrong length", wrapped.id)))
    }

    /// The primary digest key's id, and the keyed digest (HMAC-SHA-256) of a token under it.
    #[must_use]
    pub fn digest(&self, token: &SecretString) -> (String, [u8; 32]) {
        let key = &self.digest.primary;
        let mut digest = [0; 32];
        #[expect(clippy::disallowed_methods, reason = "digested here")]
        digest.copy_from_slice(key.mac(TOKEN_DIGEST, token.expose_secret().as_bytes()).as_ref());
        (key.id.clone(), digest)
    }

    /// Whether `digest` is the token's under the key of this id; constant time. False where the key is unknown.
    #[must_use]
    pub fn digest_matches(&self, key_id: &str, token: &[u8], digest: &[u8]) -> bool {
        self.digest.find(key_id).is_some_and(|key| {
            constant_time::verify_slices_are_equal(key.mac(TOKEN_DIGEST, token).as_ref(), digest).is_ok()
        })
    }

    /// Ids under which a token that we did not make may be found, the primary digest key's first: `g` and 30 hex digits
    /// of a keyed digest in a domain of its own.
    #[must_use]
    pub fn given_token_ids(&self, token: &[u8]) -> Vec<String> {
        let id = |key: &Key| {
            let digits = HEXLOWER.encode(key.mac(GIVEN_TOKEN_ID, token).as_ref());
            std::iter::once('g').chain(digits.chars().take(30)).collect()
        };
        self.digest.iter().map(id).collect()
    }

    /// What an attempt is tallied under: 32 hex digits of a keyed digest, so that the table tells neither names that are
    /// nobody's nor addresses.
    #[must_use]
    pub fn attempt_mark(&self, parts: &[&str]) -> String {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let mac = self.digest.primary.mac(ATTEMPT, &encode_parts(&parts));
        HEXLOWER.encode(mac.as_ref()).chars().take(32).collect()
    }

    /// What a request is known by when it comes again: a keyed digest, for it covers passwords.
    #[must_use]
    pub fn request_digest(&self, parts: &[&[u8]]) -> Vec<u8> {
        let parts = Zeroizing::new(encode_parts(parts));
        self.digest.primary.mac(REQUEST, &parts).as_ref().to_vec()
    }

    /// Whether `digest` is the request's, under whichever digest key it was made; constant time.
    #[must_use]
    pub fn request_digest_matches(&self, parts: &[&[u8]], digest: &[u8]) -> bool {
        let parts = Zeroizing::new(encode_parts(parts));
        let matches =
            |key: &Key| constant_time::verify_slices_are_equal(key.mac(REQUEST, &parts).as_ref(), digest).is_ok();
        self.digest.iter().any(matches)
    }

    /// Seals a page token: opaque, bound to `context` (who asked, for what).
    ///
    /// # Panics
    /// Where the position has more than 64 GiB.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the cipher refuses nothing below 64 GiB")]
    pub fn seal_page_token(&self, context: &str, position: &str, entropy: &dyn Entropy) -> String {
        let key = &self.page_token.primary.secret;
        let sealed = key.seal(&page_token_place(context), position.as_bytes(), entropy).expect("a position is short");
        BASE64URL_NOPAD.encode(&sealed)
    }

    /// Opens a page token; `None` where it was altered or made in another context.
    #[must_use]
    pub fn open_page_token(&self, context: &str, token: &str) -> Option<Zeroizing<String>> {
        let sealed = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let place = page_token_place(context);
        let position = self.page_token.iter().find_map(|key| key.secret.open(&place, &sealed).ok())?;
        std::str::from_utf8(&position).ok().map(|text| Zeroizing::new(text.to_owned()))
    }
}

impl Ring {
    fn make(now: Timestamp, entropy: &dyn Entropy) -> Self {
        let primary = Key { id: Uid::make(now, entropy).to_string(), secret: AeadKey::make(entropy) };
        Self { primary, others: Vec::new() }
    }
}

fn data_key_place(tenant: &Uid, id: &Uid, wrapping_key_id: &str) -> Vec<u8> {
    encode_parts(&[b"rekey data key", tenant.as_str().as_bytes(), id.as_str().as_bytes(), wrapping_key_id.as_bytes()])
}

fn page_token_place(context: &str) -> Vec<u8> {
    encode_parts(&[b"rekey page token", context.as_bytes()])
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("wrapping", &self.wrapping_key_ids()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
