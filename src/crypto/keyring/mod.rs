//! The keyring: keys with ids, purposes and states, in a file that only its owner reads. Without it a database is useless.

mod file;
mod in_use;
mod outside;
mod signing;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use aws_lc_rs::{constant_time, hmac};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use self::{file::NewKey, signing::SigningKey};
use super::{
    DataKey,
    aead::{AeadKey, encode_parts},
};
use crate::domain::{Entropy, Error, KeyInfo, KeyPurpose, Result, Timestamp, Uid, WrappedKey, tenant::JwtAlgorithm};

pub use file::FileStamp;
pub use in_use::KeyringInUse;
pub use outside::Chain;
pub use signing::TokenHeader;

/// What is wrong with a keyring file; its sentence names the file and the fix.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyringError(pub String);

/// The keys, in clear; wiped on drop.
pub struct Keyring {
    infos: Vec<KeyInfo>,
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
    /// The same, made ready: every call is asked for a digest or two.
    mac: Box<hmac::Key>,
    create_time: Timestamp,
    accept_until: Option<Timestamp>,
}

impl Ring {
    /// The primary key first.
    fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.primary).chain(&self.others)
    }

    fn find(&self, id: &str) -> Option<&Key> {
        self.iter().find(|key| key.id == id)
    }

    /// The one that was made first: the same for all who have the same keys, whichever of them they make with.
    fn oldest(&self) -> &Key {
        self.others.iter().fold(&self.primary, |oldest, key| {
            let is_older = (key.create_time, &key.id) < (oldest.create_time, &oldest.id);
            if is_older { key } else { oldest }
        })
    }
}

impl Key {
    fn new(id: String, secret: AeadKey, create_time: Timestamp, accept_until: Option<Timestamp>) -> Self {
        let mac = Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        Self { id, secret, mac, create_time, accept_until }
    }

    /// Whether tokens under it are good.
    fn is_accepted(&self, now: Timestamp) -> bool {
        self.accept_until.is_none_or(|end| now < end)
    }

    /// HMAC-SHA-256 in a domain of its own, so that one key serves several ends.
    fn mac(&self, domain: &[u8], message: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac);
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
    /// Makes a keyring with one primary key for each purpose but signing tokens, and its file (mode 0600, never over an
    /// existing one).
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<Self, KeyringError> {
        let rings = [KeyPurpose::Wrapping, KeyPurpose::Digest, KeyPurpose::PageToken]
            .map(|purpose| (purpose, Ring::make(now, entropy)));
        file::write(path, now, &rings)?;
        Self::load(path)
    }

