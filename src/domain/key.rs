//! The keyring's keys as they may be shown: what each is for, which processes know it, what hangs on it; and when one
//! may begin to make, and when it may go. No key material.

use std::time::Duration;

use super::{Timestamp, Uid, tenant::JwtAlgorithm};

/// How long a token is good at most ([`super::tenant::TokenIssuer::TTL_BOUNDS_S`]).
const LONGEST_TOKEN: Duration = Duration::from_hours(7 * 24);

/// What a key is for. None does two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPurpose {
    /// Wraps the tenants' data keys.
    Wrapping,
    /// Makes the digests of API tokens, of requests and of what attempts are tallied under.
    Digest,
    /// Seals page tokens.
    PageToken,
    /// Signs tokens.
    TokenSigning,
}

impl KeyPurpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Wrapping, Self::Digest, Self::PageToken, Self::TokenSigning];

    /// Its name in the keyring's file and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wrapping => "wrapping",
            Self::Digest => "digest",
            Self::PageToken => "page_token",
            Self::TokenSigning => "token_signing",
        }
    }

    /// The purpose of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }

    /// For how long what a key of this purpose made may still come back: an answer to a repeated request under a digest
    /// key, a page's token, the longest token of a user.
    const fn memory(self) -> Duration {
        match self {
            Self::Wrapping => Duration::ZERO,
            Self::Digest | Self::PageToken => Duration::from_hours(24),
            Self::TokenSigning => LONGEST_TOKEN,
        }
    }
}

/// What may be shown of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// With what it signs, where it does.
    pub algorithm: Option<JwtAlgorithm>,
    /// Whether it makes, or only reads.
    pub is_primary: bool,
    /// When it was made.
    pub create_time: Timestamp,
    /// Of a digest key: until when the tokens under it are accepted, where that ends.
    pub accept_until: Option<Timestamp>,
}

impl KeyInfo {
    /// Whether one of the two makes while the other reads.
    fn is_of_one_ring(&self, other: &Self) -> bool {
        (self.purpose, self.algorithm) == (other.purpose, other.algorithm)
    }
}

/// A process that uses a keyring, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its own id, made at its start.
    pub uid: Uid,
    /// Where it runs, for people.
    pub name: String,
    /// Its program's version.
    pub version: String,
    /// The ids of the keys that it knows.
    pub knows: Vec<String>,
    /// Those of them that it makes with.
    pub makes_with: Vec<String>,
    /// When it said so, by its own clock.
    pub seen_time: Timestamp,
}

impl Replica {
    /// For how long one that is silent is taken to be running: many heartbeats, and clocks that are minutes apart.
    pub const LATELY: Duration = Duration::from_mins(15);

    /// Whether it is to be reckoned with.
    #[must_use]
    pub fn is_seen_lately(&self, now: Timestamp) -> bool {
        now < self.seen_time.plus(Self::LATELY)
    }

    /// Whether it can read what this key made.
    #[must_use]
    pub fn knows(&self, key_id: &str) -> bool {
        self.knows.iter().any(|known| known == key_id)
    }

    fn makes_with(&self, key_id: &str) -> bool {
        self.makes_with.iter().any(|primary| primary == key_id)
    }
}

/// What hangs on a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// Data keys that it wraps.
    pub data_keys: u64,
    /// Secrets that those seal.
    pub secrets: u64,
    /// Earlier answers that those seal.
    pub replies: u64,
    /// API tokens whose digests it made, and which have not ended.
    pub tokens: u64,
    /// When some process was last known to make with it.
    pub primary_time: Option<Timestamp>,
}

/// How long others may keep the set of public keys that they check tokens by.
pub const KEY_SET_KEPT: Duration = Duration::from_mins(5);

