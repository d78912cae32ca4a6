use proptest::prelude::*;

use super::*;
use crate::domain::{Password, SubjectKind};

const PRESETS: [Preset; 5] = [Preset::Nist, Preset::Applivery, Preset::Ocariot, Preset::Licensespring, Preset::Roma];

fn broken(policy: &Policy, secret: &str) -> Vec<Rule> {
    policy.violations(&Password::parse(secret.to_owned()).unwrap(), &["jane.doe@example.com", "Acme Corporation"])
}

fn violations(policy: &Policy, secret: &str) -> Vec<String> {
    broken(policy, secret).into_iter().map(|rule| rule.sentence).collect()
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
            ..Policy::preset(preset)
        })
        .prop_filter("has defects", |policy| policy.defects().is_empty())
}

#[test]
fn presets_have_no_defects_and_generate_128_bits() {
    for preset in PRESETS {
        let policy = Policy::preset(preset);
        assert!(policy.defects().is_empty(), "{preset:?}");
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
        ("history", Policy { history: 25, ..sound.clone() }),
        ("min_strength", Policy { min_strength: 5, ..sound.clone() }),
        ("words", Policy { words: vec!["a word".to_owned(); 257], ..sound.clone() }),
        ("words[1]", Policy { words: vec!["acme".to_owned(), String::new()], ..sound.clone() }),
        ("words[0]", Policy { words: vec!["x".repeat(65)], ..sound.clone() }),
        ("temporary_ttl", Policy { temporary_ttl_s: 90 * 86_400 + 1, ..sound.clone() }),
        ("max_overlap", Policy { max_overlap_s: 366 * 86_400 + 1, ..sound.clone() }),
    ];
    for (field, policy) in defective {
        let defects = policy.defects();
        assert!(!defects.is_empty() && defects.iter().any(|(at, _)| *at == field), "{field}: {policy:?} {defects:?}");
    }
    assert!(short(Preset::Ocariot).defects().is_empty());
    let short = Policy { max_length: 10, generated_length: 10, symbols: String::new(), ..sound };
    assert!(short.defects().is_empty());
}

#[test]
fn it_is_kept_as_json_and_read_again() {
    let policy = Policy::preset(Preset::Roma);
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
}

#[test]
fn a_rule_is_told_by_its_kind_and_explained_in_the_order_of_checking() {
    use RuleKind::{
        Breached, Characters, Common, Context, Digit, History, Lower, MaxLength, MinLength, Strength, Symbol, Upper,
    };

    let kinds = |rules: Vec<Rule>| rules.into_iter().map(|rule| rule.kind).collect::<Vec<_>>();
    let roma = Policy { blocklist: true, words: vec!["Swordfish".to_owned()], ..Policy::preset(Preset::Roma) };
    assert_eq!(kinds(broken(&roma, "passwordpassword")), [Digit, Upper, Symbol, Common]);
    assert_eq!(kinds(broken(&roma, "sWORDFISH")), [MinLength, Digit, Symbol, Common, Context]);
    assert_eq!(kinds(broken(&roma, "\u{e9}")), [MinLength, Digit, Upper, Lower, Symbol]);
    let all = Policy { history: 3, breached: true, min_strength: 3, ..roma };
    assert_eq!(kinds(all.rules(SubjectKind::User)), RuleKind::ALL);
    assert!(!kinds(all.rules(SubjectKind::Device)).contains(&History));
    assert_eq!(
        kinds(Policy::preset(Preset::Nist).rules(SubjectKind::User)),
        [MinLength, MaxLength, Common, Context, Breached, Characters]
    );
    assert_eq!(kinds(Policy::preset(Preset::Ocariot).rules(SubjectKind::User)), [MinLength, MaxLength, Characters]);
    assert_eq!(all.rule(Strength).sentence, "must be harder to guess: 3 or more on a scale from 0 to 4 (zxcvbn)");
}

#[test]
fn words_count_without_the_blocklist_and_names_do_not() {
    let policy = Policy { words: vec!["Swordfish".to_owned()], ..Policy::preset(Preset::Applivery) };
    assert!(!accepts(&policy, "sWORDFISH"));
    assert!(!accepts(&policy, "swordfishSwordfish"));
    assert!(accepts(&policy, "swordfishes"));
    assert!(accepts(&policy, "jane.doe@example.com"));
}

#[test]
fn what_was_kept_before_there_was_more_reads_as_it_was_meant() {
    let json = r#"{"preset":"nist","min_length":15,"max_length":128,"required_classes":[],"symbols":"!","blocklist":true,
        "generated_length":24}"#;
    let policy: Policy = serde_json::from_str(json).unwrap();
    assert!(!policy.reset_must_change && !policy.breached && policy.words.is_empty());
    assert_eq!((policy.history, policy.min_strength, policy.temporary_ttl_s), (0, 0, 0));
    assert_eq!(policy.temporary_until(Timestamp::from_micros(5)), None);
    assert_eq!(policy.max_overlap_s, 30 * 86_400);
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
        let sentences: Vec<_> = policy.violations(&password, &[&secret]).into_iter().map(|rule| rule.sentence).collect();
        prop_assert!(!sentences.is_empty());
        prop_assert!(sentences.iter().all(|sentence| !sentence.contains(&secret)));
    }
}
