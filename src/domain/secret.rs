//! Secrets: one version of one secret of one subject, in the form it is kept.
//!
//! Cleartext is `secrecy::SecretString` everywhere: wiped on drop, nothing in its Debug, opened by `expose_secret`,
//! which `.clippy.toml` bans outside its owners.

use std::fmt;

use super::{Timestamp, Uid};

/// Which of a subject's secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// What the subject signs in with.
    Password,
    /// What a third party handed over, as one.
    Settings,
    /// An API token, by its id.
    ApiToken(String),
    /// The shared key of an HMAC pair, by its API key.
    SigningKey(String),
}

impl Slot {
    /// As it is kept.
    #[must_use]
    pub fn to_stored(&self) -> String {
        match self {
            Self::Password => "password".to_owned(),
            Self::Settings => "settings".to_owned(),
            Self::ApiToken(id) => format!("token/{id}"),
            Self::SigningKey(api_key) => format!("key/{api_key}"),
        }
    }

    /// From what is kept.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        match text.split_once('/') {
            None if text == "password" => Some(Self::Password),
            None if text == "settings" => Some(Self::Settings),
            Some(("token", id)) => Some(Self::ApiToken(id.to_owned())),
            Some(("key", api_key)) => Some(Self::SigningKey(api_key.to_owned())),
            None | Some(_) => None,
        }
    }

    /// What finds this secret without its subject: `token/…` and `key/…` are unique over all tenants.
    #[must_use]
    pub fn lookup_key(&self) -> Option<String> {
        match self {
            Self::Password | Self::Settings => None,
            Self::ApiToken(_) | Self::SigningKey(_) => Some(self.to_stored()),
        }
    }
}

/// Where a version of a secret is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Made, not yet in force.
    Pending,
    /// In force.
    Current,
    /// Still accepted until its deadline.
    Previous,
    /// Void; its payload is wiped, but for those passwords of a user that may not be chosen again.
    Revoked,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Current, Self::Previous, Self::Revoked];

    /// Whether a version in it is accepted until it ends.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        match self {
            Self::Current | Self::Previous => true,
            Self::Pending | Self::Revoked => false,
        }
    }

    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Revoked => "revoked",
        }
    }
}

/// In what form a secret is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Material {
    /// A sealed PHC string of a slow hash: can only be checked.
    Verifier,
    /// A keyed digest of a token: can only be checked, fast.
    Digest,
    /// Sealed: can be shown.
    Sealed,
}

impl Material {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Verifier, Self::Digest, Self::Sealed];

    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Digest => "digest",
            Self::Sealed => "sealed",
        }
    }
}

/// One version of one secret.
#[derive(Clone)]
pub struct Secret {
    /// Whose.
    pub subject_uid: Uid,
    /// Which.
    pub slot: Slot,
    /// Grows with each new one of a slot.
    pub version: i64,
    /// Where in its life.
    pub stage: Stage,
    /// In what form.
    pub material: Material,
    /// Ciphertext or digest; empty once wiped.
    pub payload: Vec<u8>,
    /// Algorithm and parameters of a verifier, in plain for the census; unknown where it was made before these were kept.
    pub scheme: Option<String>,
    /// The data key that seals the payload, or the digest key that made it.
    pub key_id: String,
    /// Whether a caller proved by it may only read.
    pub read_only: bool,
    /// Whether it is good for being changed by its owner, and for nothing else.
    pub must_change: bool,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it came to its stage.
    pub stage_time: Timestamp,
    /// When it ends by itself; of a previous one the deadline, which is never later than its own end.
    pub expire_time: Option<Timestamp>,
    /// Of a previous one: when it would have ended by itself.
    pub own_expire_time: Option<Timestamp>,
    /// What finds it without its subject, where anything does: unique over all tenants.
    pub lookup_key: Option<String>,
    /// When it was last used, as far as that is written yet.
    pub last_used_time: Option<Timestamp>,
    /// How often it was used, as far as that is written yet.
    pub use_count: i64,
}

impl Secret {
    /// Whether it is accepted at this time.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.stage.is_accepted() && self.expire_time.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("subject_uid", &self.subject_uid)
            .field("slot", &self.slot)
            .field("version", &self.version)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// A tenant's data key as the database has it.
#[derive(Clone)]
pub struct WrappedKey {
    /// The data key's id.
    pub id: Uid,
    /// Whose it is.
    pub tenant_uid: Uid,
    /// The keyring's key that wraps it.
    pub wrapping_key_id: String,
    /// The ciphertext.
    pub ciphertext: Vec<u8>,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey")
            .field("id", &self.id)
            .field("tenant_uid", &self.tenant_uid)
            .field("wrapping_key_id", &self.wrapping_key_id)
            .finish_non_exhaustive()
    }
}
