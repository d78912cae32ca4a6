//! Secrets that everybody tries first.
//!
//! Always compared as a whole (NIST SP 800-63B-4 section 3.1.1.2): a common word within a longer secret is no fault.

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// Common passwords, NFC in lower case, a line each, in the order of their bytes.
const COMMON: &str = include_str!("blocklist.txt");
/// Names of ours, which are the first guess for anything that has to do with us.
const OWN: [&str; 1] = ["rekey"];

/// Whether a secret is a common one, a run such as `abcdefgh` or `87654321`, one of the context's words, or any of these
/// several times over. Upper and lower case are the same here.
///
/// Secrets of one or two characters are not looked at: a policy that allows them has nothing left to lose.
pub(super) fn is_listed(secret: &str, context: &[&str]) -> bool {
    let secret = fold(secret);
    let characters = Zeroizing::new(secret.chars().collect::<Vec<_>>());
    if characters.len() <= 2 {
        return false;
    }
    let unit = repeated_unit(&characters);
    let once = Zeroizing::new(unit.iter().collect::<String>());
    let is_word = |word: &str| word == *secret || word == *once;
    let is_common = |word: &str| COMMON.lines().any(|line| line == word);
    unit.len() == 1
        || is_run(unit)
        || is_common(&secret)
        || is_common(&once)
        || OWN.into_iter().any(is_word)
        || context.iter().any(|word| is_word(&fold(word)))
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

    #[test]
    fn the_list_is_in_order_and_as_it_is_compared() {
        let words: Vec<_> = COMMON.lines().collect();
        assert!(words.is_sorted() && words.iter().all(|word| **word == **fold(word) && word.len() > 2));
        assert!(words.iter().filter(|word| word.len() >= 15).count() >= 50);
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
