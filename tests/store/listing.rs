//! Lists, and what is left of what was deleted.

use std::collections::BTreeSet;

use rekey::{
    domain::{
        Dialect, Filter, Order, Position, Reason, Slot, Subject, SubjectKind, SubjectState, TenantRef, Timestamp,
        filter::{TextField, Vocabulary},
        listing::OrderBy,
    },
    store::{
        Matches, Store, StoreOptions, SubjectChange, SubjectDeletion, SubjectListing, TenantDeletion, TenantListing,
        Window,
    },
};

use crate::fixture::{
    Database, LATER, NOW, alias, all_tenants, id, issuer, new_uid, record, secret, subject, tenant, wrapped_key,
};

const VOCABULARY: Vocabulary = Vocabulary {
    texts: &[("username", TextField::Login), ("display_name", TextField::DisplayName)],
    states: &SubjectState::ALL,
};

fn filter(text: &str) -> Filter {
    Filter::parse(text, VOCABULARY).unwrap()
}

fn order(by: OrderBy, descending: bool) -> Order {
    Order { by, descending }
}

fn users(tenant: &rekey::domain::Tenant, text: &str) -> SubjectListing {
    SubjectListing {
        tenant_uid: tenant.uid.clone(),
        kind: SubjectKind::User,
        filter: filter(text),
        order: order(OrderBy::Id, false),
        after: None,
        limit: 100,
    }
}

pub(crate) async fn lists_are_filtered_by_what_stands_in_the_rows(database: Database) {
    let (acme, other) = (database.tenant("acme").await, database.tenant("other").await);
    for (number, login, state, team) in [
        (1, "jane", SubjectState::Active, "blue"),
        (2, "jb", SubjectState::Locked, "blue"),
        (3, "jane_doe", SubjectState::Active, "blu"),
        (4, "JANE", SubjectState::Disabled, "Blue"),
        (5, "ja%", SubjectState::Active, ""),
        (6, "j\u{10ffff}x", SubjectState::Active, "blue\"*"),
    ] {
        for tenant in [&acme, &other] {
            let mut user = subject(tenant, SubjectKind::User, &format!("u{number}"));
            user.login = Some(login.to_owned());
            user.state = state;
            user.attributes.labels = [("team".to_owned(), team.to_owned())].into();
            user.create_time = Timestamp::from_micros(number);
            user.update_time = Timestamp::from_micros(10 - number);
            database.store.insert_subject(user, Vec::new(), record(&tenant.uid)).await.unwrap();
        }
    }
    let listed = async |listing: &SubjectListing| -> String {
        let found = database.store.list_subjects(listing).await.unwrap();
        assert!(found.iter().all(|user| user.tenant_uid == listing.tenant_uid));
        assert_eq!(database.store.count_subjects(listing).await.unwrap(), i64::try_from(found.len()).unwrap());
        // Whoever walks through all of them meets the same ones.
        let SubjectListing { tenant_uid, kind, filter, .. } = listing.clone();
        let matches = Matches { tenant_uid, kind, filter };
        let (count, last) = database.store.count_matches(&matches).await.unwrap();
        let Window { subjects: mut walked, end } = database.store.next_matches(&matches, "", &last, 100).await.unwrap();
        assert!(walked.is_sorted_by_key(|user| user.uid.clone()) && end.is_none());
        walked.sort_by(|one, other| one.id.cmp(&other.id));
        let ids = |users: &[Subject]| users.iter().map(|user| user.id.to_string()).collect::<Vec<_>>();
        assert_eq!((ids(&walked), count), (ids(&found), i64::try_from(found.len()).unwrap()));
        found.iter().map(|user| user.id.as_str().trim_start_matches('u')).collect()
    };
    for (text, expected) in [
        ("", "123456"),
        ("state = ACTIVE", "1356"),
        ("state = LOCKED", "2"),
        ("username = \"jane\"", "1"),
        ("username = \"ja*\"", "135"),
        ("username = \"jane*\"", "13"),
        ("username = \"j*\"", "12356"),
        ("username = \"j\u{10ffff}*\"", "6"),
        ("username = \"*\"", "123456"),
        ("username = \"ja%\"", "5"),
        ("username = \"ja_e\"", ""),
        ("username = \"' OR 1=1 --\"", ""),
        ("labels.team = \"blue\"", "12"),
        ("labels.team = \"blu*\"", "1236"),
        ("labels.team = \"blue\\\"\\*\"", "6"),
        ("labels.team = \"\"", "5"),
        ("labels.other = \"blue\"", ""),
        ("state = ACTIVE AND username = \"ja*\" AND labels.team = \"blue\"", "1"),
        ("create_time > 1970-01-01T00:00:00.000004Z", "56"),
        ("create_time >= 1970-01-01T00:00:00.000004Z", "456"),
        ("create_time > 1970-01-01T00:00:00.0000035Z", "456"),
        ("update_time < 1970-01-01T00:00:00.000006Z", "56"),
        ("update_time <= 1970-01-01T00:00:00.000006Z AND create_time < 1970-01-01T00:00:00.000006Z", "45"),
        ("display_name = \"Ä*\"", "123456"),
        ("display_name = \"A*\"", ""),
    ] {
        assert_eq!(listed(&users(&acme, text)).await, expected, "{text}");
    }
    for (by, descending, expected) in [
        (OrderBy::Id, true, "654321"),
        (OrderBy::Login, false, "451326"),
        (OrderBy::Login, true, "623154"),
        (OrderBy::CreateTime, true, "654321"),
        (OrderBy::UpdateTime, false, "654321"),
    ] {
        let listing = SubjectListing { order: order(by, descending), limit: 3, ..users(&acme, "") };
        let first = database.store.list_subjects(&listing).await.unwrap();
        let last = first.last().unwrap();
        let after = match by {
            OrderBy::Id => Position::Text(last.id.to_string()),
            OrderBy::Login => Position::Text(last.login.clone().unwrap()),
            OrderBy::CreateTime => Position::Time(last.create_time, last.id.to_string()),
            OrderBy::UpdateTime => Position::Time(last.update_time, last.id.to_string()),
        };
        let second = database.store.list_subjects(&SubjectListing { after: Some(after), ..listing }).await.unwrap();
        let ids: String = first.iter().chain(&second).map(|user| user.id.as_str().trim_start_matches('u')).collect();
        assert_eq!(ids, expected, "{by:?} {descending}");
    }
}

