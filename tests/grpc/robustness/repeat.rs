//! Requests that come again.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rekey::proto::{
    ChangePasswordRequest, CreateApiTokenRequest, CreateTenantRequest, CreateUserRequest, GenerateSecret,
    GetDeviceRequest, ResetAuthenticationRequest, ResetAuthenticationResponse, ResetPasswordRequest,
    ResetPasswordResponse, RevokeApiTokenRequest, Tenant, change_password_request, create_user_request,
    reset_authentication_request, reset_password_request,
};
use tonic::{Code, Status, transport::Channel};

use super::{
    database::Raw,
    world::{TENANT, USER_PASSWORD, create_token, get_user, populate, reveal_device, verify_password},
};
use crate::{
    common::rekey::{Rekey, fields, reason},
    dynamic::{bearer, call},
};

const RESET_PASSWORD: &str = "UserService/ResetPassword";
const RESET_DEVICE: &str = "DeviceService/ResetAuthentication";
const CREATE_TENANT: &str = "TenantService/CreateTenant";
const CREATE_TOKEN: &str = "CallerService/CreateApiToken";
const REVOKE_TOKEN: &str = "CallerService/RevokeApiToken";

/// Makes a new password.
fn reset_password(request_id: &str) -> ResetPasswordRequest {
    ResetPasswordRequest {
        tenant_id: TENANT.to_owned(),
        user_id: "ada".to_owned(),
        secret_source: Some(reset_password_request::SecretSource::Generate(GenerateSecret::default())),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

/// Makes a new password.
fn reset_device(request_id: &str) -> ResetAuthenticationRequest {
    ResetAuthenticationRequest {
        tenant_id: TENANT.to_owned(),
        device_id: "d1".to_owned(),
        secret_source: Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default())),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

async fn send(channel: Channel, token: &str, action: &str, message: &impl Message) -> Result<Bytes, Status> {
    call(channel, &format!("/rekey.v1.{action}"), &bearer(token), message.encode_to_vec()).await
}

async fn done(raw: &Raw, action: &str) -> i64 {
    raw.number(&format!("SELECT count(*) FROM audit WHERE action = '{action}' AND outcome = 'succeeded'")).await
}

/// Sends a request fifty times at once, through two services on one database.
async fn fifty_times(channels: &[Channel; 2], token: &str, action: &'static str, message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let (channel, metadata, message) = (channels[number % 2].clone(), bearer(token), message.clone());
            tokio::spawn(async move { call(channel, &format!("/rekey.v1.{action}"), &metadata, message).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap_or_else(|status| panic!("{action}: {status:?}")));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{action} was answered in several ways");
    answers.swap_remove(0)
}

pub(super) async fn of_fifty_at_once_one_is_done_and_all_get_its_answer(rekey: Rekey) {
    let mut clients = populate(&rekey).await;
    let replica = rekey.replica().await;
    let raw = Raw::open(&rekey.options).await;
    let channels = [rekey.channel(), replica.channel()];
    let token_id = clients.callers.create_api_token(create_token("ops")).await.unwrap().into_inner().token_id;

    let text = str::to_owned;
    let tenant = Tenant { tenant_id: text("fifty"), ..Tenant::default() };
    let create_tenant =
        CreateTenantRequest { tenant: Some(tenant), request_id: text("tenant"), ..CreateTenantRequest::default() };
    let create_token = CreateApiTokenRequest { request_id: text("token"), ..create_token("ops") };
    let revoke = RevokeApiTokenRequest {
        tenant_id: text(TENANT),
        caller_id: text("ops"),
        token_id,
        request_id: text("revoke"),
        ..Default::default()
    };
    let etag = clients.users.get_user(get_user("ada")).await.unwrap().into_inner().user.unwrap().etag;
    let reset = ResetPasswordRequest { etag, ..reset_password("user") };

    let before = [RESET_PASSWORD, RESET_DEVICE, CREATE_TENANT, CREATE_TOKEN, REVOKE_TOKEN];
    let mut counts = Vec::new();
    for action in before {
        counts.push(done(&raw, action).await);
    }
    let token = rekey.admin_token.as_str();
    let user = fifty_times(&channels, token, RESET_PASSWORD, &reset).await;
    let device = fifty_times(&channels, token, RESET_DEVICE, &reset_device("device")).await;
    fifty_times(&channels, token, CREATE_TENANT, &create_tenant).await;
    fifty_times(&channels, token, CREATE_TOKEN, &create_token).await;
    fifty_times(&channels, token, REVOKE_TOKEN, &revoke).await;
    for (action, count) in before.into_iter().zip(counts) {
        assert_eq!(done(&raw, action).await, count + 1, "{action}");
    }

    // What was told is what is.
    let user = ResetPasswordResponse::decode(user).unwrap();
    let found = clients.users.get_user(get_user("ada")).await.unwrap().into_inner().user.unwrap();
    assert_eq!(user.user, Some(found));
    let verify = verify_password("ada@acme.example", &user.generated_password);
    assert!(clients.users.verify_password(verify).await.unwrap().into_inner().verified);
    let device = ResetAuthenticationResponse::decode(device).unwrap();
    let get = GetDeviceRequest { tenant_id: text(TENANT), device_id: text("d1") };
    assert_eq!(device.device, clients.devices.get_device(get).await.unwrap().into_inner().device);
    let revealed = clients.devices.reveal_authentication(reveal_device("d1")).await.unwrap().into_inner();
    assert_eq!(device.authentication, revealed.authentication);
    replica.stop().await;
}

pub(super) async fn an_id_is_for_one_request_of_one_caller(rekey: Rekey) {
    populate(&rekey).await;
    let (channel, token) = (|| rekey.channel(), rekey.admin_token.as_str());
    let first = send(channel(), token, RESET_DEVICE, &reset_device("one")).await.unwrap();
    assert_eq!(send(channel(), token, RESET_DEVICE, &reset_device("one")).await.unwrap(), first);

    // Another content, another method.
    let other = ResetAuthenticationRequest { user_name: Some("other".to_owned()), ..reset_device("one") };
    for refused in [
        send(channel(), token, RESET_DEVICE, &other).await.unwrap_err(),
        send(channel(), token, RESET_PASSWORD, &reset_password("one")).await.unwrap_err(),
    ] {
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    }

    // Another caller, in the same tenant and in another: their ids are their own, and the first one's stays.
    for tenant in ["system", TENANT] {
        let stranger = rekey.make_caller(tenant, &["*"]).await;
        let theirs = send(channel(), &stranger, RESET_DEVICE, &reset_device("one")).await.unwrap();
        assert_ne!(theirs, first);
        assert_eq!(send(channel(), &stranger, RESET_DEVICE, &reset_device("one")).await.unwrap(), theirs);
    }
    // A new token of the same caller is the same caller.
    let mut callers = rekey.admin().callers;
    let request = CreateApiTokenRequest {
        tenant_id: "system".to_owned(),
        caller_id: "admin".to_owned(),
        ..CreateApiTokenRequest::default()
    };
    let renewed = callers.create_api_token(request).await.unwrap().into_inner().token;
    assert_eq!(send(channel(), &renewed, RESET_DEVICE, &reset_device("one")).await.unwrap(), first);
    // And without an id each request is one of its own.
    let one = send(channel(), token, RESET_DEVICE, &reset_device("")).await.unwrap();
    assert_ne!(send(channel(), token, RESET_DEVICE, &reset_device("")).await.unwrap(), one);
}

pub(super) async fn an_answer_is_given_again_after_a_restart_until_its_time_is_over(rekey: Rekey) {
    populate(&rekey).await;
    let token = rekey.admin_token.clone();
    let first = send(rekey.channel(), &token, RESET_PASSWORD, &reset_password("r")).await.unwrap();
    rekey.clock.advance(Duration::from_hours(23));
    let rekey = rekey.pause().await.start().await;
    assert_eq!(send(rekey.channel(), &token, RESET_PASSWORD, &reset_password("r")).await.unwrap(), first);

    // Its row is still there, and good for nothing.
    rekey.clock.advance(Duration::from_hours(1));
    let second = send(rekey.channel(), &token, RESET_PASSWORD, &reset_password("r")).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(send(rekey.channel(), &token, RESET_PASSWORD, &reset_password("r")).await.unwrap(), second);

    // A service that starts clears up.
    rekey.clock.advance(Duration::from_hours(24));
    let raw = Raw::open(&rekey.options).await;
    assert_eq!(raw.number("SELECT count(*) FROM reply").await, 1);
    let rekey = rekey.pause().await.start().await;
    while raw.number("SELECT count(*) FROM reply").await > 0 {
        tokio::task::yield_now().await;
    }
    let other = ResetPasswordRequest {
        secret_source: Some(reset_password_request::SecretSource::NewPassword("one more long phrase".to_owned())),
        ..reset_password("r")
    };
    send(rekey.channel(), &token, RESET_PASSWORD, &other).await.unwrap();
}

pub(super) async fn what_changed_by_another_meanwhile_is_decided_anew(rekey: Rekey) {
    let mut clients = populate(&rekey).await;
    let replica = rekey.replica().await;
    // All different: none is a repetition, and no etag stands in the way.
    let calls: Vec<_> = (0..6)
        .map(|number| {
            let channel = if number % 2 == 0 { rekey.channel() } else { replica.channel() };
            let (token, request) = (rekey.admin_token.clone(), reset_device(&format!("r{number}")));
            tokio::spawn(async move { send(channel, &token, RESET_DEVICE, &request).await })
        })
        .collect();
    let mut told = Vec::new();
    for call in calls {
        told.push(ResetAuthenticationResponse::decode(call.await.unwrap().unwrap()).unwrap());
    }
    told.sort_by_key(|answer| {
        let etag = answer.device.as_ref().unwrap().etag.clone();
        (etag.len(), etag)
    });
    let revealed = clients.devices.reveal_authentication(reveal_device("d1")).await.unwrap().into_inner();
    assert_eq!(told.last().unwrap().authentication, revealed.authentication);
    let versions: Vec<_> = told.iter().map(|answer| answer.device.clone().unwrap().etag).collect();
    assert!(versions.windows(2).all(|pair| pair[0] != pair[1]), "{versions:?}");
    replica.stop().await;
}

#[tokio::test]
async fn who_changed_his_password_is_told_so_again_without_a_hash() {
    let rekey = Rekey::start_with(|options| options.metrics = Some(([127, 0, 0, 1], 0).into())).await;
    let hashes = async || {
        let page = reqwest::get(format!("http://{}/metrics", rekey.metrics().unwrap())).await.unwrap().text().await;
        let page = page.unwrap();
        let line = page.lines().find(|line| line.starts_with(r#"rekey_hashing_jobs_total{outcome="done"}"#));
        line.unwrap().to_owned()
    };
    let mut clients = populate(&rekey).await;
    let change = ChangePasswordRequest {
        tenant_id: TENANT.to_owned(),
        subject: Some(change_password_request::Subject::UserId("ada".to_owned())),
        current_password: USER_PASSWORD.to_owned(),
        new_password: "the second long enough phrase".to_owned(),
        request_id: "change".to_owned(),
        ..Default::default()
    };
    let first = clients.users.change_password(change.clone()).await.unwrap().into_inner();
    let before = hashes().await;
    // What was current no longer is, and nobody minds, however often.
    for _ in 0..8 {
        assert_eq!(clients.users.change_password(change.clone()).await.unwrap().into_inner(), first);
    }
    assert_eq!(hashes().await, before);
    let found = clients.users.get_user(get_user("ada")).await.unwrap().into_inner().user.unwrap();
    assert_eq!(Some(&found), first.user.as_ref());
    assert_eq!(found.soft_lock, None);
    let anew = ChangePasswordRequest { request_id: "other".to_owned(), ..change };
    let refused = clients.users.change_password(anew).await.unwrap_err();
    assert_eq!(reason(&refused), "CURRENT_PASSWORD_MISMATCH");
}

pub(super) async fn what_was_given_up_is_done_once_when_it_is_asked_for_again(rekey: Rekey) {
    populate(&rekey).await;
    let raw = Raw::open(&rekey.options).await;
    let token = rekey.admin_token.as_str();
    for number in 0_u32..60 {
        let request = reset_device(&format!("r{number}"));
        let given_up = async {
            for _ in 0..number * 17 % 211 {
                tokio::task::yield_now().await;
            }
        };
        let first = tokio::select! {
            biased;
            answer = send(rekey.channel(), token, RESET_DEVICE, &request) => Some(answer.unwrap()),
            () = given_up => None,
        };
        let again = send(rekey.channel(), token, RESET_DEVICE, &request).await.unwrap();
        assert!(first.is_none_or(|first| first == again), "r{number}");
        assert_eq!(send(rekey.channel(), token, RESET_DEVICE, &request).await.unwrap(), again, "r{number}");
    }
    assert_eq!(done(&raw, RESET_DEVICE).await, 60);
    assert_eq!(raw.number("SELECT version FROM subject WHERE external_id = 'd1'").await, 61);
}

#[tokio::test]
async fn what_failed_is_tried_anew() {
    let rekey = Rekey::start().await;
    let mut clients = populate(&rekey).await;
    let create = |username: &str, password: &str| CreateUserRequest {
        tenant_id: TENANT.to_owned(),
        user_id: "eve".to_owned(),
        username: username.to_owned(),
        secret_source: Some(create_user_request::SecretSource::Password(password.to_owned())),
        request_id: "eve".to_owned(),
        ..Default::default()
    };
    let refused = clients.users.create_user(create("eve", "short")).await.unwrap_err();
    assert_eq!(reason(&refused), "POLICY_VIOLATED");
    // Refused by the database, and named as ever.
    let refused = clients.users.create_user(create("ada@acme.example", USER_PASSWORD)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, "username is taken"));
    clients.users.create_user(create("eve@acme.example", USER_PASSWORD)).await.unwrap();
    let refused = clients.users.create_user(create("other@acme.example", USER_PASSWORD)).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");

    let stopped = rekey.pause().await;
    let raw = Raw::open(&stopped.options).await;
    let told = "SELECT outcome || ' ' || coalesce(reason, '') FROM audit WHERE target_id = 'eve' ORDER BY time";
    assert_eq!(raw.texts(told).await, ["failed POLICY_VIOLATED", "failed ALREADY_EXISTS", "succeeded "]);
}

#[tokio::test]
async fn answers_that_were_altered_or_moved_are_given_to_nobody() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let token = rekey.admin_token.as_str();
    let raw = Raw::open(&rekey.options).await;
    for (number, (change, good)) in [
        ("answer = zeroblob(length(answer))", "INTERNAL"),
        ("answer = substr(answer, 1, length(answer) - 1)", "INTERNAL"),
        ("answer = (SELECT answer FROM reply WHERE request_id = 'another')", "INTERNAL"),
        ("expire_time = expire_time + 1", "INTERNAL"),
        ("key_id = 'none'", "INTERNAL"),
        ("key_id = (SELECT uid FROM data_key WHERE uid <> key_id)", "INTERNAL"),
        ("request_digest = zeroblob(32)", "REQUEST_ID_REUSED"),
        ("request_digest = (SELECT request_digest FROM reply WHERE request_id = 'another')", "REQUEST_ID_REUSED"),
    ]
    .into_iter()
    .enumerate()
    {
        if number == 0 {
            send(rekey.channel(), token, RESET_DEVICE, &reset_device("another")).await.unwrap();
        }
        let id = format!("r{number}");
        send(rekey.channel(), token, RESET_DEVICE, &reset_device(&id)).await.unwrap();
        let before = raw.state().await;
        raw.run(&format!("UPDATE reply SET {change} WHERE request_id = '{id}'")).await;
        let refused = send(rekey.channel(), token, RESET_DEVICE, &reset_device(&id)).await.unwrap_err();
        assert_eq!(reason(&refused), good, "{change}: {refused:?}");
        assert_eq!(raw.state().await, before, "{change}");
    }
    // To another request, and to another caller.
    raw.run("UPDATE reply SET request_id = 'moved' WHERE request_id = 'another'").await;
    let refused = send(rekey.channel(), token, RESET_DEVICE, &reset_device("moved")).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let stranger = rekey.make_caller("system", &["*"]).await;
    send(rekey.channel(), &stranger, RESET_DEVICE, &reset_device("theirs")).await.unwrap();
    send(rekey.channel(), token, RESET_DEVICE, &reset_device("mine")).await.unwrap();
    raw.run(
        "UPDATE reply SET answer = (SELECT answer FROM reply WHERE request_id = 'mine') WHERE request_id = 'theirs'",
    )
    .await;
    let refused = send(rekey.channel(), &stranger, RESET_DEVICE, &reset_device("theirs")).await.unwrap_err();
    assert_eq!(reason(&refused), "INTERNAL");
    let change = "caller = (SELECT caller FROM reply WHERE request_id = 'theirs'), request_id = 'hers'";
    raw.run(&format!("UPDATE reply SET {change} WHERE request_id = 'mine'")).await;
    let refused = send(rekey.channel(), &stranger, RESET_DEVICE, &reset_device("hers")).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn the_gateway_takes_ids_along() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let client = reqwest::Client::new();
    let reset = async |id: &str| {
        let url = format!("http://{}/v1/tenants/{TENANT}/devices/d1:resetAuthentication", rekey.http);
        let request = client.post(url).bearer_auth(&rekey.admin_token).header("content-type", "application/json");
        let answer = request.body(format!(r#"{{"generate":{{}},"requestId":"{id}"}}"#)).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let first = reset("one").await;
    assert!(first.contains("\"password\""), "{first}");
    assert_eq!(reset("one").await, first);
    assert_ne!(reset("two").await, first);
    let refused = reset("with a space").await;
    assert!(refused.contains("request_id"), "{refused}");
}

#[tokio::test]
async fn an_id_is_short_and_printing() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    for bad in ["a b", "\u{e9}", "tab\t", &"x".repeat(129)] {
        let refused = send(rekey.channel(), &rekey.admin_token, RESET_DEVICE, &reset_device(bad)).await.unwrap_err();
        assert_eq!((reason(&refused).as_str(), fields(&refused)), ("FIELDS_INVALID", vec!["request_id".to_owned()]));
    }
    for good in ["!", &"~".repeat(128)] {
        send(rekey.channel(), &rekey.admin_token, RESET_DEVICE, &reset_device(good)).await.unwrap();
    }
}
