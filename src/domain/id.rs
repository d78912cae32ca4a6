//! Names of things: the public ids that callers choose, and the internal ones that never change.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::{Entropy, Timestamp};

/// The public id of a tenant or subject: `[A-Za-z0-9][A-Za-z0-9._~-]{0,63}`.
///
/// A caller may choose it, and after a deletion choose it again; whatever must not be confused then uses [`Uid`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(String);

impl ResourceId {
    /// The longest id, in bytes (all of them ASCII).
    pub const MAX_LENGTH: usize = 64;
    /// The rule, as a sentence for whoever broke it.
    pub const RULE: &str = "must be 1 to 64 of A-Z a-z 0-9 . _ ~ - and begin with a letter or digit";

    /// The id, where `text` follows the rule.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        (begins && text.len() <= Self::MAX_LENGTH && text.bytes().all(legal)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Uid> for ResourceId {
    fn from(uid: Uid) -> Self {
        Self(uid.0)
    }
}

/// An internal id: 24 lower-case hex digits, milliseconds first, so that ids sort by age. Never used twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uid(String);

impl Uid {
    /// A new id: 48 bits of time, 48 random bits.
    #[must_use]
    pub fn make(now: Timestamp, entropy: &dyn Entropy) -> Self {
        let mut random = [0; 6];
        entropy.fill(&mut random);
        Self::of(now, random)
    }

    fn of(now: Timestamp, random: [u8; 6]) -> Self {
        let [_, _, time @ ..] = now.micros().div_euclid(1_000).to_be_bytes();
        Self(HEXLOWER.encode([time, random].as_flattened()))
    }

    /// The same as if it had been made so much later. One that is not made of a time stays as it is.
    #[must_use]
    pub fn later(&self, by: Duration) -> Self {
        if by.is_zero() {
            return self.clone();
        }
        let parts = self.0.split_at_checked(12);
        let millis = parts.and_then(|(time, _)| u64::from_str_radix(time, 16).ok());
        let later = millis.zip(u64::try_from(by.as_millis()).ok()).and_then(|(millis, by)| millis.checked_add(by));
        match (later, parts) {
            (Some(millis), Some((_, random))) => Self(format!("{:012x}{random}", millis & 0xffff_ffff_ffff)),
            _ => self.clone(),
        }
    }

    /// What sorts after every id of before this millisecond, and before all of it and later.
    #[must_use]
    pub fn boundary(time: Timestamp) -> String {
        format!("{:012x}", time.micros().div_euclid(1_000).clamp(0, 0xffff_ffff_ffff))
    }

    /// An id that was made before: from the database, or a constant of ours.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes ids, with random bits that were fetched for many at once: an id tells nobody a secret, and to ask for a few bits
/// takes as long as for a thousand.
#[derive(Default)]
pub struct UidMaker(Mutex<Vec<[u8; 6]>>);

/// For how many ids random bits are fetched at once.
const FETCHED: usize = 128;

impl UidMaker {
    /// As [`Uid::make`].
    #[must_use]
    pub fn make(&self, now: Timestamp, entropy: &dyn Entropy) -> Uid {
        let mut fetched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.is_empty() {
            fetched.resize(FETCHED, [0; 6]);
            entropy.fill(fetched.as_flattened_mut());
        }
        let random = fetched.pop().unwrap_or_default();
        drop(fetched);
        Uid::of(now, random)
    }
}

impl fmt::Debug for UidMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UidMaker")
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::entropy::SeededEntropy;

    #[test]
    fn no_id_is_made_twice_and_each_tells_its_time() {
        let (maker, entropy) = (UidMaker::default(), SeededEntropy::new(1));
        let now = Timestamp::from_micros(1_795_000_000_123_456);
        let made: BTreeSet<_> = (0..FETCHED * 3).map(|_| maker.make(now, &entropy)).collect();
        assert_eq!(made.len(), FETCHED * 3);
        assert!(made.iter().all(|id| id.as_str().len() == 24 && id.as_str().starts_with(&Uid::boundary(now))));
    }

    #[test]
    fn an_id_can_be_of_a_later_time() {
        let id = Uid::from_stored("019b76da4800abcdefabcdef");
        assert_eq!(id.later(Duration::ZERO), id);
        assert_eq!(id.later(Duration::from_millis(0x1_0001)).as_str(), "019b76db4801abcdefabcdef");
        assert_eq!(Uid::from_stored("short").later(Duration::from_secs(9)).as_str(), "short");
    }
}
