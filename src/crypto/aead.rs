//! AES-256-GCM-SIV (RFC 8452) with its format: what envelope and keyring seal with.
//!
//! The nonce is random. Should one come twice under a key, this mode shows no more than whether the same was sealed
//! twice for the same place (RFC 8452 section 9), so that no counter must be kept.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::domain::{Entropy, Error, Result};

/// The first byte of every ciphertext: what follows is a nonce of 12 bytes, the ciphertext and a tag of 16.
const FORMAT: u8 = 1;

/// 256 bits of key, on the heap so that a move leaves no copy; wiped on drop.
pub(super) struct AeadKey(Zeroizing<Vec<u8>>);

impl AeadKey {
    const LENGTH: usize = 32;

    pub(super) fn make(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new(vec![0; Self::LENGTH]);
        entropy.fill(&mut key);
        Self(key)
    }

    /// The key, where it has 32 bytes.
    pub(super) fn from_bytes(key: Zeroizing<Vec<u8>>) -> Option<Self> {
        (key.len() == Self::LENGTH).then_some(Self(key))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn seal(&self, associated: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut body = Zeroizing::new(plaintext.to_vec());
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(Nonce::from(&nonce), Aad::from(associated), &mut body)
            .map_err(Error::internal)?;
        Ok([&[FORMAT], nonce.as_slice(), &body, tag.as_ref()].concat())
    }

    pub(super) fn open(&self, associated: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let Some((nonce, body)) = ciphertext.strip_prefix(&[FORMAT]).and_then(<[u8]>::split_first_chunk::<NONCE_LEN>)
        else {
            return Err(Error::internal("a ciphertext is too short or of an unknown format"));
        };
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .cipher()?
            .open_in_place(Nonce::from(nonce), Aad::from(associated), &mut body)
            .map_err(|_unspecified| Error::internal("a ciphertext was altered, moved, or sealed by another key"))?
            .len();
        body.truncate(length);
        Ok(body)
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM_SIV, &self.0).map(LessSafeKey::new).map_err(Error::internal)
    }
}

/// One byte string for many, from which they can be told apart: each after its length.
pub(super) fn encode_parts(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(parts.iter().map(|part| size_of::<u64>() + part.len()).sum());
    for part in parts {
        encoded.extend_from_slice(&(part.len() as u64).to_be_bytes());
        encoded.extend_from_slice(part);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_mistaken_for_others() {
        assert_ne!(encode_parts(&[b"ab", b"c"]), encode_parts(&[b"a", b"bc"]));
        assert_ne!(encode_parts(&[b"ab", b""]), encode_parts(&[b"", b"ab"]));
        assert_ne!(encode_parts(&[b"ab"]), encode_parts(&[b"ab", b""]));
    }

    /// RFC 8452 appendix C.2: 8 bytes of plaintext, no associated data.
    #[test]
    fn the_cipher_is_that_of_rfc_8452() {
        struct FixedNonce;
        impl Entropy for FixedNonce {
            fn fill(&self, buffer: &mut [u8]) {
                buffer.fill(0);
                buffer[0] = 3;
            }
        }
        let mut key = vec![0; 32];
        key[0] = 1;
        let key = AeadKey::from_bytes(Zeroizing::new(key)).unwrap();
        let sealed = key.seal(b"", &[1, 0, 0, 0, 0, 0, 0, 0], &FixedNonce).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&sealed[1 + NONCE_LEN..]),
            "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"
        );
    }
}
