use proptest::prelude::*;

use super::*;
use crate::domain::tenant::TokenIssuer;

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
const DAY: Duration = Duration::from_hours(24);

fn key(id: &str, purpose: KeyPurpose, is_primary: bool) -> KeyInfo {
    let create_time = NOW.minus(DAY * 30);
    KeyInfo { id: id.to_owned(), purpose, algorithm: None, is_primary, create_time, accept_until: None }
}

fn replica(name: &str, knows: &[&str], makes_with: &[&str], silent: Duration) -> Replica {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    Replica {
        uid: Uid::from_stored(name),
        name: name.to_owned(),
        version: "1".to_owned(),
        knows: ids(knows),
        makes_with: ids(makes_with),
        seen_time: NOW.minus(silent),
    }
}

#[test]
fn the_longest_token_is_that_of_the_policy() {
    assert_eq!(LONGEST_TOKEN.as_secs(), u64::from(TokenIssuer::TTL_BOUNDS_S.1));
}

#[test]
fn a_key_that_a_replica_does_not_know_is_not_promoted() {
    let new = key("new", KeyPurpose::Wrapping, false);
    let (soon, late) = (Duration::from_secs(9), Replica::LATELY);
    assert!(may_promote(&new, &[], NOW).is_ok());
    assert!(may_promote(&new, &[replica("a", &["old", "new"], &["old"], soon)], NOW).is_ok());
    let replicas = [replica("a", &["old", "new"], &["old"], soon), replica("web-2", &["old"], &["old"], soon)];
    let refusal = may_promote(&new, &replicas, NOW).unwrap_err();
    assert!(refusal.contains("web-2 (seen 9 s ago)") && !refusal.contains("replica a "), "{refusal}");
    // One that has been silent for long enough is gone; one whose clock is ahead is not.
    assert!(may_promote(&new, &[replica("b", &["old"], &["old"], late)], NOW).is_ok());
    let ahead = Replica { seen_time: NOW.plus(Duration::from_mins(5)), ..replica("b", &["old"], &["old"], soon) };
    assert!(may_promote(&new, &[ahead], NOW).is_err());
}

#[test]
fn a_key_signs_when_those_who_check_may_know_it() {
    let mut new = key("new", KeyPurpose::TokenSigning, false);
    new.create_time = NOW.minus(Duration::from_mins(4));
    let refusal = may_promote(&new, &[], NOW).unwrap_err();
    assert!(refusal.contains("60 s"), "{refusal}");
    new.create_time = NOW.minus(Duration::from_mins(5));
    assert!(may_promote(&new, &[], NOW).is_ok());
}

#[test]
fn a_wrapping_key_stays_as_long_as_it_wraps_whatever_is_forced() {
    let keys = [key("new", KeyPurpose::Wrapping, true), key("old", KeyPurpose::Wrapping, false)];
    let uses = KeyUse { data_keys: 3, secrets: 70, replies: 2, ..KeyUse::default() };
    for force in [false, true] {
        let retire = |uses: &KeyUse, replicas: &[Replica]| may_retire(&keys[1], &keys, uses, replicas, NOW, force);
        let refusal = retire(&uses, &[]).unwrap_err();
        assert!(refusal.contains("3 data keys") && refusal.contains("rekey keys rotate-data"), "{refusal}");
        let making = replica("web-1", &["old", "new"], &["old"], Duration::from_secs(5));
        let refusal = retire(&KeyUse::default(), &[making]).unwrap_err();
        assert!(refusal.contains("web-1"), "{refusal}");
        let lately = KeyUse { primary_time: Some(NOW.minus(Duration::from_mins(14))), ..KeyUse::default() };
        let refusal = retire(&lately, &[]).unwrap_err();
        assert!(refusal.contains("60 s") && !refusal.contains("--force"), "{refusal}");
        let long_ago = KeyUse { primary_time: Some(NOW.minus(Replica::LATELY)), ..KeyUse::default() };
        assert!(retire(&long_ago, &[]).is_ok());
        assert!(may_retire(&keys[0], &keys, &KeyUse::default(), &[], NOW, force).unwrap_err().contains("primary"));
    }
}

