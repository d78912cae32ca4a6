//! Uses of secrets: added up, whoever writes them.

use rekey::{
    domain::{Secret, Slot, Subject, SubjectKind, SubjectRef, Timestamp},
    store::{SecretUse, Store},
};

use crate::fixture::{Database, LATER, NOW, new_uid, record, reset};

fn use_of(secret: &Secret, last_time: Timestamp, count: u64) -> SecretUse {
    let Secret { subject_uid, slot, version, .. } = secret.clone();
    SecretUse { subject_uid, slot, version, last_time, count }
}

/// What is written of a version: the last time, 0 for never, and how often.
async fn written(database: &Database, secret: &Secret) -> (i64, i64) {
    let of = |column: &str| {
        let Secret { subject_uid, version, .. } = secret;
        format!("SELECT {column} FROM secret WHERE subject_uid = '{subject_uid}' AND version = {version}")
    };
    let time = database.raw.number(&of("coalesce(last_used_time, 0)")).await;
    (time, database.raw.number(&of("use_count")).await)
}

async fn subject(store: &Store, user: &Subject) -> Subject {
    let found = store.subject(&user.tenant_uid, SubjectKind::User, &SubjectRef::Id(user.id.clone())).await;
    found.unwrap().unwrap()
}

pub(crate) async fn uses_add_up_whoever_writes_them_and_change_nothing_else(database: Database) {
    let tenant = database.tenant("acme").await;
    let other = Store::connect(&database.options).await.unwrap();
    let ((ada, password), (bea, of_bea)) = (database.user(&tenant, "ada").await, database.user(&tenant, "bea").await);
    assert_eq!(written(&database, &password).await, (0, 0));
    let changes = database.store.changes();

    let both = [use_of(&password, LATER, 3), use_of(&of_bea, NOW, 1)];
    database.store.add_uses(&both).await.unwrap();
    // An earlier time does not take the later one's place.
    other.add_uses(&[use_of(&password, NOW, 40)]).await.unwrap();
    database.store.add_uses(&[]).await.unwrap();
    assert_eq!(written(&database, &password).await, (LATER.micros(), 43));
    assert_eq!(written(&database, &of_bea).await, (NOW.micros(), 1));

    // Of a version that was replaced it still counts; of what is gone it does not.
    database.store.change_subject(reset(&ada, 1), record(&tenant.uid)).await.unwrap();
    let mut unknown = use_of(&password, LATER, 1);
    unknown.subject_uid = new_uid();
    let mut of_settings = use_of(&password, LATER, 1);
    of_settings.slot = Slot::Settings;
    other.add_uses(&[unknown, of_settings, use_of(&password, LATER, 1)]).await.unwrap();
    assert_eq!(written(&database, &password).await, (LATER.micros(), 44));
    let new = Secret { version: 2, ..password };
    assert_eq!(written(&database, &new).await, (0, 0));

    let kept = subject(&other, &bea).await;
    assert_eq!((kept.version, kept.update_time, kept.etag()), (bea.version, bea.update_time, bea.etag()));
    assert_eq!((database.store.changes() - changes, other.changes()), (1, 0), "only the reset is a change");
}

pub(crate) async fn of_many_writers_at_once_each_counts(database: Database) {
    let tenant = database.tenant("acme").await;
    let other = Store::connect(&database.options).await.unwrap();
    let mut passwords = Vec::new();
    for number in 0..20 {
        passwords.push(database.user(&tenant, &format!("u{number}")).await.1);
    }
    let writers = (0..16_usize).map(|number| {
        let store = if number % 2 == 0 { database.store.clone() } else { other.clone() };
        let mut uses: Vec<_> = passwords.iter().map(|password| use_of(password, NOW, 1)).collect();
        // In no order that they have agreed on.
        uses.rotate_left(number);
        tokio::spawn(async move { store.add_uses(&uses).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    for password in &passwords {
        assert_eq!(written(&database, password).await, (NOW.micros(), 16));
    }
}

pub(crate) async fn a_batch_of_uses_finds_each_secret_by_its_key(database: Database) {
    // As many rows as make a scan dear.
    let tenant = database.tenant("acme").await;
    let (ada, _) = database.user(&tenant, "ada").await;
    let columns = "subject_uid, slot, version, stage, material, payload, key_id, read_only, must_change, create_time";
    database
        .raw
        .run(&format!(
            "INSERT INTO secret ({columns}, stage_time, use_count)
             WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             SELECT '{}', 'password', i, 'revoked', 'verifier', '', 'k1', false, false, i, i, 0 FROM n",
            ada.uid
        ))
        .await;
    database.raw.run("ANALYZE").await;
    let plan = database.store.explain_uses().await.unwrap();
    let key = "sqlite_autoindex_secret_1 (subject_uid=? AND slot=? AND version=?)";
    let of_secret = |line: &str| line.contains("SCAN secret") || line.contains("Seq Scan on secret");
    assert!((plan.contains(key) || plan.contains("secret_pkey")) && !plan.lines().any(of_secret), "{plan}");
}
