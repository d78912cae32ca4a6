//! Sealing: AES-256-GCM-SIV (RFC 8452) under a data key per tenant, bound to its place by associated data.

use std::fmt;

use aws_lc_rs::constant_time;
use zeroize::Zeroizing;

use super::aead::{AeadKey, encode_parts};
use crate::domain::{Entropy, Error, Result, Slot, Timestamp, Uid};

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

/// Where an earlier answer belongs. Given to another caller, request or time, it does not open.
#[derive(Clone, Copy, Debug)]
pub struct ReplyPlace<'a> {
    /// The tenant of whom it was given to.
    pub tenant: &'a Uid,
    /// Whom it was given to.
    pub caller: &'a str,
    /// The id of the request it answered.
    pub request_id: &'a str,
    /// The keyed digest of that request.
    pub digest: &'a [u8],
    /// Until when it is given again.
    pub expire_time: Timestamp,
}

/// A tenant's key, in clear; wiped on drop.
pub struct DataKey {
    id: Uid,
    key: AeadKey,
}

impl DataKey {
    /// A new key.
    #[must_use]
    pub fn make(id: Uid, entropy: &dyn Entropy) -> Self {
        Self { id, key: AeadKey::make(entropy) }
    }

    /// A key that the keyring unwrapped; `None` where it has not 32 bytes.
    pub(super) fn from_bytes(id: Uid, key: Zeroizing<Vec<u8>>) -> Option<Self> {
        AeadKey::from_bytes(key).map(|key| Self { id, key })
    }

    /// The key itself, for the keyring to wrap.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// Its id, which is kept with what it seals.
    #[must_use]
    pub fn id(&self) -> &Uid {
        &self.id
    }

