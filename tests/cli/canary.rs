//! Canaries: a known secret in every field that takes one, and everything that is given out, are looked for in all that
//! two processes say at the level `trace`, and in the database's files. None may be there, in no coding.

use std::{fs, path::Path, time::SystemTime};

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use rekey::proto::{
    ChangePasswordRequest, CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest, CreateIntegrationRequest,
    CreateSigningKeyRequest, CreateTenantRequest, CreateUserRequest, GenerateSecret, ResetAuthenticationRequest,
    ResetIntegrationRequest, ResetPasswordRequest, RevealAuthenticationRequest, RevealIntegrationRequest, Tenant,
    TenantAlias, UpdateIntegrationRequest, VerifyAuthenticationRequest, VerifyPasswordRequest, WhoAmIRequest,
    caller_service_client::CallerServiceClient, change_password_request, create_device_request,
    create_integration_request, create_user_request, device_service_client::DeviceServiceClient,
    integration_service_client::IntegrationServiceClient, reset_authentication_request, reset_password_request,
    tenant_service_client::TenantServiceClient, user_service_client::UserServiceClient, verify_authentication_request,
    verify_password_request,
};
use tonic::{Request, transport::Channel};

use crate::process::Place;

/// Everything at its loudest: ours, and whose code handles requests, tokens and statements.
const LOUDEST: &str =
    "trace,h2=trace,hyper=trace,hyper_util=trace,rustls=trace,sea_orm=trace,sqlx=trace,tonic=trace,tower=trace";

/// The secrets that were given or given out.
#[derive(Default)]
struct Canaries(Vec<String>);

impl Canaries {
    /// A secret of this name, which every policy allows.
    fn give(&mut self, name: &str) -> String {
        self.keep(&format!("Canary7-{name}"))
    }

    fn keep(&mut self, secret: &str) -> String {
        assert!(secret.len() >= 8, "{secret:?} may be anywhere by chance");
        self.0.push(secret.to_owned());
        secret.to_owned()
    }

    fn assert_absent(&self, place: &str, haystack: &[u8]) {
        assert!(!haystack.is_empty(), "{place} is empty: nothing was looked at");
        // Every form is ASCII, which this keeps.
        let haystack = String::from_utf8_lossy(haystack);
        for canary in &self.0 {
            for form in forms(canary) {
                assert!(!haystack.contains(&form), "{place} holds {canary}, as {form}");
            }
        }
    }
}

/// A secret as it is, as hex, as base64 wherever in a longer text it begins, as a list of bytes.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let list = format!("{bytes:?}");
    let mut forms = vec![
        secret.to_owned(),
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
        BASE64.encode(bytes),
        list.trim_matches(['[', ']']).to_owned(),
    ];
    for before in 0..3 {
        let shifted = [vec![0; before], bytes.to_vec()].concat();
        // Characters that depend on the secret alone.
        let (from, to) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        forms.extend(
            [BASE64_NOPAD.encode(&shifted), BASE64URL_NOPAD.encode(&shifted)].map(|text| text[from..to].to_owned()),
        );
    }
    forms
}

fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[test]
fn a_canary_is_found_in_every_coding() {
    let mut canaries = Canaries::default();
    let secret = canaries.give("found");
    let plain =
        |text: String| std::panic::catch_unwind(|| forms(&secret).iter().any(|form| text.contains(form))).unwrap();
    assert!(plain(format!("x{secret}y")));
    assert!(plain(format!("{:?}", format!("a{secret}").as_bytes())));
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{secret}tail");
        assert!(plain(BASE64.encode(text.as_bytes())), "{before}");
        assert!(plain(BASE64URL_NOPAD.encode(text.as_bytes())), "{before}");
        assert!(plain(HEXLOWER.encode(text.as_bytes())), "{before}");
    }
    assert!(!plain("something else".to_owned()));
}

#[tokio::test]
async fn no_secret_is_said_or_kept_in_clear() {
    let place = Place::new();
    let mut canaries = Canaries::default();
    let admin = canaries.keep(&place.init());
    let (service, grpc) = place.serve(&["--log-level", LOUDEST]);
    let upstream = format!("http://{grpc}");
    let gateway = ["gateway", "--http-listen", "127.0.0.1:0", "--upstream", &upstream, "--log-level", LOUDEST];
    let mut gateway = place.start(&gateway);
    let http = gateway.wait_for("the gateway is ready").address("address");

    let channel = Channel::from_shared(upstream.clone()).unwrap().connect().await.unwrap();
    users(&channel, &admin, &mut canaries).await;
    devices(&channel, &admin, &mut canaries).await;
    integrations(&channel, &admin, &mut canaries).await;
    let (token, api_key, shared_key) = callers(&channel, &admin, &mut canaries).await;
    dialects(&format!("http://{http}"), &token, &api_key, &shared_key, &mut canaries).await;

    look_at_database(&place.path("rekey-data"), &canaries);
    for (name, process) in [("gateway", gateway), ("service", service)] {
        // On another thread: our own ends of the connections must hear that they are to close.
        let (code, said) = tokio::task::spawn_blocking(move || process.stop()).await.unwrap();
        assert_eq!(code, 0, "{name}: {said}");
        assert!(said.contains("ready"), "{name} said nothing");
        canaries.assert_absent(name, said.as_bytes());
    }
    look_at_database(&place.path("rekey-data"), &canaries);
}

