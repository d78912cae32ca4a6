//! A tenant's rules for secrets, with ready sets of them.

mod rule;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timestamp;

pub use rule::{Rule, RuleKind};

/// A ready set of rules; see `PolicyPreset` in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented in proto/rekey/v1/tenant.proto")]
pub enum Preset {
    Nist,
    Applivery,
    Ocariot,
    Licensespring,
    Roma,
}

/// A kind of character that a policy can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CharacterClass {
    /// 0 to 9.
    Digit,
    /// A to Z.
    Upper,
    /// a to z.
    Lower,
    /// One of the policy's symbols.
    Symbol,
}

impl CharacterClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Digit, Self::Upper, Self::Lower, Self::Symbol];
}

/// Rules for one kind of subject's secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Where the rules came from.
    pub preset: Preset,
    /// Fewest code points.
    pub min_length: u32,
    /// Most code points.
    pub max_length: u32,
    /// One character of each at least.
    pub required_classes: Vec<CharacterClass>,
    /// What counts as a symbol, and what the generator uses.
    pub symbols: String,
    /// Whether common and context words are refused.
    pub blocklist: bool,
    /// Length of a generated secret.
    pub generated_length: u32,
    /// How many of a user's last passwords are refused, the one in force included.
    #[serde(default)]
    pub history: u32,
    /// Whether passwords on the service's list of breached ones are refused.
    #[serde(default)]
    pub breached: bool,
    /// The least strength estimate, 0 to 4.
    #[serde(default)]
    pub min_strength: u32,
    /// The tenant's own words, which must not be the whole of a secret.
    #[serde(default)]
    pub words: Vec<String>,
    /// Whether a user's password that an administrator set must be changed by its owner.
    #[serde(default)]
    pub reset_must_change: bool,
    /// For how many seconds such a password is good; for ever where 0.
    #[serde(default)]
    pub temporary_ttl_s: u64,
    /// For how many seconds at most two versions of a device's or integration's password are accepted.
    #[serde(default = "max_overlap")]
    pub max_overlap_s: u64,
}

/// What holds where nothing was said, and for tenants of before there was a bound: a month, for what has to be visited.
const fn max_overlap() -> u64 {
    Policy::MAX_OVERLAP.as_secs()
}

/// The symbols of every preset but ROMA: no quotes, brackets, backslash, `$`, `&`, `|` or `;`, with which most accidents
/// happen when a secret is pasted.
const SYMBOLS: &str = "!#%*+,-./:=?@^_~";
/// The vendor's own list.
const ROMA_SYMBOLS: &str = "~!@#$%^&*()-_=+|[{}];:<>/?";
/// The least `min_length` of every preset but OCARIOT (NIST SP 800-63B-4 section 3.1.1.2).
const FLOOR: u32 = 8;
/// The most that any policy allows, in code points.
const CEILING: u32 = 16_384;
/// The most of a user's last passwords that are refused: each costs a hash.
const MAX_HISTORY: u32 = 24;
/// The best strength estimate.
const MAX_STRENGTH: u32 = 4;
/// The most words of a tenant's own, and the most characters of one.
const MAX_WORDS: usize = 256;
const MAX_WORD: usize = 64;
/// How long a password that must be changed may be good.
const MAX_TEMPORARY: Duration = Duration::from_hours(90 * 24);
/// How long an overlap may be at most, whatever the tenant says.
const LONGEST_OVERLAP: Duration = Duration::from_hours(366 * 24);
/// How long it is under the preset NIST: long enough for a letter and a holiday, too short to be forgotten about.
const TEMPORARY: Duration = Duration::from_hours(7 * 24);

