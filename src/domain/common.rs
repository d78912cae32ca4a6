//! Secrets that everybody tries first.
//!
//! Always compared as a whole (NIST SP 800-63B-4 section 3.1.1.2): a common word within a longer secret is no fault.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// Common passwords, NFC in lower case, a line each, in the order of their bytes. From the lists that Django and zxcvbn
/// ship, which count what leaked, as far as they have eight characters or more; and some of our own.
pub(crate) const COMMON: &str = include_str!("common.txt");
/// Names of ours, which are the first guess for anything that has to do with us.
const OWN: [&str; 1] = ["rekey"];

static LINES: LazyLock<Vec<&str>> = LazyLock::new(|| COMMON.lines().collect());

/// A secret as it is compared: without its case, and the shortest beginning of which the whole is one or more copies.
///
/// Secrets of one or two characters are not looked at: a policy that allows them has nothing left to lose.
pub(super) struct Candidate {
    whole: Zeroizing<String>,
    once: Zeroizing<String>,
}

impl Candidate {
    pub(super) fn new(secret: &str) -> Option<Self> {
        let whole = fold(secret);
        let characters = Zeroizing::new(whole.chars().collect::<Vec<_>>());
        let once = Zeroizing::new(repeated_unit(&characters).iter().collect::<String>());
        (characters.len() > 2).then_some(Self { whole, once })
    }

    /// Whether it is a common one, a run such as `abcdefgh` or `87654321`, or any of these several times over.
    pub(super) fn is_common(&self) -> bool {
        let is_line = |word: &str| LINES.binary_search(&word).is_ok();
        let unit = Zeroizing::new(self.once.chars().collect::<Vec<_>>());
        unit.len() == 1 || is_run(&unit) || is_line(&self.whole) || is_line(&self.once)
    }

    /// Whether it is a name of ours, once or several times over.
    pub(super) fn is_own(&self) -> bool {
        OWN.into_iter().any(|word| self.is_word(word))
    }

    /// Whether it is this word, once or several times over.
    pub(super) fn is_word(&self, word: &str) -> bool {
        let word = fold(word);
        *word == *self.whole || *word == *self.once
    }
}

/// NFC in lower case; the secret is NFC before, but lower case may undo that.
fn fold(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().flat_map(char::to_lowercase).nfc().collect())
}

/// The shortest beginning of which the whole is one or more copies.
fn repeated_unit(characters: &[char]) -> &[char] {
    let length = characters.len();
    (1..length)
        .filter(|unit| length.is_multiple_of(*unit))
        .filter_map(|unit| characters.split_at_checked(unit))
        .find(|(unit, rest)| rest.chunks(unit.len()).all(|copy| copy == *unit))
        .map_or(characters, |(unit, _)| unit)
}

/// Whether each character is the one after, or each the one before its predecessor; 0 comes after 9 too.
fn is_run(characters: &[char]) -> bool {
    let pairs = || characters.iter().zip(characters.iter().skip(1));
    let follows = |one: char, next: char| u32::from(one) + 1 == u32::from(next) || (one, next) == ('9', '0');
    characters.len() > 2 && (pairs().all(|(a, b)| follows(*a, *b)) || pairs().all(|(a, b)| follows(*b, *a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_listed(secret: &str, context: &[&str]) -> bool {
        Candidate::new(secret).is_some_and(|secret| {
            secret.is_common() || secret.is_own() || context.iter().any(|word| secret.is_word(word))
        })
    }

    #[test]
    fn the_list_is_in_order_and_as_it_is_compared() {
        let words: Vec<_> = COMMON.lines().collect();
        assert!(words.is_sorted() && words.iter().all(|word| **word == **fold(word) && word.len() > 2));
        // NIST's floor, and its length for a password that stands alone.
        let of_length = |least| words.iter().filter(|word| word.chars().count() >= least).count();
        assert!(of_length(8) >= 16_000 && of_length(15) >= 130, "{} {}", of_length(8), of_length(15));
        assert!(words.into_iter().all(|word| is_listed(word, &[])));
    }

    #[test]
    fn common_words_runs_and_repetitions_are_listed_in_any_case() {
        for secret in [
            "passwordpassword",
            "PasswordPassword",
            "123456789012345",
            "qwertyuiopasdfgh",
            "aaaaaaaaaaaaaaa",
            "012345678901234",
            "543210987654321",
            "abcdefghijklmnop",
            "abcabcabcabcabc",
            "lovelylovelylovely",
            "rekeyrekeyrekey",
            "\u{1F600}\u{1F600}\u{1F600}",
            "CONTRASE\u{d1}A",
        ] {
            assert!(is_listed(secret, &[]), "{secret}");
        }
    }

    #[test]
    fn a_word_of_the_context_is_listed_as_a_whole_only() {
        let context = ["Jane.Doe@example.com", "Acme e\u{301}"];
        for secret in ["jane.doe@EXAMPLE.com", "acme \u{e9}", "ACME \u{c9}", "acme \u{e9}acme \u{e9}"] {
            assert!(is_listed(secret, &context), "{secret}");
        }
        assert!(!is_listed("jane.doe@example.com!", &context));
        assert!(!is_listed("some other phrase", &["", "so"]));
    }

    #[test]
    fn a_listed_word_in_a_longer_phrase_is_not() {
        for secret in
            ["password of the old mill", "passwordpasswor", "my 123456789012345", "abcdefghijklmnoq", "ab", "aa", "a"]
        {
            assert!(!is_listed(secret, &[]), "{secret}");
        }
    }
}
