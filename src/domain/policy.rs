//! A tenant's rules for secrets, with ready sets of them.

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{Password, blocklist::is_listed};

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

impl Policy {
    /// The longest secret that is generated, in characters.
    pub const MAX_GENERATED_LENGTH: u32 = 128;
    /// The shortest, unless the policy allows no more: 95 bits of letters and digits. 22 make 128.
    pub const MIN_GENERATED_LENGTH: u32 = 16;

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
        Self {
            preset,
            min_length,
            max_length,
            required_classes: if is_roma { CharacterClass::ALL.to_vec() } else { Vec::new() },
            symbols: if is_roma { ROMA_SYMBOLS } else { SYMBOLS }.to_owned(),
            blocklist: preset == Preset::Nist,
            generated_length: 24,
        }
    }

    /// Every rule that the secret breaks, as sentences without the secret; `context` are words that must not be the
    /// whole of it (the subject's login, the tenant's name).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "rules are about cleartext")]
    pub fn violations(&self, password: &Password, context: &[&str]) -> Vec<String> {
        let Self { min_length, max_length, .. } = self;
        let secret = password.secret().expose_secret();
        let length = password.length();
        let mut broken = Vec::new();
        if length < *min_length as usize {
            broken.push(format!("must have at least {min_length} characters"));
        }
        if length > *max_length as usize {
            broken.push(format!("must have at most {max_length} characters"));
        }
        broken.extend(self.missing_classes(secret).map(|class| match class {
            CharacterClass::Digit => "must have at least one digit".to_owned(),
            CharacterClass::Upper => "must have at least one upper-case letter from A to Z".to_owned(),
            CharacterClass::Lower => "must have at least one lower-case letter from a to z".to_owned(),
            CharacterClass::Symbol => format!("must have at least one of {}", self.symbols),
        }));
        if self.blocklist && is_listed(secret, context) {
            broken.push(
                "must not be a common password, a simple sequence or repetition, or a name of its user or tenant"
                    .to_owned(),
            );
        }
        broken
    }

    /// Whether a secret breaks no rule but perhaps that of length; the generator's condition.
    pub(super) fn accepts_characters(&self, secret: &str) -> bool {
        self.missing_classes(secret).next().is_none() && !(self.blocklist && is_listed(secret, &[]))
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

    fn missing_classes(&self, secret: &str) -> impl Iterator<Item = CharacterClass> {
        self.classes().filter(|class| !secret.contains(|character| self.members(*class).contains(character)))
    }

    /// What is wrong with the rules themselves, by field of the API's `SecretPolicy`.
    #[must_use]
    pub fn defects(&self) -> Vec<(&'static str, &'static str)> {
        let Self { preset, min_length, max_length, generated_length, symbols, .. } = self;
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
        ];
        rules.into_iter().filter(|(broken, ..)| *broken).map(|(_, field, rule)| (field, rule)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRESETS: [Preset; 5] =
        [Preset::Nist, Preset::Applivery, Preset::Ocariot, Preset::Licensespring, Preset::Roma];

    fn violations(policy: &Policy, secret: &str) -> Vec<String> {
        policy.violations(&Password::parse(secret.to_owned()).unwrap(), &["jane.doe@example.com", "Acme Corporation"])
    }

    fn accepts(policy: &Policy, secret: &str) -> bool {
        violations(policy, secret).is_empty()
    }

    /// Rules without defects.
    pub(in crate::domain) fn policies() -> impl Strategy<Value = Policy> {
        let classes = prop::sample::subsequence(CharacterClass::ALL.to_vec(), 0..=4);
        let symbols = prop::sample::subsequence(ROMA_SYMBOLS.chars().collect::<Vec<_>>(), 1..20);
        let preset = prop::sample::select(PRESETS.to_vec());
        (preset, 1..40_u32, 0..200_u32, 0..200_u32, classes, symbols, any::<bool>())
            .prop_map(|(preset, min, room, generated, required_classes, symbols, blocklist)| Policy {
                preset,
                min_length: min,
                max_length: min + room,
                required_classes,
                symbols: symbols.into_iter().collect(),
                blocklist,
                generated_length: min + generated,
            })
            .prop_filter("has defects", |policy| policy.defects().is_empty())
    }

    #[test]
    fn presets_have_no_defects_and_generate_128_bits() {
        for preset in PRESETS {
            let policy = Policy::preset(preset);
            assert_eq!(policy.defects(), [], "{preset:?}");
            let symbols = if policy.required_classes.is_empty() { 0 } else { policy.symbols.len() };
            let bits = f64::from(policy.generated_length) * f64::from(u32::try_from(62 + symbols).unwrap()).log2();
            assert!(bits >= 128.0, "{preset:?}: {bits}");
        }
    }

    #[test]
    fn lengths_are_in_code_points_and_their_bounds_belong_to_them() {
        let lengths = [
            (Preset::Nist, 15, 128),
            (Preset::Applivery, 8, 128),
            (Preset::Ocariot, 1, 16_384),
            (Preset::Licensespring, 8, 128),
        ];
        // Without a class, and nothing that the blocklist knows.
        let secret = |length: usize| {
            "\u{1F600}\u{e9}\u{4e00}\u{1F601}\u{e8}".chars().cycle().take(length - 1).chain(['z']).collect::<String>()
        };
        for (preset, min, max) in lengths {
            let policy = Policy::preset(preset);
            assert!(accepts(&policy, &secret(min)) && accepts(&policy, &secret(max)), "{preset:?}");
            let above = violations(&policy, &secret(max + 1));
            assert_eq!(above, [format!("must have at most {max} characters")], "{preset:?}");
            if min > 1 {
                let below = violations(&policy, &secret(min - 1));
                assert_eq!(below, [format!("must have at least {min} characters")], "{preset:?}");
            }
        }
    }

    #[test]
    fn roma_wants_each_class_and_says_all_that_is_missing() {
        let policy = Policy::preset(Preset::Roma);
        assert!(accepts(&policy, "Abcdefgh1234567!"));
        assert!(accepts(&policy, "Abcdefgh1234567!\u{e9} '"));
        for symbol in ROMA_SYMBOLS.chars() {
            assert!(accepts(&policy, &format!("Abcdefgh1234567{symbol}")), "{symbol}");
        }
        assert_eq!(violations(&policy, "Abcdefgh1234567'").len(), 1);
        assert_eq!(violations(&policy, "abcdefgh1234567!").len(), 1);
        assert_eq!(violations(&policy, "ABCDEFGH1234567!").len(), 1);
        assert_eq!(violations(&policy, "Abcdefghijklmno!").len(), 1);
        assert_eq!(violations(&policy, "\u{e9}").len(), 5);
        assert_eq!(violations(&policy, &"\u{e9}".repeat(33)).len(), 5);
    }

    #[test]
    fn nist_refuses_common_words_and_names_as_a_whole() {
        let policy = Policy::preset(Preset::Nist);
        for secret in ["PasswordPassword", "jane.doe@example.com", "ACME corporation", "123456789012345"] {
            assert_eq!(violations(&policy, secret).len(), 1, "{secret}");
        }
        assert!(accepts(&policy, "not jane.doe@example.com"));
        assert!(accepts(&Policy { blocklist: false, ..policy }, "PasswordPassword"));
    }

    #[test]
    fn each_defect_is_told_by_its_field() {
        use CharacterClass::{Digit, Lower, Symbol, Upper};

        let sound = Policy::preset(Preset::Applivery);
        let ocariot = Policy::preset(Preset::Ocariot);
        let short = |preset| Policy { min_length: 4, ..Policy::preset(preset) };
        let defective = [
            ("min_length", Policy { min_length: 7, ..sound.clone() }),
            ("min_length", short(Preset::Nist)),
            ("min_length", short(Preset::Roma)),
            ("min_length", Policy { min_length: 0, ..ocariot.clone() }),
            (
                "min_length",
                Policy { min_length: 3, required_classes: vec![Digit, Upper, Lower, Symbol], ..ocariot.clone() },
            ),
            ("max_length", Policy { min_length: 16, max_length: 15, generated_length: 16, ..sound.clone() }),
            ("max_length", Policy { max_length: 16_385, ..sound.clone() }),
            ("required_classes", Policy { required_classes: vec![Digit, Digit], ..sound.clone() }),
            ("symbols", Policy { symbols: "!a".to_owned(), ..sound.clone() }),
            ("symbols", Policy { symbols: "! ".to_owned(), ..sound.clone() }),
            ("symbols", Policy { symbols: "!\u{a7}".to_owned(), ..sound.clone() }),
            ("symbols", Policy { symbols: "!?!".to_owned(), ..sound.clone() }),
            ("symbols", Policy { symbols: String::new(), required_classes: vec![Symbol], ..sound.clone() }),
            ("generated_length", Policy { generated_length: 15, ..sound.clone() }),
            ("generated_length", Policy { generated_length: 129, max_length: 500, ..sound.clone() }),
            ("generated_length", Policy { max_length: 20, ..sound.clone() }),
        ];
        for (field, policy) in defective {
            let defects = policy.defects();
            assert!(
                !defects.is_empty() && defects.iter().any(|(at, _)| *at == field),
                "{field}: {policy:?} {defects:?}"
            );
        }
        assert_eq!(short(Preset::Ocariot).defects(), []);
        let short = Policy { max_length: 10, generated_length: 10, symbols: String::new(), ..sound };
        assert_eq!(short.defects(), []);
    }

    #[test]
    fn it_is_kept_as_json_and_read_again() {
        let policy = Policy::preset(Preset::Roma);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }

    proptest! {
        #[test]
        fn without_classes_and_blocklist_only_the_length_counts(secret in "\\PC{1,140}") {
            let policy = Policy { blocklist: false, ..Policy::preset(Preset::Nist) };
            if let Ok(password) = Password::parse(secret) {
                let legal = (15..=128).contains(&password.length());
                prop_assert_eq!(policy.violations(&password, &[]).is_empty(), legal);
            }
        }

        #[test]
        fn no_sentence_holds_the_secret(secret in "[a-z]{6,12}") {
            let policy = Policy { blocklist: true, min_length: 15, ..Policy::preset(Preset::Roma) };
            let password = Password::parse(secret.clone()).unwrap();
            let sentences = policy.violations(&password, &[&secret]);
            prop_assert!(!sentences.is_empty());
            prop_assert!(sentences.iter().all(|sentence| !sentence.contains(&secret)));
        }
    }
}
