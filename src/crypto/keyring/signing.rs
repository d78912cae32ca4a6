//! Keys that sign tokens: a private one each, of which only the public half is ever shown.
//!
//! A key is bound to one algorithm for ever, whatever a token's header says (RFC 8725 section 3.1).

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    error::Unspecified,
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use data_encoding::BASE64URL_NOPAD;
use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Keyring;
use crate::domain::{Error, PublicKey, Result, tenant::JwtAlgorithm};

/// The bits of an RSA key that is made here; no shorter one is read.
const RSA_BITS: KeySize = KeySize::Rsa2048;

/// A key that signs, or that signed and still verifies.
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) is_primary: bool,
    pair: Pair,
}

enum Pair {
    Rsa(Box<rsa::KeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// What a token of ours says of itself, besides algorithm and key. The two that no standard knows are for us alone: they
/// bind the token to one tenant and to one version of the secret it was got for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TokenHeader<'a> {
    /// Of which kind it is, so that none is taken for another (RFC 8725 section 3.11).
    pub typ: &'a str,
    /// The tenant's internal id.
    pub tid: &'a str,
    /// The version of the secret.
    pub epoch: i64,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    #[serde(flatten)]
    rest: TokenHeader<'a>,
}

impl SigningKey {
    /// The key in a PKCS#8 document; `None` where it is not one of the algorithm, or an RSA key that is too short.
    pub(super) fn read(id: &str, is_primary: bool, algorithm: JwtAlgorithm, pkcs8: &[u8]) -> Option<Self> {
        let pair = match algorithm {
            JwtAlgorithm::RS256 => {
                let pair = rsa::KeyPair::from_pkcs8(pkcs8).ok()?;
                (pair.public_modulus_len() >= RSA_BITS.len()).then(|| Pair::Rsa(Box::new(pair)))?
            }
            JwtAlgorithm::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
                Pair::Ecdsa(Box::new(pair))
            }
            JwtAlgorithm::EdDSA => Pair::Ed25519(Box::new(Ed25519KeyPair::from_pkcs8(pkcs8).ok()?)),
        };
        Some(Self { id: id.to_owned(), is_primary, pair })
    }

    /// A new private key, as PKCS#8. Its randomness is the provider's own: it takes no other.
    pub(super) fn make(algorithm: JwtAlgorithm) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        Ok(Zeroizing::new(match algorithm {
            JwtAlgorithm::RS256 => {
                let der: Pkcs8V1Der<'_> = rsa::KeyPair::generate(RSA_BITS)?.as_der()?;
                der.as_ref().to_vec()
            }
            JwtAlgorithm::ES256 => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
                document.as_ref().to_vec()
            }
            JwtAlgorithm::EdDSA => Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?.as_ref().to_vec(),
        }))
    }

    pub(super) fn algorithm(&self) -> JwtAlgorithm {
        match self.pair {
            Pair::Rsa(_) => JwtAlgorithm::RS256,
            Pair::Ecdsa(_) => JwtAlgorithm::ES256,
            Pair::Ed25519(_) => JwtAlgorithm::EdDSA,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, key): (&'static dyn VerificationAlgorithm, &[u8]) = match &self.pair {
            Pair::Rsa(pair) => (&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref()),
            Pair::Ecdsa(pair) => (&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()),
            Pair::Ed25519(pair) => (&ED25519, pair.public_key().as_ref()),
        };
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }

    fn public(&self) -> Option<PublicKey> {
        let parameters = match &self.pair {
            Pair::Rsa(pair) => integers(pair.public_key().as_ref())?,
            // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
            Pair::Ecdsa(pair) => {
                pair.public_key().as_ref().strip_prefix(&[4])?.chunks(32).map(<[u8]>::to_vec).collect()
            }
            Pair::Ed25519(pair) => vec![pair.public_key().as_ref().to_vec()],
        };
        Some(PublicKey { id: self.id.clone(), algorithm: self.algorithm(), parameters })
    }
}

/// The integers of a DER sequence (`RSAPublicKey`, RFC 8017 appendix A.1.1), without leading zeros.
fn integers(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (content, []) = tagged(0x30, der)? else { return None };
    let (mut rest, mut integers) = (content, Vec::new());
    while !rest.is_empty() {
        let (integer, tail) = tagged(0x02, rest)?;
        integers.push(integer.iter().copied().skip_while(|byte| *byte == 0).collect());
        rest = tail;
    }
    Some(integers)
}

/// The content of the element at the beginning, which has this tag, and what follows it.
fn tagged(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der.strip_prefix(&[tag])? {
        [short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

impl Keyring {
    /// A signed token (RFC 7515, compact); `None` where no key signs with this algorithm.
    ///
    /// # Errors
    /// Internal, where the provider fails.
    pub fn sign_token(
        &self,
        algorithm: JwtAlgorithm,
        header: TokenHeader<'_>,
        claims: &impl Serialize,
    ) -> Result<Option<SecretString>> {
        let primary = self.signing.iter().find(|key| key.is_primary && key.algorithm() == algorithm);
        let Some(key) = primary else { return Ok(None) };
        let header = Header { alg: algorithm.as_str(), kid: &key.id, rest: header };
        let part = |json: serde_json::Result<Vec<u8>>| json.map(|json| BASE64URL_NOPAD.encode(&json));
        let header = part(serde_json::to_vec(&header)).map_err(Error::internal)?;
        let claims = part(serde_json::to_vec(claims)).map_err(Error::internal)?;
        let signed = Zeroizing::new(format!("{header}.{claims}"));
        let signature = key.sign(signed.as_bytes()).map_err(Error::internal)?;
        Ok(Some(SecretString::from(format!("{}.{}", *signed, BASE64URL_NOPAD.encode(&signature)))))
    }

    /// Whether the key of this id, which is bound to one algorithm, signed the message with that algorithm. False where
    /// there is no such key.
    #[must_use]
    pub fn has_signed(&self, id: &str, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let key = self.signing.iter().find(|key| key.id == id && key.algorithm().as_str() == algorithm);
        key.is_some_and(|key| key.verifies(message, signature))
    }

    /// Whether there is a key of this id that signs or signed tokens.
    #[must_use]
    pub fn has_signing_key(&self, id: &str) -> bool {
        self.signing.iter().any(|key| key.id == id)
    }

    /// With what tokens of our own are signed: the first algorithm that has a key. `None` where none has.
    #[must_use]
    pub fn signing_algorithm(&self) -> Option<JwtAlgorithm> {
        let signs =
            |algorithm: &JwtAlgorithm| self.signing.iter().any(|key| key.is_primary && key.algorithm() == *algorithm);
        JwtAlgorithm::ALL.into_iter().find(signs)
    }

    /// The public halves of the keys that sign and of those that signed.
    #[must_use]
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.signing.iter().filter_map(SigningKey::public).collect()
    }
}
