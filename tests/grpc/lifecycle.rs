//! Locked, unlocked, disabled, enabled, deleted, made anew: what all kinds of subject go through.

use prost::Message as _;
use prost_reflect::{DynamicMessage, Value};
use rekey::proto::{
    Caller, ChangePasswordRequest, CreateApiTokenRequest, CreateCallerRequest, CreateSigningKeyRequest,
    CreateUserRequest, DeleteCallerRequest, DeleteUserRequest, DisableCallerRequest, GetCallerRequest, GetUserRequest,
    LockCallerRequest, LockUserRequest, ResetPasswordRequest, RevokeApiTokenRequest, RevokeSigningKeyRequest, SoftLock,
    SubjectState, UnlockUserRequest, UpdateCallerRequest, UpdateDeviceRequest, UpdateUserRequest, User,
    VerifyAuthenticationRequest, VerifyPasswordRequest, WhoAmIRequest, change_password_request, reset_password_request,
    verify_authentication_request, verify_password_request,
};
use tonic::{Code, Status};

use super::dynamic::{PASSWORD, bearer, call, furnish, methods};
use crate::common::rekey::{Clients, Rekey, fields, reason};

const NOUNS: [&str; 4] = ["User", "Device", "Integration", "Caller"];

async fn furnished() -> (Rekey, Clients) {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let clients = rekey.admin();
    (rekey, clients)
}

/// Calls `{verb}{noun}` about what [`furnish`] made; the state and etag that it answers.
async fn act(rekey: &Rekey, verb: &str, noun: &str, etag: &str) -> Result<(String, String), Status> {
    let method = methods().into_iter().find(|method| method.path.ends_with(&format!("/{verb}{noun}"))).unwrap();
    let mut request = method.request("acme");
    if !etag.is_empty() {
        request.set_field_by_name("etag", Value::String(etag.to_owned()));
    }
    let answer = call(rekey.channel(), &method.path, &bearer(&rekey.admin_token), request.encode_to_vec()).await?;
    let answer = DynamicMessage::decode(method.descriptor.output(), answer).unwrap();
    let Some(resource) = answer.get_field_by_name(&noun.to_lowercase()).map(std::borrow::Cow::into_owned) else {
        return Ok((String::new(), String::new()));
    };
    let resource = resource.as_message().unwrap();
    let state = resource.get_field_by_name("state").unwrap().as_enum_number().unwrap();
    let state = SubjectState::try_from(state).unwrap().as_str_name().trim_start_matches("SUBJECT_STATE_").to_owned();
    Ok((state, resource.get_field_by_name("etag").unwrap().as_str().unwrap().to_owned()))
}

