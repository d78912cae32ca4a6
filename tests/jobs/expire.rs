//! Passwords that expire.

use std::time::Duration;

use rekey::proto::{
    ChangePasswordRequest, CreateCallerRequest, CreateUserRequest, ExpirePasswordsRequest, ExpiryMode, GetUserRequest,
    ImportBatch, ImportOptions, ImportUser, ImportUsersRequest, Job, JobState, ResetPasswordRequest, SecretPolicy,
    Tenant, User, VerifyPasswordRequest, VerifyPasswordResponse, change_password_request, create_user_request,
    import_users_request::Content, reset_password_request, verify_password_request,
};
use tonic::Status;

use super::{TENANT, counts, records, start, start_on_postgres};
use crate::common::rekey::{Clients, Rekey, fields, reason};

const FIRST: &str = "the first long enough phrase";
const SECOND: &str = "the second long enough phrase";

/// Users of ranks 0 and 500, and one without a password, where nobody takes one of the last three again.
async fn with_users() -> Vec<Rekey> {
    let mut all = vec![start().await];
    all.extend(start_on_postgres().await);
    for rekey in &all {
        let user_policy = SecretPolicy { history: Some(3), reset_must_change: Some(false), ..SecretPolicy::default() };
        rekey
            .make_tenant(Tenant {
                tenant_id: TENANT.to_owned(),
                change_password_allowed: true,
                user_policy: Some(user_policy),
                ..Tenant::default()
            })
            .await;
        for (id, rank, password) in [("ada", 0, Some(FIRST)), ("chief", 500, Some(FIRST)), ("none", 0, None)] {
            let user = CreateUserRequest {
                tenant_id: TENANT.to_owned(),
                user_id: id.to_owned(),
                username: id.to_owned(),
                rank,
                secret_source: password
                    .map(|password| create_user_request::SecretSource::Password(password.to_owned())),
                ..CreateUserRequest::default()
            };
            rekey.admin().users.create_user(user).await.unwrap();
        }
    }
    all
}

fn request(mode: ExpiryMode) -> ExpirePasswordsRequest {
    ExpirePasswordsRequest {
        tenant_id: TENANT.to_owned(),
        mode: mode.into(),
        max_per_second: 1_000,
        ..ExpirePasswordsRequest::default()
    }
}

async fn expire(clients: &Clients, request: ExpirePasswordsRequest) -> Result<Job, Status> {
    let mut users = clients.users.clone();
    let dry = ExpirePasswordsRequest { validate_only: true, ..request.clone() };
    let plan = users.expire_passwords(dry).await?.into_inner().message().await?.unwrap().plan.unwrap();
    let request = ExpirePasswordsRequest { confirmation: plan.confirmation, ..request };
    let mut answers = users.expire_passwords(request).await?.into_inner();
    let mut last = None;
    while let Some(answer) = answers.message().await? {
        last = answer.job;
    }
    Ok(last.unwrap())
}

async fn verify(clients: &Clients, id: &str, password: &str) -> VerifyPasswordResponse {
    let request = VerifyPasswordRequest {
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_password_request::Subject::UserId(id.to_owned())),
        password: password.to_owned(),
        ..VerifyPasswordRequest::default()
    };
    clients.users.clone().verify_password(request).await.unwrap().into_inner()
}

async fn user(clients: &Clients, id: &str) -> User {
    let request = GetUserRequest { tenant_id: TENANT.to_owned(), user_id: id.to_owned() };
    clients.users.clone().get_user(request).await.unwrap().into_inner().user.unwrap()
}

