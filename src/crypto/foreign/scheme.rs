//! The algorithms of others, their names, their bounds, and what they compute.

use std::{fmt, num::NonZeroU32};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{
    cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    digest,
    iv::FixedLength,
    pbkdf2,
};
use data_encoding::HEXLOWER;
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use super::{ForeignBounds, bounds::MAX_LANES, crypt, decode};
use crate::domain::{Error, Result};

/// SHA-crypt and MD5-crypt hash the password in every round; a longer one never matches.
const MAX_CRYPT_PASSWORD: usize = 1_024;
/// What bcrypt looks at, with the NUL that ends a string in C. The rest was never part of the hash.
const BCRYPT_PASSWORD: usize = 72;
/// bcrypt makes 24 bytes and everybody keeps 23.
const BCRYPT_TAG: usize = 23;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    pub(super) const ALL: [Self; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|digest| digest.name() == name)
    }

    pub(super) const fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn of(self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Self::Md5 => {
                let mut md5 = Md5::new();
                for part in parts {
                    md5.update(part);
                }
                return Zeroizing::new(md5.finalize().to_vec());
            }
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        let mut context = digest::Context::new(algorithm);
        for part in parts {
            context.update(part);
        }
        Zeroizing::new(context.finish().as_ref().to_vec())
    }
}

/// An algorithm with its parameters.
#[derive(Clone)]
pub(super) enum Scheme {
    Argon2 { algorithm: Algorithm, version: Version, params: Params },
    Bcrypt { cost: u32, prehashed: bool },
    Scrypt { log_n: u32, r: u32, p: u32 },
    Firebase { log_n: u32, r: u32, signer: Zeroizing<Vec<u8>> },
    Pbkdf2 { digest: Digest, iterations: u32 },
    ShaCrypt { long: bool, rounds: u32 },
    Md5Crypt,
    Salted(Digest),
}

/// Name and parameters: `pbkdf2-sha256 i=600000`.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2 { algorithm, version, params } => {
                let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
                let version = if *version == Version::V0x10 { " v=16" } else { "" };
                write!(f, "{}{version} m={m} t={t} p={p}", algorithm.as_str())
            }
            Self::Bcrypt { cost, prehashed: false } => write!(f, "bcrypt cost={cost}"),
            Self::Bcrypt { cost, prehashed: true } => write!(f, "bcrypt-sha256 cost={cost}"),
            Self::Scrypt { log_n, r, p } => write!(f, "scrypt ln={log_n} r={r} p={p}"),
            Self::Firebase { log_n, r, .. } => write!(f, "firebase-scrypt ln={log_n} r={r}"),
            Self::Pbkdf2 { digest, iterations } => write!(f, "pbkdf2-{} i={iterations}", digest.name()),
            Self::ShaCrypt { long: false, rounds } => write!(f, "sha256-crypt rounds={rounds}"),
            Self::ShaCrypt { long: true, rounds } => write!(f, "sha512-crypt rounds={rounds}"),
            Self::Md5Crypt => f.write_str("md5-crypt"),
            Self::Salted(digest) => write!(f, "salted-{}", digest.name()),
        }
    }
}

