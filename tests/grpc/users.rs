//! `UserService`.

use rekey::proto::{
    ChangePasswordRequest, CreateUserRequest, GenerateSecret, GetUserRequest, ResetPasswordRequest, SubjectState,
    Tenant, VerifyPasswordRequest, change_password_request, create_user_request, reset_password_request,
    verify_password_request,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::common::rekey::{Clients, Rekey, fields, reason};

const FIRST: &str = "a first long enough phrase";
const SECOND: &str = "another long enough phrase";

async fn with_user() -> (Rekey, Clients) {
    let rekey = Rekey::start().await;
    let tenant_id = "acme".to_owned();
    rekey.make_tenant(Tenant { tenant_id, change_password_allowed: true, ..Tenant::default() }).await;
    let mut clients = rekey.admin();
    clients.users.create_user(create("ada", Some(FIRST))).await.unwrap();
    (rekey, clients)
}

fn create(name: &str, password: Option<&str>) -> CreateUserRequest {
    CreateUserRequest {
        tenant_id: "acme".to_owned(),
        user_id: name.to_owned(),
        username: format!("{name}@acme.example"),
        secret_source: password.map(|password| create_user_request::SecretSource::Password(password.to_owned())),
        ..CreateUserRequest::default()
    }
}

fn reset(password: &str) -> ResetPasswordRequest {
    ResetPasswordRequest {
        tenant_id: "acme".to_owned(),
        user_id: "ada".to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(password.to_owned())),
        ..ResetPasswordRequest::default()
    }
}

fn change(current: &str, new: &str) -> ChangePasswordRequest {
    ChangePasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(change_password_request::Subject::UserId("ada".to_owned())),
        current_password: current.to_owned(),
        new_password: new.to_owned(),
        source: String::new(),
        ..Default::default()
    }
}

async fn verifies(clients: &Clients, username: &str, password: &str) -> bool {
    let request = VerifyPasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(verify_password_request::Subject::Username(username.to_owned())),
        password: password.to_owned(),
        source: String::new(),
    };
    let answer = clients.clone().users.verify_password(request).await.unwrap().into_inner();
    assert_eq!(answer.verified, !answer.user_id.is_empty());
    answer.verified
}

#[tokio::test]
async fn a_reset_password_verifies_and_the_old_one_no_longer_does() {
    let (_rekey, mut clients) = with_user().await;
    assert!(verifies(&clients, "ada@acme.example", FIRST).await);
    let user = clients.users.reset_password(reset(SECOND)).await.unwrap().into_inner().user.unwrap();
    assert_eq!((user.tenant_id.as_str(), user.user_id.as_str()), ("acme", "ada"));
    assert_eq!(user.password_change_time, user.update_time);
    assert!(verifies(&clients, "ada@acme.example", SECOND).await);
    assert!(!verifies(&clients, "ada@acme.example", FIRST).await);
}

#[tokio::test]
async fn a_generated_password_is_shown_once_and_verifies() {
    let (_rekey, mut clients) = with_user().await;
    let generate = |length| ResetPasswordRequest {
        secret_source: Some(reset_password_request::SecretSource::Generate(GenerateSecret { length })),
        ..reset("")
    };
    let made = clients.users.reset_password(generate(0)).await.unwrap().into_inner().generated_password;
    assert_eq!(made.chars().count(), 24);
    assert!(verifies(&clients, "ada@acme.example", &made).await);
    let long = clients.users.reset_password(generate(40)).await.unwrap().into_inner().generated_password;
    assert_eq!(long.chars().count(), 40);
    let refused = clients.users.reset_password(generate(129)).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), fields(&refused)), ("POLICY_VIOLATED", vec!["generate.length".to_owned()]));
    assert!(verifies(&clients, "ada@acme.example", &long).await, "a refused reset changes nothing");
}

