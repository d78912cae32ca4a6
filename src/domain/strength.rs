//! How easily a password is guessed: zxcvbn's estimate, for whoever chooses one.

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;
use zxcvbn::{feedback::Feedback, zxcvbn};

use super::Password;

/// What of a password is looked at, in characters: the estimate takes time that grows with the square of it, and nothing
/// of this length is weak for what comes after.
const LOOKED_AT: usize = 72;
/// What of a word that should not be in it, and of how many.
const LOOKED_AT_WORDS: usize = 64;

/// An estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// 0 (at once) to 4 (hardly ever).
    pub score: u32,
    /// The number of guesses, as a power of ten.
    pub guesses_log10: f64,
    /// What is weak about it; empty where nothing is. Never with the password.
    pub warning: String,
    /// What would make it stronger.
    pub suggestions: Vec<String>,
}

/// Estimates a password of somebody whose names are the `context`. Takes some milliseconds: not for an async worker.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "an estimate is about cleartext")]
pub fn estimate(password: &Password, context: &[&str]) -> Estimate {
    let begin = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let looked_at = Zeroizing::new(begin(password.secret().expose_secret(), LOOKED_AT));
    let words: Vec<String> = context.iter().take(LOOKED_AT_WORDS).map(|word| begin(word, LOOKED_AT_WORDS)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let found = zxcvbn(&looked_at, &words);
    let feedback = found.feedback();
    let warning = feedback.and_then(Feedback::warning).map(|warning| warning.to_string());
    let suggestions = feedback.map(|said| said.suggestions().iter().map(ToString::to_string).collect());
    Estimate {
        score: u32::from(u8::from(found.score())),
        guesses_log10: found.guesses_log10(),
        warning: warning.unwrap_or_default(),
        suggestions: suggestions.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, context: &[&str]) -> Estimate {
        estimate(&Password::parse(text.to_owned()).unwrap(), context)
    }

    #[test]
    fn a_common_word_is_weak_and_a_random_one_is_not() {
        let weak = of("password1", &[]);
        assert_eq!(weak.score, 0);
        assert!(!weak.warning.is_empty() && !weak.suggestions.is_empty());
        let strong = of("vT3k9Wq1zR7mX0aB", &[]);
        assert_eq!((strong.score, strong.warning.as_str()), (4, ""));
        assert!(strong.guesses_log10 > weak.guesses_log10);
    }

    #[test]
    fn names_make_a_password_weaker() {
        let alone = of("zebulon.quartermaine", &[]);
        let named = of("zebulon.quartermaine", &["Zebulon.Quartermaine", ""]);
        assert!(named.guesses_log10 < alone.guesses_log10 && named.score < 3, "{named:?}");
    }

    #[test]
    fn only_the_beginning_is_looked_at() {
        let random = "vT3k9Wq1zR7mX0aBvT3k9Wq1zR7mX0aBvT3k9Wq1zR7mX0aBvT3k9Wq1zR7mX0aBvT3k9Wq1";
        assert_eq!(random.chars().count(), 72);
        assert_eq!(of(random, &[]), of(&format!("{random}{}", "\u{1F600}".repeat(16_000)), &[]));
    }
}