/// All its files, as they are at this moment.
fn look_at_database(directory: &Path, canaries: &Canaries) {
    let mut everything = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        if name.starts_with("rekey.db") && !bytes.is_empty() {
            canaries.assert_absent(&name, &bytes);
            everything.extend(bytes);
        }
    }
    // What is no secret is found, so what was looked at is what was written.
    assert!(String::from_utf8_lossy(&everything).contains("user@example.com"), "this is not the database");
}

async fn users(channel: &Channel, admin: &str, canaries: &mut Canaries) {
    tenant(channel, admin).await;
    let mut users = UserServiceClient::new(channel.clone());
    let (first, second) = (canaries.give("user-first"), canaries.give("user-second"));
    let create = |id: &str, source| CreateUserRequest {
        tenant_id: "canary".to_owned(),
        user_id: id.to_owned(),
        username: format!("{id}@example.com"),
        secret_source: Some(source),
        ..CreateUserRequest::default()
    };
    let given = create("user", create_user_request::SecretSource::Password(first.clone()));
    users.create_user(with_token(admin, given)).await.unwrap();
    let generated = create("made", create_user_request::SecretSource::Generate(GenerateSecret::default()));
    // With an id, as below, its answer is kept: sealed.
    let generated = CreateUserRequest { request_id: "create".to_owned(), ..generated };
    canaries.keep(&users.create_user(with_token(admin, generated)).await.unwrap().into_inner().generated_password);

    let change = |current: &str, new: &str| ChangePasswordRequest {
        tenant_id: "canary".to_owned(),
        subject: Some(change_password_request::Subject::UserId("user".to_owned())),
        current_password: current.to_owned(),
        new_password: new.to_owned(),
        source: String::new(),
        ..Default::default()
    };
    users.change_password(with_token(admin, change(&first, &second))).await.unwrap();
    let wrong = canaries.give("user-wrong-current");
    users.change_password(with_token(admin, change(&wrong, &second))).await.unwrap_err();
    let refused = canaries.give("too-long").repeat(40);
    users.change_password(with_token(admin, change(&second, &refused))).await.unwrap_err();

    for (password, right) in [(second, true), (canaries.give("user-wrong"), false)] {
        let verify = VerifyPasswordRequest {
            tenant_id: "canary".to_owned(),
            subject: Some(verify_password_request::Subject::Username("user@example.com".to_owned())),
            password,
            source: String::new(),
        };
        assert_eq!(users.verify_password(with_token(admin, verify)).await.unwrap().into_inner().verified, right);
    }
    let given = reset_password_request::SecretSource::NewPassword(canaries.give("user-reset"));
    let made = reset_password_request::SecretSource::Generate(GenerateSecret::default());
    for source in [given, made] {
        let reset = ResetPasswordRequest {
            tenant_id: "canary".to_owned(),
            user_id: "user".to_owned(),
            request_id: format!("user-{}", matches!(source, reset_password_request::SecretSource::Generate(_))),
            secret_source: Some(source),
            etag: String::new(),
            ..Default::default()
        };
        let answer = users.reset_password(with_token(admin, reset.clone())).await.unwrap().into_inner();
        assert_eq!(users.reset_password(with_token(admin, reset)).await.unwrap().into_inner(), answer);
        if !answer.generated_password.is_empty() {
            canaries.keep(&answer.generated_password);
        }
    }
    let stranger = canaries.give("unknown-token");
    let request = VerifyPasswordRequest { password: canaries.give("unproven"), ..VerifyPasswordRequest::default() };
    users.verify_password(with_token(&stranger, request)).await.unwrap_err();
}

async fn tenant(channel: &Channel, admin: &str) {
    let alias = |dialect: &str, name: &str| TenantAlias { dialect: dialect.to_owned(), alias: name.to_owned() };
    let tenant = Tenant {
        tenant_id: "canary".to_owned(),
        change_password_allowed: true,
        aliases: vec![alias("applivery", "canary-cage"), alias("roma", "proj01/inst01")],
        ..Tenant::default()
    };
    let request = with_token(admin, CreateTenantRequest { tenant: Some(tenant), ..Default::default() });
    TenantServiceClient::new(channel.clone()).create_tenant(request).await.unwrap();
}

