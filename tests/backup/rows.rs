//! What is in a backup: everything, whichever engine it came from and goes to.

use std::collections::BTreeMap;

use rekey::{
    app::{Environment, Service, ServiceOptions},
    backup::BackupError,
    store::{Cell, Store, StoreOptions, Table},
};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use crate::{
    back_up,
    common::rekey::{Clients, connect, options},
    device_verifies, elsewhere, empty, on_each_engine, populate, restore, user_verifies,
};

/// Every table and column that the database itself says it has, but the migrations' own.
async fn columns(options: &StoreOptions) -> BTreeMap<String, Vec<String>> {
    let database = crate::common::sql::connect(&options.url).await;
    let query = if database.get_database_backend() == DbBackend::Sqlite {
        "SELECT m.name AS t, p.name AS c FROM sqlite_schema m, pragma_table_xinfo(m.name) p
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    } else {
        "SELECT table_name::text AS t, column_name::text AS c FROM information_schema.columns
         WHERE table_schema = current_schema()"
    };
    let statement = Statement::from_string(database.get_database_backend(), query);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in database.query_all_raw(statement).await.unwrap() {
        found.entry(row.try_get("", "t").unwrap()).or_default().push(row.try_get("", "c").unwrap());
    }
    found.remove("seaql_migrations").unwrap();
    for columns in found.values_mut() {
        columns.sort();
    }
    found
}

/// All rows, in an order that both engines have.
async fn contents(options: &StoreOptions) -> BTreeMap<String, Vec<Vec<Value>>> {
    let store = Store::connect(options).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let mut all = BTreeMap::new();
    for table in snapshot.tables() {
        let mut rows = Vec::new();
        let take = |page: Vec<Vec<Cell>>| {
            rows.extend(page.into_iter().map(|row| by_name(table, row)));
            Ok::<_, rekey::domain::Error>(())
        };
        snapshot.rows(table, take).await.unwrap();
        rows.sort();
        all.insert(table.name.clone(), rows);
    }
    snapshot.end().await;
    store.close().await;
    all
}

type Value = (String, Option<i64>, Option<bool>, Option<String>, Option<Vec<u8>>);