#[tokio::test]
async fn a_user_is_made_with_a_password_or_without_and_read_back() {
    let (_rekey, mut clients) = with_user().await;
    let read = async |clients: &mut Clients, user_id: &str| {
        let request = GetUserRequest { tenant_id: "acme".to_owned(), user_id: user_id.to_owned() };
        clients.users.get_user(request).await.unwrap().into_inner().user.unwrap()
    };
    let ada = read(&mut clients, "ada").await;
    assert_eq!(ada.username, "ada@acme.example");
    assert_eq!(ada.state(), SubjectState::Active);
    assert!(ada.password_change_time.is_some() && !ada.etag.is_empty());

    let made = clients.users.create_user(create("", None)).await.unwrap().into_inner();
    let id = made.user.unwrap().user_id;
    assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert!(made.generated_password.is_empty());
    assert!(read(&mut clients, &id).await.password_change_time.is_none());
    assert!(!verifies(&clients, "@acme.example", FIRST).await, "no password is nobody's password");
}

#[tokio::test]
async fn ids_and_names_are_taken_once() {
    let (_rekey, mut clients) = with_user().await;
    let same_id = CreateUserRequest { username: "other".to_owned(), ..create("ada", None) };
    let same_name = CreateUserRequest { user_id: "other".to_owned(), ..create("ada", None) };
    for (request, field) in [(same_id, "user_id"), (same_name, "username")] {
        let refused = clients.users.create_user(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));
        assert_eq!(refused.message(), format!("{field} is taken"));
    }
    clients.users.create_user(create("Ada", None)).await.unwrap();
}

#[tokio::test]
async fn an_owner_changes_the_password_by_the_current_one() {
    let (_rekey, mut clients) = with_user().await;
    let wrong = clients.users.change_password(change(SECOND, SECOND)).await.unwrap_err();
    assert_eq!((wrong.code(), reason(&wrong).as_str()), (Code::InvalidArgument, "CURRENT_PASSWORD_MISMATCH"));
    clients.users.change_password(change(FIRST, SECOND)).await.unwrap();
    clients.users.change_password(change(SECOND, SECOND)).await.unwrap();
    assert!(verifies(&clients, "ada@acme.example", SECOND).await);
    assert!(!verifies(&clients, "ada@acme.example", FIRST).await);
}

#[tokio::test]
async fn asked_by_name_an_unknown_user_looks_like_a_wrong_password() {
    let (_rekey, mut clients) = with_user().await;
    let by_name = |name: &str| ChangePasswordRequest {
        subject: Some(change_password_request::Subject::Username(name.to_owned())),
        ..change("not the password at all", SECOND)
    };
    let wrong = clients.users.change_password(by_name("ada@acme.example")).await.unwrap_err();
    let unknown = clients.users.change_password(by_name("eve@acme.example")).await.unwrap_err();
    assert_eq!((wrong.code(), wrong.message(), reason(&wrong)), (unknown.code(), unknown.message(), reason(&unknown)));

    let by_id = ChangePasswordRequest {
        subject: Some(change_password_request::Subject::UserId("eve".to_owned())),
        ..change(FIRST, SECOND)
    };
    let unknown = clients.users.change_password(by_id).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "USER_NOT_FOUND"));
    assert_eq!(unknown.get_details_resource_info().unwrap().resource_type, "user");
}