async fn devices(channel: &Channel, admin: &str, canaries: &mut Canaries) {
    let mut devices = DeviceServiceClient::new(channel.clone());
    let first = canaries.give("device-first1");
    for (id, source) in [
        ("4711", create_device_request::SecretSource::Password(first.clone())),
        ("4712", create_device_request::SecretSource::Generate(GenerateSecret::default())),
    ] {
        let create = CreateDeviceRequest {
            tenant_id: "canary".to_owned(),
            device_id: id.to_owned(),
            user_name: format!("device-{id}"),
            secret_source: Some(source),
            request_id: format!("device-{id}"),
            ..Default::default()
        };
        let answer = devices.create_device(with_token(admin, create)).await.unwrap().into_inner();
        canaries.keep(&answer.authentication.unwrap().password);
    }
    let reveal = RevealAuthenticationRequest {
        tenant_id: "canary".to_owned(),
        device_id: "4711".to_owned(),
        purpose: "to look for canaries".to_owned(),
        version: 0,
    };
    let shown = devices.reveal_authentication(with_token(admin, reveal)).await.unwrap().into_inner();
    assert_eq!(shown.authentication.unwrap().password, first);
    for (password, right) in [(first, true), (canaries.give("device-wrong"), false)] {
        let verify = VerifyAuthenticationRequest {
            tenant_id: "canary".to_owned(),
            subject: Some(verify_authentication_request::Subject::DeviceId("4711".to_owned())),
            password,
            source: String::new(),
        };
        assert_eq!(
            devices.verify_authentication(with_token(admin, verify)).await.unwrap().into_inner().verified,
            right
        );
    }
    let given = reset_authentication_request::SecretSource::Password(canaries.give("device-reset1"));
    let made = reset_authentication_request::SecretSource::Generate(GenerateSecret::default());
    for source in [Some(given), Some(made), None] {
        let reset = ResetAuthenticationRequest {
            tenant_id: "canary".to_owned(),
            device_id: "4711".to_owned(),
            user_name: Some("device-4711".to_owned()),
            secret_source: source,
            return_current_password: true,
            etag: String::new(),
            ..Default::default()
        };
        let answer = devices.reset_authentication(with_token(admin, reset)).await.unwrap().into_inner();
        canaries.keep(&answer.authentication.unwrap().password);
    }
}

async fn integrations(channel: &Channel, admin: &str, canaries: &mut Canaries) {
    let mut integrations = IntegrationServiceClient::new(channel.clone());
    let (tenant_id, integration_id) = ("canary".to_owned(), "harmony-mobile".to_owned());
    let create = CreateIntegrationRequest {
        tenant_id: tenant_id.clone(),
        integration_id: integration_id.clone(),
        username: "harmony".to_owned(),
        secret_source: Some(create_integration_request::SecretSource::Password(canaries.give("integration"))),
        settings: [("token".to_owned(), canaries.give("setting-first"))].into(),
        ..Default::default()
    };
    integrations.create_integration(with_token(admin, create)).await.unwrap();
    let update = UpdateIntegrationRequest {
        tenant_id: tenant_id.clone(),
        integration_id: integration_id.clone(),
        settings: [("token".to_owned(), canaries.give("setting-second"))].into(),
        return_credentials: true,
        etag: String::new(),
        ..Default::default()
    };
    integrations.update_integration(with_token(admin, update)).await.unwrap();
    let reset = ResetIntegrationRequest {
        tenant_id: tenant_id.clone(),
        integration_id: integration_id.clone(),
        etag: String::new(),
        request_id: "integration".to_owned(),
        ..Default::default()
    };
    let answer = integrations.reset_integration(with_token(admin, reset)).await.unwrap().into_inner();
    let password = canaries.keep(&answer.credentials.unwrap().password);
    let reveal = RevealIntegrationRequest { tenant_id, integration_id, ..RevealIntegrationRequest::default() };
    let shown = integrations.reveal_integration(with_token(admin, reveal)).await.unwrap().into_inner();
    assert_eq!(shown.credentials.unwrap().password, password);
}

