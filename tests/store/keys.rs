//! What a rotation writes, and who knows which key.

use std::time::Duration;

use rekey::{
    domain::{Replica, Secret, Slot, Subject, SubjectKind, Tenant, Uid, WrappedKey},
    store::{Renewed, Resealed, Rewrapped, Sealed, SecretPlace, TokenMove},
};

use crate::fixture::{Database, LATER, NOW, record, secret};

fn new_key(tenant: &Tenant, id: &str) -> WrappedKey {
    WrappedKey {
        id: Uid::from_stored(id),
        tenant_uid: tenant.uid.clone(),
        wrapping_key_id: "w1".to_owned(),
        ciphertext: vec![7; 61],
    }
}

/// Replaces a tenant's data key; the older one.
async fn renew(database: &Database, tenant: &Tenant, id: &str, rotation: i64) -> (WrappedKey, u64) {
    let old = database.store.primary_data_key(&tenant.uid).await.unwrap();
    let keys = vec![Renewed { old: old.id.clone(), new: new_key(tenant, id) }];
    let renewed = database.store.renew_data_keys(keys, rotation, LATER).await.unwrap();
    (old, renewed)
}

pub(crate) async fn a_rotation_is_one_however_many_begin_it(database: Database) {
    let tenant = database.tenant("rotations").await;
    let begin = |wraps, renews| {
        let (store, record) = (database.store.clone(), record(&tenant.uid));
        async move { store.begin_key_rotation(wraps, renews, NOW, record).await.unwrap() }
    };
    let before = database.raw.number("SELECT count(*) FROM audit").await;
    let (one, two, three) = tokio::join!(begin(true, false), begin(true, false), begin(true, false));
    assert_eq!((one.number, two.number, three.number), (one.number, one.number, one.number));
    let more = begin(false, true).await;
    assert!(more.number == one.number && more.wraps && more.renews, "what was begun goes on");
    assert_eq!(database.raw.number("SELECT count(*) FROM audit").await, before + 1);
    let end = async || database.store.end_key_rotation(one.number, LATER, record(&tenant.uid)).await.unwrap();
    assert_eq!((end().await, end().await), (true, false));
    assert_eq!(database.raw.number("SELECT count(*) FROM audit").await, before + 2);
    let next = begin(false, true).await;
    assert_eq!((next.number, next.wraps, next.renews), (one.number + 1, false, true));
    assert!(database.store.end_key_rotation(next.number, LATER, record(&tenant.uid)).await.unwrap());
}

pub(crate) async fn a_data_key_is_followed_once_and_stays(database: Database) {
    let tenant = database.tenant("data-keys").await;
    let (old, renewed) = renew(&database, &tenant, "followed-1", 7).await;
    assert_eq!(renewed, 1);
    assert_eq!(database.store.primary_data_key(&tenant.uid).await.unwrap().id.as_str(), "followed-1");
    assert_eq!(database.store.data_key(&tenant.uid, old.id.as_str()).await.unwrap().ciphertext, old.ciphertext);
    // The same rotation, by somebody who read the one before.
    let late = vec![Renewed { old: old.id.clone(), new: new_key(&tenant, "followed-2") }];
    assert_eq!(database.store.renew_data_keys(late, 7, LATER).await.unwrap(), 0);
    assert_eq!(renew(&database, &tenant, "followed-3", 7).await.1, 0);
    assert!(
        !database.store.data_keys_before(7, "", 1_000).await.unwrap().iter().any(|key| key.tenant_uid == tenant.uid)
    );
    assert!(
        database.store.data_keys_before(8, "", 1_000).await.unwrap().iter().any(|key| key.tenant_uid == tenant.uid)
    );

    let now = database.store.data_key(&tenant.uid, old.id.as_str()).await.unwrap();
    let new = WrappedKey { wrapping_key_id: "w2".to_owned(), ciphertext: vec![8; 61], ..now.clone() };
    let moves = || vec![Rewrapped { old: now.clone(), new: new.clone() }];
    assert_eq!(database.store.rewrap(moves()).await.unwrap(), 1);
    assert_eq!(database.store.rewrap(moves()).await.unwrap(), 0, "it is not as it was read");
    let wrapped = database.store.data_keys_wrapped_by("w2", "", 10).await.unwrap();
    assert_eq!(wrapped.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), [old.id.as_str()]);
}