#[test]
fn a_digest_key_stays_for_its_tokens_and_repeated_requests() {
    let (new, mut old) = (key("new", KeyPurpose::Digest, true), key("old", KeyPurpose::Digest, false));
    old.accept_until = Some(NOW.plus(DAY * 10));
    let made = Some(NOW.minus(DAY * 80));
    let uses = KeyUse { tokens: 5, primary_time: made, ..KeyUse::default() };
    let retire =
        |old: &KeyInfo, uses: &KeyUse, force| may_retire(old, &[new.clone(), old.clone()], uses, &[], NOW, force);
    let refusal = retire(&old, &uses, false).unwrap_err();
    assert!(refusal.contains("5 API tokens") && refusal.contains("10 days"), "{refusal}");
    assert!(retire(&old, &uses, true).is_ok());
    assert!(retire(&old, &KeyUse { tokens: 0, ..uses.clone() }, false).is_ok());
    let over = KeyInfo { accept_until: Some(NOW), ..old.clone() };
    assert!(retire(&over, &uses, false).is_ok());
    let yesterday = KeyUse { tokens: 0, primary_time: Some(NOW.minus(DAY)), ..KeyUse::default() };
    assert!(retire(&old, &yesterday, false).unwrap_err().contains("within a day"));
}

#[test]
fn what_signed_stays_until_its_longest_token_has_ended() {
    let old = key("old", KeyPurpose::TokenSigning, false);
    let rotated = KeyInfo { create_time: NOW.minus(DAY * 6), ..key("new", KeyPurpose::TokenSigning, true) };
    let other = KeyInfo { algorithm: Some(JwtAlgorithm::RS256), ..rotated.clone() };
    let retire = |keys: &[KeyInfo], uses: KeyUse| may_retire(&old, keys, &uses, &[], NOW, false);
    // Nothing is known of when it signed but that a younger one of its algorithm was made to sign in its place.
    assert!(retire(&[old.clone(), rotated.clone()], KeyUse::default()).is_err());
    assert!(retire(&[old.clone(), other], KeyUse::default()).is_ok());
    for (age, may) in [(DAY * 6, false), (DAY * 7 + Replica::LATELY, true)] {
        let uses = KeyUse { primary_time: Some(NOW.minus(age)), ..KeyUse::default() };
        assert_eq!(retire(&[old.clone(), rotated.clone()], uses).is_ok(), may, "{age:?}");
    }
}

#[test]
fn spans_are_told_so_that_nobody_comes_too_early() {
    for (seconds, told) in [(0, "0 s"), (119, "119 s"), (121, "3 minutes"), (7_200, "2 hours"), (172_801, "3 days")] {
        assert_eq!(span(Duration::from_secs(seconds)), told);
    }
    assert_eq!(span(Duration::from_millis(1)), "1 s");
}

fn purpose() -> impl Strategy<Value = KeyPurpose> {
    prop::sample::select(&KeyPurpose::ALL[..])
}

proptest! {
    #[test]
    fn nothing_that_is_needed_is_ever_retired(
        purpose in purpose(),
        (data_keys, tokens) in (0_u64..3, 0_u64..3),
        made_h in prop::option::of(0_u64..400),
        ends_h in prop::option::of(-100_i64..100),
        silent_min in 0_u64..60,
        makes in any::<bool>(),
        force in any::<bool>(),
    ) {
        let accept_until = ends_h.filter(|_| purpose == KeyPurpose::Digest);
        let accept_until = accept_until.map(|hours| Timestamp::from_micros(NOW.micros() + hours * 3_600_000_000));
        let old = KeyInfo { accept_until, ..key("old", purpose, false) };
        let keys = [key("new", purpose, true), old.clone()];
        let primary_time = made_h.map(|hours| NOW.minus(Duration::from_hours(hours)));
        let uses = KeyUse { data_keys, tokens, primary_time, ..KeyUse::default() };
        let silent = Duration::from_mins(silent_min);
        let replica = replica("a", &["old", "new"], if makes { &["old"] } else { &["new"] }, silent);
        if may_retire(&old, &keys, &uses, std::slice::from_ref(&replica), NOW, force).is_ok() {
            let is_wrapping = purpose == KeyPurpose::Wrapping;
            prop_assert!(!(is_wrapping && data_keys > 0));
            prop_assert!(force && !is_wrapping || !(makes && silent < Replica::LATELY));
            prop_assert!(force && !is_wrapping || tokens == 0 || accept_until.is_some_and(|end| end <= NOW));
        }
        // And everything is once nothing needs it.
        let long_ago = KeyUse { primary_time: Some(NOW.minus(DAY * 30)), ..KeyUse::default() };
        prop_assert!(may_retire(&old, &keys, &long_ago, &[], NOW, false).is_ok());
    }
}