pub(crate) async fn every_list_is_answered_by_an_index(database: Database) {
    let (acme, other) = (database.tenant("acme").await, database.tenant("other").await);
    // As many rows as make a scan dear.
    let counted =
        |rows: u32| format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})");
    let numbers = counted(40_000);
    let padded = if database.is_sqlite() { "printf('%024d', i)" } else { "lpad(i::text, 24, '0')" };
    let owner = format!("CASE WHEN i % 10 = 0 THEN '{}' ELSE '{}' END", acme.uid, other.uid);
    let columns = "uid, tenant_uid, kind, external_id, login, state, attributes, version, create_time, update_time";
    let states = "CASE WHEN i % 500 = 0 THEN 'locked' ELSE 'active' END";
    let fewer = counted(4_000);
    let login = if database.is_sqlite() { "printf('login%05d', i)" } else { "'login' || lpad(i::text, 5, '0')" };
    database
        .raw
        .run(&format!(
            "INSERT INTO subject ({columns}, display_name) {numbers} SELECT 'u' || {padded}, {owner}, 'user', 'id' || {padded}, \
             {login}, {states}, '{{}}', 1, i, i, {login} FROM n"
        ))
        .await;
    database
        .raw
        .run(&format!(
            "INSERT INTO subject_label (subject_uid, name, tenant_uid, kind, value) {numbers} \
             SELECT 'u' || {padded}, 'team', {owner}, 'user', {login} FROM n"
        ))
        .await;
    database
        .raw
        .run(&format!(
            "INSERT INTO tenant (uid, external_id, settings, version, create_time, update_time) {fewer} \
             SELECT 't' || {padded}, 'id' || {padded}, '{{}}', 1, i, i FROM n"
        ))
        .await;
    database
        .raw
        .run(&format!(
            "INSERT INTO tenant_label (tenant_uid, name, value) {fewer} SELECT 't' || {padded}, 'team', {login} FROM n"
        ))
        .await;
    database.raw.run("ANALYZE").await;

    let scans = |plan: &str| -> bool {
        plan.contains("Seq Scan") || plan.lines().any(|line| line.trim().starts_with("SCAN") && !line.contains("INDEX"))
    };
    let filters = [
        "",
        "state = LOCKED",
        "username = \"login000*\"",
        "username = \"login00007\"",
        "display_name = \"login000*\"",
        "labels.team = \"login00007\"",
        "labels.team = \"login000*\"",
        "create_time > 1970-01-01T00:00:00.039900Z",
        "update_time <= 1970-01-01T00:00:00.000010Z",
    ];
    let middle = format!("id{:024}", 20_000);
    let mut seen = BTreeSet::new();
    for text in filters {
        for by in [OrderBy::Id, OrderBy::Login, OrderBy::CreateTime, OrderBy::UpdateTime] {
            for descending in [false, true] {
                let after = match by {
                    OrderBy::Id => Position::Text(middle.clone()),
                    OrderBy::Login => Position::Text("login20000".to_owned()),
                    OrderBy::CreateTime | OrderBy::UpdateTime => {
                        Position::Time(Timestamp::from_micros(20_000), middle.clone())
                    }
                };
                for after in [None, Some(after)] {
                    let order = order(by, descending);
                    let listing = SubjectListing { order, after, limit: 51, ..users(&acme, text) };
                    let plan = database.store.explain_subjects(&listing).await.unwrap();
                    assert!(!scans(&plan), "{text} {order:?} {:?}:\n{plan}", listing.after);
                    if text.is_empty() {
                        // Read in order, not sorted.
                        assert!(!plan.contains("TEMP B-TREE") && !plan.contains("Sort"), "{order:?}:\n{plan}");
                    }
                    seen.insert(plan);
                }
            }
        }
    }
    assert!(seen.len() > 10, "the database was asked");

    for text in ["", "state = DISABLED", "labels.team = \"login00007\"", "create_time > 1970-01-01T00:00:00.003990Z"] {
        for by in [OrderBy::Id, OrderBy::CreateTime, OrderBy::UpdateTime] {
            for only in [None, Some(acme.uid.clone())] {
                let order = order(by, true);
                let listing = TenantListing { only, filter: filter(text), order, limit: 51, ..all_tenants() };
                let plan = database.store.explain_tenants(&listing).await.unwrap();
                assert!(!scans(&plan), "{text} {order:?}:\n{plan}");
            }
        }
    }
}

