//! Signing in as the dialects do, before a real service.

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use rekey::proto::{
    CreateCallerRequest, CreateDeviceRequest, CreateSigningKeyRequest, PolicyPreset, ScopeGrant, SubjectState, Tenant,
    TokenAlgorithm, TokenIssuer, TokenScopes, create_device_request,
};
use serde_json::Value;

use super::{is, make_user, policy, short, tenant};
use crate::{common::rekey::Rekey, wire::send};

const SECRET: &str = "SKEXAMPLE-SKEXAMPLE";

async fn make_key(rekey: &Rekey, tenant_id: &str, permissions: &[&str]) {
    let (tenant_id, caller_id) = (tenant_id.to_owned(), "portal".to_owned());
    let request = CreateCallerRequest {
        tenant_id: tenant_id.clone(),
        caller_id: caller_id.clone(),
        permissions: permissions.iter().map(|permission| (*permission).to_owned()).collect(),
        ..Default::default()
    };
    rekey.admin().callers.create_caller(request).await.unwrap();
    let request = CreateSigningKeyRequest {
        tenant_id,
        caller_id,
        api_key: "AKEXAMPLE".to_owned(),
        shared_key: SECRET.to_owned(),
        ..Default::default()
    };
    rekey.admin().callers.create_signing_key(request).await.unwrap();
}

