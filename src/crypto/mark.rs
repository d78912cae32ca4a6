//! What stands for a password or token in memory: a keyed digest (BLAKE2b, RFC 7693 section 2.9) under a key that only this
//! process has. Each call is asked for one or two, and they never leave the process: so not HMAC-SHA-256, which takes four
//! times as long for so little.

use std::fmt;

use blake2::{
    Blake2bMac,
    digest::{KeyInit as _, Mac as _, consts::U32},
};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::domain::{Entropy, Password};

/// Makes marks. Its key is random and kept nowhere: what it marked means nothing to another process, or to the next.
pub struct Marker(Blake2bMac<U32>);

/// A password of somebody's, or a token. Nobody can make the mark of another one, so finding one in a table tells nothing
/// by its time: which bytes of it are equal cannot be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; 32]);

impl Marker {
    /// A marker with a new key.
    #[must_use]
    pub fn make(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; 64]);
        entropy.fill(&mut *key);
        Self(Blake2bMac::new((&*key).into()))
    }

    /// The mark of a password of whom these parts name.
    #[must_use]
    pub fn mark(&self, whose: &[&str], password: &Password) -> Mark {
        #[expect(clippy::disallowed_methods, reason = "digested here")]
        self.digest(whose, password.secret().expose_secret())
    }

    /// The mark of a token, whosever it is.
    #[must_use]
    pub fn mark_token(&self, token: &str) -> Mark {
        self.digest(&[], token)
    }

    /// Each part comes after its length, so that no two lists of them are the same bytes.
    fn digest(&self, parts: &[&str], secret: &str) -> Mark {
        let mut digest = self.0.clone();
        for part in parts {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        digest.update(secret.as_bytes());
        Mark(digest.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marker([redacted])")
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entropy::SeededEntropy;

    #[test]
    fn a_mark_is_of_one_password_of_one_subject_in_one_process() {
        let password = |text: &str| Password::parse(text.to_owned()).unwrap();
        let marker = Marker::make(&SeededEntropy::new(1));
        let mark = marker.mark(&["acme", "47"], &password("secret"));
        assert_eq!(mark, marker.mark(&["acme", "47"], &password("secret")));
        for other in [
            marker.mark(&["acme", "47"], &password("Secret")),
            marker.mark(&["acme", "4"], &password("7secret")),
            marker.mark(&["acme4", "7"], &password("secret")),
            marker.mark(&["acme", "47", ""], &password("secret")),
            Marker::make(&SeededEntropy::new(2)).mark(&["acme", "47"], &password("secret")),
        ] {
            assert_ne!(mark, other);
        }
        assert_eq!(format!("{marker:?} {mark:?}"), "Marker([redacted]) Mark([redacted])");
    }
}