async fn furnished(database: &Database, name: &str) -> (rekey::domain::Tenant, Subject) {
    let mut tenant = tenant(name);
    tenant.aliases = vec![alias(Dialect::Roma, name)];
    tenant.settings.jwt_issuers = vec![issuer("https://one")];
    tenant.settings.labels = [("plan".to_owned(), "pro".to_owned())].into();
    database.store.insert_tenant(tenant.clone(), wrapped_key(&tenant), record(&tenant.uid)).await.unwrap();
    let mut user = subject(&tenant, SubjectKind::User, "ada");
    user.attributes.labels = [("team".to_owned(), "blue".to_owned())].into();
    let secrets = vec![secret(&user, Slot::Password, 1), secret(&user, Slot::ApiToken(format!("t-{name}")), 1)];
    database.store.insert_subject(user.clone(), secrets, record(&tenant.uid)).await.unwrap();
    let row = format!("'{}', 'x', 1, 0, 0, NULL, NULL, NULL, 9, 0", user.uid);
    let columns = "subject_key, source_class, failures, reserved, reserved_until, blocked_until, failure_time, success_time, expire_time, revision";
    database.raw.run(&format!("INSERT INTO failure ({columns}) VALUES ({row})")).await;
    (tenant, user)
}

async fn rows(database: &Database) -> Vec<(&'static str, i64)> {
    let tables = [
        "tenant",
        "tenant_alias",
        "tenant_label",
        "jwt_issuer",
        "data_key",
        "subject",
        "subject_label",
        "secret",
        "failure",
    ];
    let mut counted = Vec::new();
    for table in tables {
        counted.push((table, database.raw.number(&format!("SELECT count(*) FROM {table}")).await));
    }
    counted
}