#[tokio::test]
async fn every_kind_goes_from_state_to_state_and_its_etag_stays_where_nothing_changes() {
    let (rekey, _) = furnished().await;
    for noun in NOUNS {
        let mut etag = act(&rekey, "Get", noun, "").await.unwrap().1;
        for (verb, expected, changes) in [
            ("Unlock", Ok("ACTIVE"), false),
            ("Enable", Ok("ACTIVE"), false),
            ("Lock", Ok("LOCKED"), true),
            ("Lock", Ok("LOCKED"), false),
            ("Enable", Err("SUBJECT_LOCKED"), false),
            ("Unlock", Ok("ACTIVE"), true),
            ("Disable", Ok("DISABLED"), true),
            ("Disable", Ok("DISABLED"), false),
            ("Lock", Err("SUBJECT_DISABLED"), false),
            ("Unlock", Err("SUBJECT_DISABLED"), false),
            ("Enable", Ok("ACTIVE"), true),
            ("Lock", Ok("LOCKED"), true),
            ("Disable", Ok("DISABLED"), true),
        ] {
            match (act(&rekey, verb, noun, "").await, expected) {
                (Ok((state, new)), Ok(expected)) => {
                    assert_eq!((state.as_str(), new != etag), (expected, changes), "{verb}{noun}");
                    etag = new;
                }
                (Err(status), Err(expected)) => {
                    assert_eq!(status.code(), Code::FailedPrecondition, "{verb}{noun}");
                    assert_eq!(reason(&status), expected, "{verb}{noun}");
                }
                (answer, _) => panic!("{verb}{noun}: {answer:?}"),
            }
            assert_eq!(act(&rekey, "Get", noun, "").await.unwrap().1, etag, "{verb}{noun}");
        }
        // A stale etag stops each of them, also where nothing would change.
        for verb in ["Lock", "Unlock", "Disable", "Enable", "Delete"] {
            let status = act(&rekey, verb, noun, "stale").await.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"), "{verb}{noun}");
        }
        act(&rekey, "Enable", noun, &etag).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_out_of_use_verifies_nothing_and_calls_nothing_at_once() {
    let (rekey, mut clients) = furnished().await;
    let password = VerifyPasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(verify_password_request::Subject::UserId("ada".to_owned())),
        password: PASSWORD.to_owned(),
        source: String::new(),
    };
    let device = VerifyAuthenticationRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId("cam".to_owned())),
        password: PASSWORD.to_owned(),
        source: String::new(),
    };
    let (tenant_id, caller_id) = ("acme".to_owned(), "svc".to_owned());
    let token = CreateApiTokenRequest { tenant_id, caller_id, ..CreateApiTokenRequest::default() };
    let token = clients.callers.create_api_token(token).await.unwrap().into_inner().token;
    let mut caller = rekey.clients(&token).callers;
    for (verb, back) in [("Lock", "Unlock"), ("Disable", "Enable")] {
        for noun in ["User", "Device", "Caller"] {
            act(&rekey, verb, noun, "").await.unwrap();
        }
        assert!(!clients.users.verify_password(password.clone()).await.unwrap().into_inner().verified);
        assert!(!clients.devices.verify_authentication(device.clone()).await.unwrap().into_inner().verified);
        let refused = caller.who_am_i(WhoAmIRequest {}).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIAL_INVALID"));
        for noun in ["User", "Device", "Caller"] {
            act(&rekey, back, noun, "").await.unwrap();
        }
        assert!(clients.users.verify_password(password.clone()).await.unwrap().into_inner().verified);
        assert!(clients.devices.verify_authentication(device.clone()).await.unwrap().into_inner().verified);
        caller.who_am_i(WhoAmIRequest {}).await.unwrap();
    }
    act(&rekey, "Delete", "Caller", "").await.unwrap();
    let refused = caller.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIAL_INVALID");
}

#[tokio::test]
async fn to_unlock_forgives_failed_attempts_and_keeps_an_active_one_as_it_is() {
    let (rekey, mut clients) = furnished().await;
    let verify = |password: &str| VerifyAuthenticationRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId("cam".to_owned())),
        password: password.to_owned(),
        source: "192.0.2.1".to_owned(),
    };
    for _ in 0..6 {
        clients.devices.verify_authentication(verify("wrong")).await.unwrap();
    }
    assert!(!clients.devices.verify_authentication(verify(PASSWORD)).await.unwrap().into_inner().verified);
    let get = rekey::proto::GetDeviceRequest { tenant_id: "acme".to_owned(), device_id: "cam".to_owned() };
    let before = clients.devices.get_device(get.clone()).await.unwrap().into_inner().device.unwrap();
    assert!(matches!(before.soft_lock, Some(SoftLock { failures: 5.., .. })), "{before:?}");
    let (_, etag) = act(&rekey, "Unlock", "Device", &before.etag).await.unwrap();
    assert_eq!(etag, before.etag);
    assert!(clients.devices.get_device(get).await.unwrap().into_inner().device.unwrap().soft_lock.is_none());
    assert!(clients.devices.verify_authentication(verify(PASSWORD)).await.unwrap().into_inner().verified);
}

fn create(id: &str) -> CreateUserRequest {
    CreateUserRequest {
        tenant_id: "acme".to_owned(),
        user_id: id.to_owned(),
        username: format!("{id}@acme.example"),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        rank: 3,
        ..CreateUserRequest::default()
    }
}

fn delete(id: &str) -> DeleteUserRequest {
    DeleteUserRequest { tenant_id: "acme".to_owned(), user_id: id.to_owned(), ..DeleteUserRequest::default() }
}