impl Scheme {
    /// From what `Display` wrote, and the key where there is one.
    pub(super) fn parse(text: &str, key: Option<&str>) -> Option<Self> {
        let mut words = text.split(' ');
        let name = words.next()?;
        let values: Vec<(&str, u32)> = words
            .map(|word| word.split_once('=').and_then(|(name, value)| Some((name, value.parse().ok()?))))
            .collect::<Option<_>>()?;
        let value = |wanted| values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        Some(match name {
            "argon2i" | "argon2d" | "argon2id" => Self::Argon2 {
                algorithm: Algorithm::new(name).ok()?,
                version: Version::try_from(value("v").unwrap_or(19)).ok()?,
                params: Params::new(value("m")?, value("t")?, value("p")?, None).ok()?,
            },
            "bcrypt" | "bcrypt-sha256" => Self::Bcrypt { cost: value("cost")?, prehashed: name == "bcrypt-sha256" },
            "scrypt" => Self::Scrypt { log_n: value("ln")?, r: value("r")?, p: value("p")? },
            "firebase-scrypt" => Self::Firebase { log_n: value("ln")?, r: value("r")?, signer: decode(key?)? },
            "sha256-crypt" | "sha512-crypt" => {
                Self::ShaCrypt { long: name == "sha512-crypt", rounds: value("rounds")? }
            }
            "md5-crypt" => Self::Md5Crypt,
            _ => match name.split_once('-')? {
                ("pbkdf2", digest) => Self::Pbkdf2 { digest: Digest::parse(digest)?, iterations: value("i")? },
                ("salted", digest) => Self::Salted(Digest::parse(digest)?),
                _ => return None,
            },
        })
    }

    /// The key that goes with it, where there is one.
    pub(super) fn key(&self) -> Option<&[u8]> {
        if let Self::Firebase { signer, .. } = self { Some(signer) } else { None }
    }

    /// Bytes it makes, where it cannot make more or fewer.
    pub(super) fn output(&self) -> Option<usize> {
        match self {
            Self::Argon2 { .. } | Self::Scrypt { .. } | Self::Pbkdf2 { .. } => None,
            Self::Bcrypt { .. } => Some(BCRYPT_TAG),
            Self::Firebase { signer, .. } => Some(signer.len()),
            Self::ShaCrypt { long, .. } => Some(if *long { 64 } else { 32 }),
            Self::Md5Crypt => Some(16),
            Self::Salted(digest) => Some(digest.length()),
        }
    }

    /// Whether it may be worked with; else a sentence.
    pub(super) fn check(&self, bounds: &ForeignBounds) -> Result<(), String> {
        let most = |what: &str, found: u32, least: u32, most: u32| {
            if (least..=most).contains(&found) {
                return Ok(());
            }
            Err(format!("{what} {found} is not within {least} to {most}, which is what is allowed"))
        };
        match *self {
            Self::Argon2 { ref params, .. } => {
                let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
                if m <= bounds.memory_kib && t <= bounds.argon2_iterations && p <= MAX_LANES {
                    return Ok(());
                }
                Err(format!("Argon2 with m={m}, t={t}, p={p} costs more than is allowed"))
            }
            Self::Bcrypt { cost, .. } => most("bcrypt's cost", cost, 4, bounds.bcrypt_cost),
            Self::Scrypt { log_n, r, p } => check_scrypt(log_n, r, p, bounds),
            Self::Firebase { log_n, r, .. } => check_scrypt(log_n, r, 1, bounds),
            Self::Pbkdf2 { digest: Digest::Md5 | Digest::Sha384, .. } => {
                Err("PBKDF2 is known with SHA-1, SHA-256 and SHA-512".to_owned())
            }
            Self::Pbkdf2 { iterations, .. } => most("PBKDF2's iterations", iterations, 1, bounds.pbkdf2_iterations),
            Self::ShaCrypt { rounds, .. } => {
                most("SHA-crypt's rounds", rounds, sha_crypt::Params::ROUNDS_MIN, bounds.sha_crypt_rounds)
            }
            Self::Md5Crypt | Self::Salted(_) => Ok(()),
        }
    }

