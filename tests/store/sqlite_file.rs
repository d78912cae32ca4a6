//! The SQLite file itself.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rekey::{
    domain::{Reason, Slot},
    store::{SecretChange, Store, StoreOptions, SubjectChange},
};

use crate::fixture::{Database, Raw, all_tenants, cause, new_uid, record, reset, secret};

#[tokio::test(flavor = "multi_thread")]
async fn the_file_and_its_journals_are_the_owners_alone() {
    let database = Database::sqlite().await;
    database.tenant("acme").await;
    for name in ["rekey.db", "rekey.db-wal", "rekey.db-shm"] {
        let mode = fs::metadata(database.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_is_durable_strict_and_thorough() {
    let database = Database::sqlite().await;
    // Seen from inside: a trigger notes what the store's own connection is set to.
    database
        .raw
        .run(
            "CREATE TABLE seen (name TEXT, value TEXT);
             CREATE TRIGGER look AFTER INSERT ON audit BEGIN
                 INSERT INTO seen SELECT 'journal_mode', journal_mode FROM pragma_journal_mode;
                 INSERT INTO seen SELECT 'synchronous', synchronous FROM pragma_synchronous;
                 INSERT INTO seen SELECT 'foreign_keys', foreign_keys FROM pragma_foreign_keys;
                 INSERT INTO seen SELECT 'secure_delete', secure_delete FROM pragma_secure_delete;
             END;",
        )
        .await;
    database.store.append_records(vec![record(&new_uid())]).await.unwrap();
    for (name, expected) in
        [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1"), ("secure_delete", "1")]
    {
        let value = database.raw.text(&format!("SELECT value FROM seen WHERE name = '{name}'")).await;
        assert_eq!(value.as_deref(), Some(expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_compiled_as_configured() {
    let database = Database::sqlite().await;
    for (option, expected) in [("ENABLE_QPSG", 1), ("DEFAULT_MEMSTATUS=0", 1), ("ENABLE_MEMORY_MANAGEMENT", 0)] {
        let is_used = database.raw.number(&format!("SELECT sqlite_compileoption_used('{option}')")).await;
        assert_eq!(is_used, expected, "{option}: see .cargo/config.toml");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_or_revoked_payload_is_not_in_the_file() {
    let database = Database::sqlite().await;
    let tenant = database.tenant("acme").await;
    let mut users = Vec::new();
    for number in 0..40 {
        users.push(database.user(&tenant, &format!("u{number}")).await);
    }
    checkpoint(&database.raw).await;
    let file = fs::read(database.path("rekey.db")).unwrap();
    assert!(users.iter().all(|(_, password)| contains(&file, &password.payload)));

    for (number, (user, _)) in users.iter().enumerate() {
        let mut change = reset(user, 1);
        if number % 2 == 0 {
            change = SubjectChange { secrets: vec![SecretChange::Revoke(Slot::Password)], ..change };
        }
        database.store.change_subject(change, record(&tenant.uid)).await.unwrap();
    }
    checkpoint(&database.raw).await;
    for name in ["rekey.db", "rekey.db-wal"] {
        let file = fs::read(database.path(name)).unwrap();
        for (user, password) in &users {
            assert!(!contains(&file, &password.payload), "{name}: {}", user.id);
        }
    }
    let file = fs::read(database.path("rekey.db")).unwrap();
    assert!(contains(&file, &secret(&users[1].0, Slot::Password, 2).payload), "the new one is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_in_another_process_is_waited_for() {
    let database = Database::sqlite().await;
    database.raw.run("BEGIN IMMEDIATE").await;
    let store = database.store.clone();
    let waiting = tokio::spawn(async move { store.append_records(vec![record(&new_uid())]).await });
    tokio::task::yield_now().await;
    // Reading goes on meanwhile.
    assert!(database.store.list_tenants(&all_tenants()).await.unwrap().is_empty());
    database.raw.run("COMMIT").await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_missing_directory_is_said_to_the_log_alone() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions::sqlite(&directory.path().join("missing").join("rekey.db"), 1);
    let error = Store::connect(&options).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable);
    assert!(cause(&error).contains("missing") && !error.message().contains("missing"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    let text = "not a database ".repeat(1_000);
    fs::write(&path, &text).unwrap();
    let error = Store::connect(&StoreOptions::sqlite(&path, 1)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

async fn checkpoint(raw: &Raw) {
    assert_eq!(raw.number("PRAGMA wal_checkpoint(TRUNCATE)").await, 0, "nobody was in the way");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