pub(crate) async fn what_changed_meanwhile_is_not_sealed_over(database: Database) {
    let tenant = database.tenant("seals").await;
    let (user, password) = database.user(&tenant, "ada").await;
    let old = database.store.primary_data_key(&tenant.uid).await.unwrap();
    // The fixture's secrets name no data key of theirs.
    let own = format!("UPDATE secret SET key_id = '{}' WHERE subject_uid = '{}'", old.id, user.uid);
    database.raw.run(&own).await;
    renew(&database, &tenant, "seals-1", 1).await;
    let found = async || {
        let mut after = Some(String::new());
        let mut all = Vec::new();
        while let Some(from) = after {
            let (found, end) = database.store.secrets_under_older_keys(&from, 3).await.unwrap();
            all.extend(found.into_iter().filter(|sealed| sealed.tenant_uid == tenant.uid));
            after = end;
        }
        all
    };
    let mut sealed = found().await;
    assert_eq!(sealed.len(), 1);
    let sealed = sealed.remove(0);
    assert_eq!((&sealed.place.0, sealed.place.1.as_ref(), sealed.place.3), (&user.uid, Some(&Slot::Password), 1));
    assert_eq!(sealed.payload, password.payload);
    let moved = |payload: &[u8]| {
        let mut old = found_as(&sealed);
        old.payload = payload.to_vec();
        vec![Resealed { old, key_id: "seals-1".to_owned(), payload: vec![9; 40] }]
    };
    let before = database.raw.number(&format!("SELECT version FROM subject WHERE uid = '{}'", user.uid)).await;
    let changes = database.store.changes();
    assert_eq!(database.store.reseal_secrets(moved(b"something else")).await.unwrap(), 0);
    assert_eq!(database.store.reseal_secrets(moved(&password.payload)).await.unwrap(), 1);
    assert_eq!(database.store.reseal_secrets(moved(&password.payload)).await.unwrap(), 0);
    assert_eq!(database.store.changes(), changes, "nothing that others remember is out of date");
    let after = database.raw.number(&format!("SELECT version FROM subject WHERE uid = '{}'", user.uid)).await;
    assert_eq!(before, after);
    assert!(found().await.is_empty());
}

fn found_as(sealed: &Sealed<SecretPlace>) -> Sealed<SecretPlace> {
    Sealed {
        tenant_uid: sealed.tenant_uid.clone(),
        place: sealed.place.clone(),
        key_id: sealed.key_id.clone(),
        payload: sealed.payload.clone(),
    }
}

pub(crate) async fn a_token_moves_once_and_keeps_its_slot(database: Database) {
    let tenant = database.tenant("moves").await;
    let (user, _) = database.user(&tenant, "bob").await;
    let old = Secret { key_id: "d1".to_owned(), ..secret(&user, Slot::ApiToken("g-moves".to_owned()), 1) };
    let caller = Subject { uid: Uid::from_stored("moves-caller"), ..user.clone() };
    let caller = Subject { kind: SubjectKind::Caller, login: None, ..caller };
    let old = Secret { subject_uid: caller.uid.clone(), ..old };
    database.store.insert_subject(caller.clone(), vec![old.clone()], record(&tenant.uid)).await.unwrap();
    let moved = TokenMove {
        old: old.clone(),
        key_id: "d2".to_owned(),
        digest: vec![3; 32],
        lookup_key: Some("token/g-moved".to_owned()),
    };
    let other = TokenMove { old: Secret { payload: vec![1], ..old.clone() }, ..moved.clone() };
    assert!(!database.store.move_token(other).await.unwrap());
    assert!(database.store.move_token(moved.clone()).await.unwrap());
    assert!(!database.store.move_token(moved).await.unwrap());
    assert!(database.store.credential("token/g-moves").await.unwrap().is_none());
    let found = database.store.credential("token/g-moved").await.unwrap().unwrap();
    let [version] = found.versions.as_slice() else { panic!("one version") };
    assert_eq!((&version.slot, version.key_id.as_str(), &*version.payload), (&old.slot, "d2", &[3; 32][..]));
    for name in ["token/g-moves", "token/g-moved"] {
        assert_eq!(database.store.credential_slot(&caller.uid, name).await.unwrap(), Some(old.slot.clone()), "{name}");
    }
}

pub(crate) async fn replicas_say_what_they_know_and_times_only_grow(database: Database) {
    let replica = |seen_time, makes_with: &str| Replica {
        uid: Uid::from_stored("replica-1"),
        name: "web-1".to_owned(),
        version: "1".to_owned(),
        knows: vec!["w1".to_owned(), "w2".to_owned()],
        makes_with: vec![makes_with.to_owned()],
        seen_time,
    };
    let made =
        async |id: &str| database.store.key_census(NOW).await.unwrap().uses.get(id).and_then(|uses| uses.primary_time);
    database.store.announce(replica(LATER, "w1")).await.unwrap();
    database.store.announce(replica(NOW, "w2")).await.unwrap();
    assert_eq!(database.store.replicas().await.unwrap(), [replica(NOW, "w2")]);
    assert_eq!((made("w1").await, made("w2").await), (Some(LATER), Some(NOW)));
    database.store.note_keys(vec!["w1".to_owned(), "w2".to_owned()], NOW.minus(Duration::from_secs(1))).await.unwrap();
    assert_eq!((made("w1").await, made("w2").await), (Some(LATER), Some(NOW)));
    database.store.leave(Uid::from_stored("replica-1")).await.unwrap();
    assert!(database.store.replicas().await.unwrap().is_empty());
}
