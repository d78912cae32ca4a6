//! Secrets as people and machines type them: bounded, normalised, and then never changed again.

use std::{error::Error as StdError, fmt};

use secrecy::{ExposeSecret as _, SecretString};
use unicode_normalization::{UnicodeNormalization as _, char::is_public_assigned};
use zeroize::Zeroizing;

use super::{Rule, RuleKind};

/// A password or other secret in the one form that is hashed, sealed and compared: NFC (NIST SP 800-63B-4 section
/// 3.1.1.2), at most [`Password::MAX_BYTES`], without U+0000 and code points that Unicode has not assigned, never truncated.
///
/// NFC may yet change for an unassigned code point, and what was hashed before would then never match again; hence
/// NIST's "stabilized strings". ASCII is its own NFC.
#[derive(Clone)]
pub struct Password {
    normalised: SecretString,
    /// As it came, where that differs.
    received: Option<SecretString>,
}

/// Why a text can be no password under any policy: a sentence without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Which rule it breaks.
    pub kind: RuleKind,
    /// For a person.
    pub sentence: &'static str,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence)
    }
}

impl StdError for Unfit {}

impl From<Unfit> for Rule {
    fn from(Unfit { kind, sentence }: Unfit) -> Self {
        Self { kind, sentence: sentence.to_owned() }
    }
}

impl Password {
    /// The most bytes of UTF-8 that are looked at, before and after normalisation.
    pub const MAX_BYTES: usize = 65_536;

    /// Normalises a secret.
    ///
    /// # Errors
    /// The rule that it breaks: empty, too long, or with a code point that is refused.
    pub fn parse(text: String) -> Result<Self, Unfit> {
        let unfit = |kind, sentence| Err(Unfit { kind, sentence });
        let text = Zeroizing::new(text);
        if text.is_empty() {
            return unfit(RuleKind::MinLength, "must have at least one character");
        }
        if text.len() > Self::MAX_BYTES {
            return unfit(RuleKind::MaxLength, "must have at most 65536 bytes");
        }
        if text.contains('\0') {
            return unfit(RuleKind::Characters, "must not contain U+0000");
        }
        if text.is_ascii() {
            return Ok(Self { normalised: text.as_str().into(), received: None });
        }
        if !text.chars().all(|character| is_public_assigned(character) || is_private_use(character)) {
            return unfit(RuleKind::Characters, "must not contain code points that Unicode has not assigned");
        }
        // Measured first: a string that grows, or shrinks at the end, leaves pieces of the secret behind.
        let length = text.nfc().map(char::len_utf8).sum();
        if length > Self::MAX_BYTES {
            return unfit(RuleKind::MaxLength, "must have at most 65536 bytes");
        }
        let mut normalised = String::with_capacity(length);
        normalised.extend(text.nfc());
        let received = (normalised != *text).then(|| text.as_str().into());
        Ok(Self { normalised: normalised.into(), received })
    }

    /// The cleartext, for hashing, sealing and the policy.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.normalised
    }

    /// The secret as it came, where normalisation changed it: systems whose hashes were taken over did not normalise.
    /// Only to be checked against those.
    #[must_use]
    pub fn as_received(&self) -> Option<Self> {
        self.received.clone().map(|normalised| Self { normalised, received: None })
    }

    /// Its length in Unicode code points.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "only counts")]
    pub fn length(&self) -> usize {
        self.normalised.expose_secret().chars().count()
    }
}

/// Without meaning for Unicode, and so without a decomposition, now and ever.
fn is_private_use(character: char) -> bool {
    matches!(character, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{ffffd}' | '\u{100000}'..='\u{10fffd}')
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([redacted])")
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests compare cleartext")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, &'static str> {
        let parsed = Password::parse(text.to_owned()).map_err(|unfit| unfit.sentence);
        parsed.map(|password| password.secret().expose_secret().to_owned())
    }

    #[test]
    fn two_ways_to_write_a_character_are_one_password() {
        assert_eq!(parse("e\u{301}"), Ok("\u{e9}".to_owned()));
        assert_eq!(parse("\u{e9}"), Ok("\u{e9}".to_owned()));
        assert_eq!(parse("\u{212b}"), Ok("\u{c5}".to_owned()));
        assert_eq!(parse("\u{1112}\u{1161}\u{11ab}"), Ok("\u{d55c}".to_owned()));
        assert_eq!(parse("q\u{307}\u{323}"), Ok("q\u{323}\u{307}".to_owned()));
    }

    #[test]
    fn what_only_looks_alike_stays_apart() {
        assert_eq!(parse("\u{fb01}"), Ok("\u{fb01}".to_owned()));
        assert_eq!(parse("\u{ff21}"), Ok("\u{ff21}".to_owned()));
        assert_eq!(parse(" a  b "), Ok(" a  b ".to_owned()));
    }

    #[test]
    fn empty_too_long_null_and_unassigned_are_refused_by_rule() {
        assert!(parse("").unwrap_err().contains("at least one"));
        assert!(parse("a\0b").unwrap_err().contains("U+0000"));
        assert!(parse("a\u{378}").unwrap_err().contains("assigned"));
        assert!(parse("a\u{ffff}").unwrap_err().contains("assigned"));
        assert_eq!(parse("\u{e000}\u{10fffd}"), Ok("\u{e000}\u{10fffd}".to_owned()));
        assert!(parse(&"a".repeat(Password::MAX_BYTES)).is_ok());
        assert!(parse(&"a".repeat(Password::MAX_BYTES + 1)).unwrap_err().contains("65536 bytes"));
        // A composition exclusion: 4 bytes become 8.
        assert!(parse(&"\u{1d160}".repeat(Password::MAX_BYTES / 4)).unwrap_err().contains("65536 bytes"));
    }

    #[test]
    fn a_length_is_in_code_points_after_normalisation() {
        let length = |text: &str| Password::parse(text.to_owned()).unwrap().length();
        assert_eq!(length(&"\u{1F600}".repeat(15)), 15);
        assert_eq!(length(&"e\u{301}".repeat(15)), 15);
        assert_eq!(length(&"q\u{307}".repeat(15)), 30);
        assert_eq!(length("abc"), 3);
    }

    #[test]
    fn the_form_that_came_is_kept_only_where_it_differs() {
        let received = |text: &str| {
            let password = Password::parse(text.to_owned()).unwrap();
            password.as_received().map(|password| password.secret().expose_secret().to_owned())
        };
        assert_eq!(received("e\u{301}"), Some("e\u{301}".to_owned()));
        assert_eq!(received("\u{e9}"), None);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Password::parse("sentinel".to_owned())), "Ok(Password([redacted]))");
    }

    proptest! {
        #[test]
        fn a_normalised_password_stays_as_it_is(text in ".{1,40}") {
            if let Ok(once) = parse(&text) {
                prop_assert_eq!(parse(&once), Ok(once));
            }
        }

        #[test]
        fn ascii_stays_as_it_is(text in "[ -~]{1,128}") {
            prop_assert_eq!(parse(&text), Ok(text.clone()));
        }
    }
}
