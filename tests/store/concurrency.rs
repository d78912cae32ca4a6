//! Several at once.

use rekey::{
    domain::{Reason, SubjectKind, SubjectRef},
    store::Store,
};

use crate::fixture::{Database, record, reset};

pub(crate) async fn of_fifty_changes_on_one_version_one_is_done(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, _) = database.user(&tenant, "u1").await;
    let before = database.raw.number("SELECT count(*) FROM audit").await;

    // Through two stores, as two processes would.
    let other = Store::connect(&database.options).await.unwrap();
    let changes: Vec<_> = (0..50)
        .map(|number| {
            let store = if number % 2 == 0 { database.store.clone() } else { other.clone() };
            let (change, note) = (reset(&user, 1), record(&tenant.uid));
            tokio::spawn(async move { store.change_subject(change, note).await })
        })
        .collect();
    let mut winners = 0;
    for change in changes {
        match change.await.unwrap() {
            Ok(after) => {
                assert_eq!(after.version, 2);
                winners += 1;
            }
            Err(error) => assert_eq!(error.reason(), Reason::ConcurrentChange, "{error:?}"),
        }
    }
    assert_eq!(winners, 1);

    let reference = SubjectRef::Id(user.id);
    let (found, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!((found.version, live.len()), (2, 1));
    assert_eq!(database.raw.number("SELECT count(*) FROM audit").await, before + 1);
}

pub(crate) async fn two_that_migrate_at_once_apply_each_step_once(database: Database) {
    // Everything that `Database` has set up goes first.
    if database.is_sqlite() {
        // What is referred to goes after what refers to it.
        let leaves = ["reply", "audit_link", "audit", "failure", "secret", "subject_label", "subject", "data_key"];
        let names = ["jwt_issuer", "token_issuer", "used_signature", "tenant_label", "tenant_alias", "job", "tenant"];
        let alone = ["replica", "keyring_key", "key_rotation", "installation", "seaql_migrations"];
        for table in leaves.into_iter().chain(names).chain(alone) {
            database.raw.run(&format!("DROP TABLE {table}")).await;
        }
    } else {
        database.raw.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    }
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(Store::connect(&database.options).await.unwrap());
    }
    let missing = stores[0].pending_migrations().await.unwrap();
    assert!(missing >= 4);

    let at_once: Vec<_> =
        stores.iter().cloned().map(|store| tokio::spawn(async move { store.migrate().await })).collect();
    let mut applied = Vec::new();
    for one in at_once {
        applied.push(one.await.unwrap().unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, missing]);
    assert_eq!(stores[0].pending_migrations().await.unwrap(), 0);
    database.tenant("acme").await;
}

pub(crate) async fn an_older_program_is_not_disturbed_by_newer_steps(database: Database) {
    database.raw.run("INSERT INTO seaql_migrations VALUES ('m20991231_000001_future', 0)").await;
    assert_eq!(database.store.pending_migrations().await.unwrap(), 0);
    assert_eq!(database.store.migrate().await.unwrap(), 0);
}