async fn change(clients: &Clients, current: &str, new: &str) -> Result<(), Status> {
    let request = ChangePasswordRequest {
        tenant_id: TENANT.to_owned(),
        subject: Some(change_password_request::Subject::UserId("ada".to_owned())),
        current_password: current.to_owned(),
        new_password: new.to_owned(),
        ..ChangePasswordRequest::default()
    };
    clients.users.clone().change_password(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_changed_verifies_as_such_until_it_is() {
    for rekey in with_users().await {
        let admin = rekey.admin();
        let before = user(&admin, "ada").await;
        assert!(!verify(&admin, "ada", "some wrong phrase").await.verified);
        let job = expire(&admin, request(ExpiryMode::MustChange)).await.unwrap();
        assert_eq!(counts(&job), (JobState::Done, 2, 1, 0));
        assert_eq!(job.reasons.get("SECRET_NOT_SET"), Some(&1));

        let after = user(&admin, "ada").await;
        assert!(after.password_must_change && after.etag != before.etag);
        assert_eq!(after.password_change_time, before.password_change_time, "nobody has set it");
        assert_eq!(after.soft_lock.unwrap().failures, 1, "whoever guesses goes on where they were");
        let verified = verify(&admin, "ada", FIRST).await;
        assert!(verified.verified && verified.must_change);
        assert_eq!(reason(&change(&admin, FIRST, FIRST).await.unwrap_err()), "POLICY_VIOLATED");
        change(&admin, FIRST, SECOND).await.unwrap();
        let verified = verify(&admin, "ada", SECOND).await;
        assert!(verified.verified && !verified.must_change);

        let told = records(&rekey, "UserService/ExpirePasswords").await;
        let of_user = |id: &str| told.iter().find(|record| record.target_id == id).unwrap();
        assert_eq!(of_user("ada").detail, format!("password must be changed, job {}, epoch 2", job.job_id));
        assert_eq!((of_user("none").outcome.as_str(), of_user("none").reason.as_str()), ("failed", "SECRET_NOT_SET"));
        assert!(told.iter().any(|record| record.detail == "ends: 2 done, 1 skipped, 0 failed (SECRET_NOT_SET 1) of 3"));
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_void_verifies_no_more_and_is_not_chosen_again() {
    for rekey in with_users().await {
        let admin = rekey.admin();
        let only = ExpirePasswordsRequest { filter: "username = \"ada\"".to_owned(), ..request(ExpiryMode::Void) };
        let job = expire(&admin, only.clone()).await.unwrap();
        assert_eq!((job.total, counts(&job)), (1, (JobState::Done, 1, 0, 0)));
        assert!(!verify(&admin, "ada", FIRST).await.verified);
        assert!(verify(&admin, "chief", FIRST).await.verified);
        assert_eq!(user(&admin, "ada").await.password_change_time, None);
        let told = records(&rekey, "UserService/ExpirePasswords").await;
        let detail = format!("password void, job {}, epoch 2", job.job_id);
        assert!(told.iter().any(|record| record.target_id == "ada" && record.detail == detail), "{told:?}");

        let reset = |password: &str| ResetPasswordRequest {
            tenant_id: TENANT.to_owned(),
            user_id: "ada".to_owned(),
            secret_source: Some(reset_password_request::SecretSource::NewPassword(password.to_owned())),
            ..ResetPasswordRequest::default()
        };
        let refused = admin.users.clone().reset_password(reset(FIRST)).await.unwrap_err();
        assert_eq!(reason(&refused), "POLICY_VIOLATED");
        admin.users.clone().reset_password(reset(SECOND)).await.unwrap();
        assert!(verify(&admin, "ada", SECOND).await.verified);
        // Once more, where there is nothing any more.
        expire(&admin, only.clone()).await.unwrap();
        let job = expire(&admin, only).await.unwrap();
        assert_eq!((counts(&job), job.reasons.get("SECRET_NOT_SET")), ((JobState::Done, 0, 1, 0), Some(&1)));
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stands_as_high_is_passed_over_and_counted() {
    for rekey in with_users().await {
        let caller = CreateCallerRequest {
            tenant_id: TENANT.to_owned(),
            caller_id: "desk".to_owned(),
            permissions: vec!["users:expirePasswords".to_owned()],
            rank: 500,
            ..CreateCallerRequest::default()
        };
        let desk = rekey.clients(&rekey.make_caller_as(caller).await);
        let job = expire(&desk, request(ExpiryMode::Void)).await.unwrap();
        assert_eq!((counts(&job), job.reasons.get("RANK_TOO_LOW")), ((JobState::Done, 1, 2, 0), Some(&1)));
        let admin = rekey.admin();
        assert!(verify(&admin, "chief", FIRST).await.verified && !verify(&admin, "ada", FIRST).await.verified);
        let told = records(&rekey, "UserService/ExpirePasswords").await;
        let chief = told.iter().find(|record| record.target_id == "chief").unwrap();
        assert_eq!((chief.outcome.as_str(), chief.reason.as_str()), ("denied", "RANK_TOO_LOW"));
        assert!(chief.actor.starts_with("plant/desk token:"), "{}", chief.actor);
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_them_has_to_be_said() {
    let rekey = with_users().await.remove(0);
    let unsaid = ExpirePasswordsRequest { validate_only: true, ..request(ExpiryMode::Unspecified) };
    let refused = rekey.admin().users.expire_passwords(unsaid).await.unwrap_err();
    assert_eq!(fields(&refused), ["mode"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_among_many_are_found_stretch_by_stretch() {
    for rekey in with_users().await {
        let admin = rekey.admin();
        let options = ImportOptions { tenant_id: TENANT.to_owned(), ..ImportOptions::default() };
        let batches = (0..5).map(|batch| {
            let name = |number| format!("u{batch}-{number:03}");
            let user = |number| ImportUser { user_id: name(number), username: name(number), ..ImportUser::default() };
            Content::Batch(ImportBatch { users: (0..700).map(user).collect() })
        });
        let contents = [Content::Options(options)].into_iter().chain(batches);
        let messages: Vec<_> = contents.map(|content| ImportUsersRequest { content: Some(content) }).collect();
        let mut answers = admin.users.clone().import_users(tokio_stream::iter(messages)).await.unwrap().into_inner();
        while let Some(answer) = answers.message().await.unwrap() {
            assert_eq!(answer.created, 700);
            // So that there is an order among the batches.
            rekey.clock.advance(Duration::from_millis(1));
        }
        // Some of the first and of the last, and nobody for thousands between.
        for (filter, total) in [("username = \"u0-00*\"", 10), ("username = \"u4-69*\"", 10), ("", 3_503)] {
            let request = ExpirePasswordsRequest { filter: filter.to_owned(), ..request(ExpiryMode::MustChange) };
            if total == 10 {
                let job = expire(&admin, request).await.unwrap();
                assert_eq!((job.total, counts(&job)), (10, (JobState::Done, 0, 10, 0)), "{filter}");
            } else {
                let dry = ExpirePasswordsRequest { validate_only: true, ..request };
                let mut answers = admin.users.clone().expire_passwords(dry).await.unwrap().into_inner();
                assert_eq!(answers.message().await.unwrap().unwrap().plan.unwrap().total, total);
            }
        }
        rekey.stop().await;
    }
}
