//! UserService.ImportUsers itself.

use rekey::proto::{
    CreateCallerRequest, CreateUserRequest, DuplicatePolicy, ImportBatch, ImportOptions, ImportUser, SubjectState,
    import_users_request::Content,
};
use tonic::Code;

use crate::{
    BCRYPT, OURS, PASSWORD, census,
    common::rekey::{Rekey, fields, reason},
    counts, get, import, options, send, user, verifies, with_tenant, with_tenant_on_postgres,
};

const OTHER: &str = "$1$saltsalt$BsXyQbZiQujHkdhwPwdol.";

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_skipped_replaced_or_reported_and_keep_nobody_else_out() {
    let engines = [Some(with_tenant().await), with_tenant_on_postgres().await];
    for rekey in engines.into_iter().flatten() {
        duplicates(&rekey).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_as_high_is_not_replaced() {
    let rekey = with_tenant().await;
    let roles = vec![rekey::proto::Role::Helpdesk.into()];
    let permissions = vec!["users:import".to_owned()];
    let tenant_id = "acme".to_owned();
    let desk = CreateCallerRequest { tenant_id, permissions, roles, ..CreateCallerRequest::default() };
    let desk = rekey.clients(&rekey.make_caller_as(desk).await);
    for (user_id, rank) in [("low", 99), ("high", 100)] {
        let [tenant_id, user_id] = ["acme", user_id].map(str::to_owned);
        let username = format!("{user_id}@acme.example");
        let made = CreateUserRequest { tenant_id, user_id, username, rank, ..CreateUserRequest::default() };
        rekey.admin().users.create_user(made).await.unwrap();
    }
    let users = vec![user("low", BCRYPT), user("high", BCRYPT), user("new", BCRYPT)];
    for dry_run in [true, false] {
        let options = ImportOptions { dry_run, ..options(DuplicatePolicy::Replace) };
        let report = import(&desk, options, vec![users.clone()]).await.unwrap();
        assert_eq!(counts(&report[0]), (1, 1, 0, vec![(1, "RANK_TOO_LOW")]));
    }
    assert!(verifies(&rekey.admin(), "low", PASSWORD).await && !verifies(&rekey.admin(), "high", PASSWORD).await);
    assert_eq!(get(&rekey.admin(), "low").await.unwrap().rank, 99);
}

async fn duplicates(rekey: &Rekey) {
    let clients = rekey.admin();
    let first = import(&clients, options(DuplicatePolicy::Skip), vec![vec![user("ada", BCRYPT)]]).await.unwrap();
    assert_eq!(counts(&first[0]), (1, 0, 0, vec![]));
    let ada = get(&clients, "ada").await.unwrap();

    let batch = |number: u32| {
        let other_id = ImportUser { user_id: format!("x{number}"), ..user("ada", OTHER) };
        let new = user(&format!("n{number}"), BCRYPT);
        vec![user("ada", OTHER), other_id, new.clone(), new]
    };
    let skipped = import(&clients, options(DuplicatePolicy::Skip), vec![batch(1)]).await.unwrap();
    assert_eq!(counts(&skipped[0]), (1, 0, 3, vec![]));
    let failed = import(&clients, options(DuplicatePolicy::Fail), vec![vec![], batch(2)]).await.unwrap();
    let exists = "ALREADY_EXISTS";
    assert_eq!(counts(&failed[1]), (1, 0, 0, vec![(0, exists), (1, exists), (3, exists)]));
    assert_eq!(get(&clients, "ada").await.unwrap(), ada);
    assert_eq!(census(&clients).await, [("bcrypt cost=4".to_owned(), 3)]);

    let mut changed = batch(3);
    changed[0].state = SubjectState::Disabled.into();
    "ada the second".clone_into(&mut changed[0].username);
    changed.push(ImportUser { user_id: String::new(), ..user("n1", OTHER) });
    let replaced = import(&clients, options(DuplicatePolicy::Replace), vec![changed]).await.unwrap();
    // Her old name is free by then, and x3 takes it; n3 replaces itself; n1 is found by name.
    assert_eq!(counts(&replaced[0]), (2, 3, 0, vec![]));
    let after = get(&clients, "ada").await.unwrap();
    assert_eq!((after.username.as_str(), after.state()), ("ada the second", SubjectState::Disabled));
    assert_ne!(after.etag, ada.etag);
    assert_eq!(get(&clients, "x3").await.unwrap().username, "ada@acme.example");
    assert_eq!(census(&clients).await, [("md5-crypt".to_owned(), 3), ("bcrypt cost=4".to_owned(), 2)]);

    let both = ImportUser { user_id: "n1".to_owned(), username: "n2@acme.example".to_owned(), ..user("n1", OTHER) };
    let unclear = import(&clients, options(DuplicatePolicy::Replace), vec![vec![both]]).await.unwrap();
    assert_eq!(counts(&unclear[0]), (0, 0, 0, vec![(0, exists)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_cost_too_much_and_what_is_garbage_is_refused_one_by_one() {
    let rekey = with_tenant().await;
    let clients = rekey.admin();
    let tail = "c2FsdHNhbHRzYWx0$vv5gD2TCtuaFStwnZ2hDd1ka6BBBAil7Rx/QcrQzZPg";
    let users = vec![
        user("bcrypt", "$2b$31$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W"),
        user("scrypt", &format!("$scrypt$ln=30,r=8,p=1${tail}")),
        user("pbkdf2", &format!("$pbkdf2-sha256$i=1000000000${tail}")),
        user("unknown", "sentinel"),
        user("bad id", BCRYPT),
        ImportUser { username: "\u{7}".to_owned(), ..user("bell", BCRYPT) },
        ImportUser { state: 99, ..user("state", BCRYPT) },
        user("good", BCRYPT),
    ];
    let answers = import(&clients, options(DuplicatePolicy::Skip), vec![users]).await.unwrap();
    let invalid = "FIELDS_INVALID";
    assert_eq!(counts(&answers[0]), (1, 0, 0, (0..7).map(|place| (place, invalid)).collect()));
    for (failure, word) in answers[0].failures.iter().zip([
        "cost 31",
        "ln=30",
        "1000000000",
        "no known form",
        "user_id",
        "username",
        "state",
    ]) {
        assert!(failure.message.contains(word) && !failure.message.contains("sentinel"), "{failure:?}");
    }
    assert!(verifies(&clients, "good", PASSWORD).await);
    assert_eq!(get(&clients, "bcrypt").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let rekey = with_tenant().await;
    let clients = rekey.admin();
    import(&clients, options(DuplicatePolicy::Skip), vec![vec![user("ada", BCRYPT)]]).await.unwrap();
    let ada = get(&clients, "ada").await.unwrap();
    let dry = ImportOptions { dry_run: true, wrap: true, ..options(DuplicatePolicy::Replace) };
    let users = vec![user("ada", OTHER), user("bob", BCRYPT), user("eve", "x")];
    let answers = import(&clients, dry, vec![users]).await.unwrap();
    assert_eq!(counts(&answers[0]), (1, 1, 0, vec![(2, "FIELDS_INVALID")]));
    assert_eq!(get(&clients, "ada").await.unwrap(), ada);
    assert_eq!(get(&clients, "bob").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrapped_hashes_verify_and_are_replaced_by_ours_on_success() {
    let rekey = with_tenant().await;
    let clients = rekey.admin();
    let wrapping = ImportOptions { wrap: true, ..options(DuplicatePolicy::Skip) };
    let users = vec![user("ada", BCRYPT), user("bob", OTHER), user("eve", "")];
    let answers = import(&clients, wrapping, vec![users]).await.unwrap();
    assert_eq!(counts(&answers[0]), (3, 0, 0, vec![]));
    let over = |inner: &str| (format!("{OURS} over {inner}"), 1);
    assert_eq!(census(&clients).await, [over("bcrypt cost=4"), over("md5-crypt")]);
    for id in ["ada", "bob"] {
        assert!(!verifies(&clients, id, "correct horse").await);
        assert!(verifies(&clients, id, PASSWORD).await);
    }
    assert!(!verifies(&clients, "eve", PASSWORD).await);
    while census(&clients).await != [(OURS.to_owned(), 2)] {}
    assert!(verifies(&clients, "ada", PASSWORD).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_begins_with_its_options_and_by_who_may() {
    let rekey = with_tenant().await;
    let clients = rekey.admin();
    let batch = || Content::Batch(ImportBatch { users: vec![user("ada", BCRYPT)] });
    let good = || Content::Options(options(DuplicatePolicy::Skip));
    for (contents, field) in [
        (vec![], "options"),
        (vec![batch()], "options"),
        (vec![good(), good()], "batch"),
        (vec![good(), Content::Batch(ImportBatch { users: vec![user("a", BCRYPT); 1_001] })], "batch.users"),
        (
            vec![Content::Options(ImportOptions { duplicate_policy: 9, ..options(DuplicatePolicy::Skip) })],
            "duplicate_policy",
        ),
    ] {
        let refused = send(&clients, contents).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let elsewhere = ImportOptions { tenant_id: "other".to_owned(), ..options(DuplicatePolicy::Skip) };
    let unknown = import(&clients, elsewhere, vec![]).await.unwrap_err();
    assert_eq!(reason(&unknown), "TENANT_NOT_FOUND");
    let token = rekey.make_caller("acme", &["users:create", "users:verify"]).await;
    let denied = import(&rekey.clients(&token), options(DuplicatePolicy::Skip), vec![]).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_users_come_in_one_go() {
    let rekey = with_tenant().await;
    let clients = rekey.admin();
    let batches = (0..40).map(|batch| (0..500).map(|one| user(&format!("u{}", batch * 500 + one), BCRYPT)).collect());
    let answers = import(&clients, options(DuplicatePolicy::Skip), batches.collect()).await.unwrap();
    assert_eq!(answers.iter().map(|answer| answer.created).sum::<u32>(), 20_000);
    assert_eq!(census(&clients).await, [("bcrypt cost=4".to_owned(), 20_000)]);
    assert!(verifies(&clients, "u19999", PASSWORD).await);
}
