//! Requests that are only validated.

use prost::Message as _;
use prost_reflect::{DynamicMessage, Value};
use rekey::proto::{
    ChangePasswordRequest, CreateApiTokenRequest, CreateSigningKeyRequest, CreateTenantRequest, CreateUserRequest,
    DESCRIPTORS, ResetAuthenticationRequest, ResetPasswordRequest, Tenant, TenantAlias, change_password_request,
    reset_password_request,
};
use tonic::Status;

use super::{
    database::Raw,
    repeat_all::{request, with_field},
    world::{DEVICE_PASSWORD, TENANT, USER_PASSWORD, create_device, create_user, get_user, populate},
};
use crate::{
    common::rekey::{Rekey, fields, reason},
    dynamic::{bearer, call, furnish},
};

/// Every row of every table, as text; but attempts at passwords, which count however they are meant, and what each start
/// and each use of the administrator's token writes behind.
async fn rows(raw: &Raw) -> Vec<String> {
    let mut all = Vec::new();
    for table in raw.texts("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('failure', 'installation', 'keyring_key')").await {
        let columns = raw.texts(&format!("SELECT name FROM pragma_table_info('{table}') WHERE name NOT IN ('last_used_time', 'use_count')")).await;
        let row: Vec<_> = columns.iter().map(|column| format!("quote({column})")).collect();
        let rows = raw.texts(&format!("SELECT {} FROM {table} ORDER BY 1", row.join(" || ' ' || "))).await;
        all.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
    }
    all
}

/// Fields marked `debug_redact` that are not empty.
fn secrets(message: &DynamicMessage) -> Vec<String> {
    let mut found = Vec::new();
    for (field, value) in message.fields() {
        let redacted = field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool());
        if redacted == Some(true) {
            found.push(field.full_name().to_owned());
        } else if let Value::Message(inner) = value {
            found.extend(secrets(inner));
        }
    }
    found
}

#[tokio::test]
async fn nothing_that_is_only_validated_changes_a_row_or_shows_a_secret() {
    let rekey = Rekey::start().await;
    let mut requests = Vec::new();
    for (number, method) in with_field("validate_only").into_iter().enumerate() {
        let tenant = format!("t{number}");
        furnish(&rekey, &tenant).await;
        let mut message = request(&rekey, &method, &tenant).await;
        message.set_field_by_name("validate_only", Value::Bool(true));
        message.set_field_by_name("request_id", Value::String("not-kept".to_owned()));
        requests.push((method, message));
    }
    // What is written behind is written then.
    let stopped = rekey.pause().await;
    let raw = Raw::open(&stopped.options).await;
    let before = rows(&raw).await;
    assert!(before.len() > 100, "only {} rows", before.len());

    let rekey = stopped.start().await;
    for (method, message) in requests {
        let answer = call(rekey.channel(), &method.path, &bearer(&rekey.admin_token), message.encode_to_vec()).await;
        let answer = answer.unwrap_or_else(|status| panic!("{}: {status:?}", method.path));
        let answer = DynamicMessage::decode(method.descriptor.output(), answer).unwrap();
        assert!(answer.fields().next().is_some(), "{} shows nothing", method.path);
        assert_eq!(secrets(&answer), Vec::<String>::new(), "{}", method.path);
    }
    let stopped = rekey.pause().await;
    let after = rows(&Raw::open(&stopped.options).await).await;
    let new: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
    let gone: Vec<_> = before.iter().filter(|row| !after.contains(row)).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
}

#[test]
fn answers_hold_secrets_that_could_be_shown() {
    let answer = DESCRIPTORS.get_message_by_name("rekey.v1.ResetPasswordResponse").unwrap();
    let mut answer = DynamicMessage::new(answer);
    answer.set_field_by_name("generated_password", Value::String("shown".to_owned()));
    assert_eq!(secrets(&answer), ["rekey.v1.ResetPasswordResponse.generated_password"]);
}

