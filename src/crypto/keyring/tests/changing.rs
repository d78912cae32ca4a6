use std::time::Duration;

use super::*;

const DAYS_90: Duration = Duration::from_hours(90 * 24);

fn add(path: &Path, purpose: KeyPurpose, seed: u64) -> String {
    let later = NOW.plus(Duration::from_secs(seed));
    Keyring::add(path, purpose, None, later, &SeededEntropy::new(seed)).unwrap()
}

fn promote(path: &Path, id: &str) -> bool {
    Keyring::promote(path, id, NOW.plus(DAYS_90)).unwrap()
}

/// Whether the program before this one would read the file: it knows these members of a key, and no others.
fn is_read_by_the_version_before(path: &Path) -> bool {
    let known = ["id", "purpose", "algorithm", "state", "create_time_unix_s", "secret"];
    let content = content(path);
    let whole = content.as_object().unwrap().keys().all(|name| ["format", "keys"].contains(&name.as_str()));
    let keys = content["keys"].as_array().unwrap();
    whole && keys.iter().all(|key| key.as_object().unwrap().keys().all(|name| known.contains(&name.as_str())))
}

#[test]
fn a_new_key_reads_and_makes_once_it_is_promoted() {
    let (_directory, path, before) = made(1);
    let (entropy, tenant) = (SeededEntropy::new(9), Uid::from_stored("tenant"));
    let wrapping = add(&path, KeyPurpose::Wrapping, 2);
    let page = add(&path, KeyPurpose::PageToken, 3);
    let added = Keyring::load(&path).unwrap();
    assert_eq!(added.wrapping_key_ids(), [before.wrapping_key_ids()[0], &wrapping]);
    let wrapped = added.wrap(&data_key(4), &tenant, &entropy).unwrap();
    assert_eq!(wrapped.wrapping_key_id, before.wrapping_key_ids()[0]);

    assert!(promote(&path, &wrapping) && promote(&path, &page));
    assert!(!promote(&path, &wrapping), "nothing changes the second time");
    let after = Keyring::load(&path).unwrap();
    assert_eq!(after.wrapping_key_ids(), [&wrapping, before.wrapping_key_ids()[0]]);
    let again = after.rewrap(&wrapped, &entropy).unwrap();
    assert_eq!(again.wrapping_key_id, wrapping);
    // Who knows the new key, but not yet that it makes, reads what it makes.
    assert_eq!(added.unwrap(&again).unwrap().as_bytes(), data_key(4).as_bytes());
    assert!(before.unwrap(&again).is_err());
    let sealed = after.seal_page_token("c", "p", &entropy);
    assert!(added.open_page_token("c", &sealed).is_some() && before.open_page_token("c", &sealed).is_none());
    assert!(is_read_by_the_version_before(&path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_digest_key_that_is_followed_is_good_for_a_while() {
    let (_directory, path, before) = made(1);
    let id = add(&path, KeyPurpose::Digest, 2);
    let (old, digest) = before.digest(&"token".into());
    let added = Keyring::load(&path).unwrap();
    assert!(is_read_by_the_version_before(&path) && !added.is_followed(&old) && !added.is_followed(&id));
    assert_eq!(added.digest(&"token".into()).0, old);

    assert!(promote(&path, &id));
    let after = Keyring::load(&path).unwrap();
    let (new, new_digest) = after.digest(&"token".into());
    assert_eq!(new, id);
    assert!(after.is_followed(&old) && !after.is_followed(&new));
    let (last, over) = (NOW.plus(DAYS_90).minus(Duration::from_secs(1)), NOW.plus(DAYS_90));
    assert!(after.digest_matches(&old, b"token", &digest, last));
    assert!(!after.digest_matches(&old, b"token", &digest, over));
    assert!(after.digest_matches(&new, b"token", &new_digest, over));
    assert_eq!(after.given_token_ids(b"token", last).len(), 2);
    assert_eq!(after.given_token_ids(b"token", over), &after.given_token_ids(b"token", last)[..1]);
    // It would accept them for ever, and so it must not read the file.
    assert!(!is_read_by_the_version_before(&path));

    // Back again: the older one makes once more, and has no end.
    assert!(promote(&path, &old));
    let back = Keyring::load(&path).unwrap();
    assert!(back.digest_matches(&old, b"token", &digest, over));
    assert!(back.is_followed(&new) && !back.is_followed(&old));
}

#[test]
fn marks_stay_until_the_oldest_key_goes() {
    let (_directory, path, before) = made(1);
    let id = add(&path, KeyPurpose::Digest, 2);
    let mark = before.attempt_mark(&["source", "192.0.2.0/24"]);
    assert_eq!(Keyring::load(&path).unwrap().attempt_mark(&["source", "192.0.2.0/24"]), mark);
    promote(&path, &id);
    let after = Keyring::load(&path).unwrap();
    assert_eq!(after.attempt_mark(&["source", "192.0.2.0/24"]), mark);
    let request = [b"method".as_slice(), b"content"];
    assert!(after.request_digest_matches(&request, &before.request_digest(&request)));
    Keyring::retire(&path, &before.digest(&"x".into()).0).unwrap();
    assert_ne!(Keyring::load(&path).unwrap().attempt_mark(&["source", "192.0.2.0/24"]), mark);
    assert!(is_read_by_the_version_before(&path));
}

#[test]
fn a_retired_wrapping_key_stays_in_a_copy_that_opens_everything() {
    let (_directory, path, before) = made(1);
    let tenant = Uid::from_stored("tenant");
    let wrapped = before.wrap(&data_key(3), &tenant, &SeededEntropy::new(4)).unwrap();
    let old = before.wrapping_key_ids()[0].to_owned();
    let id = add(&path, KeyPurpose::Wrapping, 2);
    promote(&path, &id);
    let copy = Keyring::retire(&path, &old).unwrap().unwrap();
    let after = Keyring::load(&path).unwrap();
    assert_eq!(after.wrapping_key_ids(), [&id]);
    assert!(after.unwrap(&wrapped).is_err());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Keyring::load(&copy).unwrap().unwrap(&wrapped).unwrap().as_bytes(), data_key(3).as_bytes());
    let missing = after.has_wrapping_keys(&path, &[id.clone(), old.clone()]).unwrap_err();
    assert!(missing.0.contains(&old) && !missing.0.contains(&id), "{missing}");
    assert!(before.has_wrapping_keys(&path, &[old]).is_ok());
}

#[test]
fn what_must_not_be_changes_nothing() {
    let (_directory, path, keyring) = made(1);
    let before = fs::read(&path).unwrap();
    let primary = keyring.wrapping_key_ids()[0];
    assert!(Keyring::retire(&path, primary).unwrap_err().0.contains("promote it first"));
    assert!(Keyring::retire(&path, "none").unwrap_err().0.contains("no key none"));
    assert!(Keyring::promote(&path, "none", NOW).unwrap_err().0.contains("no key none"));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!path.with_added_extension("next").exists());
    assert!(!path.with_added_extension(format!("with-{primary}")).exists());
}
