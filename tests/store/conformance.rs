//! What the store promises, case by case.

use rekey::{
    audit::{Outcome, Target},
    domain::{Dialect, Position, Reason, ResourceId, Slot, Stage, Subject, SubjectKind, SubjectRef, TenantRef},
    store::{SecretChange, Store, SubjectChange, TenantListing},
};

use crate::fixture::{
    Database, LATER, alias, all_tenants, id, issuer, new_uid, record, reset, secret, subject, tenant, why, wrapped_key,
};

pub(crate) async fn a_tenant_comes_back_as_it_was_put_in(database: Database) {
    let mut tenant = tenant("acme");
    tenant.aliases = vec![alias(Dialect::Roma, "proj01/inst01"), alias(Dialect::Applivery, "acme")];
    tenant.settings.jwt_issuers = vec![issuer("https://one"), issuer("https://one")];
    tenant.version = 7;
    tenant.update_time = LATER;
    database.store.insert_tenant(tenant.clone(), wrapped_key(&tenant), record(&tenant.uid)).await.unwrap();

    let found = database.store.tenant(&TenantRef::Id(id("acme")), &new_uid()).await.unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{tenant:?}"));
}

pub(crate) async fn a_tenant_is_found_by_id_alias_and_as_ones_own(database: Database) {
    let mut tenant = tenant("acme");
    tenant.aliases = vec![alias(Dialect::Roma, "proj01/inst01")];
    database.store.insert_tenant(tenant.clone(), wrapped_key(&tenant), record(&tenant.uid)).await.unwrap();
    database.tenant("other").await;

    for (reference, own, found) in [
        ("acme", new_uid(), true),
        ("roma:proj01/inst01", new_uid(), true),
        ("-", tenant.uid.clone(), true),
        ("ACME", tenant.uid.clone(), false),
        ("roma:proj01/INST01", tenant.uid.clone(), false),
        ("ocariot:proj01/inst01", tenant.uid.clone(), false),
        ("-", new_uid(), false),
    ] {
        let answer = database.store.tenant(&TenantRef::parse(reference).unwrap(), &own).await.unwrap();
        assert_eq!(answer.map(|answer| answer.uid), found.then(|| tenant.uid.clone()), "{reference}");
    }
}

pub(crate) async fn tenants_are_listed_in_the_order_of_bytes(database: Database) {
    for name in ["b", "a~", "B", "a.b", "a", "Z9", "0", "a-b", "a_b"] {
        database.tenant(name).await;
    }
    let mut listed = Vec::new();
    loop {
        let after = listed.last().map(|last: &ResourceId| Position::Text(last.to_string()));
        let page = database.store.list_tenants(&TenantListing { after, limit: 2, ..all_tenants() }).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        listed.extend(page.into_iter().map(|tenant| tenant.id));
    }
    let listed: Vec<_> = listed.iter().map(ResourceId::as_str).collect();
    assert_eq!(listed, ["0", "B", "Z9", "a", "a-b", "a.b", "a_b", "a~", "b"]);
}

pub(crate) async fn tenants_are_found_by_whose_tokens_they_believe(database: Database) {
    for (name, issuers) in [("one", vec!["https://a", "https://b"]), ("two", vec!["https://b"]), ("three", vec![])] {
        let mut tenant = tenant(name);
        tenant.settings.jwt_issuers = issuers.into_iter().map(issuer).collect();
        database.store.insert_tenant(tenant.clone(), wrapped_key(&tenant), record(&tenant.uid)).await.unwrap();
    }
    for (issuer, expected) in
        [("https://a", vec!["one"]), ("https://b", vec!["one", "two"]), ("https://B", vec![]), ("", vec![])]
    {
        let found = database.store.tenants_of_issuer(issuer).await.unwrap();
        assert_eq!(found.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>(), expected, "{issuer}");
    }
}

pub(crate) async fn names_of_tenants_are_taken_once(database: Database) {
    let mut first = tenant("acme");
    first.aliases = vec![alias(Dialect::Applivery, "acme")];
    database.store.insert_tenant(first.clone(), wrapped_key(&first), record(&first.uid)).await.unwrap();

    let again = tenant("acme");
    let error = database.store.insert_tenant(again.clone(), wrapped_key(&again), record(&again.uid)).await.unwrap_err();
    assert_eq!(why(&error), (Reason::AlreadyExists, Some("tenant.tenant_id")));

    let mut second = tenant("second");
    second.aliases = vec![alias(Dialect::Roma, "acme"), alias(Dialect::Applivery, "acme")];
    let note = record(&second.uid);
    let error = database.store.insert_tenant(second.clone(), wrapped_key(&second), note.clone()).await.unwrap_err();
    assert_eq!(why(&error), (Reason::AlreadyExists, Some("tenant.aliases")));

    // Nothing of the second is there.
    assert!(database.store.tenant(&TenantRef::Id(second.id), &new_uid()).await.unwrap().is_none());
    assert_eq!(database.raw.number("SELECT count(*) FROM data_key").await, 1);
    assert_eq!(database.raw.records(&note.uid).await, 0);
}

