//! Older copies of a database, and what is said of them.

use std::{fs, time::Duration};

use rekey::{
    anchor,
    app::{Service, StartError},
    backup::{self, BackupError},
    domain::{Installation, Uid},
    proto::ListAuditRecordsRequest,
    store::{Rollback, Store, StoreOptions},
};

use crate::{
    NOW, back_up,
    common::rekey::{Rekey, Stopped},
    elsewhere, empty, keyring, on_each_engine, populate, reset_device, restore,
};

/// Puts another database file in the place of the one there.
fn put_back(stopped: &Stopped, copy: &[u8]) {
    fs::write(stopped.options.store.sqlite_path().unwrap(), copy).unwrap();
}

fn copy(stopped: &Stopped) -> Vec<u8> {
    fs::read(stopped.options.store.sqlite_path().unwrap()).unwrap()
}

async fn refusal(stopped: &Stopped, rekey: rekey::app::Environment) -> Option<String> {
    match Service::start(stopped.options.clone(), rekey, false).await {
        Ok(service) => {
            service.stop().await;
            None
        }
        Err(StartError::Rollback(sentence)) => Some(sentence),
        Err(error) => panic!("{error}"),
    }
}

fn seen(stopped: &Stopped) -> Option<Installation> {
    anchor::read(&stopped.options.anchor_file, &keyring(&stopped.options.keyring_file)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_file_is_refused_until_it_is_accepted() {
    let rekey = Rekey::start().await;
    let environment = rekey.environment();
    populate(&rekey).await;
    let stopped = rekey.pause().await;
    let old = copy(&stopped);

    let rekey = stopped.start().await;
    reset_device(&rekey.admin(), "4711").await.unwrap();
    let stopped = rekey.pause().await;
    let new = copy(&stopped);
    // Nothing is said of what goes on, however often it is started.
    for _ in 0..3 {
        assert_eq!(refusal(&stopped, environment.clone()).await, None);
    }
    let newest = copy(&stopped);

    for older in [&old, &new] {
        put_back(&stopped, older);
        let sentence = refusal(&stopped, environment.clone()).await.unwrap();
        assert!(sentence.contains("older copy") && sentence.contains("--accept-rollback"), "{sentence}");
    }
    put_back(&stopped, &newest);
    assert_eq!(refusal(&stopped, environment.clone()).await, None);
    let newest = copy(&stopped);

    put_back(&stopped, &old);
    let before = seen(&stopped).unwrap();
    let store = Store::connect(&stopped.options.store).await.unwrap();
    let rollback =
        Rollback { seen: before.clone(), time: NOW, record_uid: Uid::make(NOW, environment.entropy.as_ref()) };
    let accepted = store.accept_rollback(rollback).await.unwrap();
    store.close().await;
    assert!(accepted.uid == before.uid && accepted.epoch > before.epoch);
    // Even a machine that knows of nothing but what came before takes it for what it is.
    assert_eq!(refusal(&stopped, environment.clone()).await, None);
    assert!(seen(&stopped).unwrap().epoch > accepted.epoch);

    let rekey = stopped.start().await;
    // Records are shown once they are a little older.
    rekey.clock.advance(Duration::from_mins(1));
    let request = ListAuditRecordsRequest {
        tenant_id: "system".to_owned(),
        filter: "action = \"acceptRollback\"".to_owned(),
        ..ListAuditRecordsRequest::default()
    };
    let records = rekey.admin().audit.list_audit_records(request).await.unwrap().into_inner().records;
    assert_eq!(records.len(), 1);
    let detail = &records[0].detail;
    assert!(detail.contains(&before.epoch.to_string()) && detail.contains("went on from epoch"), "{detail}");
    let stopped = rekey.pause().await;
    // The line that was left is the older one from now on.
    put_back(&stopped, &newest);
    assert!(refusal(&stopped, environment).await.unwrap().contains("older copy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_installation_is_no_older_copy_but_refused_as_well() {
    let (one, other) = (Rekey::start().await, Rekey::start().await);
    let environment = one.environment();
    let (one, other) = (one.pause().await, other.pause().await);
    fs::copy(&other.options.keyring_file, &one.options.keyring_file).unwrap();
    fs::copy(&other.options.anchor_file, &one.options.anchor_file).unwrap();
    // With a database that is that keyring's and yet another one.
    let (file, _) = back_up(&other.options.store, &other.options.keyring_file).await;
    fs::remove_file(one.options.store.sqlite_path().unwrap()).unwrap();
    restore(&file, &other.options.keyring_file, &one.options.store).await.unwrap();
    let raw = crate::common::sql::connect(&one.options.store.url).await;
    let rename = "UPDATE installation SET uid = 'another', epoch = 999999";
    sea_orm::ConnectionTrait::execute_unprepared(&raw, rename).await.unwrap();
    let sentence = refusal(&one, environment).await.unwrap();
    assert!(sentence.contains("do not belong together"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_was_altered_is_refused_and_one_that_is_missing_is_made() {
    let rekey = Rekey::start().await;
    let environment = rekey.environment();
    let stopped = rekey.pause().await;
    let file = stopped.options.anchor_file.clone();
    let whole = fs::read_to_string(&file).unwrap();
    let epoch = seen(&stopped).unwrap().epoch.number();
    let altered = [
        whole.replace(&format!("\"epoch\": {epoch}"), "\"epoch\": 0"),
        whole[..whole.len() / 2].to_owned(),
        String::new(),
        whole.replace("\"format\": 1", "\"format\": 2"),
        "x".repeat(10_000),
    ];
    for text in altered {
        assert_ne!(text, whole);
        fs::write(&file, &text).unwrap();
        let sentence = refusal(&stopped, environment.clone()).await.unwrap();
        assert!(sentence.contains("anchor.json") && sentence.contains("remove it"), "{sentence}");
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(refusal(&stopped, environment).await, None);
    assert!(seen(&stopped).unwrap().epoch.number() > epoch);
}

/// A crash at any moment: the anchor never knows of more than the database has for good.
#[tokio::test(flavor = "multi_thread")]
async fn the_anchor_is_never_ahead_of_the_database() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let ours = keyring(&rekey.options.keyring_file);
    let store = Store::connect(&rekey.options.store).await.unwrap();
    let mut last = None;
    for _ in 0..50 {
        let replica = rekey.replica().await;
        reset_device(&replica.clients(&rekey.admin_token), "4711").await.unwrap();
        let anchored = anchor::read(&rekey.options.anchor_file, &ours).unwrap().unwrap();
        let found = store.installation().await.unwrap().unwrap();
        assert!(anchored.epoch <= found.epoch && anchored.uid == found.uid);
        assert!(last.replace(found.epoch) < Some(found.epoch), "each start raises it");
        replica.stop().await;
    }
    store.close().await;
    rekey.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_is_refused_until_it_is_accepted_on_every_machine() {
    for rekey in on_each_engine().await {
        let environment = rekey.environment();
        populate(&rekey).await;
        let (file, summary) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
        let (machine, _) = elsewhere(&rekey.options.keyring_file);
        reset_device(&rekey.admin(), "4711").await.unwrap();
        let stopped = rekey.pause().await;
        // Two machines that served it: each has an anchor.
        fs::copy(&stopped.options.anchor_file, machine.path().join("anchor.json")).unwrap();
        let ours = keyring(&stopped.options.keyring_file);
        let seen = seen(&stopped).unwrap();
        assert!(seen.epoch > summary.installation.unwrap().epoch);

        let (directory, _) = elsewhere(&stopped.options.keyring_file);
        for into in empty(&directory) {
            let refused = backup::restore(&file[..], &ours, &into, Some(&seen), None, NOW, |_| {}).await;
            let error = refused.unwrap_err();
            assert!(matches!(&error, BackupError::Rollback(sentence) if sentence.contains("older copy")), "{error}");
            let record_uid = Uid::make(NOW, environment.entropy.as_ref());
            let rollback = Rollback { seen: seen.clone(), time: NOW, record_uid };
            let restored =
                backup::restore(&file[..], &ours, &into, Some(&seen), Some(&rollback), NOW, |_| {}).await.unwrap();
            assert!(restored.accepted.unwrap().epoch > seen.epoch);
            for anchor_file in [stopped.options.anchor_file.clone(), machine.path().join("anchor.json")] {
                let mut options = stopped.options.clone();
                options.store = into.clone();
                let kept = fs::read(&anchor_file).unwrap();
                options.anchor_file = anchor_file.clone();
                let service = Service::start(options, environment.clone(), false).await.unwrap();
                service.stop().await;
                fs::write(&anchor_file, kept).unwrap();
            }
        }

        // Without having been accepted it is refused by the service itself.
        let into = StoreOptions::sqlite(&directory.path().join("unaccepted.db"), 2);
        restore(&file, &stopped.options.keyring_file, &into).await.unwrap();
        let options = rekey::app::ServiceOptions { store: into, ..stopped.options.clone() };
        let error = Service::start(options, environment, false).await.unwrap_err();
        assert!(matches!(&error, StartError::Rollback(sentence) if sentence.contains("older copy")), "{error}");
    }
}
