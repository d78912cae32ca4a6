//! Versions of secrets on their way through the stages.

use std::time::Duration;

use rekey::{
    domain::{
        Material, Reason, Secret, Slot, Stage, Subject, SubjectKind, SubjectRef, Tenant, Timestamp,
        rotation::{Act, AtLimit, Beginning, Move, Step, Version, plan},
    },
    store::{Ending, SecretChange, Store, SubjectChange},
};

use crate::fixture::{Database, LATER, NOW, new_uid, record, reset, secret, subject, why};

const DAY: Duration = Duration::from_hours(24);

/// A device with a password that ends at no time.
async fn device(database: &Database, tenant: &Tenant) -> Subject {
    let device = subject(tenant, SubjectKind::Device, "d1");
    let password = sealed(&device, 1);
    database.store.insert_subject(device.clone(), vec![password], record(&tenant.uid)).await.unwrap();
    device
}

fn sealed(device: &Subject, version: i64) -> Secret {
    let material = Material::Sealed;
    Secret { material, expire_time: None, ..secret(device, Slot::Password, version) }
}

async fn live(store: &Store, device: &Subject) -> (Subject, Vec<Secret>) {
    let reference = SubjectRef::Id(device.id.clone());
    store.subject_with_secrets(&device.tenant_uid, SubjectKind::Device, &reference).await.unwrap().unwrap()
}

/// The change that an act comes to, on what is there.
fn change(found: &(Subject, Vec<Secret>), act: Act, now: Timestamp) -> SubjectChange {
    let (device, secrets) = found;
    let versions: Vec<Version> = secrets.iter().map(Version::from).collect();
    let steps = plan(&versions, act, now).unwrap().into_iter().map(|step| match step {
        Step::Move(moved) => SecretChange::Move(Slot::Password, moved),
        Step::Add(stage) => SecretChange::Add(Secret { stage, ..sealed(device, device.version + 1) }),
    });
    SubjectChange { secrets: steps.collect(), time: now, ..reset(device, device.version) }
}

async fn act(database: &Database, device: &Subject, act: Act, now: Timestamp) {
    let change = change(&live(&database.store, device).await, act, now);
    database.store.change_subject(change, record(&device.tenant_uid)).await.unwrap();
}

async fn stages(database: &Database, device: &Subject) -> Vec<(i64, Stage)> {
    let (_, secrets) = live(&database.store, device).await;
    secrets.into_iter().map(|secret| (secret.version, secret.stage)).collect()
}

fn overlap(overlap: Duration) -> Act {
    Act::Reset { beginning: Beginning::Current { overlap }, at_limit: AtLimit::Refuse }
}

pub(crate) async fn versions_move_from_stage_to_stage_and_are_wiped_at_the_end(database: Database) {
    use Stage::{Current, Pending, Previous};
    let tenant = database.tenant("acme").await;
    let device = device(&database, &tenant).await;
    database.raw.run("UPDATE secret SET notice_time = 1, last_used_time = 7, use_count = 3").await;

    act(&database, &device, overlap(DAY), LATER).await;
    assert_eq!(stages(&database, &device).await, [(2, Current), (1, Previous)]);
    let (found, secrets) = live(&database.store, &device).await;
    let old = &secrets[1];
    assert_eq!((found.version, found.update_time), (2, LATER));
    assert_eq!((old.stage_time, old.expire_time, old.own_expire_time), (LATER, Some(LATER.plus(DAY)), None));
    assert_eq!((old.create_time, old.last_used_time, old.use_count), (NOW, Some(Timestamp::from_micros(7)), 3));
    assert_eq!(old.payload, sealed(&device, 1).payload, "it is still accepted");
    assert_eq!(database.raw.number("SELECT count(*) FROM secret WHERE notice_time IS NOT NULL").await, 0);

    act(&database, &device, Act::Swap, LATER).await;
    assert_eq!(stages(&database, &device).await, [(2, Previous), (1, Current)]);
    act(&database, &device, Act::RollBack, LATER).await;
    assert_eq!(stages(&database, &device).await, [(2, Current)]);
    let pending = Act::Reset { beginning: Beginning::Pending, at_limit: AtLimit::Refuse };
    act(&database, &device, pending, LATER).await;
    assert_eq!(stages(&database, &device).await, [(5, Pending), (2, Current)]);
    act(&database, &device, Act::Promote { overlap: DAY }, LATER).await;
    assert_eq!(stages(&database, &device).await, [(5, Current), (2, Previous)]);
    act(&database, &device, Act::Revoke { version: 2, allow_last: false }, LATER).await;
    assert_eq!(stages(&database, &device).await, [(5, Current)]);

    // What is void is kept as a row, and nothing of it.
    let wiped = "SELECT count(*) FROM secret WHERE stage = 'revoked' AND length(payload) = 0";
    assert_eq!(database.raw.number(wiped).await, 2);
    assert_eq!(database.raw.number("SELECT count(*) FROM secret WHERE length(payload) = 0").await, 2);
}

