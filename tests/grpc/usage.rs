//! Which secrets are used: counted by every replica, written behind, and lost by nobody.

use rekey::{
    app::ServiceOptions,
    proto::{
        CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest, CreateSigningKeyRequest, CreateUserRequest,
        ExchangeClientCredentialsRequest, GetDeviceRequest, Tenant, VerifyAuthenticationRequest, VerifyPasswordRequest,
        WhoAmIRequest, create_device_request, create_user_request, verify_authentication_request,
        verify_password_request,
    },
    store::StoreOptions,
};

use crate::{
    common::{
        postgres as server,
        rekey::{Clients, Rekey},
    },
    robustness::database::Raw,
};

const TENANT: &str = "acme";
const PASSWORD: &str = "Abcdefgh1234567!";

fn measured(options: &mut ServiceOptions) {
    options.metrics = Some(([127, 0, 0, 1], 0).into());
}

macro_rules! on_both_engines {
    ($($case:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Rekey::start_with(super::measured).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some(url) = super::server::url() else { return };
                let store = super::StoreOptions { url, max_connections: 8 };
                let adjust = |options: &mut super::ServiceOptions| {
                    super::measured(options);
                    options.store = store;
                };
                super::$case(super::Rekey::start_with(adjust).await).await;
            })*
        }
    };
}

on_both_engines! {
    uses_of_two_replicas_add_up,
    a_flood_of_uses_is_few_statements,
    uses_that_cannot_be_written_are_kept,
}

/// A tenant with the user `ada`, the device `d1` and the caller `svc`; a token of the caller.
async fn populate(rekey: &Rekey) -> String {
    rekey.make_tenant(Tenant { tenant_id: TENANT.to_owned(), ..Tenant::default() }).await;
    let mut admin = rekey.admin();
    let user = CreateUserRequest {
        tenant_id: TENANT.to_owned(),
        user_id: "ada".to_owned(),
        username: "ada".to_owned(),
        secret_source: Some(create_user_request::SecretSource::Password(PASSWORD.to_owned())),
        ..CreateUserRequest::default()
    };
    admin.users.create_user(user).await.unwrap();
    let device = CreateDeviceRequest {
        tenant_id: TENANT.to_owned(),
        device_id: "d1".to_owned(),
        user_name: "d1".to_owned(),
        secret_source: Some(create_device_request::SecretSource::Password(PASSWORD.to_owned())),
        ..CreateDeviceRequest::default()
    };
    admin.devices.create_device(device).await.unwrap();
    let (tenant_id, caller_id) = (TENANT.to_owned(), "svc".to_owned());
    let caller = CreateCallerRequest { tenant_id, caller_id, ..CreateCallerRequest::default() };
    admin.callers.create_caller(caller).await.unwrap();
    let (tenant_id, caller_id) = (TENANT.to_owned(), "svc".to_owned());
    let token = CreateApiTokenRequest { tenant_id, caller_id, ..CreateApiTokenRequest::default() };
    admin.callers.create_api_token(token).await.unwrap().into_inner().token
}

async fn verify_device(clients: &Clients, password: &str) -> bool {
    let request = VerifyAuthenticationRequest {
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId("d1".to_owned())),
        password: password.to_owned(),
        ..VerifyAuthenticationRequest::default()
    };
    clients.clone().devices.verify_authentication(request).await.unwrap().into_inner().verified
}

async fn verify_user(clients: &Clients, password: &str) -> bool {
    let request = VerifyPasswordRequest {
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_password_request::Subject::Username("ada".to_owned())),
        password: password.to_owned(),
        ..VerifyPasswordRequest::default()
    };
    clients.clone().users.verify_password(request).await.unwrap().into_inner().verified
}

async fn who_am_i(clients: &Clients) {
    clients.clone().callers.who_am_i(WhoAmIRequest {}).await.unwrap();
}

/// How often the one secret of a subject in slots that begin so was used, and when the last time.
async fn used(raw: &Raw, subject: &str, slot: &str) -> (i64, i64) {
    let of = |what: &str| {
        format!(
            "SELECT {what} FROM secret JOIN subject ON uid = subject_uid
             WHERE external_id = '{subject}' AND slot LIKE '{slot}%'"
        )
    };
    (raw.number(&of("use_count")).await, raw.number(&of("coalesce(last_used_time, 0)")).await)
}

async fn metric(rekey: &Rekey, name: &str) -> f64 {
    let page = reqwest::get(format!("http://{}/metrics", rekey.metrics().unwrap())).await.unwrap();
    let page = page.text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    line.parse().unwrap()
}

