//! Hashes as PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<tag>`.

use argon2::{Algorithm, Params, PasswordHash, Version};
use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

use super::{SALT_LENGTH, within_bounds};
use crate::domain::{Error, Result};

/// A stored hash, taken apart and within our bounds.
#[derive(Clone)]
pub(super) struct Parsed {
    pub(super) algorithm: Algorithm,
    pub(super) params: Params,
    pub(super) salt: Vec<u8>,
    pub(super) tag: Zeroizing<Vec<u8>>,
}

impl Parsed {
    /// Takes a string apart, before anything is allocated for it: a database can be tampered with.
    pub(super) fn parse(phc: &str) -> Result<Self> {
        let hash = PasswordHash::new(phc).map_err(|_quotes_it| unreadable())?;
        let algorithm = Algorithm::new(hash.algorithm.as_str()).map_err(|_quotes_it| unreadable())?;
        let version = Version::try_from(hash.version.unwrap_or_default()).map_err(|_quotes_it| unreadable())?;
        let params = Params::try_from(&hash).map_err(|_quotes_it| unreadable())?;
        let (Some(salt), Some(tag), Version::V0x13) = (hash.salt, hash.hash, version) else {
            return Err(unreadable());
        };
        if !within_bounds(params.m_cost(), params.t_cost(), params.p_cost()) {
            return Err(Error::internal("a stored hash asks for more memory or time than is given to any"));
        }
        Ok(Self { algorithm, params, salt: salt.to_vec(), tag: Zeroizing::new(tag.as_bytes().to_vec()) })
    }

    /// Whether it was made otherwise than now: by other parameters, a weaker kind of Argon2, a shorter salt.
    pub(super) fn is_outdated(&self, current: &Params) -> bool {
        self.params != *current || self.algorithm != Algorithm::Argon2id || self.salt.len() < SALT_LENGTH
    }

    /// What the census counts: `argon2id m=19456 t=2 p=1`.
    pub(super) fn scheme(&self) -> String {
        let (m, t, p) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        format!("{} m={m} t={t} p={p}", self.algorithm.as_str())
    }
}

/// The string of an Argon2id hash in version 19.
pub(super) fn encode(params: &Params, salt: &[u8], tag: &[u8]) -> Zeroizing<String> {
    let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
    let (salt, tag) = (BASE64_NOPAD.encode(salt), Zeroizing::new(BASE64_NOPAD.encode(tag)));
    Zeroizing::new(format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${}", *tag))
}

/// Says nothing of the string: the parser's own error may quote it.
fn unreadable() -> Error {
    Error::internal("a stored hash is not an Argon2 string of version 19")
}
