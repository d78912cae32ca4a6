//! Password hashes of other systems: recognised when they are taken over, bounded in cost, checked, and never made.
//!
//! What is kept has one form of our own, whatever it looked like where it came from, and is sealed like every verifier:
//!
//! ```text
//! $foreign$<scheme>$<salt>$<tag>[$<key>]                    pbkdf2-sha256 i=600000
//! <Argon2id of the tag, PHC>$over$<scheme>$<salt>$<length of the tag>[$<key>]
//! ```
//!
//! The second is a wrapped one: of the old hash only its recipe is left, and its output is the password of an Argon2id
//! hash. A `<scheme>` is also what the census counts. Salt, tag and key are Base64 without padding.

mod bounds;
mod crypt;
mod keycloak;
mod recognise;
mod scheme;

use argon2::{Algorithm, Params, Version};
use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

pub use self::bounds::ForeignBounds;
pub(super) use self::recognise::recognise;
use self::scheme::Scheme;
use crate::domain::{Error, Result};

const PREFIX: &str = "$foreign$";
/// Between an Argon2id hash and what it was made over.
const OVER: &str = "$over$";
/// The longest hash that is looked at, in bytes.
const MAX_TEXT: usize = 4_096;
/// A shorter tag is met by chance.
const MIN_TAG: usize = 10;
const MAX_TAG: usize = 512;
const MAX_SALT: usize = 1_024;

/// How another system hashes, with one user's salt.
#[derive(Clone)]
pub(super) struct Recipe {
    scheme: Scheme,
    salt: Vec<u8>,
    /// Bytes of the tag.
    length: usize,
}

/// A recipe and what came of it.
#[derive(Clone)]
pub(super) struct Foreign {
    pub(super) recipe: Recipe,
    pub(super) tag: Zeroizing<Vec<u8>>,
}

impl Foreign {
    /// Whole, and of lengths that can be; what it costs is asked by `check`.
    fn new(scheme: Scheme, salt: Vec<u8>, tag: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        Ok(Self { recipe: Recipe::new(scheme, salt, tag.len())?, tag })
    }

    /// From what is kept; `None` where that is of another form.
    pub(super) fn parse(stored: &str, bounds: &ForeignBounds) -> Option<Result<Self>> {
        let parts = stored.strip_prefix(PREFIX)?;
        let read = || {
            let mut parts = parts.split('$');
            let (scheme, salt, tag) = (parts.next()?, decode(parts.next()?)?, decode(parts.next()?)?);
            let scheme = Scheme::parse(scheme, parts.next())?;
            Self::new(scheme, salt.to_vec(), tag).ok().filter(|foreign| foreign.recipe.check(bounds).is_ok())
        };
        Some(read().ok_or_else(unreadable))
    }

    /// As it is kept.
    pub(super) fn to_stored(&self) -> Zeroizing<String> {
        let tag = Zeroizing::new(BASE64_NOPAD.encode(&self.tag));
        Zeroizing::new(format!("{PREFIX}{}", *self.recipe.around(&tag)))
    }
}

impl Recipe {
    fn new(scheme: Scheme, salt: Vec<u8>, length: usize) -> Result<Self, String> {
        if salt.len() > MAX_SALT {
            return Err(format!("its salt is longer than {MAX_SALT} bytes"));
        }
        if !(MIN_TAG..=MAX_TAG).contains(&length) || scheme.output().is_some_and(|output| output != length) {
            return Err("it is cut off, or has too long a hash".to_owned());
        }
        Ok(Self { scheme, salt, length })
    }

    /// Whether it costs no more than is given to any; else a sentence that says what is too much.
    fn check(&self, bounds: &ForeignBounds) -> Result<(), String> {
        self.scheme.check(bounds)
    }

    /// Parts a wrapped hash into its Argon2id string and what it was made over; `None` where it is none.
    pub(super) fn unwrap<'a>(stored: &'a str, bounds: &ForeignBounds) -> Option<Result<(&'a str, Self)>> {
        let (outer, parts) = stored.split_once(OVER)?;
        let read = || {
            let mut parts = parts.split('$');
            let (scheme, salt, length) = (parts.next()?, decode(parts.next()?)?, parts.next()?.parse().ok()?);
            let scheme = Scheme::parse(scheme, parts.next())?;
            let recipe = Self::new(scheme, salt.to_vec(), length).ok()?;
            recipe.check(bounds).ok().map(|()| (outer, recipe))
        };
        Some(read().ok_or_else(unreadable))
    }

    /// A wrapped hash as it is kept.
    pub(super) fn wrap(&self, outer: &str) -> Zeroizing<String> {
        Zeroizing::new(format!("{outer}{OVER}{}", *self.around(&self.length.to_string())))
    }

    /// What the census counts.
    pub(super) fn scheme(&self) -> String {
        self.scheme.to_string()
    }

    /// Where it is Argon2 as we do it, in version 19.
    pub(super) fn as_argon2(&self) -> Option<(Algorithm, Params)> {
        let Scheme::Argon2 { algorithm, version: Version::V0x13, params } = &self.scheme else { return None };
        Some((*algorithm, params.clone()))
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// What this password comes to. Slow: for the hashing threads.
    pub(super) fn derive(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.scheme.derive(password, &self.salt, self.length)
    }

    fn around(&self, middle: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{}${}${middle}", self.scheme, BASE64_NOPAD.encode(&self.salt)));
        if let Some(key) = self.scheme.key() {
            text.push('$');
            text.push_str(&Zeroizing::new(BASE64_NOPAD.encode(key)));
        }
        text
    }
}

/// Base64 in any dress: standard, URL-safe, or passlib's with `.` for `+`; padded or not.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let plain = |character| match character {
        '.' | '-' => '+',
        '_' => '/',
        other => other,
    };
    let text: Zeroizing<String> = Zeroizing::new(text.trim_end_matches('=').chars().map(plain).collect());
    // The error would tell where, and of what.
    BASE64_NOPAD.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

fn unreadable() -> Error {
    Error::internal("a stored foreign hash is not of our form, or asks for more than is given to any")
}

#[cfg(test)]
mod tests;