/// Why a key must not begin to make yet, as a sentence with the fix.
///
/// # Errors
/// Where a process that was seen lately does not know it, or those who check its signatures may not.
pub fn may_promote(key: &KeyInfo, replicas: &[Replica], now: Timestamp) -> Result<(), String> {
    let lacking = |replica: &&Replica| replica.is_seen_lately(now) && !replica.knows(&key.id);
    let lacking: Vec<String> = replicas.iter().filter(lacking).map(|replica| seen(replica, now)).collect();
    if !lacking.is_empty() {
        return Err(format!(
            "{} does not know the key {}: what it makes could not be read there. Give it the new keyring file, and wait \
             until `rekey keys list` says that it knows the key; or use --force, if it is gone for good",
            lacking.join(" and "),
            key.id,
        ));
    }
    let known = key.create_time.plus(KEY_SET_KEPT);
    if key.purpose == KeyPurpose::TokenSigning && now < known {
        return Err(format!(
            "the key {} is too new: others may keep the public keys for {}, and would refuse what it signs. Wait another \
             {}, or use --force",
            key.id,
            span(KEY_SET_KEPT),
            span(now.distance(known)),
        ));
    }
    Ok(())
}

/// Why a key must stay, as a sentence with what moves or ends what hangs on it. With `force` only what cannot be undone
/// keeps it.
///
/// # Errors
/// Where it makes, or something still needs it.
pub fn may_retire(
    key: &KeyInfo,
    keys: &[KeyInfo],
    uses: &KeyUse,
    replicas: &[Replica],
    now: Timestamp,
    force: bool,
) -> Result<(), String> {
    let id = &key.id;
    if key.is_primary {
        let fix = "add another and promote it first";
        return Err(format!("the key {id} is the primary one of its purpose: {fix}"));
    }
    let is_wrapping = key.purpose == KeyPurpose::Wrapping;
    if is_wrapping && uses.data_keys > 0 {
        return Err(format!(
            "the key {id} wraps {} data keys, which seal {} secrets and {} answers: move them with `rekey keys rotate-data`. \
             --force does not help: without the key they would be lost",
            uses.data_keys, uses.secrets, uses.replies,
        ));
    }
    if force && !is_wrapping {
        return Ok(());
    }
    let making = replicas.iter().find(|replica| replica.is_seen_lately(now) && replica.makes_with(id));
    if let Some(replica) = making {
        return Err(format!(
            "{} still makes with the key {id}: give it the keyring file that it is to have, and try again in {}",
            seen(replica, now),
            span(Replica::LATELY + key.purpose.memory()),
        ));
    }
    if uses.tokens > 0 && key.accept_until.is_none_or(|end| now < end) {
        let end = key.accept_until.map_or_else(String::new, |end| {
            format!(", or wait {}: then those that were not used are void", span(now.distance(end)))
        });
        return Err(format!(
            "{} API tokens hang on the key {id}: each moves when it is used next{end}. --force makes them void",
            uses.tokens,
        ));
    }
    // Made by `rotate`, a younger one began to make at once.
    let younger = keys.iter().filter(|other| other.is_of_one_ring(key) && other.create_time > key.create_time);
    let made_until = uses.primary_time.or_else(|| younger.map(|other| other.create_time).min());
    let Some(free) = made_until.map(|time| time.plus(key.purpose.memory() + Replica::LATELY)) else { return Ok(()) };
    if now < free {
        let what = match key.purpose {
            KeyPurpose::Wrapping => "a data key may just have been wrapped with it",
            KeyPurpose::Digest => "requests that are repeated within a day are known by it",
            KeyPurpose::PageToken => "page tokens that it sealed are good for a day",
            KeyPurpose::TokenSigning => "tokens that it signed may be good for so long",
        };
        let force = if is_wrapping { "" } else { ", or use --force" };
        return Err(format!(
            "the key {id} made something lately, and {what}: wait {}{force}",
            span(now.distance(free))
        ));
    }
    Ok(())
}

fn seen(replica: &Replica, now: Timestamp) -> String {
    format!("the replica {} (seen {} ago)", replica.name, span(now.distance(replica.seen_time)))
}

/// A span of time for people, rounded up to its largest unit that says enough.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} minutes", seconds.div_ceil(60)),
        7_200..=172_799 => format!("{} hours", seconds.div_ceil(3_600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests;
