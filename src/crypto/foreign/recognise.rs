//! The textual forms in which hashes come.

use argon2::{Params, PasswordHash, Version};
use data_encoding::Encoding;
use zeroize::Zeroizing;

use super::{
    Foreign, ForeignBounds, MAX_TEXT, crypt, decode, keycloak,
    scheme::{Digest, Scheme},
};

const BROKEN: &str = "the hash is cut off or garbled";
const UNKNOWN: &str = "the hash is of no known form";

/// A hash in any form that is known, within the bounds.
///
/// # Errors
/// A sentence that names what is wrong, and nothing of the hash.
pub(in crate::crypto) fn recognise(text: &str, bounds: &ForeignBounds) -> Result<Foreign, String> {
    let foreign = read(text)?;
    foreign.recipe.check(bounds)?;
    Ok(foreign)
}

/// Whatever it would cost.
fn read(text: &str) -> Result<Foreign, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("the hash is longer than {MAX_TEXT} bytes"));
    }
    let text = text.trim();
    if text.starts_with('{') {
        return if text.contains('"') { keycloak::read(text) } else { ldap(text) };
    }
    let parts: Vec<&str> = text.split('$').collect();
    match *parts.as_slice() {
        ["", kind, ..] if kind.starts_with("argon2") => argon2(text),
        ["argon2", ref rest @ ..] => argon2(&format!("${}", rest.join("$"))),
        ["", "2a" | "2b" | "2y", cost, rest] | ["bcrypt", "", "2a" | "2b" | "2y", cost, rest] => {
            bcrypt(cost, rest, false)
        }
        ["bcrypt_sha256", "", "2a" | "2b" | "2y", cost, rest] => bcrypt(cost, rest, true),
        ["", "2x", ..] => {
            Err("bcrypt's form $2x$ marks hashes of a faulty program, which cannot be checked".to_owned())
        }
        ["", "scrypt", parameters, salt, tag] => phc_scrypt(parameters, salt, tag),
        // Django's salts are the text itself, not Base64.
        ["scrypt", n, salt, r, p, tag] => {
            let scheme = Scheme::Scrypt { log_n: logarithm(number(n)?)?, r: number(r)?, p: number(p)? };
            Foreign::new(scheme, salt.as_bytes().to_vec(), base64(tag)?)
        }
        // Kratos' form of Firebase's.
        ["", "firescrypt", parameters, salt, tag, separator, signer] => {
            let (log_n, r) = (logarithm_or_n(parameter(parameters, "ln")?)?, parameter(parameters, "r")?);
            let mut whole = base64(salt)?.to_vec();
            whole.extend_from_slice(&base64(separator)?);
            Foreign::new(Scheme::Firebase { log_n, r, signer: base64(signer)? }, whole, base64(tag)?)
        }
        ["", kind, parameters, salt, tag] if kind.starts_with("pbkdf2") => {
            let iterations = match parameters.parse() {
                Ok(iterations) => iterations,
                Err(_not_passlib) => parameter(parameters, "i")?,
            };
            let digest = pbkdf2_digest(kind)?;
            Foreign::new(Scheme::Pbkdf2 { digest, iterations }, base64(salt)?.to_vec(), base64(tag)?)
        }
        [kind, iterations, salt, tag] if kind.starts_with("pbkdf2_") => {
            let scheme = Scheme::Pbkdf2 { digest: pbkdf2_digest(kind)?, iterations: number(iterations)? };
            Foreign::new(scheme, salt.as_bytes().to_vec(), base64(tag)?)
        }
        ["", "5" | "sha256-crypt", ref rest @ ..] => sha_crypt(false, rest),
        ["", "6" | "sha512-crypt", ref rest @ ..] => sha_crypt(true, rest),
        ["", "1", salt, tag] | ["", "md5-crypt", "", salt, tag] => {
            // `crypt` looks at eight characters of the salt.
            let salt = salt.bytes().take(8).collect();
            Foreign::new(Scheme::Md5Crypt, salt, symbols(crypt::CRYPT.as_ref(), tag)?)
        }
        _ => Err(UNKNOWN.to_owned()),
    }
}

/// Argon2 as PHC wants it; without `v` it is version 16.
pub(super) fn argon2(text: &str) -> Result<Foreign, String> {
    let hash = PasswordHash::new(text).map_err(|_quotes_it| BROKEN)?;
    let algorithm = argon2::Algorithm::new(hash.algorithm.as_str()).map_err(|_quotes_it| UNKNOWN)?;
    let version = Version::try_from(hash.version.unwrap_or(16)).map_err(|_quotes_it| UNKNOWN)?;
    let params = Params::try_from(&hash).map_err(|_quotes_it| BROKEN)?;
    if !params.keyid().is_empty() || !params.data().is_empty() {
        return Err("an Argon2 hash with a key or associated data cannot be checked here".to_owned());
    }
    let (Some(salt), Some(tag)) = (hash.salt, hash.hash) else { return Err(BROKEN.to_owned()) };
    let scheme = Scheme::Argon2 { algorithm, version, params };
    Foreign::new(scheme, salt.to_vec(), Zeroizing::new(tag.as_bytes().to_vec()))
}