#[tokio::test]
async fn who_is_made_anew_under_an_old_id_is_somebody_else() {
    let (_rekey, mut clients) = furnished().await;
    let get = || GetUserRequest { tenant_id: "acme".to_owned(), user_id: "ada".to_owned() };
    let old = clients.users.get_user(get()).await.unwrap().into_inner().user.unwrap();
    clients.users.delete_user(DeleteUserRequest { etag: old.etag.clone(), ..delete("ada") }).await.unwrap();
    let gone = clients.users.get_user(get()).await.unwrap_err();
    assert_eq!(reason(&gone), "USER_NOT_FOUND");
    let again = clients.users.delete_user(delete("ada")).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::NotFound, "USER_NOT_FOUND"));
    clients.users.delete_user(DeleteUserRequest { allow_missing: true, ..delete("ada") }).await.unwrap();

    let new = clients.users.create_user(create("ada")).await.unwrap().into_inner().user.unwrap();
    assert!(new.etag != old.etag && new.password_change_time.is_none() && new.create_time != old.create_time);
    assert_eq!((new.labels.get("team").map(String::as_str), new.rank), (Some("blue"), 3));
    let etag = old.etag;
    let stale =
        clients.users.delete_user(DeleteUserRequest { etag: etag.clone(), allow_missing: true, ..delete("ada") }).await;
    assert_eq!(reason(&stale.unwrap_err()), "ETAG_MISMATCH");
    let lock = LockUserRequest {
        tenant_id: "acme".to_owned(),
        user_id: "ada".to_owned(),
        etag: etag.clone(),
        ..Default::default()
    };
    assert_eq!(reason(&clients.users.lock_user(lock).await.unwrap_err()), "ETAG_MISMATCH");
    let reset = ResetPasswordRequest {
        tenant_id: "acme".to_owned(),
        user_id: "ada".to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(PASSWORD.to_owned())),
        etag,
        ..ResetPasswordRequest::default()
    };
    assert_eq!(reason(&clients.users.reset_password(reset).await.unwrap_err()), "ETAG_MISMATCH");
    let unlock = UnlockUserRequest { tenant_id: "acme".to_owned(), user_id: "ada".to_owned(), ..Default::default() };
    assert_eq!(clients.users.unlock_user(unlock).await.unwrap().into_inner().user.unwrap().etag, new.etag);
}

#[tokio::test]
async fn of_twenty_who_delete_one_does_and_an_update_that_changes_nothing_leaves_the_etag() {
    for rekey in [Some(Rekey::start().await), Rekey::start_on_postgres().await].into_iter().flatten() {
        furnish(&rekey, "acme").await;
        let mut clients = rekey.admin();
        let update = |username: &str, paths: &[&str]| UpdateUserRequest {
            tenant_id: "acme".to_owned(),
            user_id: "ada".to_owned(),
            user: Some(User { username: username.to_owned(), ..User::default() }),
            update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
            ..UpdateUserRequest::default()
        };
        let renamed =
            clients.users.update_user(update("countess", &["username"])).await.unwrap().into_inner().user.unwrap();
        assert_eq!((renamed.username.as_str(), renamed.password_change_time.is_some()), ("countess", true));
        let again =
            clients.users.update_user(update("countess", &["username"])).await.unwrap().into_inner().user.unwrap();
        assert_eq!(again, renamed);
        clients.users.create_user(create("eve")).await.unwrap();
        let taken = clients.users.update_user(update("eve@acme.example", &["*"])).await.unwrap_err();
        assert_eq!((taken.code(), taken.message()), (Code::AlreadyExists, "user.username is taken"));
        let stale = UpdateUserRequest { etag: "stale".to_owned(), ..update("x", &["username"]) };
        assert_eq!(reason(&clients.users.update_user(stale).await.unwrap_err()), "ETAG_MISMATCH");

        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let mut users = clients.users.clone();
            tasks.spawn(async move { users.delete_user(delete("ada")).await });
        }
        let mut done = 0;
        while let Some(outcome) = tasks.join_next().await {
            match outcome.unwrap() {
                Ok(_) => done += 1,
                Err(status) => assert_eq!(reason(&status), "USER_NOT_FOUND"),
            }
        }
        assert_eq!(done, 1);
    }
}