async fn uses_of_two_replicas_add_up(rekey: Rekey) {
    let token = populate(&rekey).await;
    let key = CreateSigningKeyRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        api_key: "AKEXAMPLE".to_owned(),
        shared_key: "SKEXAMPLE-SKEXAMPLE".to_owned(),
        ..CreateSigningKeyRequest::default()
    };
    rekey.admin().callers.create_signing_key(key).await.unwrap();
    let raw = Raw::open(&rekey.options).await;
    let get = GetDeviceRequest { tenant_id: TENANT.to_owned(), device_id: "d1".to_owned() };
    let etag = async |clients: &Clients| {
        clients.clone().devices.get_device(get.clone()).await.unwrap().into_inner().device.unwrap().etag
    };
    let before = etag(&rekey.admin()).await;

    let replica = rekey.replica().await;
    let (here, there) = (rekey.admin(), replica.clients(&rekey.admin_token));
    for clients in [&here, &there, &here] {
        assert!(verify_device(clients, PASSWORD).await);
        assert!(!verify_device(clients, "wrong").await);
        assert!(verify_user(clients, PASSWORD).await);
    }
    // What is remembered of a credential counts each time that it is shown.
    for _ in 0..3 {
        who_am_i(&rekey.clients(&token)).await;
        who_am_i(&replica.clients(&token)).await;
    }
    // A signature over a date that is off is no use of the key, and neither is a wrong secret of a client.
    let wrong = ExchangeClientCredentialsRequest { client_id: "AKEXAMPLE".to_owned(), client_secret: "x".to_owned() };
    rekey.clients("").tokens.exchange_client_credentials(wrong).await.unwrap_err();
    assert!(!verify_user(&there, "wrong").await);

    let last = rekey.clock.seconds();
    replica.stop().await;
    assert_eq!(etag(&rekey.admin()).await, before, "a use is no change");
    for (kind, uses) in [("device", 2.0), ("user", 2.0), ("signing_key", 0.0)] {
        let counted = metric(&rekey, &format!("rekey_secret_uses_total{{kind=\"{kind}\"}}")).await;
        assert!((counted - uses).abs() < 0.5, "{kind}: {counted} instead of {uses}");
    }
    let _stopped = rekey.pause().await;
    for (subject, slot, uses) in [("d1", "password", 3), ("ada", "password", 3), ("svc", "token", 6)] {
        let (count, time) = used(&raw, subject, slot).await;
        assert_eq!((count, time / 1_000_000), (uses, last), "{subject}");
    }
    assert_eq!(used(&raw, "svc", "key").await, (0, 0));
}

async fn a_flood_of_uses_is_few_statements(rekey: Rekey) {
    let token = populate(&rekey).await;
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let clients = rekey.clients(&token);
            tokio::spawn(async move {
                for _ in 0..100 {
                    who_am_i(&clients).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let raw = Raw::open(&rekey.options).await;
    assert!(metric(&rekey, "rekey_secret_uses_total{kind=\"api_token\"}").await > 2_000.0, "the administrator's too");
    assert!(metric(&rekey, "rekey_secret_uses_dropped_total").await < 1.0);
    // One every two seconds, and one more for who is slow.
    let statements = metric(&rekey, "rekey_secret_uses_writes_total{outcome=\"done\"}").await;
    assert!(statements < 200.0, "{statements} statements");
    let _stopped = rekey.pause().await;
    assert_eq!(used(&raw, "svc", "token").await.0, 2_000);
}

async fn uses_that_cannot_be_written_are_kept(rekey: Rekey) {
    populate(&rekey).await;
    let raw = Raw::open(&rekey.options).await;
    let (forbid, allow) = if raw.is_sqlite() {
        (
            "CREATE TRIGGER unused BEFORE UPDATE OF use_count ON secret BEGIN SELECT RAISE(ABORT, 'forbidden'); END",
            "DROP TRIGGER unused",
        )
    } else {
        (
            "ALTER TABLE secret ADD CONSTRAINT unused CHECK (use_count = 0) NOT VALID",
            "ALTER TABLE secret DROP CONSTRAINT unused",
        )
    };
    // What was used until now is written first.
    let stopped = rekey.pause().await;
    raw.run("UPDATE secret SET use_count = 0").await;
    raw.run(forbid).await;
    let rekey = stopped.start().await;
    let failed = "rekey_secret_uses_writes_total{outcome=\"failed\"}";
    assert!(verify_device(&rekey.admin(), PASSWORD).await);
    while metric(&rekey, failed).await < 1.0 {
        tokio::task::yield_now().await;
    }
    assert!(verify_device(&rekey.admin(), PASSWORD).await);
    assert_eq!(used(&raw, "d1", "password").await.0, 0);
    assert!(metric(&rekey, "rekey_secret_uses_unwritten_seconds").await > 0.0);
    raw.run(allow).await;
    while metric(&rekey, "rekey_secret_uses_unwritten_seconds").await > 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(used(&raw, "d1", "password").await.0, 2);
    let _stopped = rekey.pause().await;
    assert_eq!(used(&raw, "d1", "password").await.0, 2, "once");
}