#[tokio::test]
async fn a_tenant_may_forbid_its_users_to_change_passwords() {
    let (rekey, mut clients) = with_user().await;
    rekey.make_tenant(Tenant { tenant_id: "strict".to_owned(), ..Tenant::default() }).await;
    let request = ChangePasswordRequest { tenant_id: "strict".to_owned(), ..change(FIRST, SECOND) };
    let refused = clients.users.change_password(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CHANGE_PASSWORD_NOT_ALLOWED"));
    let failure = refused.get_details_precondition_failure().unwrap();
    assert_eq!(failure.violations[0].r#type, "CHANGE_PASSWORD_NOT_ALLOWED");
}

#[tokio::test]
async fn the_disabled_and_the_locked_verify_nothing_and_are_told_so_only_by_the_right_password() {
    let (_rekey, mut clients) = with_user().await;
    for (name, state, expected) in
        [("off", SubjectState::Disabled, "SUBJECT_DISABLED"), ("held", SubjectState::Locked, "SUBJECT_LOCKED")]
    {
        let request = CreateUserRequest { state: state.into(), ..create(name, Some(FIRST)) };
        clients.users.create_user(request).await.unwrap();
        assert!(!verifies(&clients, &format!("{name}@acme.example"), FIRST).await);
        let change = |current: &str| ChangePasswordRequest {
            subject: Some(change_password_request::Subject::UserId(name.to_owned())),
            ..change(current, SECOND)
        };
        let right = clients.users.change_password(change(FIRST)).await.unwrap_err();
        assert_eq!((right.code(), reason(&right).as_str()), (Code::FailedPrecondition, expected));
        let wrong = clients.users.change_password(change(SECOND)).await.unwrap_err();
        assert_eq!(reason(&wrong), "CURRENT_PASSWORD_MISMATCH");
    }
}

#[tokio::test]
async fn every_rule_of_the_policy_that_is_broken_is_told_at_once() {
    let rekey = Rekey::start().await;
    let policy = rekey::proto::SecretPolicy { preset: rekey::proto::PolicyPreset::Roma.into(), ..Default::default() };
    let tenant_id = "acme".to_owned();
    rekey.make_tenant(Tenant { tenant_id, user_policy: Some(policy), ..Tenant::default() }).await;
    let mut clients = rekey.admin();
    clients.users.create_user(create("ada", None)).await.unwrap();
    let refused = clients.users.reset_password(reset("short")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "POLICY_VIOLATED"));
    assert_eq!(fields(&refused), ["new_password"; 4], "length, digit, upper case, symbol: {refused:?}");
    assert!(!format!("{refused:?}").contains("short\""), "no error repeats the secret");
}

#[tokio::test]
async fn common_words_and_names_are_refused_whole_but_not_within_a_phrase() {
    let (_rekey, mut clients) = with_user().await;
    for refused in ["passwordpassword", "PASSWORDpassword", "ada@acme.example", "aaaaaaaaaaaaaaaaaaaa"] {
        let status = clients.users.reset_password(reset(refused)).await.unwrap_err();
        assert_eq!(reason(&status), "POLICY_VIOLATED", "{refused}");
    }
    clients.users.reset_password(reset("not just passwordpassword")).await.unwrap();
}

#[tokio::test]
async fn passwords_are_compared_after_nfc_and_counted_in_code_points() {
    let (_rekey, mut clients) = with_user().await;
    clients.users.reset_password(reset("cafe\u{301} with a long tail")).await.unwrap();
    assert!(verifies(&clients, "ada@acme.example", "caf\u{e9} with a long tail").await);
    let faces = |count| ('\u{1F600}'..'\u{1F64F}').step_by(3).take(count).collect::<String>();
    clients.users.reset_password(reset(&faces(15))).await.unwrap();
    let fourteen = clients.users.reset_password(reset(&faces(14))).await.unwrap_err();
    assert_eq!(reason(&fourteen), "POLICY_VIOLATED");
}

#[tokio::test]
async fn an_etag_holds_a_reset_to_the_state_it_was_decided_on() {
    let (_rekey, mut clients) = with_user().await;
    let request = GetUserRequest { tenant_id: "acme".to_owned(), user_id: "ada".to_owned() };
    let etag = clients.users.get_user(request).await.unwrap().into_inner().user.unwrap().etag;
    let with_etag = |password: &str| ResetPasswordRequest { etag: etag.clone(), ..reset(password) };
    let after = clients.users.reset_password(with_etag(SECOND)).await.unwrap().into_inner().user.unwrap().etag;
    assert_ne!(after, etag);
    let stale = clients.users.reset_password(with_etag(FIRST)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert!(verifies(&clients, "ada@acme.example", SECOND).await);
}