#[tokio::test]
async fn what_would_be_refused_is_refused_and_what_would_be_is_shown() {
    let rekey = Rekey::start().await;
    let mut clients = populate(&rekey).await;
    let text = str::to_owned;
    let told = |status: Status| (reason(&status), status.message().to_owned(), fields(&status));
    clients.devices.create_device(create_device("d2")).await.unwrap();
    let key = |api_key: &str, validate_only| CreateSigningKeyRequest {
        tenant_id: text(TENANT),
        caller_id: text("ops"),
        api_key: text(api_key),
        validate_only,
        ..Default::default()
    };
    clients.callers.create_signing_key(key("a-key-of-ops", false)).await.unwrap();
    let token = |validate_only| CreateApiTokenRequest {
        tenant_id: text(TENANT),
        caller_id: text("ops"),
        token: text("a-token-that-was-given"),
        validate_only,
        ..Default::default()
    };
    clients.callers.create_api_token(token(false)).await.unwrap();
    let alias = TenantAlias { dialect: text("roma"), alias: text("p/i") };
    rekey.make_tenant(Tenant { tenant_id: text("other"), aliases: vec![alias.clone()], ..Tenant::default() }).await;

    // Taken names: the same words as where it is meant.
    let create = |id: &str, username: &str, validate_only| CreateUserRequest {
        username: text(username),
        validate_only,
        ..create_user(id, Some(USER_PASSWORD))
    };
    for (id, username) in [("ada", "new@acme.example"), ("new", "ada@acme.example")] {
        let tried = clients.users.create_user(create(id, username, true)).await.unwrap_err();
        let meant = clients.users.create_user(create(id, username, false)).await.unwrap_err();
        assert_eq!(told(tried), told(meant));
    }
    let tenant = |tenant_id: &str, aliases: Vec<TenantAlias>, validate_only| CreateTenantRequest {
        tenant: Some(Tenant { tenant_id: text(tenant_id), aliases, ..Tenant::default() }),
        validate_only,
        ..Default::default()
    };
    for (id, aliases) in [("other", vec![]), ("new", vec![alias])] {
        let tried = clients.tenants.create_tenant(tenant(id, aliases.clone(), true)).await.unwrap_err();
        let meant = clients.tenants.create_tenant(tenant(id, aliases, false)).await.unwrap_err();
        assert_eq!(told(tried), told(meant));
    }
    let rename = |validate_only| ResetAuthenticationRequest {
        tenant_id: text(TENANT),
        device_id: text("d1"),
        user_name: Some(text("name-d2")),
        validate_only,
        ..Default::default()
    };
    let tried = clients.devices.reset_authentication(rename(true)).await.unwrap_err();
    let meant = clients.devices.reset_authentication(rename(false)).await.unwrap_err();
    assert_eq!(told(tried), told(meant));
    let tried = clients.callers.create_signing_key(key("a-key-of-ops", true)).await.unwrap_err();
    let meant = clients.callers.create_signing_key(key("a-key-of-ops", false)).await.unwrap_err();
    assert_eq!(told(tried), told(meant));
    let tried = clients.callers.create_api_token(token(true)).await.unwrap_err();
    let meant = clients.callers.create_api_token(token(false)).await.unwrap_err();
    assert_eq!(told(tried), told(meant));

    // Its own user name is not taken, and what is shown is what comes then.
    let keep = |validate_only| ResetAuthenticationRequest { user_name: Some(text("name-d1")), ..rename(validate_only) };
    let foreseen = clients.devices.reset_authentication(keep(true)).await.unwrap().into_inner();
    let done = clients.devices.reset_authentication(keep(false)).await.unwrap().into_inner();
    let (foreseen, done) = (foreseen.device.unwrap(), done.device.unwrap());
    assert_eq!((foreseen.etag, foreseen.user_name), (done.etag, done.user_name));

    // A secret that is there may not be looked at unrecorded.
    let look = ResetAuthenticationRequest { return_current_password: true, ..keep(true) };
    let shown = clients.devices.reset_authentication(look).await.unwrap().into_inner().authentication.unwrap();
    assert_eq!((shown.password.as_str(), shown.user_name.as_str()), ("", "name-d1"));
    assert!(!DEVICE_PASSWORD.is_empty());

    let reset = |etag: &str, password: &str| ResetPasswordRequest {
        tenant_id: text(TENANT),
        user_id: text("ada"),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(text(password))),
        etag: text(etag),
        validate_only: true,
        ..Default::default()
    };
    for (etag, password, expected) in [("", "short", "POLICY_VIOLATED"), ("old", USER_PASSWORD, "ETAG_MISMATCH")] {
        let refused = clients.users.reset_password(reset(etag, password)).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
}

#[tokio::test]
async fn a_current_password_is_checked_and_its_failures_count() {
    let rekey = Rekey::start().await;
    let mut clients = populate(&rekey).await;
    let change = |current: &str| ChangePasswordRequest {
        tenant_id: TENANT.to_owned(),
        subject: Some(change_password_request::Subject::UserId("ada".to_owned())),
        current_password: current.to_owned(),
        new_password: "the second long enough phrase".to_owned(),
        validate_only: true,
        request_id: "tried".to_owned(),
        ..Default::default()
    };
    let before = clients.users.get_user(get_user("ada")).await.unwrap().into_inner().user.unwrap();
    clients.users.change_password(change(USER_PASSWORD)).await.unwrap();
    let refused = clients.users.change_password(change("some wrong long phrase")).await.unwrap_err();
    assert_eq!(reason(&refused), "CURRENT_PASSWORD_MISMATCH");
    let mut after = clients.users.get_user(get_user("ada")).await.unwrap().into_inner().user.unwrap();
    assert_eq!(after.soft_lock.take().unwrap().failures, 1);
    assert_eq!(after, before);
}
