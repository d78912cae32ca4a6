use std::{fs, os::unix::fs::PermissionsExt as _};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::domain::{Reason, entropy::SeededEntropy};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn made(seed: u64) -> (TempDir, PathBuf, Keyring) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring.json");
    let keyring = Keyring::create(&path, NOW, &SeededEntropy::new(seed)).unwrap();
    (directory, path, keyring)
}

fn content(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

type Damage = Box<dyn FnOnce(&mut Value)>;

/// Loads the file after this change to it.
fn load_changed(change: impl FnOnce(&mut Value)) -> Result<Keyring, KeyringError> {
    let (_directory, path, _) = made(1);
    let mut value = content(&path);
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    Keyring::load(&path)
}

fn data_key(seed: u64) -> DataKey {
    DataKey::make(Uid::from_stored("data key"), &SeededEntropy::new(seed))
}

#[test]
fn what_was_made_is_read_again() {
    let (_directory, path, keyring) = made(1);
    let again = Keyring::load(&path).unwrap();
    assert_eq!(keyring.wrapping_key_ids(), again.wrapping_key_ids());
    assert_eq!(keyring.digest(&"token".into()), again.digest(&"token".into()));
    assert_eq!(keyring.given_token_ids(b"token", NOW), again.given_token_ids(b"token", NOW));
    let page = keyring.seal_page_token("context", "position", &SeededEntropy::new(2));
    assert_eq!(**again.open_page_token("context", &page).unwrap(), *"position");
    let wrapped = keyring.wrap(&data_key(3), &Uid::from_stored("tenant"), &SeededEntropy::new(4)).unwrap();
    assert_eq!(again.unwrap(&wrapped).unwrap().as_bytes(), data_key(3).as_bytes());
}

#[test]
fn its_file_is_the_owners_alone_and_never_written_over() {
    let (_directory, path, _) = made(1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&path).unwrap();
    let refusal = Keyring::create(&path, NOW, &SeededEntropy::new(2)).unwrap_err();
    assert!(refusal.0.contains("exists already"), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let refusal = Keyring::create(&path.with_file_name("none").join("x"), NOW, &SeededEntropy::new(2)).unwrap_err();
    assert!(refusal.0.contains("directory"), "{refusal}");
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_fix() {
    let (_directory, path, _) = made(1);
    for mode in [0o640, 0o604, 0o660, 0o601, 0o644, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refusal = Keyring::load(&path).unwrap_err();
        assert!(refusal.0.contains(&format!("chmod 600 {}", path.display())), "{mode:o}: {refusal}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(Keyring::load(&path).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_missing_or_empty_file_and_a_directory_are_refused() {
    let (directory, path, _) = made(1);
    let refusal = Keyring::load(&path.with_file_name("none")).unwrap_err();
    assert!(refusal.0.contains("rekey init"), "{refusal}");
    let refusal = Keyring::load(directory.path()).unwrap_err();
    assert!(refusal.0.contains("is not a file"), "{refusal}");
    fs::write(&path, "").unwrap();
    let refusal = Keyring::load(&path).unwrap_err();
    assert!(refusal.0.contains("is empty"), "{refusal}");
}

#[test]
fn no_damage_gets_by_and_no_sentence_holds_a_key() {
    let (_directory, path, _) = made(1);
    let secrets: Vec<String> = content(&path)["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["secret"].as_str().unwrap().to_owned())
        .collect();
    let swap = |from: &'static str, to: &'static str| {
        move |value: &mut Value| {
            let key = &mut value["keys"][1];
            let secret = key[from].clone();
            key[to] = secret;
        }
    };
    let damages: Vec<(&str, Damage)> = vec![
        ("format", Box::new(|value| value["format"] = json!(2))),
        ("line", Box::new(|value| value["formats"] = json!(1))),
        ("line", Box::new(|value| value["keys"][0]["note"] = json!("x"))),
        ("older digest keys", Box::new(|value| value["keys"][0]["accept_until_unix_s"] = json!(1))),
        ("older digest keys", Box::new(|value| value["keys"][1]["accept_until_unix_s"] = json!(1))),
        ("line", Box::new(|value| value["keys"] = json!({}))),
        ("line", Box::new(|value| drop(value["keys"][0].as_object_mut().unwrap().remove("secret")))),
        ("line", Box::new(swap("secret", "state"))),
        ("line", Box::new(swap("secret", "create_time_unix_s"))),
        ("purpose", Box::new(swap("secret", "purpose"))),
        ("private key of its algorithm", Box::new(|value| value["keys"][2]["purpose"] = json!("token_signing"))),
        ("32 bytes", Box::new(|value| value["keys"][0]["secret"] = json!("c2hvcnQ="))),
        ("32 bytes", Box::new(|value| value["keys"][0]["secret"] = json!("not base64!"))),
        ("id", Box::new(|value| value["keys"][0]["id"] = value["keys"][1]["id"].clone())),
        ("id", Box::new(|value| value["keys"][0]["id"] = json!(""))),
        ("primary", Box::new(|value| value["keys"][0]["state"] = json!("active"))),
        ("primary", Box::new(|value| value["keys"][1]["purpose"] = json!("wrapping"))),
        ("primary", Box::new(|value| drop(value["keys"].as_array_mut().unwrap().pop()))),
        ("primary", Box::new(|value| value["keys"] = json!([]))),
    ];
    for (expected, damage) in damages {
        let refusal = load_changed(damage).unwrap_err();
        assert!(refusal.0.contains(expected), "{expected}: {refusal}");
        for secret in &secrets {
            assert!(!refusal.0.contains(secret), "{refusal}");
        }
    }
    for garbage in [b"\xff\xfe".as_slice(), b"{", b"[]", b"null", b"wrapping: AAAA", &vec![b' '; 1 << 19]] {
        fs::write(&path, garbage).unwrap();
        assert!(Keyring::load(&path).is_err());
    }
}

#[test]
fn older_keys_read_what_they_made() {
    let (_directory, path, old) = made(1);
    let (_other_directory, other_path, new) = made(2);
    let mut both = content(&other_path);
    for mut key in content(&path)["keys"].as_array().unwrap().clone() {
        key["state"] = json!("active");
        both["keys"].as_array_mut().unwrap().insert(0, key);
    }
    fs::write(&path, both.to_string()).unwrap();
    let both = Keyring::load(&path).unwrap();

    let (entropy, tenant) = (SeededEntropy::new(3), Uid::from_stored("tenant"));
    let wrapped = old.wrap(&data_key(4), &tenant, &entropy).unwrap();
    assert_eq!(both.unwrap(&wrapped).unwrap().as_bytes(), data_key(4).as_bytes());
    assert_eq!(both.wrap(&data_key(4), &tenant, &entropy).unwrap().wrapping_key_id, new.wrapping_key_ids()[0]);
    assert_eq!(both.wrapping_key_ids(), [new.wrapping_key_ids()[0], old.wrapping_key_ids()[0]]);
    let (id, digest) = old.digest(&"token".into());
    assert!(both.digest_matches(&id, b"token", &digest, NOW));
    assert_eq!(both.digest(&"token".into()), new.digest(&"token".into()));
    assert_eq!(
        both.given_token_ids(b"t", NOW),
        [new.given_token_ids(b"t", NOW), old.given_token_ids(b"t", NOW)].concat()
    );
    let request = [b"method".as_slice(), b"content"];
    assert!(both.request_digest_matches(&request, &old.request_digest(&request)));
    assert!(both.request_digest_matches(&request, &new.request_digest(&request)));
    assert!(!new.request_digest_matches(&request, &old.request_digest(&request)));
    assert!(!both.request_digest_matches(&[b"metho", b"dcontent"], &old.request_digest(&request)));
    assert!(!both.request_digest_matches(&request, &[]));
    assert!(both.open_page_token("c", &old.seal_page_token("c", "p", &entropy)).is_some());

    let failure = new.unwrap(&wrapped).unwrap_err();
    assert_eq!(failure.reason(), Reason::Internal);
    assert!(failure.cause().unwrap().to_string().contains(old.wrapping_key_ids()[0]));
}

#[test]
fn a_wrapped_key_opens_for_its_tenant_and_id_only() {
    let (_directory, _, keyring) = made(1);
    let wrapped = keyring.wrap(&data_key(2), &Uid::from_stored("tenant"), &SeededEntropy::new(3)).unwrap();
    let moved = [
        WrappedKey { tenant_uid: Uid::from_stored("other"), ..wrapped.clone() },
        WrappedKey { id: Uid::from_stored("other"), ..wrapped.clone() },
        WrappedKey { wrapping_key_id: "other".to_owned(), ..wrapped.clone() },
    ];
    for moved in moved {
        assert_eq!(keyring.unwrap(&moved).unwrap_err().reason(), Reason::Internal);
    }
    for bit in 0..wrapped.ciphertext.len() * 8 {
        let mut altered = wrapped.clone();
        altered.ciphertext[bit / 8] ^= 1 << (bit % 8);
        assert!(keyring.unwrap(&altered).is_err(), "bit {bit}");
    }
}

#[test]
fn a_digest_matches_its_token_and_key_only() {
    let (_directory, _, keyring) = made(1);
    let (id, digest) = keyring.digest(&"token".into());
    assert!(keyring.digest_matches(&id, b"token", &digest, NOW));
    assert!(!keyring.digest_matches(&id, b"tokem", &digest, NOW));
    assert!(!keyring.digest_matches("none", b"token", &digest, NOW));
    assert!(!keyring.digest_matches(keyring.wrapping_key_ids()[0], b"token", &digest, NOW));
    assert!(!keyring.digest_matches(&id, b"token", &digest[..31], NOW));
    assert!(!keyring.digest_matches(&id, b"token", b"", NOW));
    assert_ne!(made(2).2.digest(&"token".into()).1, digest);
}

#[test]
fn an_id_of_a_given_token_is_short_and_tells_nothing_of_its_digest() {
    let (_directory, _, keyring) = made(1);
    let ids = keyring.given_token_ids(b"token", NOW);
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0].len(), 31);
    assert!(ids[0].starts_with('g'));
    let digest = HEXLOWER.encode(&keyring.digest(&"token".into()).1);
    assert!(!digest.contains(&ids[0][1..]));
    assert_ne!(ids, keyring.given_token_ids(b"tokem", NOW));
}

#[test]
fn debug_shows_no_key() {
    let (_directory, _, keyring) = made(1);
    let expected = format!("Keyring {{ wrapping: {:?}, .. }}", keyring.wrapping_key_ids());
    assert_eq!(format!("{keyring:?}"), expected);
}

proptest! {
    #[test]
    fn a_page_token_opens_in_its_context_only(context in ".*", other in ".*", position in ".*", flip in any::<(prop::sample::Index, u8)>()) {
        let (_directory, _, keyring) = made(1);
        let token = keyring.seal_page_token(&context, &position, &SeededEntropy::new(2));
        prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        let opened = keyring.open_page_token(&context, &token);
        prop_assert_eq!(opened.as_ref().map(|text| text.as_str()), Some(position.as_str()));
        prop_assert!(context == other || keyring.open_page_token(&other, &token).is_none());
        let mut altered = token.clone().into_bytes();
        let place = flip.0.index(altered.len());
        altered[place] = flip.1 & 0x7f;
        let altered = String::from_utf8(altered).unwrap();
        prop_assert!(altered == token || keyring.open_page_token(&context, &altered).is_none());
    }
}

mod changing;

mod signing {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::domain::tenant::JwtAlgorithm;

    const HEADER: TokenHeader<'_> = TokenHeader { typ: "JWT", tid: "tenant", epoch: 3 };

    fn add(path: &Path, algorithm: JwtAlgorithm) -> String {
        Keyring::add_signing_key(path, algorithm, NOW, &crate::crypto::SystemEntropy).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "the test looks at what was made")]
    fn parts(token: &SecretString) -> (Vec<u8>, Vec<u8>) {
        let (message, signature) = token.expose_secret().rsplit_once('.').unwrap();
        (message.as_bytes().to_vec(), BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap())
    }

    #[test]
    fn a_keyring_without_signing_keys_signs_nothing_and_takes_them_later() {
        let (_directory, path, keyring) = made(1);
        assert_eq!(keyring.signing_algorithm(), None);
        assert!(keyring.sign_token(JwtAlgorithm::EdDSA, HEADER, &json!({})).unwrap().is_none());
        let others = content(&path);
        let id = add(&path, JwtAlgorithm::ES256);
        let again = Keyring::load(&path).unwrap();
        assert_eq!(again.signing_algorithm(), Some(JwtAlgorithm::ES256));
        assert!(again.has_signing_key(&id));
        assert_eq!(again.digest(&"token".into()), keyring.digest(&"token".into()));
        let keys = content(&path)["keys"].as_array().unwrap().clone();
        assert_eq!(keys[..3], others["keys"].as_array().unwrap()[..]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!path.with_added_extension("next").exists());
    }

    #[test]
    fn each_algorithm_signs_what_its_own_key_alone_verifies() {
        let (_directory, path, _) = made(1);
        let ids: Vec<String> = JwtAlgorithm::ALL.map(|algorithm| add(&path, algorithm)).to_vec();
        let keyring = Keyring::load(&path).unwrap();
        for (algorithm, id) in JwtAlgorithm::ALL.into_iter().zip(&ids) {
            let token = keyring.sign_token(algorithm, HEADER, &json!({"sub": "x"})).unwrap().unwrap();
            let (message, signature) = parts(&token);
            assert!(keyring.has_signed(id, algorithm.as_str(), &message, &signature));
            for other in JwtAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                assert!(!keyring.has_signed(id, other.as_str(), &message, &signature));
            }
            for other in ids.iter().filter(|other| *other != id) {
                assert!(!keyring.has_signed(other, algorithm.as_str(), &message, &signature));
            }
            for bit in 0..signature.len() * 8 {
                let mut altered = signature.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(!keyring.has_signed(id, algorithm.as_str(), &message, &altered), "bit {bit}");
            }
            assert!(!keyring.has_signed(id, algorithm.as_str(), &message, b""));
        }
        let public = keyring.public_keys();
        let lengths: Vec<Vec<usize>> = public.iter().map(|key| key.parameters.iter().map(Vec::len).collect()).collect();
        assert_eq!(lengths, [vec![32], vec![32, 32], vec![256, 3]]);
        assert_eq!(public[2].parameters[1], [1, 0, 1]);
    }

    #[test]
    fn a_new_key_signs_and_the_old_one_still_verifies() {
        let (_directory, path, _) = made(1);
        let old = add(&path, JwtAlgorithm::EdDSA);
        let signed =
            Keyring::load(&path).unwrap().sign_token(JwtAlgorithm::EdDSA, HEADER, &json!({})).unwrap().unwrap();
        let new = add(&path, JwtAlgorithm::EdDSA);
        let keyring = Keyring::load(&path).unwrap();
        let (message, signature) = parts(&signed);
        assert!(keyring.has_signed(&old, "EdDSA", &message, &signature));
        let (message, signature) =
            parts(&keyring.sign_token(JwtAlgorithm::EdDSA, HEADER, &json!({})).unwrap().unwrap());
        assert!(keyring.has_signed(&new, "EdDSA", &message, &signature));
        let states: Vec<_> =
            Keyring::list(&path).unwrap().into_iter().skip(3).map(|key| (key.id, key.is_primary)).collect();
        assert_eq!(states, [(old, false), (new, true)]);
    }

    #[test]
    fn damaged_and_doubled_signing_keys_are_refused_without_being_told() {
        let (_directory, path, _) = made(1);
        add(&path, JwtAlgorithm::EdDSA);
        add(&path, JwtAlgorithm::EdDSA);
        let good = content(&path);
        let secret = good["keys"][3]["secret"].as_str().unwrap().to_owned();
        let damages: [(&str, Damage); 6] = [
            ("two keys", Box::new(|value| value["keys"][3]["state"] = json!("primary"))),
            ("no private key", Box::new(|value| value["keys"][3]["algorithm"] = json!("ES256"))),
            ("no private key", Box::new(|value| value["keys"][3]["algorithm"] = json!("RS256"))),
            ("no private key", Box::new(|value| drop(value["keys"][3].as_object_mut().unwrap().remove("algorithm")))),
            ("no private key", Box::new(|value| value["keys"][3]["secret"] = json!("AAAA"))),
            ("line", Box::new(|value| value["keys"][3]["algorithm"] = json!("HS256"))),
        ];
        for (word, damage) in damages {
            let mut value = good.clone();
            damage(&mut value);
            fs::write(&path, value.to_string()).unwrap();
            let refusal = Keyring::load(&path).unwrap_err().0;
            assert!(refusal.contains(word) && !refusal.contains(&secret), "{word}: {refusal}");
        }
    }

    #[test]
    fn two_do_not_write_at_once() {
        let (_directory, path, _) = made(1);
        let next = path.with_added_extension("next");
        fs::write(&next, "").unwrap();
        let refusal = Keyring::add_signing_key(&path, JwtAlgorithm::EdDSA, NOW, &SeededEntropy::new(1)).unwrap_err();
        assert!(refusal.0.contains("remove that file"), "{refusal}");
        assert!(next.exists() && Keyring::load(&path).is_ok());
    }
}