#[tokio::test]
async fn an_ocariot_user_signs_in_and_changes_his_password_with_the_token() {
    const ID: &str = "507f191e810c19729de860ea";
    let rekey = Rekey::start_signing().await;
    let own = ScopeGrant {
        scope: "users:own".to_owned(),
        permission: "users:changePassword".to_owned(),
        own_only: true,
        subject_types: Vec::new(),
    };
    let token_issuer = Some(TokenIssuer {
        issuer: "ocariot".to_owned(),
        algorithm: TokenAlgorithm::Rs256.into(),
        scopes: vec![TokenScopes { subject_type: String::new(), scopes: vec!["users:own".to_owned()] }],
        scope_grants: vec![own],
        ..TokenIssuer::default()
    });
    rekey
        .make_tenant(Tenant {
            token_issuer,
            user_policy: Some(policy(PolicyPreset::Ocariot)),
            ..tenant("school", "ocariot", "default")
        })
        .await;
    make_user(&rekey, "school", ID, "ada", SubjectState::Active).await;
    let sign_in = async |password: &str| {
        let body = format!(r#"{{"username":"ada","password":"{password}"}}"#);
        short(send(rekey.http, "POST", "/v1/auth", &[], &body).await)
    };
    assert_eq!(sign_in("a wrong phrase").await, is(401, r#"{"code":401,"message":"Invalid username or password!"}"#));
    let (status, body) = sign_in("the old phrase").await;
    let token = serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(status, 200);
    let bearer = format!("Bearer {token}");
    let change = r#"{"old_password":"the old phrase","new_password":"a new and longer phrase"}"#;
    let path = format!("/v1/users/{ID}/password");
    let changed = send(rekey.http, "PUT", &path, &[("authorization", &bearer)], change).await;
    assert_eq!(short(changed), is(204, ""));
    let again = send(rekey.http, "PUT", &path, &[("authorization", &bearer)], change).await;
    assert_eq!((again.status, again.body.contains("access token issues")), (401, true), "{}", again.body);
    assert_eq!(sign_in("a new and longer phrase").await.0, 200);
}

#[tokio::test]
async fn a_licensespring_client_gets_a_token_and_changes_a_password_with_it() {
    let rekey = Rekey::start_signing().await;
    let user_policy = Some(policy(PolicyPreset::Licensespring));
    rekey.make_tenant(Tenant { user_policy, ..tenant("soft", "licensespring", "soft") }).await;
    make_user(&rekey, "soft", "jo", "jo@example.com", SubjectState::Active).await;
    make_key(&rekey, "soft", &["users:changePassword"]).await;
    let ask = async |secret: &str| {
        let form = format!("grant_type=client_credentials&client_id=AKEXAMPLE&client_secret={secret}");
        short(send(rekey.http, "POST", "/api/v4/oauth_token", &[], &form).await)
    };
    assert_eq!(ask("wrong").await.0, 401);
    let (status, body) = ask(SECRET).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["expires_in"], &body["token_type"]), (200, &3_600.into(), &"Bearer".into()));
    let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
    let change = async |bearer: &str| {
        let headers = [("date", "Thu, 01 Jan 2026 00:00:00 GMT"), ("authorization", bearer)];
        let body =
            r#"{"username":"jo@example.com","password":"the old phrase","new_password":"a new and longer phrase"}"#;
        short(send(rekey.http, "POST", "/api/v4/change_password", &headers, body).await)
    };
    assert_eq!(change(&bearer).await, is(200, "password_changed"));
    let malformed = r#"{"status":401,"code":"oauth_token_malformed","message":"the token is not valid"}"#;
    assert_eq!(change(&format!("{bearer}x")).await, is(401, malformed));
    rekey.clock.advance(std::time::Duration::from_hours(2));
    let expired = r#"{"status":401,"code":"oauth_token_expired","message":"the token has expired"}"#;
    assert_eq!(change(&bearer).await, is(401, expired));
}

#[tokio::test]
async fn a_roma_client_signs_its_requests() {
    let rekey = Rekey::start_signing().await;
    rekey.make_tenant(tenant("factory", "roma", "proj01/inst01")).await;
    make_key(&rekey, "factory", &["devices:resetAuthentication", "devices:revealAuthentication"]).await;
    let request = CreateDeviceRequest {
        tenant_id: "factory".to_owned(),
        device_id: "product.815".to_owned(),
        user_name: "device01".to_owned(),
        secret_source: Some(create_device_request::SecretSource::Password("Abcdefgh1234567!".to_owned())),
        ..Default::default()
    };
    rekey.admin().devices.create_device(request).await.unwrap();
    let date = "20260101T000001Z";
    let hash = |text: &str| HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let ask = async |method: &str, body: &str, secret: &str, sent: &str| {
        let path = "/v2/proj01/link/instances/inst01/products/815/authentication";
        let host = rekey.http;
        let canonical =
            format!("{method}\n{path}/\n\nhost:{host}\nx-sdk-date:{date}\n\nhost;x-sdk-date\n{}", hash(body));
        let message = format!("SDK-HMAC-SHA256\n{date}\n{}", hash(&canonical));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = HEXLOWER.encode(hmac::sign(&key, message.as_bytes()).as_ref());
        let value = format!("SDK-HMAC-SHA256 Access=AKEXAMPLE, SignedHeaders=host;x-sdk-date, Signature={signature}");
        let headers = [("authorization", value.as_str()), ("x-sdk-date", date), ("x-request-id", "r1")];
        short(send(host, method, path, &headers, sent).await)
    };
    let shown = is(200, r#"{"user_name":"device01","password":"Abcdefgh1234567!"}"#);
    assert_eq!(ask("GET", "", SECRET, "").await, shown);
    let body = r#"{"password":"Abcdefgh1234567?"}"#;
    let changed = is(200, r#"{"user_name":"device01","password":"Abcdefgh1234567?"}"#);
    assert_eq!(ask("PUT", body, SECRET, body).await, changed);
    let refused = r#"{"error_code":"APIG.0301","error_msg":"Incorrect IAM authentication information: verify aksk signature fail","request_id":"r1"}"#;
    assert_eq!(ask("PUT", body, SECRET, "{}").await, is(401, refused), "another body than was signed");
    assert_eq!(ask("GET", "", "another secret key", "").await, is(401, refused));
    rekey.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(ask("PUT", body, SECRET, body).await, is(401, refused), "replayed");
    assert_eq!(ask("GET", "", SECRET, "").await, changed);
}