pub(crate) async fn a_step_from_where_a_version_is_not_undoes_the_whole_change(database: Database) {
    let tenant = database.tenant("acme").await;
    let device = device(&database, &tenant).await;
    let (to, expire_time, own_expire_time) = (Stage::Current, None, None);
    for (version, from, slot) in [
        (1, Stage::Previous, Slot::Password),
        (1, Stage::Pending, Slot::Password),
        (2, Stage::Current, Slot::Password),
        (1, Stage::Current, Slot::Settings),
    ] {
        let astray = Move { version, from, to, expire_time, own_expire_time };
        // After another, so that there is something to undo.
        let added = Secret { stage: Stage::Pending, ..sealed(&device, 9) };
        let secrets = vec![SecretChange::Add(added), SecretChange::Move(slot, astray)];
        let (change, note) = (SubjectChange { secrets, ..reset(&device, 1) }, record(&tenant.uid));
        let error = database.store.change_subject(change, note.clone()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::ConcurrentChange, "{from:?}");
        assert_eq!(database.raw.records(&note.uid).await, 0);
        assert_eq!(stages(&database, &device).await, [(1, Stage::Current)]);
    }
}

pub(crate) async fn of_fifty_rotations_at_once_one_is_done(database: Database) {
    let tenant = database.tenant("acme").await;
    let device = device(&database, &tenant).await;
    let other = Store::connect(&database.options).await.unwrap();
    let found = live(&database.store, &device).await;
    let changes: Vec<_> = (0..50)
        .map(|number| {
            let store = if number % 2 == 0 { database.store.clone() } else { other.clone() };
            let (change, note) = (change(&found, overlap(DAY), LATER), record(&tenant.uid));
            tokio::spawn(async move { store.change_subject(change, note).await })
        })
        .collect();
    let mut winners = 0;
    for change in changes {
        match change.await.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert_eq!(error.reason(), Reason::ConcurrentChange, "{error:?}"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(stages(&database, &device).await, [(2, Stage::Current), (1, Stage::Previous)]);
}

pub(crate) async fn a_version_has_a_look_up_key_of_its_own_or_none(database: Database) {
    let tenant = database.tenant("acme").await;
    let caller = subject(&tenant, SubjectKind::Caller, "c1");
    let slot = Slot::ApiToken("t1".to_owned());
    let first = secret(&caller, slot.clone(), 1);
    database.store.insert_subject(caller.clone(), vec![first], record(&tenant.uid)).await.unwrap();
    let previous = Move {
        version: 1,
        from: Stage::Current,
        to: Stage::Previous,
        expire_time: Some(LATER),
        own_expire_time: Some(LATER),
    };
    let next = Secret { lookup_key: Some("token/t2".to_owned()), ..secret(&caller, slot.clone(), 2) };
    let secrets = vec![SecretChange::Move(slot.clone(), previous), SecretChange::Add(next)];
    let change = SubjectChange { secrets, ..reset(&caller, 1) };
    database.store.change_subject(change, record(&tenant.uid)).await.unwrap();
    for (key, version, stage) in [("token/t1", 1, Stage::Previous), ("token/t2", 2, Stage::Current)] {
        let found = database.store.credential(key).await.unwrap().unwrap().versions;
        let [found] = &found[..] else { panic!("{key}") };
        assert_eq!((&found.slot, found.version, found.stage), (&slot, version, stage));
    }

    let stolen = Secret { lookup_key: Some("token/t2".to_owned()), ..secret(&caller, slot.clone(), 3) };
    let change = SubjectChange { secrets: vec![SecretChange::Add(stolen)], ..reset(&caller, 2) };
    let error = database.store.change_subject(change, record(&tenant.uid)).await.unwrap_err();
    assert_eq!(why(&error), (Reason::AlreadyExists, Some("lookup_key")));
    for version in [3, 4] {
        let bare = Secret { lookup_key: None, stage: Stage::Pending, ..secret(&caller, slot.clone(), version) };
        let change = SubjectChange { secrets: vec![SecretChange::Add(bare)], ..reset(&caller, version - 1) };
        database.store.change_subject(change, record(&tenant.uid)).await.unwrap();
    }
}

pub(crate) async fn what_an_older_program_wrote_rotates(database: Database) {
    let tenant = database.tenant("acme").await;
    let device = subject(&tenant, SubjectKind::Device, "d1");
    database.store.insert_subject(device.clone(), Vec::new(), record(&tenant.uid)).await.unwrap();
    let columns = "subject_uid, slot, version, stage, material, payload, key_id, read_only, must_change, create_time, \
                   stage_time, use_count";
    let payload = if database.is_sqlite() { "x'01'" } else { "'\\x01'" };
    database
        .raw
        .run(&format!(
            "INSERT INTO secret ({columns}) VALUES ('{}', 'password', 1, 'current', 'sealed', {payload}, '{}', FALSE, FALSE, 5, 5, 0)",
            device.uid,
            new_uid()
        ))
        .await;
    act(&database, &device, overlap(DAY), LATER).await;
    assert_eq!(stages(&database, &device).await, [(2, Stage::Current), (1, Stage::Previous)]);

    // And it revokes what it finds in the slot, whatever stage that is in.
    database.store.change_subject(reset(&device, 2), record(&tenant.uid)).await.unwrap();
    assert_eq!(stages(&database, &device).await, [(3, Stage::Current)]);
}

/// A subject with one secret that is in a stage since [`NOW`] and ends so many days later.
async fn with_end(
    database: &Database,
    tenant: &Tenant,
    kind: SubjectKind,
    id: &str,
    stage: Stage,
    days: u32,
) -> Subject {
    let owner = subject(tenant, kind, id);
    let material = if kind == SubjectKind::User { Material::Verifier } else { Material::Sealed };
    let expire_time = Some(NOW.plus(DAY * days));
    let secret = Secret { stage, material, expire_time, ..secret(&owner, Slot::Password, 1) };
    database.store.insert_subject(owner.clone(), vec![secret], record(&tenant.uid)).await.unwrap();
    owner
}

fn ids(endings: &[Ending]) -> Vec<&str> {
    endings.iter().map(|ending| ending.id.as_str()).collect()
}

fn recorded(endings: Vec<Ending>) -> Vec<(Ending, rekey::audit::Record)> {
    let recorded = |ending: Ending| {
        let note = record(&ending.tenant_uid);
        (ending, note)
    };
    endings.into_iter().map(recorded).collect()
}

pub(crate) async fn ends_are_found_when_they_are_near_and_when_they_are_over(database: Database) {
    use SubjectKind::{Device, Integration, User};
    let tenant = database.tenant("acme").await;
    for (kind, id, stage, days) in [
        (Device, "d-long", Stage::Current, 100),
        (Device, "d-short", Stage::Current, 4),
        (Integration, "i-previous", Stage::Previous, 8),
        (Device, "d-pending", Stage::Pending, 8),
        (Device, "d-void", Stage::Revoked, 8),
        (User, "u-temporary", Stage::Current, 4),
    ] {
        with_end(&database, &tenant, kind, id, stage, days).await;
    }
    let week = DAY * 7;
    let hour = Duration::from_hours(1);
    for (now, expected) in [
        (NOW, &[][..]),
        (NOW.plus(DAY * 2).minus(hour), &[][..]),
        // Halfway through what is shorter than two weeks, and before its end.
        (NOW.plus(DAY * 2), &["d-short"][..]),
        (NOW.plus(DAY * 4).minus(hour), &["d-short"][..]),
        (NOW.plus(DAY * 4), &["i-previous"][..]),
        (NOW.plus(DAY * 8), &[][..]),
        (NOW.plus(DAY * 93).minus(hour), &[][..]),
        (NOW.plus(DAY * 93), &["d-long"][..]),
        (NOW.plus(DAY * 100), &[][..]),
    ] {
        assert_eq!(ids(&database.store.ending(now, week, 9).await.unwrap()), expected, "{now:?}");
    }
    assert_eq!(database.store.overdue(NOW.plus(DAY * 8).minus(hour), 9).await.unwrap(), []);
    let mut over = database.store.overdue(NOW.plus(DAY * 8), 9).await.unwrap();
    over.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(ids(&over), ["d-pending", "i-previous"]);
    let found = &over[1];
    assert_eq!(
        (found.kind, found.stage, found.version, found.slot.clone()),
        (Integration, Stage::Previous, 1, Slot::Password)
    );
    assert_eq!((found.expire_time, &found.tenant_uid), (NOW.plus(DAY * 8), &tenant.uid));
    assert_eq!(database.store.overdue(NOW.plus(DAY * 900), 1).await.unwrap().len(), 1, "a batch is bounded");

    // Told of once; after that they are not found, and swept ones neither.
    let near = database.store.ending(NOW.plus(DAY * 2), week, 9).await.unwrap();
    assert_eq!(database.store.tell(recorded(near), LATER).await.unwrap(), 1);
    assert_eq!(database.store.ending(NOW.plus(DAY * 2), week, 9).await.unwrap(), []);
    assert_eq!(database.store.sweep(recorded(over), LATER).await.unwrap(), 2);
    assert_eq!(database.store.overdue(NOW.plus(DAY * 900), 9).await.unwrap(), []);
    let wiped = "SELECT count(*) FROM secret WHERE stage = 'revoked' AND length(payload) = 0";
    assert_eq!(database.raw.number(wiped).await, 2);
}

pub(crate) async fn of_many_who_see_an_end_one_deals_with_it(database: Database) {
    let tenant = database.tenant("acme").await;
    let mut owners = Vec::new();
    for number in 0..20 {
        let id = format!("d{number}");
        owners.push(with_end(&database, &tenant, SubjectKind::Device, &id, Stage::Previous, 2).await);
    }
    let other = Store::connect(&database.options).await.unwrap();
    let (near, over) = (NOW.plus(DAY), NOW.plus(DAY * 2));
    let before = database.raw.number("SELECT count(*) FROM audit").await;
    for sweeps in [false, true] {
        let all: Vec<_> = (0..8)
            .map(|number| {
                let store = if number % 2 == 0 { database.store.clone() } else { other.clone() };
                tokio::spawn(async move {
                    if sweeps {
                        let found = store.overdue(over, 100).await.unwrap();
                        store.sweep(recorded(found), LATER).await.unwrap()
                    } else {
                        let found = store.ending(near, DAY, 100).await.unwrap();
                        store.tell(recorded(found), LATER).await.unwrap()
                    }
                })
            })
            .collect();
        let mut done = 0;
        for one in all {
            done += one.await.unwrap();
        }
        assert_eq!(done, owners.len());
    }
    assert_eq!(database.raw.number("SELECT count(*) FROM audit").await, before + 40, "a record for each, and no other");
    let (found, secrets) = live(&database.store, &owners[0]).await;
    assert_eq!((found.version, secrets.len()), (1, 0), "its etag stays: nobody decided anything");
}

pub(crate) async fn what_moved_on_meanwhile_is_left_alone(database: Database) {
    let tenant = database.tenant("acme").await;
    let device = device(&database, &tenant).await;
    act(&database, &device, overlap(DAY), NOW).await;
    let near = database.store.ending(NOW.plus(DAY / 2), DAY, 9).await.unwrap();
    let over = database.store.overdue(NOW.plus(DAY), 9).await.unwrap();
    assert_eq!((near.len(), over.len()), (1, 1));
    act(&database, &device, Act::RollBack, NOW).await;
    let before = database.raw.number("SELECT count(*) FROM audit").await;
    assert_eq!(database.store.tell(recorded(near), LATER).await.unwrap(), 0);
    assert_eq!(database.store.sweep(recorded(over), LATER).await.unwrap(), 0);
    assert_eq!(database.raw.number("SELECT count(*) FROM audit").await, before);
    assert_eq!(stages(&database, &device).await, [(1, Stage::Current)]);

    // Told of in one stage, it is told of in the next.
    act(&database, &device, overlap(DAY), NOW).await;
    let near = database.store.ending(NOW.plus(DAY / 2), DAY, 9).await.unwrap();
    assert_eq!(database.store.tell(recorded(near), LATER).await.unwrap(), 1);
    act(&database, &device, Act::Swap, NOW).await;
    assert_eq!(database.store.ending(NOW.plus(DAY / 2), DAY, 9).await.unwrap().len(), 1);
}

pub(crate) async fn ends_are_found_by_their_indexes(database: Database) {
    let tenant = database.tenant("acme").await;
    let device = subject(&tenant, SubjectKind::Device, "d1");
    database.store.insert_subject(device.clone(), Vec::new(), record(&tenant.uid)).await.unwrap();
    // As many rows as make a scan dear: most of them void, some in force, and their ends far apart.
    let columns = "subject_uid, slot, version, stage, material, payload, key_id, read_only, must_change, create_time, \
                   stage_time, use_count, expire_time";
    let payload = if database.is_sqlite() { "x'01'" } else { "'\\x01'" };
    let stage = "CASE i % 10 WHEN 0 THEN 'previous' WHEN 1 THEN 'pending' WHEN 2 THEN 'current' ELSE 'revoked' END";
    let (uid, end, hour) = (&device.uid, NOW.micros(), 3_600_000_000_i64);
    database
        .raw
        .run(&format!(
            "INSERT INTO secret ({columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) \
             SELECT '{uid}', 'password', i, {stage}, 'sealed', {payload}, 'k', FALSE, FALSE, 5, 5, 0, {end} + i * {hour} FROM n"
        ))
        .await;
    // And as many subjects as make it dear to read them all.
    database
        .raw
        .run(
            "INSERT INTO subject (uid, tenant_uid, kind, external_id, state, attributes, version, create_time, update_time) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
             SELECT 'other-' || i, tenant_uid, kind, 'other-' || i, state, attributes, version, create_time, update_time \
             FROM n CROSS JOIN (SELECT * FROM subject LIMIT 1) AS one",
        )
        .await;
    database.raw.run("ANALYZE").await;
    let plans = database.store.explain_endings(NOW, DAY).await.unwrap();
    for (plan, index) in plans.iter().zip(["secret_overdue_idx", "secret_ending_idx"]) {
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("Seq Scan on secret"), "{plan}");
    }
}
