use std::{collections::BTreeSet, fs, path::PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// SHA-1 of "password" and of "P@ssw0rd", as they are published.
const PASSWORD: &str = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8";
const P_SSW0RD: &str = "21bd12dc183f740ee76f27b78eb39c8ad972a757";

fn password(text: &str) -> Password {
    Password::parse(text.to_owned()).unwrap()
}

fn build(room: usize, fingerprints: impl IntoIterator<Item = u64>) -> (TempDir, PathBuf, Info) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    let mut builder = Builder::with_room(&path, room);
    for fingerprint in fingerprints {
        builder.add(Fingerprint(fingerprint)).unwrap();
    }
    let info = builder.finish(|_| {}).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was left lying about");
    (directory, path, info)
}

fn read(text: &[u8], format: Format, min_count: u64) -> Result<(Vec<Fingerprint>, u64), String> {
    let mut lines = Lines::new(text, format, min_count);
    let mut found = Vec::new();
    while let Some(fingerprint) = lines.next_fingerprint()? {
        found.push(fingerprint);
    }
    Ok((found, lines.left_out()))
}

#[test]
fn published_lines_are_the_passwords_they_are_of() {
    let (one, other) = (Fingerprint::of(&password("password")), Fingerprint::of(&password("P@ssw0rd")));
    let text = format!("\u{feff}{PASSWORD}:12\r\n\r\n{P_SSW0RD}:3\n  {} : 7  \n{PASSWORD}", PASSWORD.to_lowercase());
    assert_eq!(read(text.as_bytes(), Format::Hashes, 1), Ok((vec![one, other, one, one], 0)));
    assert_eq!(read(text.as_bytes(), Format::Hashes, 4), Ok((vec![one, one], 2)));
    let text = "password\r\nP@ssw0rd\n\u{378}\n\npassword";
    assert_eq!(read(text.as_bytes(), Format::Plain, 1), Ok((vec![one, other, one], 1)));
    assert_eq!(read(b"\xff\xfe\npassword", Format::Plain, 1), Ok((vec![one], 1)));
    assert_eq!(read(b"", Format::Hashes, 1), Ok((vec![], 0)));
    // NFC before it is hashed, as every password is.
    assert_eq!(read("e\u{301}".as_bytes(), Format::Plain, 1), read("\u{e9}".as_bytes(), Format::Plain, 1));
}

#[test]
fn a_line_that_is_something_else_is_named_and_not_quoted() {
    let ntlm = format!("{PASSWORD}\n8846F7EAEE8FB117AD06BDD830B7586C:5");
    assert!(read(ntlm.as_bytes(), Format::Hashes, 1).unwrap_err().starts_with("line 2 is a hash of 128 bits"));
    for line in ["sentinel", &format!("{PASSWORD}:sentinel"), &format!("{PASSWORD}:"), &PASSWORD.replace('5', "g")] {
        let sentence = read(line.as_bytes(), Format::Hashes, 1).unwrap_err();
        assert!(sentence.starts_with("line 1 is not a SHA-1") && !sentence.contains("sentinel"), "{sentence}");
    }
    let long = vec![b'a'; Password::MAX_BYTES + 3];
    assert_eq!(read(&long, Format::Plain, 1).unwrap_err(), "line 1 is too long");
}

#[test]
fn what_is_on_the_list_is_found_and_the_rest_is_not() {
    let words = ["password", "P@ssw0rd", "\u{e9}t\u{e9}"].map(password);
    let (_directory, path, info) = build(2, words.iter().map(|word| Fingerprint::of(word).0));
    assert_eq!((info.entries, info.bytes), (3, 96 + 3 * 4 + 2 * 8));
    let list = Blocklist::open(&path).unwrap();
    assert!(words.iter().all(|word| list.contains(word)));
    assert!(list.contains(&password("e\u{301}te\u{301}")));
    assert!(!list.contains(&password("Password")));
    assert_eq!(list.info(), info);
    assert!((info.false_positive_rate - 3.0 / 4_294_967_296.0).abs() < 1e-15);
    assert_eq!(format!("{list:?} {:?}", Fingerprint(7)), "Blocklist { entries: 3, .. } Fingerprint([redacted])");
}

#[test]
fn nothing_at_all_is_a_list_too() {
    let (_directory, path, info) = build(4, []);
    assert_eq!(info.entries, 0);
    assert!(!Blocklist::open(&path).unwrap().contains(&password("password")));
}

#[test]
fn large_ones_have_short_buckets_and_rare_mistakes() {
    let fingerprint = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (_directory, path, info) = build(10_000, (1..=100_000).map(fingerprint));
    assert_eq!(info.entries, 100_000);
    assert!(info.false_positive_rate <= 256.0 / 4_294_967_296.0, "{info:?}");
    assert!(info.bytes <= 100_000 * 4 + 513 * 8 + 96, "{info:?}");
    let list = Blocklist::open(&path).unwrap();
    assert!((1..=100_000).all(|number| list.holds(Fingerprint(fingerprint(number)))));
    assert!((100_001..=200_000).all(|number| !list.holds(Fingerprint(fingerprint(number)))));
}

#[test]
fn a_file_that_is_cut_off_damaged_or_foreign_is_refused_by_name() {
    let (directory, path, _) = build(100, (0..1_000).map(|number| number << 50));
    let whole = fs::read(&path).unwrap();
    let other = directory.path().join("other");
    let refused = |bytes: &[u8]| {
        fs::write(&other, bytes).unwrap();
        let sentence = Blocklist::open(&other).unwrap_err();
        assert!(sentence.contains(other.to_str().unwrap()), "{sentence}");
        sentence
    };
    for length in [0, 1, 95] {
        assert!(refused(&whole[..length]).contains("is too short for a list"));
    }
    for length in [96, whole.len() - 1] {
        assert!(refused(&whole[..length]).contains("bytes in place of"));
    }
    assert!(refused(&[&whole[..], b"x"].concat()).contains("bytes in place of"));
    assert!(refused(&[b'{'; 500]).contains("is not a list of rekey's"));
    let with = |place: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[place] ^= byte;
        bytes
    };
    assert!(refused(&with(8, 2)).contains("has version 3.1"));
    for place in [16, 24, 28, 40, 70] {
        assert!(refused(&with(place, 1)).contains("its header does not match its checksum"), "{place}");
    }
    for place in [96, 500, whole.len() - 1] {
        assert!(refused(&with(place, 1)).contains("does not match its checksum"), "{place}");
    }
    assert!(Blocklist::open(directory.path()).unwrap_err().contains("is not a file"));
    assert!(Blocklist::open(&directory.path().join("none")).unwrap_err().contains("cannot read"));
}

proptest! {
    #[test]
    fn order_and_repetition_make_no_difference(
        numbers in prop::collection::vec(any::<u64>(), 0..600),
        room in 1..700_usize,
        others in prop::collection::vec(any::<u64>(), 0..50),
    ) {
        let known: BTreeSet<u64> = numbers.iter().copied().collect();
        let (_directory, path, info) = build(room, numbers.iter().copied());
        let list = Blocklist::open(&path).unwrap();
        prop_assert_eq!(info.entries, known.len() as u64);
        prop_assert!(known.iter().all(|number| list.holds(Fingerprint(*number))));
        for other in others {
            // At least 32 bits are told apart; beyond them chance has it.
            let near = known.iter().any(|number| number >> 32 == other >> 32);
            prop_assert!(near || known.contains(&other) == list.holds(Fingerprint(other)));
        }
    }
}
