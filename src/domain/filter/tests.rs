//! Filters that are read, and those that are refused.

use proptest::prelude::*;

use super::*;

const USERS: Vocabulary = Vocabulary { texts: &[("username", TextField::Login)], states: &SubjectState::ALL };

fn parse(text: &str) -> Result<Vec<Comparison>, usize> {
    Filter::parse(text, USERS).map(|filter| filter.0).map_err(|fault| fault.position)
}

fn login(wanted: TextMatch) -> Vec<Comparison> {
    vec![Comparison::Text(TextField::Login, wanted)]
}

#[test]
fn comparisons_are_read_and_joined() {
    let new_year = Timestamp::from_micros(1_767_225_600_000_000);
    let text =
        r#"state = LOCKED AND username="ja*" AND labels.team.x-1 = "blue"  AND update_time >= "2026-01-01T00:00:00Z""#;
    let expected = vec![
        Comparison::State(SubjectState::Locked),
        Comparison::Text(TextField::Login, TextMatch::Prefix("ja".to_owned())),
        Comparison::Label("team.x-1".to_owned(), TextMatch::Exact("blue".to_owned())),
        Comparison::Time(TimeField::Update, Bound::From, new_year),
    ];
    assert_eq!(parse(text), Ok(expected));
    assert_eq!(parse(""), Ok(Vec::new()));
    assert_eq!(parse("   "), Ok(Vec::new()));
    let bare = parse("create_time<2026-01-01T00:00:00.0000001Z");
    assert_eq!(bare, Ok(vec![Comparison::Time(TimeField::Create, Bound::Until, new_year)]));
}

#[test]
fn quotes_and_wildcards_are_characters_where_they_are_escaped() {
    let exact = |text: &str| Ok(login(TextMatch::Exact(text.to_owned())));
    assert_eq!(parse(r#"username = "%_'; DROP TABLE x; --""#), exact("%_'; DROP TABLE x; --"));
    assert_eq!(parse(r#"username = "a\"b\\c\*""#), exact(r#"a"b\c*"#));
    assert_eq!(parse(r#"username = "ünïcode AND \" = x""#), exact("ünïcode AND \" = x"));
    assert_eq!(parse(r#"username = "*""#), Ok(login(TextMatch::Prefix(String::new()))));
    assert_eq!(parse(r#"username = "a\**""#), Ok(login(TextMatch::Prefix("a*".to_owned()))));
}

#[test]
fn everything_else_is_refused_where_it_stands() {
    let long = format!("username = \"{}\"", "x".repeat(10_000));
    let many = vec!["state = ACTIVE"; 17].join(" AND ");
    for (text, position) in [
        ("stat = ACTIVE", 0),
        ("password = \"x\"", 0),
        ("tenant_uid = \"x\"", 0),
        ("labels = \"x\"", 0),
        ("labels. = \"x\"", 0),
        ("labels.Team = \"x\"", 0),
        ("user name = \"x\"", 0),
        ("state", 5),
        ("state ACTIVE", 6),
        ("state == ACTIVE", 6),
        ("state != ACTIVE", 6),
        ("state : ACTIVE", 6),
        ("state < ACTIVE", 6),
        ("state = ACTIV", 8),
        ("state = active", 8),
        ("state = \"ACT*\"", 8),
        ("state = ACTIVE AND", 15),
        ("state = ACTIVE AND ", 19),
        ("state = ACTIVE OR state = LOCKED", 15),
        ("state = ACTIVE and state = LOCKED", 15),
        ("state = ACTIVE state = LOCKED", 15),
        ("state = \"ACTIVE\"AND state = LOCKED", 16),
        ("NOT state = ACTIVE", 0),
        ("-state = ACTIVE", 0),
        ("(state = ACTIVE)", 0),
        ("username = ja", 11),
        ("username = 'ja'", 11),
        ("username = \"ja", 11),
        ("username = \"j*a\"", 13),
        ("username = \"j**\"", 13),
        ("username = \"\\%\"", 12),
        ("username = \"a\u{0}b\"", 13),
        ("username = \"é\nb\"", 13),
        ("username > \"a\"", 9),
        ("update_time = \"2026-01-01T00:00:00Z\"", 12),
        ("update_time > \"yesterday\"", 14),
        ("update_time > \"2026-01-01*\"", 14),
        ("state\t= ACTIVE", 5),
        (&long, MAX_LENGTH),
        (&many, 304),
    ] {
        assert_eq!(parse(text), Err(position), "{text:?}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in any::<String>(), near in r#"[a-z =<>"*\\.ANDé]{0,40}"#) {
        let _ = parse(&text);
        let _ = parse(&near);
        let _ = parse(&format!("username = \"{text}"));
    }

    #[test]
    fn any_text_can_be_asked_for(text in "[^\\p{Cc}]{0,64}") {
        let escaped = text.replace('\\', r"\\").replace('"', "\\\"").replace('*', r"\*");
        prop_assert_eq!(parse(&format!("username = \"{escaped}\"")), Ok(login(TextMatch::Exact(text.clone()))));
        prop_assert_eq!(parse(&format!("username = \"{escaped}*\"")), Ok(login(TextMatch::Prefix(text))));
    }

    #[test]
    fn a_prefix_is_a_range(prefix in ".{0,3}", rest in ".{0,3}", other in ".{0,4}") {
        let end = after_prefix(&prefix);
        let within = |text: &str| text >= prefix.as_str() && end.as_deref().is_none_or(|end| text < end);
        let begins = format!("{prefix}{rest}");
        prop_assert!(within(&begins));
        prop_assert_eq!(within(&other), other.starts_with(&prefix));
    }
}

#[test]
fn the_end_of_a_prefix_is_found_at_the_edges() {
    let cases = [
        ("", None),
        ("a", Some("b")),
        ("a\u{10ffff}", Some("b")),
        ("\u{10ffff}", None),
        ("\u{d7ff}", Some("\u{e000}")),
        ("\u{7f}", Some("\u{80}")),
    ];
    for (prefix, expected) in cases {
        assert_eq!(after_prefix(prefix).as_deref(), expected, "{prefix:?}");
    }
}