impl Policy {
    /// The longest secret that is generated, in characters.
    pub const MAX_GENERATED_LENGTH: u32 = 128;
    /// The shortest, unless the policy allows no more: 95 bits of letters and digits. 22 make 128.
    pub const MIN_GENERATED_LENGTH: u32 = 16;
    /// How long an overlap may be at most where the tenant sets nothing else.
    pub const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);

    /// The rules of a preset. What each generates has 128 bits or more.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        let (min_length, max_length) = match preset {
            Preset::Nist => (15, 128),
            Preset::Applivery | Preset::Licensespring => (8, 128),
            Preset::Ocariot => (1, CEILING),
            Preset::Roma => (16, 32),
        };
        let is_roma = preset == Preset::Roma;
        // What the dialects' systems do not know of, they cannot tell their users: there a reset is final.
        let is_nist = preset == Preset::Nist;
        Self {
            preset,
            min_length,
            max_length,
            required_classes: if is_roma { CharacterClass::ALL.to_vec() } else { Vec::new() },
            symbols: if is_roma { ROMA_SYMBOLS } else { SYMBOLS }.to_owned(),
            blocklist: is_nist,
            generated_length: 24,
            history: 0,
            breached: is_nist,
            min_strength: 0,
            words: Vec::new(),
            reset_must_change: is_nist,
            temporary_ttl_s: if is_nist { TEMPORARY.as_secs() } else { 0 },
            max_overlap_s: max_overlap(),
        }
    }

    /// Until when a password is good that must be changed; for ever where absent.
    #[must_use]
    pub fn temporary_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.temporary_ttl_s > 0).then(|| now.plus(Duration::from_secs(self.temporary_ttl_s)))
    }

    /// The characters of a class; for symbols, those of this policy.
    pub(super) fn members(&self, class: CharacterClass) -> &str {
        match class {
            CharacterClass::Digit => "0123456789",
            CharacterClass::Upper => "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            CharacterClass::Lower => "abcdefghijklmnopqrstuvwxyz",
            CharacterClass::Symbol => &self.symbols,
        }
    }

    /// Required classes, each once.
    pub(super) fn classes(&self) -> impl Iterator<Item = CharacterClass> {
        CharacterClass::ALL.into_iter().filter(|class| self.required_classes.contains(class))
    }

    /// What is wrong with the rules themselves, by field of the API's `SecretPolicy`.
    #[must_use]
    pub fn defects(&self) -> Vec<(String, &'static str)> {
        let Self { preset, min_length, max_length, generated_length, symbols, words, .. } = self;
        let floor = if *preset == Preset::Ocariot { 1 } else { FLOOR };
        let is_symbol = |character: char| character.is_ascii_punctuation();
        let repeats = symbols.char_indices().any(|(place, symbol)| symbols.find(symbol) != Some(place));
        let least_generated = Self::MIN_GENERATED_LENGTH.min(*max_length).max(*min_length);
        let rules = [
            (*min_length < 1, "min_length", "must be at least 1"),
            (*min_length < floor && floor > 1, "min_length", "must be at least 8 except under the preset OCARIOT"),
            (
                (*min_length as usize) < self.classes().count(),
                "min_length",
                "must be at least the number of required classes",
            ),
            (max_length < min_length, "max_length", "must be at least min_length"),
            (*max_length > CEILING, "max_length", "must be at most 16384"),
            (
                self.classes().count() < self.required_classes.len(),
                "required_classes",
                "must name each class at most once",
            ),
            (
                !symbols.chars().all(is_symbol),
                "symbols",
                "must be printing ASCII characters other than letters, digits and the space",
            ),
            (repeats, "symbols", "must have each symbol at most once"),
            (
                symbols.is_empty() && self.required_classes.contains(&CharacterClass::Symbol),
                "symbols",
                "must not be empty where a symbol is required",
            ),
            (
                *generated_length < least_generated,
                "generated_length",
                "must be at least min_length, and at least 16 where max_length allows it",
            ),
            (
                *generated_length > Self::MAX_GENERATED_LENGTH.min(*max_length),
                "generated_length",
                "must be at most max_length, and at most 128",
            ),
            (self.history > MAX_HISTORY, "history", "must be at most 24"),
            (self.min_strength > MAX_STRENGTH, "min_strength", "must be at most 4"),
            (words.len() > MAX_WORDS, "words", "must be at most 256"),
            (self.temporary_ttl_s > MAX_TEMPORARY.as_secs(), "temporary_ttl", "must be at most 90 days"),
            (self.max_overlap_s > LONGEST_OVERLAP.as_secs(), "max_overlap", "must be at most 366 days"),
        ];
        let is_legal = |word: &str| {
            (1..=MAX_WORD).contains(&word.chars().take(MAX_WORD + 1).count()) && !word.chars().any(char::is_control)
        };
        let rules = rules.into_iter().filter(|(broken, ..)| *broken).map(|(_, field, rule)| (field.to_owned(), rule));
        let words = words.iter().enumerate().take(MAX_WORDS).filter(|(_, word)| !is_legal(word));
        let rule = "must have 1 to 64 characters, none of them a control";
        rules.chain(words.map(|(place, _)| (format!("words[{place}]"), rule))).collect()
    }
}

#[cfg(test)]
pub(super) mod tests;