fn bcrypt(cost: &str, rest: &str, prehashed: bool) -> Result<Foreign, String> {
    let (Some(salt), Some(tag), 53) = (rest.get(..22), rest.get(22..), rest.len()) else {
        return Err(BROKEN.to_owned());
    };
    let (salt, tag) = (symbols(crypt::BCRYPT.as_ref(), salt)?, symbols(crypt::BCRYPT.as_ref(), tag)?);
    Foreign::new(Scheme::Bcrypt { cost: number(cost)?, prehashed }, salt.to_vec(), tag)
}

fn phc_scrypt(parameters: &str, salt: &str, tag: &str) -> Result<Foreign, String> {
    let scheme = Scheme::Scrypt {
        log_n: logarithm_or_n(parameter(parameters, "ln")?)?,
        r: parameter(parameters, "r")?,
        p: parameter(parameters, "p")?,
    };
    Foreign::new(scheme, base64(salt)?.to_vec(), base64(tag)?)
}

fn sha_crypt(long: bool, rest: &[&str]) -> Result<Foreign, String> {
    let (rounds, salt, tag) = match *rest {
        [rounds, salt, tag] => {
            // `crypt` raises too few to 1,000, and writes what it was asked for.
            let rounds: u32 = number(rounds.strip_prefix("rounds=").ok_or(BROKEN)?)?;
            (rounds.max(sha_crypt::Params::ROUNDS_MIN), salt, tag)
        }
        [salt, tag] => (sha_crypt::Params::RECOMMENDED_ROUNDS, salt, tag),
        _ => return Err(BROKEN.to_owned()),
    };
    let tag = symbols(crypt::CRYPT.as_ref(), tag)?;
    Foreign::new(Scheme::ShaCrypt { long, rounds }, salt.bytes().take(16).collect(), tag)
}

/// RFC 2307's `userPassword`: a digest of password and salt, and then the salt.
fn ldap(text: &str) -> Result<Foreign, String> {
    let (kind, rest) = text.strip_prefix('{').and_then(|text| text.split_once('}')).ok_or(UNKNOWN)?;
    let kind = kind.to_ascii_lowercase();
    if kind == "crypt" {
        // Only what `crypt` makes: one form in another, and no deeper.
        return if rest.starts_with('{') { Err(UNKNOWN.to_owned()) } else { read(rest) };
    }
    let (digest, salted) = match kind.as_str() {
        "md5" => (Digest::Md5, false),
        "smd5" => (Digest::Md5, true),
        "sha" => (Digest::Sha1, false),
        "ssha" => (Digest::Sha1, true),
        other => match other.strip_prefix('s') {
            Some(name) if name.starts_with("sha") => (Digest::parse(name).ok_or(UNKNOWN)?, true),
            _ => (Digest::parse(other).ok_or(UNKNOWN)?, false),
        },
    };
    let bytes = base64(rest)?;
    let (tag, salt) = bytes.split_at_checked(digest.length()).ok_or(BROKEN)?;
    if salt.is_empty() == salted {
        return Err(BROKEN.to_owned());
    }
    Foreign::new(Scheme::Salted(digest), salt.to_vec(), Zeroizing::new(tag.to_vec()))
}

/// `pbkdf2`, `pbkdf2-sha256`, `pbkdf2_sha1`.
pub(super) fn pbkdf2_digest(kind: &str) -> Result<Digest, String> {
    match kind.strip_prefix("pbkdf2") {
        Some("") => Ok(Digest::Sha1),
        Some(name) => Digest::parse(name.trim_start_matches(['-', '_'])).ok_or_else(|| UNKNOWN.to_owned()),
        None => Err(UNKNOWN.to_owned()),
    }
}

fn parameter(list: &str, wanted: &str) -> Result<u32, String> {
    let mut pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    number(pairs.find(|(name, _)| *name == wanted).ok_or(BROKEN)?.1)
}

fn number(text: &str) -> Result<u32, String> {
    // A number that is no u32 is beyond every bound.
    text.parse().map_err(|_quotes_it| "a parameter of the hash is not a number that is allowed".to_owned())
}

/// Some write N where `ln` is its logarithm; no N that anybody used is below 64, and no logarithm above.
fn logarithm_or_n(value: u32) -> Result<u32, String> {
    if value < 64 { Ok(value) } else { logarithm(value) }
}

fn logarithm(n: u32) -> Result<u32, String> {
    if n.is_power_of_two() { Ok(n.ilog2()) } else { Err("scrypt's N is not a power of two".to_owned()) }
}

pub(super) fn base64(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    decode(text).ok_or_else(|| BROKEN.to_owned())
}

fn symbols(alphabet: Option<&Encoding>, text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    // The error would tell where, and of what.
    let bytes = alphabet.and_then(|alphabet| alphabet.decode(text.as_bytes()).ok());
    bytes.map(Zeroizing::new).ok_or_else(|| BROKEN.to_owned())
}
