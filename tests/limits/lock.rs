//! A soft lock's life: it begins, grows, ends by itself, with a success, or with a reset, and everybody who should can
//! see it.

use std::time::Duration;

use rekey::proto::{
    ChangePasswordRequest, CreateUserRequest, GetUserRequest, ResetPasswordRequest, SoftLock, Tenant, TenantLimits,
    User, VerifyPasswordRequest, change_password_request, create_user_request, reset_password_request,
    verify_password_request,
};
use tonic::Code;

use crate::{
    common::rekey::{Clients, Rekey, START, reason},
    site::{RIGHT, Site, WRONG},
};

const NEW: &str = "a new and long enough phrase";
const HOME: &str = "192.0.2.1";

#[tokio::test(flavor = "multi_thread")]
async fn delays_grow_and_end_by_themselves() {
    let (site, replica) = Site::sqlite().await;
    for _ in 0..4 {
        assert!(!replica.device("d1", WRONG, HOME).await);
    }
    // By now two more are known, so that strangers' budget is not what is measured.
    for delay in [1, 3, 5, 10, 30, 60, 120, 300, 600, 900, 900] {
        assert!(!replica.device("d1", WRONG, HOME).await);
        assert!(!replica.device("d1", RIGHT, HOME).await, "{delay} s begin");
        site.pass(delay - 1);
        assert!(!replica.device("d1", RIGHT, HOME).await, "{delay} s are not over");
        site.pass(1);
    }
    assert!(replica.device("d1", RIGHT, HOME).await);
    for _ in 0..4 {
        assert!(!replica.device("d1", WRONG, HOME).await);
        assert!(replica.device("d1", RIGHT, HOME).await, "a success clears");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_forgotten_after_a_day_and_rows_when_they_say_nothing() {
    let (site, replica) = Site::sqlite().await;
    for name in ["d1", "d2", "d3"] {
        assert!(!replica.device(name, WRONG, HOME).await);
    }
    assert!(replica.device("d1", RIGHT, "198.51.100.1").await);
    replica.ops.close().await;
    assert_eq!(site.count("FROM failure").await, 7, "two for each name, and one that is known");
    let store = site.store().await;
    site.pass(24 * 3_600);
    store.forget_attempts(site.now()).await.unwrap();
    assert_eq!(site.count("FROM failure").await, 1);
    site.pass(30 * 24 * 3_600);
    store.forget_attempts(site.now()).await.unwrap();
    assert_eq!(site.count("FROM failure").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_has_at_most_thirty_two_known_sources() {
    let (site, replica) = Site::sqlite().await;
    for number in 0..50 {
        assert!(replica.device("d1", RIGHT, &format!("app-{number}")).await);
    }
    replica.ops.close().await;
    assert_eq!(site.count("FROM failure WHERE success_time IS NOT NULL").await, 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_locks_nobody_out() {
    let (site, replica) = Site::sqlite().await;
    for _ in 0..12 {
        assert!(!replica.device("d1", WRONG, HOME).await);
        site.pass(900);
    }
    assert!(!replica.device("d1", WRONG, HOME).await);
    site.clock.set_back(Duration::from_hours(400 * 24));
    assert!(replica.device("d1", RIGHT, HOME).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_at_their_ends_neither_overflow_nor_unlock() {
    let (site, replica) = Site::sqlite().await;
    for _ in 0..5 {
        assert!(!replica.device("d1", WRONG, HOME).await);
    }
    site.run("UPDATE failure SET failures = 9223372036854775807, revision = 9223372036854775807").await;
    site.pass(1);
    assert!(!replica.device("d1", WRONG, HOME).await);
    site.pass(899);
    assert!(!replica.device("d1", RIGHT, HOME).await, "the longest delay");
    site.pass(1);
    assert!(replica.device("d1", RIGHT, HOME).await);
}

/// A Rekey with `ada` in `acme`, who may change her password.
pub(crate) async fn rekey(limits: TenantLimits) -> (Rekey, Clients) {
    let rekey = Rekey::start().await;
    let tenant = Tenant {
        tenant_id: "acme".to_owned(),
        change_password_allowed: true,
        limits: Some(limits),
        ..Tenant::default()
    };
    rekey.make_tenant(tenant).await;
    let mut clients = rekey.admin();
    let user = CreateUserRequest {
        tenant_id: "acme".to_owned(),
        user_id: "ada".to_owned(),
        username: "ada".to_owned(),
        secret_source: Some(create_user_request::SecretSource::Password(RIGHT.to_owned())),
        ..CreateUserRequest::default()
    };
    clients.users.create_user(user).await.unwrap();
    (rekey, clients)
}

pub(crate) async fn verify(clients: &Clients, password: &str, source: &str) -> Result<bool, tonic::Status> {
    let verify = VerifyPasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(verify_password_request::Subject::Username("ada".to_owned())),
        password: password.to_owned(),
        source: source.to_owned(),
    };
    clients.users.clone().verify_password(verify).await.map(|answer| answer.into_inner().verified)
}

async fn change(clients: &Clients, current: &str, new: &str) -> Result<User, tonic::Status> {
    let change = ChangePasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(change_password_request::Subject::Username("ada".to_owned())),
        current_password: current.to_owned(),
        new_password: new.to_owned(),
        source: HOME.to_owned(),
        ..Default::default()
    };
    clients.users.clone().change_password(change).await.map(|answer| answer.into_inner().user.unwrap())
}

pub(crate) async fn soft_lock(clients: &Clients) -> Option<SoftLock> {
    let get = GetUserRequest { tenant_id: "acme".to_owned(), user_id: "ada".to_owned() };
    clients.users.clone().get_user(get).await.unwrap().into_inner().user.unwrap().soft_lock
}

pub(crate) async fn reset(clients: &Clients, password: &str) {
    let reset = ResetPasswordRequest {
        tenant_id: "acme".to_owned(),
        user_id: "ada".to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(password.to_owned())),
        ..ResetPasswordRequest::default()
    };
    clients.users.clone().reset_password(reset).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_a_soft_lock_and_ends_it_by_a_reset() {
    let (rekey, clients) = rekey(TenantLimits::default()).await;
    assert_eq!(soft_lock(&clients).await, None);
    for _ in 0..5 {
        assert!(!verify(&clients, WRONG, HOME).await.unwrap());
    }
    let lock = soft_lock(&clients).await.unwrap();
    assert_eq!((lock.failures, lock.blocked_until.unwrap().seconds), (5, START + 1));
    assert!(!verify(&clients, RIGHT, HOME).await.unwrap());

    reset(&clients, "another long enough phrase").await;
    assert_eq!(soft_lock(&clients).await, None);
    assert!(verify(&clients, "another long enough phrase", HOME).await.unwrap());

    let database = rekey.options.store.url.clone();
    let directory = rekey.stop().await;
    let audit = crate::common::sql::connect(&database).await;
    let rows = sea_orm::ConnectionTrait::query_all_raw(
        &audit,
        sea_orm::Statement::from_string(
            sea_orm::DbBackend::Sqlite,
            "SELECT target_id, detail FROM audit WHERE action LIKE 'UserService/%#softLock' ORDER BY time",
        ),
    );
    let rows = rows.await.unwrap();
    let told: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row.try_get::<String>("", "target_id").unwrap(),
                row.try_get::<String>("", "detail").unwrap()
            )
        })
        .collect();
    assert_eq!(told, ["ada begins", "ada ends by a reset"]);
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_failures_of_the_password_count() {
    let (rekey, clients) = rekey(TenantLimits::default()).await;
    for _ in 0..10 {
        assert_eq!(verify(&clients, WRONG, &"x".repeat(129)).await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(verify(&clients, "", HOME).await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(reason(&change(&clients, WRONG, "short").await.unwrap_err()), "POLICY_VIOLATED");
    }
    assert_eq!(soft_lock(&clients).await, None);
    drop(rekey);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_current_passwords_count_and_a_right_one_that_comes_too_early_is_wrong() {
    let (rekey, clients) = rekey(TenantLimits::default()).await;
    for _ in 0..5 {
        assert_eq!(reason(&change(&clients, WRONG, NEW).await.unwrap_err()), "CURRENT_PASSWORD_MISMATCH");
    }
    assert_eq!(reason(&change(&clients, RIGHT, NEW).await.unwrap_err()), "CURRENT_PASSWORD_MISMATCH");
    assert!(!verify(&clients, RIGHT, HOME).await.unwrap(), "one tally for both");
    rekey.clock.advance(Duration::from_secs(1));
    let user = change(&clients, RIGHT, NEW).await.unwrap();
    assert_eq!(user.soft_lock, None);
    assert_eq!(soft_lock(&clients).await, None);
    assert!(verify(&clients, NEW, HOME).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_of_a_disabled_user_is_neither_success_nor_failure() {
    let (site, replica) = Site::sqlite().await;
    replica.create_user("out", rekey::domain::SubjectState::Disabled).await;
    for _ in 0..10 {
        assert!(!replica.user("out", RIGHT, HOME).await.unwrap());
    }
    assert_eq!(site.count("FROM failure WHERE failures > 0 OR success_time IS NOT NULL").await, 0);
    for _ in 0..6 {
        assert!(!replica.user("out", WRONG, HOME).await.unwrap());
    }
    assert_eq!(site.count("FROM failure WHERE failures = 5 AND blocked_until IS NOT NULL").await, 1);
}