    /// What a password comes to.
    pub(super) fn derive(&self, password: &[u8], salt: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut tag = Zeroizing::new(vec![0; length]);
        match self {
            Self::Argon2 { algorithm, version, params } => {
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                argon2.hash_password_into(password, salt, &mut tag).map_err(Error::internal)?;
            }
            Self::Bcrypt { cost, prehashed: false } => tag = bcrypt(*cost, password, salt)?,
            Self::Bcrypt { cost, prehashed: true } => {
                let digest = Digest::Sha256.of(&[password]);
                tag = bcrypt(*cost, Zeroizing::new(HEXLOWER.encode(&digest)).as_bytes(), salt)?;
            }
            Self::Scrypt { log_n, r, p } => scrypt(password, salt, *log_n, *r, *p, &mut tag)?,
            Self::Firebase { log_n, r, signer } => tag = firebase(password, salt, *log_n, *r, signer)?,
            Self::Pbkdf2 { digest, iterations } => {
                let algorithm = match digest {
                    Digest::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
                    Digest::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                    Digest::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
                    Digest::Md5 | Digest::Sha384 => return Err(Error::internal("PBKDF2 with another digest")),
                };
                let iterations = NonZeroU32::new(*iterations).ok_or_else(|| Error::internal("no iterations"))?;
                pbkdf2::derive(algorithm, iterations, salt, password, &mut tag);
            }
            Self::ShaCrypt { .. } | Self::Md5Crypt if password.len() > MAX_CRYPT_PASSWORD => {
                // Never equal to a tag: that has bytes.
                tag.clear();
            }
            Self::ShaCrypt { long, rounds } => tag = crypt::sha(*long, *rounds, password, salt)?,
            Self::Md5Crypt => tag = crypt::md5(password, salt),
            Self::Salted(digest) => tag = digest.of(&[password, salt]),
        }
        Ok(tag)
    }
}

fn check_scrypt(log_n: u32, r: u32, p: u32, bounds: &ForeignBounds) -> Result<(), String> {
    // Blocks of 128 bytes, N·r of them; and the work, N·r·p, may be twice as many: OWASP's strongest asks for half.
    let most = u64::from(bounds.memory_kib).saturating_mul(8);
    let n = 1_u64.checked_shl(log_n).unwrap_or(u64::MAX).min(1 << 40);
    let blocks = n.saturating_mul(u64::from(r));
    let work = blocks.saturating_mul(u64::from(p));
    if log_n == 0 || r == 0 || p == 0 || blocks > most || work > most.saturating_mul(2) {
        return Err(format!(
            "scrypt with ln={log_n}, r={r}, p={p} is not within what is allowed: {} KiB, and N times r times p at most \
             {}",
            bounds.memory_kib,
            most.saturating_mul(2)
        ));
    }
    Ok(())
}

fn scrypt(password: &[u8], salt: &[u8], log_n: u32, r: u32, p: u32, tag: &mut [u8]) -> Result<()> {
    let log_n = u8::try_from(log_n).map_err(Error::internal)?;
    let params = ::scrypt::Params::new(log_n, r, p).map_err(|error| Error::internal(error.to_string()))?;
    ::scrypt::scrypt(password, salt, &params, tag).map_err(|error| Error::internal(error.to_string()))
}

/// Firebase encrypts the project's signer key with what scrypt made of the password.
fn firebase(password: &[u8], salt: &[u8], log_n: u32, r: u32, signer: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |_unspecified| Error::internal("AES-CTR failed");
    let mut key = Zeroizing::new([0; 32]);
    // It takes 64 bytes and uses the first 32; PBKDF2's blocks of 32 do not depend on each other.
    scrypt(password, salt, log_n, r, 1, &mut *key)?;
    let key = UnboundCipherKey::new(&AES_256, &*key).and_then(EncryptingKey::ctr).map_err(failed)?;
    let mut tag = Zeroizing::new(signer.to_vec());
    let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(&mut tag, context).map_err(failed)?;
    Ok(tag)
}

fn bcrypt(cost: u32, password: &[u8], salt: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let salt = salt.try_into().map_err(Error::internal)?;
    let mut text = Zeroizing::new(Vec::with_capacity(BCRYPT_PASSWORD));
    text.extend(password.iter().copied().chain([0]).take(BCRYPT_PASSWORD));
    let tag = Zeroizing::new(::bcrypt::bcrypt(cost, salt, &text));
    Ok(Zeroizing::new(tag.iter().copied().take(BCRYPT_TAG).collect()))
}
