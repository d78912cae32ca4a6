//! What is asked for and written together, and what the number of changes says.

use rekey::domain::{Reason, SubjectKind, Timestamp};

use crate::fixture::{Database, new_uid, record, reset};

pub(crate) async fn subjects_asked_for_together_come_with_their_own_secrets(database: Database) {
    let (tenant, other) = (database.tenant("acme").await, database.tenant("other").await);
    let (ada, of_ada) = database.user(&tenant, "ada").await;
    let (bea, _) = database.user(&tenant, "bea").await;
    database.user(&tenant, "cid").await;
    database.user(&other, "ada").await;
    let bea = database.store.change_subject(reset(&bea, 1), record(&tenant.uid)).await.unwrap();

    let ask = async |by_login, names: &[&str]| {
        let found = database.store.subjects_with_secrets(&tenant.uid, SubjectKind::User, by_login, names.to_vec());
        let mut found = found.await.unwrap();
        found.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        found
    };
    for found in [
        ask(false, &["bea", "nobody", "ada", "ada", "ADA"]).await,
        ask(true, &["ada@example.com", "bea@example.com", "bea"]).await,
    ] {
        let [(one, of_one), (two, of_two)] = found.try_into().unwrap();
        assert_eq!((format!("{one:?}"), format!("{two:?}")), (format!("{ada:?}"), format!("{bea:?}")));
        assert_eq!((of_one.len(), of_two.len()), (1, 1));
        assert_eq!(of_one[0].payload, of_ada.payload);
        assert_eq!((&of_two[0].subject_uid, of_two[0].version), (&bea.uid, 2), "the one that was replaced is void");
    }
    let [(another, of_another)] = ask(false, &["nobody", "no one"]).await.try_into().unwrap();
    assert_eq!((another.id.as_str(), of_another.len()), ("ada", 1), "somebody of this tenant is read in their stead");
    let devices = database.store.subjects_with_secrets(&tenant.uid, SubjectKind::Device, false, vec!["ada"]);
    assert!(devices.await.unwrap().is_empty());
}

pub(crate) async fn records_of_any_number_are_written_whole(database: Database) {
    let tenant = database.tenant("acme").await;
    let before = database.raw.number("SELECT count(*) FROM audit").await;
    let mut written = 0;
    for count in [0, 1, 3, 64, 87, 200] {
        let records: Vec<_> = (0..count).map(|_| record(&tenant.uid)).collect();
        let last = records.last().map(|record| record.uid.clone());
        database.store.append_records(records).await.unwrap();
        written += count;
        assert_eq!(database.raw.number("SELECT count(*) FROM audit").await - before, written, "{count}");
        if let Some(last) = last {
            assert_eq!(database.raw.records(&last).await, 1);
        }
    }
    // All of them or none.
    for last in [9, 63, 69] {
        let mut records: Vec<_> = (0..70).map(|_| record(&tenant.uid)).collect();
        records[last].uid = records[0].uid.clone();
        database.store.append_records(records).await.unwrap_err();
        assert_eq!(database.raw.number("SELECT count(*) FROM audit").await - before, written, "{last}");
    }
}

pub(crate) async fn changes_of_who_may_call_are_counted_and_bookkeeping_is_not(database: Database) {
    let tenant = database.tenant("acme").await;
    let (store, mut seen) = (&database.store, database.store.changes());
    let mut has_grown = || {
        let now = store.changes();
        let has_grown = now > seen;
        seen = now;
        has_grown
    };
    let (ada, _) = database.user(&tenant, "ada").await;
    assert!(has_grown());
    store.change_subject(reset(&ada, 1), record(&tenant.uid)).await.unwrap();
    assert!(has_grown());
    let late = store.change_subject(reset(&ada, 1), record(&tenant.uid)).await.unwrap_err();
    assert_eq!(late.reason(), Reason::ConcurrentChange);
    assert!(has_grown(), "who knows whether a failed one was done");
    assert!(store.clone().changes() == store.changes(), "clones share it");

    store.append_records(vec![record(&tenant.uid)]).await.unwrap();
    store.check().await.unwrap();
    store.forget_attempts(Timestamp::from_micros(0)).await.unwrap();
    store.subject(&new_uid(), SubjectKind::User, &rekey::domain::SubjectRef::Id(ada.id)).await.unwrap();
    assert!(!has_grown());
}
