//! Tallies of attempts, and the census of all passwords.

use std::time::Duration;

use rekey::{
    domain::{Lockout, Lockouts, Slot, SubjectKind, Timestamp, Uid, lockout::Outcome},
    store::{AttemptAnswer, AttemptKey, AttemptStep, Store},
};

use crate::fixture::{Database, new_uid, record, reset, secret, subject};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const MINUTE: Duration = Duration::from_mins(1);
/// Three in a row stop strangers; there is no other wait that matters.
const RULES: Lockouts = Lockouts {
    source: Lockout { free: 100, longest: MINUTE, stop: None },
    strangers: Lockout { free: 100, longest: MINUTE, stop: Some(3) },
};

fn key(subject: &str, source: u32) -> AttemptKey {
    AttemptKey { subject: subject.to_owned(), source: format!("{source:08x}") }
}

/// A check of a source that was let in ends so.
async fn settle(store: &Store, key: &AttemptKey, stranger: bool, outcome: Outcome) -> AttemptAnswer {
    let step = AttemptStep::Settle { key: key.clone(), reserved: 1, stranger, outcome, lockouts: RULES };
    store.attempt(vec![step], NOW).await.unwrap()[0]
}

async fn reserve(store: &Store, key: &AttemptKey) -> AttemptAnswer {
    store.attempt(vec![AttemptStep::Reserve { key: key.clone(), lockouts: RULES }], NOW).await.unwrap()[0]
}

/// Three strangers fail, after one source was right.
async fn stop(store: &Store, subject: &Uid) {
    let home = key(subject.as_str(), 0);
    assert_eq!(reserve(store, &home).await, AttemptAnswer::Reserved { seen: 0, stranger: true });
    assert_eq!(settle(store, &home, true, Outcome::Right { seen: 0 }).await, AttemptAnswer::Settled);
    for source in 1..=3 {
        let from = key(subject.as_str(), source);
        assert_eq!(reserve(store, &from).await, AttemptAnswer::Reserved { seen: 0, stranger: true });
        let expected = if source == 3 { AttemptAnswer::Stops } else { AttemptAnswer::Settled };
        assert_eq!(settle(store, &from, true, Outcome::Wrong).await, expected);
    }
    assert_eq!(reserve(store, &key(subject.as_str(), 4)).await, AttemptAnswer::Stopped);
    assert_eq!(reserve(store, &home).await, AttemptAnswer::Reserved { seen: 0, stranger: false });
    assert_eq!(settle(store, &home, false, Outcome::Void).await, AttemptAnswer::Settled);
}

pub(crate) async fn a_stop_is_seen_by_every_store_and_ends_with_its_record_or_a_new_password(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, _) = database.user(&tenant, "u1").await;
    let other = Store::connect(&database.options).await.unwrap();
    stop(&database.store, &user.uid).await;
    assert_eq!(reserve(&other, &key(user.uid.as_str(), 5)).await, AttemptAnswer::Stopped);
    let later = NOW.plus(Duration::from_hours(24 * 3_650));
    other.forget_attempts(later).await.unwrap();
    assert_eq!(reserve(&other, &key(user.uid.as_str(), 5)).await, AttemptAnswer::Stopped);

    // Without its record it is not ended.
    let note = record(&tenant.uid);
    other.append_records(vec![note.clone()]).await.unwrap();
    other.forgive(user.uid.clone(), note).await.unwrap_err();
    assert_eq!(reserve(&other, &key(user.uid.as_str(), 5)).await, AttemptAnswer::Stopped);
    let note = record(&tenant.uid);
    other.forgive(user.uid.clone(), note.clone()).await.unwrap();
    assert_eq!(database.raw.records(&note.uid).await, 1);
    let tallies = database.store.tallies(&user.uid).await.unwrap();
    assert!(tallies.iter().all(|(tally, _)| (tally.failures, tally.streak, tally.stop_time) == (0, 0, None)));
    assert_eq!(
        reserve(&database.store, &key(user.uid.as_str(), 5)).await,
        AttemptAnswer::Reserved { seen: 0, stranger: true }
    );

    let (user, _) = database.user(&tenant, "u2").await;
    stop(&other, &user.uid).await;
    database.store.change_subject(reset(&user, 1), record(&tenant.uid)).await.unwrap();
    let known = key(user.uid.as_str(), 0);
    assert_eq!(reserve(&other, &known).await, AttemptAnswer::Reserved { seen: 0, stranger: false });
    let new = key(user.uid.as_str(), 5);
    assert_eq!(reserve(&other, &new).await, AttemptAnswer::Reserved { seen: 0, stranger: true });
}

