//! Callers that go away. With sqlx 0.9.0 on PostgreSQL a `begin` dropped in flight leaves the pooled connection inside a
//! transaction, and what its next borrower writes vanishes: no future of a caller may hold a transaction.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use rekey::{
    domain::{SubjectKind, SubjectRef, Tenant},
    store::Store,
};

use crate::fixture::{Database, record, reset};

/// How often a caller goes away.
const ROUNDS: u64 = 400;

pub(crate) async fn a_caller_that_goes_away_leaves_all_or_nothing(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, _) = database.user(&tenant, "u1").await;
    let reference = SubjectRef::Id(user.id.clone());
    let mut version = 1;
    let mut number = 1_u64;
    for round in 0..ROUNDS {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let polls = (number >> 33) % 24;

        let note = record(&tenant.uid);
        give_up_after(polls, database.store.change_subject(reset(&user, version), note.clone())).await;
        give_up_after(polls, database.store.subject(&tenant.uid, SubjectKind::User, &reference)).await;

        // A change that was begun is done, whoever waits for it; one that was not leaves nothing.
        if polls > 0 {
            version += 1;
            let done = wait_for(&database.store, &tenant, &reference, version);
            tokio::time::timeout(Duration::from_secs(20), done).await.unwrap_or_else(|_| panic!("round {round}"));
        }
        assert_eq!(database.raw.records(&note.uid).await, i64::from(polls > 0), "round {round}");
    }

    let (found, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!((found.version, live.len(), live[0].version), (version, 1, version));
    if !database.is_sqlite() {
        let inside =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        assert_eq!(database.raw.number(inside).await, 0, "connections were left inside a transaction");
    }

    // Every connection of the pool works, and what is written through it stays.
    let notes: Vec<_> = (0..32).map(|_| record(&tenant.uid)).collect();
    let written: Vec<_> = notes
        .iter()
        .map(|note| {
            let (store, note) = (database.store.clone(), note.clone());
            tokio::spawn(async move { store.append_records(vec![note]).await })
        })
        .collect();
    for one in written {
        one.await.unwrap().unwrap();
    }
    for note in &notes {
        assert_eq!(database.raw.records(&note.uid).await, 1);
    }
}

/// Polls a future so many times and drops it.
async fn give_up_after<T>(polls: u64, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await.is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn wait_for(store: &Store, tenant: &Tenant, reference: &SubjectRef, version: i64) {
    loop {
        let found = store.subject(&tenant.uid, SubjectKind::User, reference).await.unwrap().unwrap();
        assert!(found.version <= version);
        if found.version == version {
            return;
        }
        tokio::task::yield_now().await;
    }
}