#[tokio::test]
async fn the_older_methods_honour_an_etag_too() {
    let (_rekey, mut clients) = furnished().await;
    let (tenant_id, caller_id) = (|| "acme".to_owned(), || "svc".to_owned());
    let stale = |status: Status, what: &str| {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"), "{what}");
    };
    let change = |current: &str, etag: &str| ChangePasswordRequest {
        tenant_id: tenant_id(),
        subject: Some(change_password_request::Subject::UserId("ada".to_owned())),
        current_password: current.to_owned(),
        new_password: "a wholly new phrase".to_owned(),
        etag: etag.to_owned(),
        ..ChangePasswordRequest::default()
    };
    let wrong = clients.users.change_password(change("not the password", "stale")).await.unwrap_err();
    assert_eq!(reason(&wrong), "CURRENT_PASSWORD_MISMATCH", "an etag tells nothing to who does not know the password");
    stale(clients.users.change_password(change(PASSWORD, "stale")).await.unwrap_err(), "ChangePassword");
    let user = GetUserRequest { tenant_id: tenant_id(), user_id: "ada".to_owned() };
    let etag = clients.users.get_user(user).await.unwrap().into_inner().user.unwrap().etag;
    clients.users.change_password(change(PASSWORD, &etag)).await.unwrap();

    let get = GetCallerRequest { tenant_id: tenant_id(), caller_id: caller_id() };
    let etag = async |clients: &mut Clients| {
        clients.callers.get_caller(get.clone()).await.unwrap().into_inner().caller.unwrap().etag
    };
    let token = |etag: String| CreateApiTokenRequest {
        tenant_id: tenant_id(),
        caller_id: caller_id(),
        etag,
        ..Default::default()
    };
    stale(clients.callers.create_api_token(token("stale".to_owned())).await.unwrap_err(), "CreateApiToken");
    let current = etag(&mut clients).await;
    let made = clients.callers.create_api_token(token(current.clone())).await.unwrap().into_inner();
    let api_key = || "another-key-of-svc".to_owned();
    let key = |etag: String| CreateSigningKeyRequest {
        tenant_id: tenant_id(),
        caller_id: caller_id(),
        api_key: api_key(),
        etag,
        ..Default::default()
    };
    stale(clients.callers.create_signing_key(key(current.clone())).await.unwrap_err(), "CreateSigningKey");
    let now = etag(&mut clients).await;
    clients.callers.create_signing_key(key(now)).await.unwrap();
    let revoke = |etag: String| RevokeApiTokenRequest {
        tenant_id: tenant_id(),
        caller_id: caller_id(),
        token_id: made.token_id.clone(),
        etag,
        ..Default::default()
    };
    stale(clients.callers.revoke_api_token(revoke(current.clone())).await.unwrap_err(), "RevokeApiToken");
    let now = etag(&mut clients).await;
    clients.callers.revoke_api_token(revoke(now.clone())).await.unwrap();
    let revoke = |etag: String| RevokeSigningKeyRequest {
        tenant_id: tenant_id(),
        caller_id: caller_id(),
        api_key: api_key(),
        etag,
        ..Default::default()
    };
    stale(clients.callers.revoke_signing_key(revoke(now)).await.unwrap_err(), "RevokeSigningKey");
    let now = etag(&mut clients).await;
    clients.callers.revoke_signing_key(revoke(now)).await.unwrap();
}

fn update_permissions(tenant: &str, caller: &str, permissions: &[&str]) -> UpdateCallerRequest {
    let permissions = permissions.iter().map(|permission| (*permission).to_owned()).collect();
    UpdateCallerRequest {
        tenant_id: tenant.to_owned(),
        caller_id: caller.to_owned(),
        caller: Some(Caller { permissions, ..Caller::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["permissions".to_owned()] }),
        ..UpdateCallerRequest::default()
    }
}