pub(crate) async fn a_deleted_subject_leaves_nothing_but_records(database: Database) {
    let (acme, ada) = furnished(&database, "acme").await;
    let mut before = rows(&database).await;
    let (eve, _) = database.user(&acme, "eve").await;
    let deletion = |user: &Subject, expected_version| SubjectDeletion {
        subject_uid: user.uid.clone(),
        expected_version,
        leaves_administrator: false,
    };
    let note = record(&acme.uid);
    let error = database.store.delete_subject(deletion(&eve, 2), note.clone()).await.unwrap_err();
    assert_eq!((error.reason(), database.raw.records(&note.uid).await), (Reason::ConcurrentChange, 0));
    database.store.delete_subject(deletion(&eve, 1), note.clone()).await.unwrap();
    assert_eq!(rows(&database).await, before);
    assert_eq!(database.raw.records(&note.uid).await, 1);
    let error = database.store.delete_subject(deletion(&eve, 1), record(&acme.uid)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ConcurrentChange);

    database.store.delete_subject(deletion(&ada, 1), record(&acme.uid)).await.unwrap();
    for (table, count) in &mut before {
        if ["subject", "subject_label", "secret", "failure"].contains(table) {
            *count = 0;
        }
    }
    assert_eq!(rows(&database).await, before);
}

pub(crate) async fn a_deleted_tenant_leaves_nothing_but_records(database: Database) {
    furnished(&database, "other").await;
    let before = rows(&database).await;
    let (acme, _) = furnished(&database, "acme").await;
    let deletion = |with_subjects, expected_version| TenantDeletion {
        tenant_uid: acme.uid.clone(),
        expected_version,
        with_subjects,
    };
    let error = database.store.delete_tenant(deletion(false, 1), record(&acme.uid)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TenantNotEmpty);
    let error = database.store.delete_tenant(deletion(true, 2), record(&acme.uid)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ConcurrentChange);
    let note = record(&acme.uid);
    database.store.delete_tenant(deletion(true, 1), note.clone()).await.unwrap();
    assert_eq!(rows(&database).await, before);
    assert_eq!(database.raw.records(&note.uid).await, 1);
    let of_acme = format!("SELECT count(*) FROM audit WHERE tenant_uid = '{}'", acme.uid);
    assert_eq!(database.raw.number(&of_acme).await, 3);
}

pub(crate) async fn a_tenant_that_is_deleted_takes_nobody_in(database: Database) {
    let acme = database.tenant("acme").await;
    let store = database.store.clone();
    let mut coming = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (store, user) = (store.clone(), subject(&acme, SubjectKind::User, &format!("u{number}")));
        coming.spawn(async move { store.insert_subject(user.clone(), Vec::new(), record(&user.tenant_uid)).await });
    }
    let deletion = TenantDeletion { tenant_uid: acme.uid.clone(), expected_version: 1, with_subjects: true };
    store.delete_tenant(deletion, record(&acme.uid)).await.unwrap();
    while let Some(outcome) = coming.join_next().await {
        if let Err(error) = outcome.unwrap() {
            assert_eq!(error.reason(), Reason::ConcurrentChange);
        }
    }
    assert!(store.tenant(&TenantRef::Id(id("acme")), &new_uid()).await.unwrap().is_none());
    assert_eq!(database.raw.number("SELECT count(*) FROM subject").await, 0);
}