/// A caller's token, and its HMAC pair.
async fn callers(channel: &Channel, admin: &str, canaries: &mut Canaries) -> (String, String, String) {
    let mut callers = CallerServiceClient::new(channel.clone());
    let (tenant_id, caller_id) = ("canary".to_owned(), "portal".to_owned());
    let create = CreateCallerRequest {
        tenant_id: tenant_id.clone(),
        caller_id: caller_id.clone(),
        display_name: String::new(),
        permissions: vec!["*".to_owned()],
        ..Default::default()
    };
    callers.create_caller(with_token(admin, create)).await.unwrap();
    let token = |token: String| CreateApiTokenRequest {
        tenant_id: tenant_id.clone(),
        caller_id: caller_id.clone(),
        request_id: format!("token-{}", token.is_empty()),
        token,
        expire_time: None,
        ..Default::default()
    };
    let generated = callers.create_api_token(with_token(admin, token(String::new()))).await.unwrap().into_inner();
    callers.who_am_i(with_token(&canaries.keep(&generated.token), WhoAmIRequest {})).await.unwrap();
    let given = canaries.give("given-token");
    callers.create_api_token(with_token(admin, token(given.clone()))).await.unwrap();
    let altered = canaries.keep(&format!("{}0", generated.token));
    callers.who_am_i(with_token(&altered, WhoAmIRequest {})).await.unwrap_err();

    let key = |shared_key: String| CreateSigningKeyRequest {
        tenant_id: tenant_id.clone(),
        caller_id: caller_id.clone(),
        request_id: format!("key-{}", shared_key.is_empty()),
        shared_key,
        ..CreateSigningKeyRequest::default()
    };
    let generated = callers.create_signing_key(with_token(admin, key(String::new()))).await.unwrap().into_inner();
    canaries.keep(&generated.shared_key);
    let shared_key = canaries.give("given-shared-key");
    let answer = callers.create_signing_key(with_token(admin, key(shared_key.clone()))).await.unwrap().into_inner();
    (given, answer.api_key, shared_key)
}

async fn dialects(http: &str, token: &str, api_key: &str, shared_key: &str, canaries: &mut Canaries) {
    let client = reqwest::Client::new();
    let send = async |request: reqwest::RequestBuilder, status: u16| {
        let answer = request.send().await.unwrap();
        let found = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert_eq!(found, status, "{text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default()
    };
    let organization = format!("{http}/v1/organizations/canary-cage/integrations/harmony-mobile/");
    let settings = format!(
        r#"{{"token":"{}","portalAccountId":"{}","gwAddress":"{}"}}"#,
        canaries.give("applivery-token"),
        canaries.give("applivery-account"),
        canaries.give("applivery-gateway")
    );
    send(client.put(&organization).bearer_auth(token).body(settings), 200).await;
    let reset = send(client.delete(&organization).bearer_auth(token), 200).await;
    canaries.keep(reset["data"]["password"].as_str().unwrap());
    send(client.delete(&organization).bearer_auth(canaries.give("applivery-stranger")), 401).await;
    send(client.delete(&organization).basic_auth("user", Some(canaries.give("basic"))), 401).await;

    let device = format!("{http}/v2/proj01/link/instances/inst01/devices/4711/authentication");
    let roma = |request: reqwest::RequestBuilder, token: &str| request.header("x-auth-token", token);
    let body = format!(r#"{{"password":"{}"}}"#, canaries.give("roma-reset1"));
    send(roma(client.put(&device), token).body(body), 200).await;
    let made = send(roma(client.put(&device), token).body("{}"), 200).await;
    canaries.keep(made["password"].as_str().unwrap());
    send(roma(client.put(&device), &canaries.give("roma-stranger")), 401).await;
    let broken = format!(r#"{{"password":"{}"#, canaries.give("roma-broken"));
    send(roma(client.put(&device), token).body(broken), 400).await;

    let user = format!("{http}/v1/users/5a62be07de34500146d9c544/reset-password");
    let body = format!(r#"{{"new_password":"{}"}}"#, canaries.give("ocariot-new"));
    let jwt = format!("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJub2JvZHkifQ.{}", canaries.give("ocariot-signature"));
    send(client.post(&user).bearer_auth(jwt).body(body), 401).await;

    #[expect(clippy::disallowed_methods, reason = "the service compares with the real clock")]
    let date = httpdate::fmt_http_date(SystemTime::now());
    let key = hmac::Key::new(hmac::HMAC_SHA256, shared_key.as_bytes());
    let signature =
        canaries.keep(&BASE64.encode(hmac::sign(&key, format!("licenseSpring\ndate: {date}").as_bytes()).as_ref()));
    let authorization = format!(r#"algorithm="hmac-sha256",headers="date",signature="{signature}",apiKey="{api_key}""#);
    let licensespring = |body: String| {
        let request = client.post(format!("{http}/api/v4/change_password")).header("date", &date);
        request.header("authorization", &authorization).header("content-type", "application/json").body(body)
    };
    let change = |current: &str, new: &str| {
        format!(r#"{{"username":"user@example.com","password":"{current}","new_password":"{new}"}}"#)
    };
    let current = canaries.give("licensespring-reset");
    let canonical = format!("{http}/v1/tenants/canary/users/user:resetPassword");
    let body = format!(r#"{{"newPassword":"{current}"}}"#);
    send(client.post(canonical).bearer_auth(token).header("content-type", "application/json").body(body), 200).await;
    send(licensespring(change(&current, &canaries.give("licensespring-new"))), 200).await;
    send(licensespring(change(&canaries.give("licensespring-wrong"), "irrelevant")), 400).await;
}