#[tokio::test]
async fn nobody_gives_by_an_update_what_they_do_not_hold() {
    let (rekey, mut clients) = furnished().await;
    let token = rekey.make_caller("acme", &["callers:update", "users:get"]).await;
    let mut deputy = rekey.clients(&token).callers;
    let given = deputy.update_caller(update_permissions("-", "svc", &["users:get"])).await.unwrap().into_inner();
    assert_eq!(given.caller.unwrap().permissions, ["users:get"]);
    for more in ["users:resetPassword", "*"] {
        let refused = deputy.update_caller(update_permissions("-", "svc", &["users:get", more])).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    }
    // What somebody else gave may stay, and may be taken away.
    clients.callers.update_caller(update_permissions("acme", "svc", &["users:verify", "users:list"])).await.unwrap();
    let kept = deputy.update_caller(update_permissions("-", "svc", &["users:list"])).await.unwrap().into_inner();
    assert_eq!(kept.caller.unwrap().permissions, ["users:list"]);
}

#[tokio::test]
async fn the_last_platform_caller_that_may_do_everything_stays() {
    let (rekey, mut clients) = furnished().await;
    let (tenant_id, caller_id) = (|| "system".to_owned(), || "admin".to_owned());
    let named = || DisableCallerRequest { tenant_id: tenant_id(), caller_id: caller_id(), ..Default::default() };
    let refused = async |clients: &mut Clients| {
        let locked = LockCallerRequest { tenant_id: tenant_id(), caller_id: caller_id(), ..Default::default() };
        let deleted = DeleteCallerRequest { tenant_id: tenant_id(), caller_id: caller_id(), ..Default::default() };
        for status in [
            clients.callers.disable_caller(named()).await.map(drop).unwrap_err(),
            clients.callers.lock_caller(locked).await.map(drop).unwrap_err(),
            clients.callers.delete_caller(deleted).await.map(drop).unwrap_err(),
            clients
                .callers
                .update_caller(update_permissions("-", "admin", &["users:get"]))
                .await
                .map(drop)
                .unwrap_err(),
        ] {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "INDISPENSABLE"));
        }
    };
    refused(&mut clients).await;
    // Who only seems to be one does not count, nor does one of another tenant, nor one out of use.
    let seeming = CreateCallerRequest {
        tenant_id: tenant_id(),
        caller_id: "x".to_owned(),
        display_name: "*".to_owned(),
        ..Default::default()
    };
    clients.callers.create_caller(seeming).await.unwrap();
    rekey.make_caller("acme", &["*"]).await;
    let second = CreateCallerRequest {
        tenant_id: tenant_id(),
        caller_id: "second".to_owned(),
        permissions: vec!["*".to_owned()],
        ..Default::default()
    };
    clients.callers.create_caller(second).await.unwrap();
    let second = DisableCallerRequest { tenant_id: tenant_id(), caller_id: "second".to_owned(), ..Default::default() };
    clients.callers.disable_caller(second.clone()).await.unwrap();
    refused(&mut clients).await;
    let enable = rekey::proto::EnableCallerRequest {
        tenant_id: tenant_id(),
        caller_id: "second".to_owned(),
        ..Default::default()
    };
    clients.callers.enable_caller(enable).await.unwrap();
    clients.callers.disable_caller(named()).await.unwrap();
    assert_eq!(clients.callers.who_am_i(WhoAmIRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_device_is_renamed_and_the_name_is_checked() {
    let (_rekey, mut clients) = furnished().await;
    let update = |user_name: &str| UpdateDeviceRequest {
        tenant_id: "acme".to_owned(),
        device_id: "cam".to_owned(),
        device: Some(rekey::proto::Device { user_name: user_name.to_owned(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["user_name".to_owned()] }),
        ..UpdateDeviceRequest::default()
    };
    let device = clients.devices.update_device(update("cam-2")).await.unwrap().into_inner().device.unwrap();
    assert_eq!(device.user_name, "cam-2");
    for bad in [String::new(), "a b".to_owned(), "x".repeat(10_000)] {
        assert_eq!(fields(&clients.devices.update_device(update(&bad)).await.unwrap_err()), ["device.user_name"]);
    }
}