    /// Reads a keyring.
    ///
    /// # Errors
    /// Where the file is missing, readable by others, or not a keyring.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let mut keys = file::read(path)?;
        Ok(Self {
            infos: std::mem::take(&mut keys.infos),
            wrapping: keys.take(KeyPurpose::Wrapping)?,
            digest: keys.take(KeyPurpose::Digest)?,
            page_token: keys.take(KeyPurpose::PageToken)?,
            signing: keys.take_signing()?,
        })
    }

    /// Adds a key to a keyring's file, and returns its id. It only reads, until it is promoted. A key that signs tokens has
    /// an algorithm, and no other.
    ///
    /// # Errors
    /// Where the file is not a keyring, cannot be written, or is being written by another.
    pub fn add(
        path: &Path,
        purpose: KeyPurpose,
        algorithm: Option<JwtAlgorithm>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<String, KeyringError> {
        let secret = match algorithm {
            Some(algorithm) => make_signing_key(algorithm)?,
            None => Zeroizing::new(AeadKey::make(entropy).as_bytes().to_vec()),
        };
        let id = Uid::make(now, entropy).to_string();
        file::add(path, &NewKey { id: &id, purpose, algorithm, secret: &secret, create_time: now, is_primary: false })?;
        Ok(id)
    }

    /// Has a key of a keyring's file make from now on, in the place of the one of its purpose and algorithm that did, which
    /// then only reads. Tokens under a digest key that is followed so are accepted until `accept_until`. False where it
    /// was the primary one already.
    ///
    /// # Errors
    /// As [`Self::add`], and where there is no such key.
    pub fn promote(path: &Path, id: &str, accept_until: Timestamp) -> Result<bool, KeyringError> {
        file::promote(path, id, accept_until)
    }

    /// Takes a key out of a keyring's file. Of a wrapping key's last file a copy stays, whose path is returned: what was
    /// backed up before cannot be read without it.
    ///
    /// # Errors
    /// As [`Self::add`], where there is no such key, and where it is a primary one.
    pub fn retire(path: &Path, id: &str) -> Result<Option<PathBuf>, KeyringError> {
        file::retire(path, id)
    }

    /// Adds a key that signs tokens to a keyring's file, and returns its id. It signs with its algorithm from when the file
    /// is read; the one that did until then verifies.
    ///
    /// # Errors
    /// Where the file is not a keyring, cannot be written, or is being written by another.
    pub fn add_signing_key(
        path: &Path,
        algorithm: JwtAlgorithm,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<String, KeyringError> {
        let (id, secret) = (Uid::make(now, entropy).to_string(), make_signing_key(algorithm)?);
        let (purpose, algorithm) = (KeyPurpose::TokenSigning, Some(algorithm));
        file::add(path, &NewKey { id: &id, purpose, algorithm, secret: &secret, create_time: now, is_primary: true })?;
        Ok(id)
    }

    /// What keys a keyring's file holds, in its order.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn list(path: &Path) -> Result<Vec<KeyInfo>, KeyringError> {
        Ok(Self::load(path)?.infos)
    }

    /// The keys it has, in its file's order.
    #[must_use]
    pub fn keys(&self) -> &[KeyInfo] {
        &self.infos
    }

    /// Ids of the wrapping keys it has, the primary one first, to compare with what a database needs.
    #[must_use]
    pub fn wrapping_key_ids(&self) -> Vec<&str> {
        self.wrapping.iter().map(|key| key.id.as_str()).collect()
    }

    /// Whether it has the wrapping keys of these ids.
    ///
    /// # Errors
    /// A sentence that names the file and those that are missing.
    pub fn has_wrapping_keys(&self, file: &Path, needed: &[String]) -> Result<(), KeyringError> {
        let missing = needed.iter().map(String::as_str).filter(|id| self.wrapping.find(id).is_none());
        let missing = missing.collect::<Vec<_>>().join(", ");
        if missing.is_empty() {
            return Ok(());
        }
        let what = format!("the keyring {} lacks keys that the database needs: {missing}", file.display());
        Err(KeyringError(format!("{what}. Use the keyring the database was made with")))
    }

    /// Wraps a data key anew, under the primary wrapping key.
    ///
    /// # Errors
    /// As [`Self::unwrap`].
    pub fn rewrap(&self, wrapped: &WrappedKey, entropy: &dyn Entropy) -> Result<WrappedKey> {
        self.wrap(&self.unwrap(wrapped)?, &wrapped.tenant_uid, entropy)
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
        #[expect(clippy::disallowed_methods, reason = "digested here")]
        self.digest_of(token.expose_secret().as_bytes())
    }

    /// The same of a token as it came.
    #[must_use]
    pub fn digest_of(&self, token: &[u8]) -> (String, [u8; 32]) {
        let key = &self.digest.primary;
        let mut digest = [0; 32];
        digest.copy_from_slice(key.mac(TOKEN_DIGEST, token).as_ref());
        (key.id.clone(), digest)
    }

    /// Whether new tokens are digested under the key of this id.
    #[must_use]
    pub fn digests_with(&self, key_id: &str) -> bool {
        self.digest.primary.id == key_id
    }

    /// Whether another digest key followed the one of this id, so that the tokens under it are to move.
    #[must_use]
    pub fn is_followed(&self, digest_key_id: &str) -> bool {
        self.digest.find(digest_key_id).is_some_and(|key| key.accept_until.is_some())
    }

    /// Whether `digest` is the token's under the key of this id; constant time. False where the key is unknown, or its
    /// tokens have ended.
    #[must_use]
    pub fn digest_matches(&self, key_id: &str, token: &[u8], digest: &[u8], now: Timestamp) -> bool {
        self.digest.find(key_id).filter(|key| key.is_accepted(now)).is_some_and(|key| {
            constant_time::verify_slices_are_equal(key.mac(TOKEN_DIGEST, token).as_ref(), digest).is_ok()
        })
    }

    /// Ids under which a token that we did not make may be found, the primary digest key's first: `g` and 30 hex digits
    /// of a keyed digest in a domain of its own. Not those of keys whose tokens have ended.
    #[must_use]
    pub fn given_token_ids(&self, token: &[u8], now: Timestamp) -> Vec<String> {
        let id = |key: &Key| {
            let digits = HEXLOWER.encode(key.mac(GIVEN_TOKEN_ID, token).as_ref());
            std::iter::once('g').chain(digits.chars().take(30)).collect()
        };
        self.digest.iter().filter(|key| key.is_accepted(now)).map(id).collect()
    }

    /// What an attempt is tallied under: 32 hex digits of a keyed digest, so that the table tells neither names that are
    /// nobody's nor addresses. The oldest digest key makes it, so that replicas agree while a new one is rolled out, and
    /// nobody is forgotten before the oldest is retired.
    #[must_use]
    pub fn attempt_mark(&self, parts: &[&str]) -> String {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let mac = self.digest.oldest().mac(ATTEMPT, &encode_parts(&parts));
        HEXLOWER.encode(mac.as_ref().split_at_checked(16).map_or(&[], |(first, _)| first))
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
        let (id, secret) = (Uid::make(now, entropy).to_string(), AeadKey::make(entropy));
        Self { primary: Key::new(id, secret, now, None), others: Vec::new() }
    }
}

fn make_signing_key(algorithm: JwtAlgorithm) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let failed = |_unspecified| KeyringError("the cryptography library could not make a key".to_owned());
    SigningKey::make(algorithm).map_err(failed)
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