pub(crate) async fn the_last_administrator_stays(database: Database) {
    let system = database.tenant("system").await;
    let mut admins = Vec::new();
    for (name, permission, display_name) in
        [("one", "*", ""), ("two", "*", ""), ("namesake", "users:get", "*"), ("reader", "users:get", "")]
    {
        let mut caller = subject(&system, SubjectKind::Caller, name);
        caller.login = None;
        caller.attributes.permissions = vec![permission.to_owned()];
        display_name.clone_into(&mut caller.attributes.display_name);
        database.store.insert_subject(caller.clone(), Vec::new(), record(&system.uid)).await.unwrap();
        admins.push(caller);
    }
    // Each puts the other out of use, at once.
    for round in 0..10 {
        let mut changes = tokio::task::JoinSet::new();
        for caller in &admins[..2] {
            let (store, note) = (database.store.clone(), record(&system.uid));
            let change = SubjectChange {
                subject_uid: caller.uid.clone(),
                expected_version: caller.version,
                login: None,
                state: Some(SubjectState::Disabled),
                attributes: None,
                forgives: false,
                leaves_administrator: true,
                secrets: Vec::new(),
                time: LATER,
            };
            changes.spawn(async move { store.change_subject(change, note).await });
        }
        let mut reasons = Vec::new();
        while let Some(outcome) = changes.join_next().await {
            reasons.extend(outcome.unwrap().err().map(|error| error.reason()));
        }
        assert_eq!(reasons, [Reason::Indispensable], "round {round}");
        let remain = "SELECT count(*) FROM subject WHERE state = 'active' AND external_id IN ('one', 'two')";
        assert_eq!(database.raw.number(remain).await, 1);
        database.raw.run("UPDATE subject SET state = 'active', version = 1").await;
    }
    for caller in &admins[..2] {
        let deletion =
            SubjectDeletion { subject_uid: caller.uid.clone(), expected_version: 1, leaves_administrator: true };
        let done = database.store.delete_subject(deletion, record(&system.uid)).await;
        assert_eq!(done.err().map(|error| error.reason()), (caller.id == id("two")).then_some(Reason::Indispensable));
    }
}

pub(crate) async fn what_an_older_program_wrote_is_found_by_name(database: Database) {
    let acme = database.tenant("acme").await;
    let mut caller = subject(&acme, SubjectKind::Caller, "svc");
    caller.login = None;
    database.store.insert_subject(caller, Vec::new(), record(&acme.uid)).await.unwrap();
    // Back to before the step, as far as this is about.
    for index in ["subject_state_idx", "subject_create_time_idx", "subject_update_time_idx", "subject_display_name_idx"]
    {
        database.raw.run(&format!("DROP INDEX {index}")).await;
    }
    for index in ["tenant_state_idx", "tenant_create_time_idx", "tenant_update_time_idx"] {
        database.raw.run(&format!("DROP INDEX {index}")).await;
    }
    database.raw.run("ALTER TABLE subject DROP COLUMN display_name").await;
    database.raw.run("ALTER TABLE tenant DROP COLUMN state").await;
    database.raw.run("DROP TABLE subject_label").await;
    database.raw.run("DROP TABLE tenant_label").await;
    database.raw.run("DELETE FROM seaql_migrations WHERE version LIKE '%000008%'").await;
    let options = StoreOptions { max_connections: 2, ..database.options.clone() };
    let store = Store::connect(&options).await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), 1);

    let listing = SubjectListing { kind: SubjectKind::Caller, ..users(&acme, "display_name = \"Ängst*\"") };
    assert_eq!(store.list_subjects(&listing).await.unwrap().len(), 1);
    let found = store.tenant(&TenantRef::Id(id("acme")), &new_uid()).await.unwrap().unwrap();
    assert_eq!((found.state, found.create_time), (SubjectState::Active, NOW));
    store.close().await;
}
