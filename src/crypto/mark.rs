//! What stands for a password in memory: a keyed digest (HMAC-SHA-256) under a key that only this process has.

use std::fmt;

use aws_lc_rs::hmac;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::aead::encode_parts;
use crate::domain::{Entropy, Password};

/// Makes marks. Its key is random and kept nowhere: what it marked means nothing to another process, or to the next.
pub struct Marker(hmac::Key);

/// A password of somebody's. Nobody can make the mark of another one, so finding one in a table tells nothing by its time:
/// which bytes of it are equal cannot be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; 32]);

impl Marker {
    /// A marker with a new key.
    #[must_use]
    pub fn make(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &*key))
    }

    /// The mark of a password of whom these parts name.
    #[must_use]
    pub fn mark(&self, whose: &[&str], password: &Password) -> Mark {
        let parts: Vec<&[u8]> = whose.iter().map(|part| part.as_bytes()).collect();
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&encode_parts(&parts));
        #[expect(clippy::disallowed_methods, reason = "digested here")]
        context.update(password.secret().expose_secret().as_bytes());
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        Mark(mark)
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