    /// Encrypts, for this place alone. The nonce is random and part of the result.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        self.key.seal(&self.associated(place), plaintext, entropy)
    }

    /// Decrypts what was sealed for this place.
    ///
    /// # Errors
    /// Internal, where it was altered, moved or sealed by another key.
    pub fn open(&self, place: Place<'_>, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.key.open(&self.associated(place), ciphertext)
    }

    /// Encrypts an answer, to be given again.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn seal_reply(&self, place: ReplyPlace<'_>, answer: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        self.key.seal(&self.associated_with_reply(place), answer, entropy)
    }

    /// Decrypts an answer that was sealed for this place.
    ///
    /// # Errors
    /// Internal, where it was altered, moved or sealed by another key.
    pub fn open_reply(&self, place: ReplyPlace<'_>, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.key.open(&self.associated_with_reply(place), ciphertext)
    }

    /// Seals what another key sealed for the same place. It is opened once more before it is given out, so that nothing
    /// takes the place of what can be read but what can be read.
    ///
    /// # Errors
    /// Internal, where it was altered, moved or sealed by a third key.
    pub fn take_over(
        &self,
        from: &Self,
        place: Place<'_>,
        ciphertext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>> {
        let plaintext = from.open(place, ciphertext)?;
        let sealed = self.seal(place, &plaintext, entropy)?;
        same(&plaintext, &self.open(place, &sealed)?).map(|()| sealed)
    }

    /// The same for an answer.
    ///
    /// # Errors
    /// Internal, where it was altered, moved or sealed by a third key.
    pub fn take_over_reply(
        &self,
        from: &Self,
        place: ReplyPlace<'_>,
        ciphertext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>> {
        let plaintext = from.open_reply(place, ciphertext)?;
        let sealed = self.seal_reply(place, &plaintext, entropy)?;
        same(&plaintext, &self.open_reply(place, &sealed)?).map(|()| sealed)
    }

    fn associated_with_reply(&self, place: ReplyPlace<'_>) -> Vec<u8> {
        encode_parts(&[
            b"rekey reply",
            place.tenant.as_str().as_bytes(),
            place.caller.as_bytes(),
            place.request_id.as_bytes(),
            place.digest,
            &place.expire_time.micros().to_be_bytes(),
            self.id.as_str().as_bytes(),
        ])
    }

    fn associated(&self, place: Place<'_>) -> Vec<u8> {
        encode_parts(&[
            b"rekey secret",
            place.tenant.as_str().as_bytes(),
            place.subject.as_str().as_bytes(),
            place.slot.to_stored().as_bytes(),
            &place.version.to_be_bytes(),
            self.id.as_str().as_bytes(),
        ])
    }
}

fn same(one: &[u8], other: &[u8]) -> Result<()> {
    let same = constant_time::verify_slices_are_equal(one, other);
    same.map_err(|_unspecified| Error::internal("what was just sealed opens to something else"))
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Reason, entropy::SeededEntropy};

    fn key(seed: u64) -> DataKey {
        DataKey::make(Uid::from_stored("key"), &SeededEntropy::new(seed))
    }

    fn uid(text: &str) -> Uid {
        Uid::from_stored(text)
    }

    #[test]
    fn a_secret_opens_in_its_own_place_only() {
        let (tenant, subject, other) = (uid("tenant"), uid("subject"), uid("other"));
        let slot = Slot::ApiToken("a".to_owned());
        let place = Place { tenant: &tenant, subject: &subject, slot: &slot, version: 3 };
        let sealed = key(1).seal(place, b"secret", &SeededEntropy::new(2)).unwrap();
        assert_eq!(*key(1).open(place, &sealed).unwrap(), b"secret");

        let elsewhere = [
            Place { tenant: &other, ..place },
            Place { subject: &other, ..place },
            Place { slot: &Slot::ApiToken("b".to_owned()), ..place },
            Place { slot: &Slot::SigningKey("a".to_owned()), ..place },
            Place { slot: &Slot::Password, ..place },
            Place { version: 2, ..place },
            Place { tenant: &subject, subject: &tenant, ..place },
        ];
        for place in elsewhere {
            assert_eq!(key(1).open(place, &sealed).unwrap_err().reason(), Reason::Internal, "{place:?}");
        }
    }

    #[test]
    fn an_answer_opens_in_its_own_place_only() {
        let (tenant, other) = (uid("tenant"), uid("other"));
        let expire_time = Timestamp::from_micros(7);
        let place = ReplyPlace { tenant: &tenant, caller: "a", request_id: "b", digest: b"c", expire_time };
        let sealed = key(1).seal_reply(place, b"answer", &SeededEntropy::new(2)).unwrap();
        assert_eq!(*key(1).open_reply(place, &sealed).unwrap(), b"answer");
        assert!(key(2).open_reply(place, &sealed).is_err());
        let elsewhere = [
            ReplyPlace { tenant: &other, ..place },
            ReplyPlace { caller: "b", ..place },
            ReplyPlace { request_id: "a", ..place },
            ReplyPlace { caller: "", request_id: "ab", ..place },
            ReplyPlace { digest: b"d", ..place },
            ReplyPlace { expire_time: Timestamp::from_micros(8), ..place },
        ];
        for place in elsewhere {
            assert_eq!(key(1).open_reply(place, &sealed).unwrap_err().reason(), Reason::Internal, "{place:?}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(key(1).open_reply(place, &altered).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_key_or_the_same_under_another_id_does_not_open() {
        let (tenant, subject) = (uid("tenant"), uid("subject"));
        let place = Place { tenant: &tenant, subject: &subject, slot: &Slot::Password, version: 1 };
        let sealed = key(1).seal(place, b"secret", &SeededEntropy::new(2)).unwrap();
        assert!(key(2).open(place, &sealed).is_err());
        let renamed = DataKey { id: uid("renamed"), ..key(1) };
        assert!(renamed.open(place, &sealed).is_err());
    }

    #[test]
    fn no_flipped_bit_and_no_shortening_goes_unnoticed() {
        let (tenant, subject) = (uid("tenant"), uid("subject"));
        let place = Place { tenant: &tenant, subject: &subject, slot: &Slot::Password, version: 1 };
        let sealed = key(1).seal(place, b"secret", &SeededEntropy::new(2)).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(key(1).open(place, &altered).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(key(1).open(place, &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn debug_shows_the_id_and_not_the_key() {
        assert_eq!(format!("{:?}", key(1)), "DataKey { id: Uid(\"key\"), .. }");
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_never_looks_alike(
            secret in proptest::collection::vec(any::<u8>(), 0..300),
            version in any::<i64>(),
            seed in any::<u64>(),
        ) {
            let (tenant, subject) = (uid("tenant"), uid("subject"));
            let place = Place { tenant: &tenant, subject: &subject, slot: &Slot::Settings, version };
            let entropy = SeededEntropy::new(seed);
            let (key, one) = (key(seed), key(seed).seal(place, &secret, &entropy)?);
            let two = key.seal(place, &secret, &entropy)?;
            prop_assert_eq!(&*key.open(place, &one)?, &secret);
            prop_assert_eq!(&*key.open(place, &two)?, &secret);
            prop_assert_ne!(one, two);
        }
    }
}