pub(crate) async fn data_keys_come_back_within_their_tenant_only(database: Database) {
    let (one, two) = (tenant("one"), tenant("two"));
    let (key, mut other) = (wrapped_key(&one), wrapped_key(&two));
    "w2".clone_into(&mut other.wrapping_key_id);
    assert!(database.store.wrapping_keys_in_use().await.unwrap().is_empty());
    database.store.insert_tenant(one.clone(), key.clone(), record(&one.uid)).await.unwrap();
    database.store.insert_tenant(two.clone(), other.clone(), record(&two.uid)).await.unwrap();
    database.tenant("three").await;

    let primary = database.store.primary_data_key(&one.uid).await.unwrap();
    assert_eq!(format!("{primary:?}"), format!("{key:?}"));
    let found = database.store.data_key(&two.uid, other.id.as_str()).await.unwrap();
    assert_eq!(format!("{found:?}"), format!("{other:?}"));
    assert_eq!(database.store.wrapping_keys_in_use().await.unwrap(), ["w1", "w2"]);

    let error = database.store.data_key(&one.uid, other.id.as_str()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Internal);
    let error = database.store.primary_data_key(&new_uid()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Internal);
}

pub(crate) async fn a_subject_comes_back_with_its_secrets_within_its_tenant_only(database: Database) {
    let (one, two) = (database.tenant("one").await, database.tenant("two").await);
    let user = subject(&one, SubjectKind::User, "u1");
    let secrets = vec![
        secret(&user, Slot::Password, 1),
        secret(&user, Slot::Settings, 2),
        secret(&user, Slot::ApiToken("t1".to_owned()), 3),
    ];
    database.store.insert_subject(user.clone(), secrets.clone(), record(&one.uid)).await.unwrap();
    let bare = subject(&one, SubjectKind::Device, "u1");
    database.store.insert_subject(bare.clone(), Vec::new(), record(&one.uid)).await.unwrap();

    for reference in [SubjectRef::Id(user.id.clone()), SubjectRef::Login(user.login.clone().unwrap())] {
        let found = database.store.subject(&one.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{user:?}"));
        let (found, kept) =
            database.store.subject_with_secrets(&one.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
        assert_eq!(found.uid, user.uid);
        let kept: Vec<_> = kept.iter().map(|secret| (secret.slot.clone(), secret.payload.clone())).collect();
        assert_eq!(
            kept,
            [(Slot::Settings, secrets[1].payload.clone()), (Slot::Password, secrets[0].payload.clone())],
            "newest first, without tokens"
        );

        assert!(database.store.subject(&two.uid, SubjectKind::User, &reference).await.unwrap().is_none());
        assert!(database.store.subject(&one.uid, SubjectKind::Caller, &reference).await.unwrap().is_none());
        let foreign = database.store.subject_with_secrets(&two.uid, SubjectKind::User, &reference).await.unwrap();
        assert!(foreign.is_none());
        let (device, none) =
            database.store.subject_with_secrets(&one.uid, SubjectKind::Device, &reference).await.unwrap().unwrap();
        assert_eq!((device.uid, none.len()), (bare.uid.clone(), 0));
    }
}

pub(crate) async fn names_of_subjects_are_taken_once_for_a_tenant_and_kind(database: Database) {
    let (one, two) = (database.tenant("one").await, database.tenant("two").await);
    let (first, _) = database.user(&one, "u1").await;

    let same_id = subject(&one, SubjectKind::User, "u1");
    let mut same_login = subject(&one, SubjectKind::User, "u2");
    same_login.login.clone_from(&first.login);
    for (taken, field) in [(same_id, "id"), (same_login.clone(), "login")] {
        let error = database.store.insert_subject(taken, Vec::new(), record(&one.uid)).await.unwrap_err();
        assert_eq!(why(&error), (Reason::AlreadyExists, Some(field)));
    }

    // A login is refused just so where it is changed.
    let (second, _) = database.user(&one, "u3").await;
    let change = SubjectChange { login: first.login.clone(), ..reset(&second, 1) };
    let error = database.store.change_subject(change, record(&one.uid)).await.unwrap_err();
    assert_eq!(why(&error), (Reason::AlreadyExists, Some("login")));

    // Other kinds and other tenants have names of their own, and callers have no login at all.
    database.user(&two, "u1").await;
    for (kind, name) in [(SubjectKind::Device, "u1"), (SubjectKind::Caller, "c1"), (SubjectKind::Caller, "c2")] {
        let mut other = subject(&one, kind, name);
        if kind == SubjectKind::Caller {
            other.login = None;
        }
        database.store.insert_subject(other, Vec::new(), record(&one.uid)).await.unwrap();
    }
}

pub(crate) async fn logins_are_told_apart_by_case(database: Database) {
    let tenant = database.tenant("acme").await;
    for (name, login) in [("u1", "anna"), ("u2", "Anna"), ("u3", "ANNÄ"), ("u4", "annä")] {
        let mut user = subject(&tenant, SubjectKind::User, name);
        user.login = Some(login.to_owned());
        database.store.insert_subject(user, Vec::new(), record(&tenant.uid)).await.unwrap();
    }
    for (login, expected) in [("anna", Some("u1")), ("Anna", Some("u2")), ("aNNa", None), ("annä", Some("u4"))] {
        let reference = SubjectRef::Login(login.to_owned());
        let found = database.store.subject(&tenant.uid, SubjectKind::User, &reference).await.unwrap();
        assert_eq!(found.as_ref().map(|found| found.id.as_str()), expected, "{login}");
    }
}

pub(crate) async fn a_change_replaces_and_wipes_secrets_and_leaves_its_record(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, old) = database.user(&tenant, "u1").await;
    let (_, untouched) = database.user(&tenant, "u2").await;
    let mut change = reset(&user, 1);
    change.login = Some("renamed".to_owned());
    change.secrets.push(SecretChange::Revoke(Slot::Settings));
    let note = record(&tenant.uid);

    let changed = database.store.change_subject(change, note.clone()).await.unwrap();
    assert_eq!((changed.version, changed.login.as_deref(), changed.update_time), (2, Some("renamed"), LATER));
    assert_eq!((changed.create_time, changed.id.clone()), (user.create_time, user.id.clone()));
    assert_eq!(database.raw.records(&note.uid).await, 1);

    let reference = SubjectRef::Id(user.id.clone());
    let (_, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!(live.iter().map(|secret| secret.version).collect::<Vec<_>>(), [2]);

    let row = format!("FROM secret WHERE subject_uid = '{}' AND version = {}", user.uid, old.version);
    assert_eq!(database.raw.text(&format!("SELECT stage {row}")).await.as_deref(), Some(Stage::Revoked.as_str()));
    assert_eq!(database.raw.number(&format!("SELECT stage_time {row}")).await, LATER.micros());
    assert!(database.raw.bytes(&format!("SELECT payload {row}")).await.is_empty());
    let row = format!("FROM secret WHERE subject_uid = '{}'", untouched.subject_uid);
    assert_eq!(database.raw.bytes(&format!("SELECT payload {row}")).await, untouched.payload);

    let revoke = SubjectChange { secrets: vec![SecretChange::Revoke(Slot::Password)], ..reset(&user, 2) };
    database.store.change_subject(revoke, record(&tenant.uid)).await.unwrap();
    let (_, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert!(live.is_empty(), "a subject without live secrets is still found");
}

pub(crate) async fn a_change_needs_the_version_it_was_decided_on(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, password) = database.user(&tenant, "u1").await;
    for version in [0, 2] {
        let note = record(&tenant.uid);
        let error = database.store.change_subject(reset(&user, version), note.clone()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::ConcurrentChange);
        assert_eq!(database.raw.records(&note.uid).await, 0);
    }
    let reference = SubjectRef::Id(user.id.clone());
    let (found, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!((found.version, live[0].payload.clone()), (1, password.payload));
}

pub(crate) async fn a_credential_is_found_with_its_caller_and_stays_taken_when_revoked(database: Database) {
    let mut home = tenant("home");
    home.aliases = vec![alias(Dialect::Ocariot, "home")];
    database.store.insert_tenant(home.clone(), wrapped_key(&home), record(&home.uid)).await.unwrap();
    let caller = subject(&home, SubjectKind::Caller, "c1");
    let slot = Slot::ApiToken("t1".to_owned());
    let key = slot.lookup_key().unwrap();
    let mut token = secret(&caller, slot.clone(), 1);
    token.read_only = true;
    database.store.insert_subject(caller.clone(), vec![token.clone()], record(&home.uid)).await.unwrap();

    let found = database.store.credential(&key).await.unwrap().unwrap();
    assert_eq!(
        (&found.versions[0].payload, found.versions[0].read_only, found.versions.len()),
        (&token.payload, true, 1)
    );
    assert_eq!(format!("{:?}{:?}", found.subject, found.tenant), format!("{caller:?}{home:?}"));
    assert!(database.store.credential("token/t2").await.unwrap().is_none());

    let revoke = SubjectChange { secrets: vec![SecretChange::Revoke(slot.clone())], ..reset(&caller, 1) };
    database.store.change_subject(revoke, record(&home.uid)).await.unwrap();
    let found = database.store.credential(&key).await.unwrap().unwrap();
    assert_eq!((found.versions[0].stage, found.versions[0].payload.len()), (Stage::Revoked, 0));

    // Taken for everybody and for ever, in whichever way somebody comes by it.
    let other = database.tenant("other").await;
    let thief = subject(&other, SubjectKind::Caller, "c1");
    let stolen = vec![secret(&thief, slot.clone(), 1)];
    let error = database.store.insert_subject(thief, stolen, record(&other.uid)).await.unwrap_err();
    assert_eq!(why(&error), (Reason::AlreadyExists, Some("lookup_key")));
    let again = SubjectChange { secrets: vec![SecretChange::Replace(secret(&caller, slot, 3))], ..reset(&caller, 2) };
    let error = database.store.change_subject(again, record(&home.uid)).await.unwrap_err();
    assert_eq!(why(&error), (Reason::AlreadyExists, Some("lookup_key")));
}

pub(crate) async fn a_rehash_gives_way_to_any_change(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, mut password) = database.user(&tenant, "u1").await;
    password.payload = b"stronger".to_vec();
    "k2".clone_into(&mut password.key_id);
    let note = record(&tenant.uid);
    assert!(database.store.rehash(password.clone(), 1, note.clone()).await.unwrap());
    assert_eq!(database.raw.records(&note.uid).await, 1);

    let reference = SubjectRef::Id(user.id.clone());
    let (found, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!((found.version, found.update_time), (1, user.update_time));
    assert_eq!((live[0].payload.as_slice(), live[0].key_id.as_str(), live[0].version), (&b"stronger"[..], "k2", 1));
    assert_eq!(live[0].create_time, password.create_time);

    // The subject has another version; then the secret is another one too.
    password.payload = b"late".to_vec();
    let note = record(&tenant.uid);
    assert!(!database.store.rehash(password.clone(), 2, note.clone()).await.unwrap());
    database.store.change_subject(reset(&user, 1), record(&tenant.uid)).await.unwrap();
    for version in [1, 2] {
        assert!(!database.store.rehash(password.clone(), version, note.clone()).await.unwrap());
    }
    assert_eq!(database.raw.records(&note.uid).await, 0);
    assert_eq!(database.raw.number("SELECT count(*) FROM secret WHERE key_id = 'k2' AND stage = 'current'").await, 0);
}

pub(crate) async fn of_a_users_passwords_as_many_are_kept_as_are_asked_for(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, _) = database.user(&tenant, "u1").await;
    let (other, _) = database.user(&tenant, "u2").await;
    let succeed = async |user: &Subject, version: i64, kept: u64| {
        let secret = secret(user, Slot::Password, version + 1);
        let change = SubjectChange { secrets: vec![SecretChange::Succeed { secret, kept }], ..reset(user, version) };
        database.store.change_subject(change, record(&tenant.uid)).await.unwrap();
    };
    let earlier = async |user: &Subject, most: u64| {
        let found = database.store.earlier_passwords(&user.uid, most).await.unwrap();
        assert!(found.iter().all(|secret| secret.stage == Stage::Revoked && !secret.payload.is_empty()));
        found.into_iter().map(|secret| secret.version).collect::<Vec<_>>()
    };
    for version in 1..=4 {
        succeed(&user, version, 3).await;
    }
    succeed(&other, 1, 24).await;
    assert_eq!(earlier(&user, 24).await, [4, 3, 2]);
    assert_eq!(earlier(&user, 2).await, [4, 3]);
    assert_eq!(earlier(&user, 0).await, [0; 0]);
    assert_eq!(earlier(&other, 24).await, [1]);

    // What is in force is none of them, and they are not in force.
    let reference = SubjectRef::Id(user.id.clone());
    let found = database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap();
    let live: Vec<_> = found.unwrap().1.into_iter().map(|secret| (secret.version, secret.stage)).collect();
    assert_eq!(live, [(5, Stage::Current)]);

    // A policy that asks for fewer forgets the others, and one for none forgets all.
    succeed(&user, 5, 1).await;
    assert_eq!(earlier(&user, 24).await, [5]);
    succeed(&user, 6, 0).await;
    assert_eq!(earlier(&user, 24).await, [0; 0]);
    let kept = "SELECT count(*) FROM secret WHERE stage = 'revoked' AND length(payload) > 0";
    assert_eq!(database.raw.number(kept).await, 1, "but for the other's");
}

pub(crate) async fn a_password_is_marked_once_and_while_it_is_in_force(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, password) = database.user(&tenant, "u1").await;
    let (first, second) = (record(&tenant.uid), record(&tenant.uid));
    assert!(database.store.require_change(&password, first.clone()).await.unwrap());
    assert!(!database.store.require_change(&password, second.clone()).await.unwrap());
    let reference = SubjectRef::Id(user.id.clone());
    let (found, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!((found.version, live[0].must_change, live[0].expire_time), (1, true, password.expire_time));

    database.store.change_subject(reset(&user, 1), record(&tenant.uid)).await.unwrap();
    assert!(!database.store.require_change(&password, second.clone()).await.unwrap());
    assert_eq!((database.raw.records(&first.uid).await, database.raw.records(&second.uid).await), (1, 0));
}

pub(crate) async fn a_record_is_kept_in_full(database: Database) {
    let mut note = record(&new_uid());
    note.target = Target::Subject(SubjectKind::User, "anna".to_owned());
    note.outcome = Outcome::Failed;
    note.reason = Some(Reason::CurrentPasswordMismatch);
    "it's \"so\"".clone_into(&mut note.detail);
    database.store.append_records(vec![note.clone()]).await.unwrap();

    for (column, expected) in [
        ("tenant_uid", note.tenant_uid.as_str()),
        ("actor", &note.actor),
        ("action", note.action),
        ("target_kind", "user"),
        ("target_id", "anna"),
        ("outcome", "failed"),
        ("reason", "CURRENT_PASSWORD_MISMATCH"),
        ("request_id", "r1"),
        ("detail", &note.detail),
    ] {
        let kept = database.raw.text(&format!("SELECT {column} FROM audit WHERE uid = '{}'", note.uid)).await;
        assert_eq!(kept.as_deref(), Some(expected), "{column}");
    }
    assert_eq!(database.raw.number("SELECT time FROM audit").await, note.time.micros());

    note.uid = new_uid();
    note.target = Target::Tenant("acme".to_owned());
    database.store.append_records(vec![note.clone()]).await.unwrap();
    assert_eq!(database.raw.number("SELECT count(*) FROM audit WHERE target_kind = 'tenant'").await, 1);
}

pub(crate) async fn a_change_without_its_record_does_not_happen(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, password) = database.user(&tenant, "u1").await;
    let note = record(&tenant.uid);
    database.store.append_records(vec![note.clone()]).await.unwrap();

    let error = database.store.change_subject(reset(&user, 1), note.clone()).await.unwrap_err();
    assert_eq!(why(&error), (Reason::Internal, None));
    assert!(!database.store.rehash(password.clone(), 9, note.clone()).await.unwrap());
    database.store.rehash(secret(&user, Slot::Password, 1), 1, note.clone()).await.unwrap_err();
    let stranger = subject(&tenant, SubjectKind::User, "u2");
    database.store.insert_subject(stranger, Vec::new(), note).await.unwrap_err();

    let reference = SubjectRef::Id(user.id.clone());
    let (found, live) =
        database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!((found.version, live.len(), live[0].payload.clone()), (1, 1, password.payload));
    assert_eq!(database.raw.number("SELECT count(*) FROM subject").await, 1);
}

pub(crate) async fn another_store_sees_everything(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, password) = database.user(&tenant, "u1").await;
    let other = Store::connect(&database.options).await.unwrap();
    assert_eq!(other.pending_migrations().await.unwrap(), 0);
    other.check().await.unwrap();
    let reference = SubjectRef::Id(user.id);
    let (found, live) = other.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    assert_eq!((found.uid, live[0].payload.clone()), (user.uid, password.payload));
    other.close().await;
    database.store.check().await.unwrap();
}