pub(crate) async fn of_many_at_once_no_more_are_let_in_than_are_left_before_a_stop(database: Database) {
    let subject = new_uid();
    let other = Store::connect(&database.options).await.unwrap();
    let attempts: Vec<_> = (0..40)
        .map(|source| {
            let store = if source % 2 == 0 { database.store.clone() } else { other.clone() };
            let key = key(subject.as_str(), source);
            tokio::spawn(async move { reserve(&store, &key).await })
        })
        .collect();
    let (mut let_in, mut busy) = (0, 0);
    for attempt in attempts {
        let answer = attempt.await.unwrap();
        let_in += u32::from(matches!(answer, AttemptAnswer::Reserved { .. }));
        busy += u32::from(answer == AttemptAnswer::Busy);
    }
    assert_eq!((let_in, busy), (3, 37));
}

pub(crate) async fn what_is_reserved_is_kept_as_long_as_others_find_room(database: Database) {
    let lockouts = Lockouts { source: Lockout { free: 4, ..RULES.source }, ..RULES };
    let key = key(new_uid().as_str(), 0);
    let other = Store::connect(&database.options).await.unwrap();
    let take = async |store: &Store, steps: Vec<AttemptStep>, now| store.attempt(steps, now).await.unwrap();
    let reserve = || AttemptStep::Reserve { key: key.clone(), lockouts };
    let keep = |reserved| AttemptStep::Keep { key: key.clone(), reserved, lockouts };
    let settle = |reserved| {
        let outcome = Outcome::Right { seen: 0 };
        AttemptStep::Settle { key: key.clone(), reserved, stranger: false, outcome, lockouts }
    };
    for step in [reserve(), settle(1)] {
        take(&database.store, vec![step], NOW).await;
    }
    take(&database.store, vec![reserve(), reserve()], NOW).await;
    let kept = AttemptAnswer::Reserved { seen: 0, stranger: false };
    // Far longer than what is reserved lasts by itself.
    for minute in 1..5 {
        let now = NOW.plus(MINUTE * minute);
        assert_eq!(take(&database.store, vec![keep(2)], now).await, [kept]);
        assert_eq!(take(&other, vec![reserve()], now).await, [kept]);
        assert_eq!(take(&database.store, vec![keep(2)], now).await, [AttemptAnswer::Busy], "one is left to others");
        assert_eq!(take(&other, vec![settle(1)], now).await, [AttemptAnswer::Settled]);
    }
    assert_eq!(take(&database.store, vec![keep(3)], NOW.plus(MINUTE * 4)).await, [AttemptAnswer::Busy], "not so many");
    assert_eq!(take(&database.store, vec![keep(2)], NOW.plus(MINUTE * 6)).await, [AttemptAnswer::Busy], "too late");
}

pub(crate) async fn the_census_of_all_tenants_reads_its_index_alone(database: Database) {
    for (tenant, scheme, users) in
        [("a", Some("argon2id m=19456 t=2 p=1"), 3), ("b", Some("md5-crypt"), 1), ("c", None, 2)]
    {
        let tenant = database.tenant(tenant).await;
        for number in 0..users {
            let user = subject(&tenant, SubjectKind::User, &format!("u{number}"));
            let mut password = secret(&user, Slot::Password, 1);
            password.scheme = scheme.map(str::to_owned);
            database.store.insert_subject(user.clone(), vec![password], record(&tenant.uid)).await.unwrap();
            // The one of before does not count.
            let mut change = reset(&user, 1);
            let [rekey::store::SecretChange::Replace(new)] = &mut change.secrets[..] else { panic!("a new one") };
            new.scheme = scheme.map(str::to_owned);
            database.store.change_subject(change, record(&tenant.uid)).await.unwrap();
        }
    }
    let census = database.store.whole_password_census().await.unwrap();
    let expected = [(Some("argon2id m=19456 t=2 p=1"), 3), (None, 2), (Some("md5-crypt"), 1)];
    assert_eq!(census, expected.map(|(scheme, count)| (scheme.map(str::to_owned), count)));
    if database.is_sqlite() {
        let plan = "EXPLAIN QUERY PLAN SELECT scheme, count(*) AS number FROM secret
                    WHERE material = 'verifier' AND stage = 'current' GROUP BY scheme";
        let plan = database.raw.column(plan, "detail").await;
        assert!(plan.contains("USING COVERING INDEX secret_census_idx"), "{plan}");
    }
}

/// A subject that was deleted has no tallies any more; one who was known to it may still leave one, while another asks.
pub(crate) async fn the_last_words_of_who_was_known_hold_nobody_up(database: Database) {
    let other = Store::connect(&database.options).await.unwrap();
    for _ in 0..60 {
        let key = key(new_uid().as_str(), 0);
        let settled = settle(&database.store, &key, false, Outcome::Right { seen: 0 });
        let (settled, reserved) = tokio::join!(settled, reserve(&other, &key));
        assert_eq!(settled, AttemptAnswer::Settled);
        let AttemptAnswer::Reserved { seen: 0, stranger } = reserved else { panic!("{reserved:?}") };
        let taken = format!(
            "SELECT count(*) FROM failure WHERE source_class = '*' AND reserved = 1 AND subject_key = '{}'",
            key.subject
        );
        let taken = database.raw.number(&taken).await;
        assert_eq!(taken, i64::from(stranger), "nothing is taken of the strangers' for who is known");
    }
}