fn by_name(table: &Table, row: Vec<Cell>) -> Vec<Value> {
    let mut values: Vec<Value> = table
        .columns
        .iter()
        .zip(row)
        .map(|(column, cell)| {
            let name = column.name.clone();
            match cell {
                Cell::Integer(value) => (name, value, None, None, None),
                Cell::Flag(value) => (name, None, value, None, None),
                Cell::Text(value) => (name, None, None, value, None),
                Cell::Bytes(value) => (name, None, None, None, value),
            }
        })
        .collect();
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_of_the_database_is_in_it() {
    for rekey in on_each_engine().await {
        let store = Store::connect(&rekey.options.store).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        let held: BTreeMap<String, Vec<String>> = snapshot
            .tables()
            .iter()
            .map(|table| {
                let mut columns: Vec<_> = table.columns.iter().map(|column| column.name.clone()).collect();
                columns.sort();
                (table.name.clone(), columns)
            })
            .collect();
        snapshot.end().await;
        store.close().await;
        let expected = columns(&rekey.options.store).await;
        assert!(expected.len() >= 14, "{expected:?}");
        assert_eq!(held, expected);
        let (_, summary) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
        let names: Vec<_> = summary.tables.iter().map(|(table, _)| table.clone()).collect();
        assert!(expected.keys().all(|table| names.contains(table)), "{names:?}");
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_either_engine_gave_either_takes_and_serves() {
    for rekey in on_each_engine().await {
        let (password, secret) = populate(&rekey).await;
        assert!(user_verifies(&rekey.admin(), "ada", &password).await);
        let wrong = rekey.admin();
        assert!(!user_verifies(&wrong, "ada", "something else entirely").await);
        let (clock, token) = (rekey.environment(), rekey.admin_token.clone());
        let paused = rekey.pause().await;
        let (file, summary) = back_up(&paused.options.store, &paused.options.keyring_file).await;
        let before = contents(&paused.options.store).await;
        assert_eq!(summary.rows(), before.values().map(|rows| rows.len() as u64).sum::<u64>());
        assert!(before["secret"].len() >= 4 && before["audit"].len() >= 5 && !before["failure"].is_empty());

        let (directory, keyring_file) = elsewhere(&paused.options.keyring_file);
        for into in empty(&directory) {
            let restored = restore(&file, &keyring_file, &into).await.unwrap();
            assert_eq!(restored.summary, summary);
            assert_eq!(restored.migrated, 0);
            assert_eq!(contents(&into).await, before);
            // And back from there.
            let (again, _) = back_up(&into, &keyring_file).await;
            let home = StoreOptions::sqlite(&directory.path().join(format!("home{}.db", again.len())), 2);
            restore(&again, &keyring_file, &home).await.unwrap();
            assert_eq!(contents(&home).await, before);
            std::fs::remove_file(home.sqlite_path().unwrap()).unwrap();

            serves(&into, &keyring_file, clock.clone(), &token, &password, &secret).await;
        }
    }
}

/// Whether everybody is let in as before.
async fn serves(
    into: &StoreOptions,
    keyring_file: &std::path::Path,
    environment: Environment,
    token: &str,
    password: &str,
    secret: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    let options =
        ServiceOptions { store: into.clone(), keyring_file: keyring_file.to_owned(), ..options(directory.path()) };
    let service = Service::start(options, environment, false).await.unwrap();
    let clients = Clients::on(&connect(service.address()).await, token);
    assert!(user_verifies(&clients, "ada", password).await);
    assert!(!user_verifies(&clients, "ada", "something else entirely").await);
    assert!(device_verifies(&clients, "4711", secret).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_empty_is_left_alone() {
    for rekey in on_each_engine().await {
        populate(&rekey).await;
        let (options, keyring_file) = (rekey.options.store.clone(), rekey.options.keyring_file.clone());
        let (file, _) = back_up(&options, &keyring_file).await;
        let paused = rekey.pause().await;
        let before = contents(&options).await;
        let error = restore(&file, &keyring_file, &options).await.unwrap_err();
        assert!(matches!(&error, BackupError::Database(sentence) if sentence.contains("not empty")), "{error}");
        assert_eq!(contents(&options).await, before);
        drop(paused);
    }
    // A journal without its file is no empty place: SQLite would take it for that of the new file.
    let rekey = crate::common::rekey::Rekey::start().await;
    let (file, _) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
    let (directory, keyring_file) = elsewhere(&rekey.options.keyring_file);
    std::fs::write(directory.path().join("restored.db-wal"), "left over").unwrap();
    let into = &empty(&directory)[0];
    let error = restore(&file, &keyring_file, into).await.unwrap_err();
    assert!(error.to_string().contains("restored.db-wal"), "{error}");
    std::fs::remove_file(directory.path().join("restored.db-wal")).unwrap();
    restore(&file, &keyring_file, into).await.unwrap();
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
    rekey.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_leaves_nothing() {
    let rekey = crate::common::rekey::Rekey::start().await;
    populate(&rekey).await;
    let (file, _) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
    let (directory, keyring_file) = elsewhere(&rekey.options.keyring_file);
    for into in empty(&directory) {
        // Everything is there but the end.
        restore(&file[..file.len() - 1], &keyring_file, &into).await.unwrap_err();
        if let Some(path) = into.sqlite_path() {
            assert!(!path.exists());
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "the keyring");
        } else {
            let database = crate::common::sql::connect(&into.url).await;
            let count = "SELECT count(*) AS n FROM information_schema.tables WHERE table_schema = current_schema()";
            let row = database.query_one_raw(Statement::from_string(DbBackend::Postgres, count)).await.unwrap();
            assert_eq!(row.unwrap().try_get::<i64>("", "n").unwrap(), 0);
        }
        restore(&file, &keyring_file, &into).await.unwrap();
    }
    rekey.stop().await;
}
