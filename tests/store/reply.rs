//! Answers that are kept with what they tell of.

use std::time::Duration;

use rekey::{
    domain::{Reason, Tenant, Timestamp},
    store::{Reply, Store},
};

use crate::fixture::{Database, LATER, NOW, record, reset, why};

fn reply(tenant: &Tenant, request_id: &str, expire_time: Timestamp) -> Reply {
    Reply {
        tenant_uid: tenant.uid.clone(),
        caller: "svc".to_owned(),
        request_id: request_id.to_owned(),
        digest: vec![0, 1, 255],
        answer: request_id.as_bytes().to_vec(),
        key_id: "k1".to_owned(),
        expire_time,
    }
}

async fn found(store: &Store, tenant: &Tenant, request_id: &str, now: Timestamp) -> Option<Reply> {
    store.reply(&tenant.uid, "svc", request_id, now).await.unwrap()
}

pub(crate) async fn an_answer_is_kept_with_its_change_or_neither_is(database: Database) {
    let tenant = database.tenant("acme").await;
    let other = database.tenant("other").await;
    let (user, _) = database.user(&tenant, "u1").await;
    let before = database.raw.number("SELECT count(*) FROM audit").await;

    // The change is refused: no answer.
    let store = database.store.answering(reply(&tenant, "r", LATER), NOW);
    let refused = store.change_subject(reset(&user, 7), record(&tenant.uid)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ConcurrentChange);
    assert!(found(&database.store, &tenant, "r", NOW).await.is_none());

    // It is done: both are there.
    store.change_subject(reset(&user, 1), record(&tenant.uid)).await.unwrap();
    let kept = found(&database.store, &tenant, "r", NOW).await.unwrap();
    assert_eq!((kept.digest, kept.answer, kept.key_id), (vec![0, 1, 255], b"r".to_vec(), "k1".to_owned()));
    assert_eq!((kept.caller.as_str(), kept.expire_time), ("svc", LATER));
    assert!(found(&database.store, &other, "r", NOW).await.is_none());
    assert!(database.store.reply(&tenant.uid, "other", "r", NOW).await.unwrap().is_none());

    // The answer is refused: no change.
    let refused = store.change_subject(reset(&user, 2), record(&tenant.uid)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::RequestIdReused);
    assert_eq!(database.raw.number("SELECT max(version) FROM subject").await, 2);
    assert_eq!(database.raw.number("SELECT count(*) FROM audit").await, before + 1);

    // Its like of another caller or tenant is another one; and one may be kept alone.
    let theirs = Reply { caller: "other".to_owned(), ..reply(&tenant, "r", LATER) };
    database.store.answering(theirs, NOW).keep_reply().await.unwrap();
    database.store.answering(reply(&other, "r", LATER), NOW).keep_reply().await.unwrap();

    // One that nobody can be given is not kept.
    let nobody = Reply { tenant_uid: crate::fixture::new_uid(), ..reply(&tenant, "r", LATER) };
    let refused = database.store.answering(nobody, NOW).keep_reply().await.unwrap_err();
    assert_eq!(why(&refused), (Reason::ConcurrentChange, None), "it was deleted meanwhile");
}

pub(crate) async fn an_answer_is_kept_once_until_its_time_is_over(database: Database) {
    let tenant = database.tenant("acme").await;
    let keep = async |answer: &str, now: Timestamp, expire_time: Timestamp| {
        let reply = Reply { answer: answer.as_bytes().to_vec(), ..reply(&tenant, "r", expire_time) };
        database.store.answering(reply, now).keep_reply().await.map_err(|error| error.reason())
    };
    let moment = |time: Timestamp| Timestamp::from_micros(time.micros() - 1);
    assert_eq!(keep("first", NOW, LATER).await, Ok(()));
    assert_eq!(keep("second", moment(LATER), LATER).await, Err(Reason::RequestIdReused));
    assert_eq!(found(&database.store, &tenant, "r", moment(LATER)).await.unwrap().answer, b"first");
    assert!(found(&database.store, &tenant, "r", LATER).await.is_none());
    let end = LATER.plus(Duration::from_secs(9));
    assert_eq!(keep("third", LATER, end).await, Ok(()));
    let kept = found(&database.store, &tenant, "r", LATER).await.unwrap();
    assert_eq!((kept.answer, kept.expire_time), (b"third".to_vec(), end));
}

pub(crate) async fn of_fifty_with_one_request_id_one_is_done(database: Database) {
    let tenant = database.tenant("acme").await;
    let mut users = Vec::new();
    for number in 0..50 {
        users.push(database.user(&tenant, &format!("u{number}")).await.0);
    }
    let other = Store::connect(&database.options).await.unwrap();
    // Each of another subject: nothing but the id is in the way.
    let changes: Vec<_> = users
        .into_iter()
        .enumerate()
        .map(|(number, user)| {
            let store = if number % 2 == 0 { &database.store } else { &other };
            let store = store.answering(reply(&tenant, "r", LATER), NOW);
            let (change, note) = (reset(&user, 1), record(&tenant.uid));
            tokio::spawn(async move { store.change_subject(change, note).await })
        })
        .collect();
    let mut winners = 0;
    for change in changes {
        match change.await.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert_eq!(error.reason(), Reason::RequestIdReused, "{error:?}"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(database.raw.number("SELECT count(*) FROM subject WHERE version > 1").await, 1);
}

pub(crate) async fn answers_whose_time_is_over_are_deleted(database: Database) {
    let tenant = database.tenant("acme").await;
    assert_eq!(database.store.delete_expired_replies(LATER).await.unwrap(), 0);
    // More than are deleted at once, some of them of one moment.
    let rows: Vec<_> = (0..2_500)
        .map(|number| format!("('{}', 'svc', 'r{number}', '', '', 'k1', {})", tenant.uid, NOW.micros() + number / 3))
        .collect();
    database.raw.run(&format!("INSERT INTO reply VALUES {}", rows.join(", "))).await;
    database.store.answering(reply(&tenant, "later", LATER), NOW).keep_reply().await.unwrap();
    assert_eq!(database.store.delete_expired_replies(Timestamp::from_micros(NOW.micros() + 9)).await.unwrap(), 30);
    let moment = Timestamp::from_micros(LATER.micros() - 1);
    assert_eq!(database.store.delete_expired_replies(moment).await.unwrap(), 2_470);
    assert_eq!(database.raw.number("SELECT count(*) FROM reply").await, 1);
    assert_eq!(database.store.delete_expired_replies(LATER).await.unwrap(), 1);
}
