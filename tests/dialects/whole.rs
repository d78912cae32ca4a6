//! The dialects before a real service: what callers of the four systems see.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use rekey::proto::{
    CreateDeviceRequest, CreateSigningKeyRequest, CreateUserRequest, JwtIssuer, PolicyPreset, RevokeSigningKeyRequest,
    ScopeGrant, SecretPolicy, SubjectState, Tenant, TenantAlias, VerifyAuthenticationRequest, VerifyPasswordRequest,
    create_device_request, create_user_request, verify_authentication_request, verify_password_request,
};
use serde_json::{Value, json};

use crate::{
    common::rekey::{Rekey, START},
    wire::{Reply, send},
};

fn tenant(id: &str, dialect: &str, alias: &str) -> Tenant {
    let aliases = vec![TenantAlias { dialect: dialect.to_owned(), alias: alias.to_owned() }];
    Tenant { tenant_id: id.to_owned(), aliases, change_password_allowed: true, ..Tenant::default() }
}

fn policy(preset: PolicyPreset) -> Option<SecretPolicy> {
    Some(SecretPolicy { preset: preset.into(), ..SecretPolicy::default() })
}

async fn make_user(rekey: &Rekey, tenant_id: &str, user_id: &str, username: &str, state: SubjectState) {
    let request = CreateUserRequest {
        tenant_id: tenant_id.to_owned(),
        user_id: user_id.to_owned(),
        username: username.to_owned(),
        state: state.into(),
        secret_source: Some(create_user_request::SecretSource::Password("the old phrase".to_owned())),
    };
    rekey.admin().users.create_user(request).await.unwrap();
}

async fn verifies(rekey: &Rekey, tenant_id: &str, user_id: &str, password: &str) -> bool {
    let request = VerifyPasswordRequest {
        tenant_id: tenant_id.to_owned(),
        subject: Some(verify_password_request::Subject::UserId(user_id.to_owned())),
        password: password.to_owned(),
    };
    rekey.admin().users.verify_password(request).await.unwrap().into_inner().verified
}

fn short(reply: Reply) -> (u16, String) {
    (reply.status, reply.body)
}

fn is(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn applivery() {
    const PATH: &str = "/v1/organizations/acme-corp/integrations/harmony-mobile/";
    let rekey = Rekey::start().await;
    rekey.make_tenant(tenant("acme", "applivery", "acme-corp")).await;
    rekey.make_tenant(tenant("other", "applivery", "other-corp")).await;
    let token = rekey
        .make_caller(
            "acme",
            &["integrations:create", "integrations:update", "integrations:reset", "integrations:reveal"],
        )
        .await;
    let weak = rekey.make_caller("acme", &["integrations:get"]).await;
    let call = async |token: &str, method: &str, path: &str, body: &str| {
        short(send(rekey.http, method, path, &[("authorization", &format!("Bearer {token}"))], body).await)
    };
    let data = |reply: &(u16, String)| serde_json::from_str::<Value>(&reply.1).unwrap()["data"].clone();
    let not_found = is(404, r#"{"status":false,"error":{"code":3001,"message":"Entity not found"}}"#);
    let forbidden = is(
        403,
        r#"{"status":false,"error":{"code":4003,"message":"Forbidden - You are not allowed to perform this action"}}"#,
    );

    assert_eq!(call(&token, "DELETE", PATH, "").await, not_found);
    let made = call(&token, "POST", &format!("{PATH}activate"), "").await;
    let (username, password) = (data(&made)["username"].clone(), data(&made)["password"].clone());
    assert_eq!(made, is(200, &format!(r#"{{"status":true,"data":{{"username":{username},"password":{password}}}}}"#)));
    assert_eq!(
        call(&token, "POST", &format!("{PATH}activate"), "").await,
        is(409, r#"{"status":false,"error":{"code":5001,"message":"Conflict"}}"#)
    );

    let all = format!(
        r#"{{"status":true,"data":{{"username":{username},"password":{password},"token":"t","portalAccountId":"p","gwAddress":"g"}}}}"#
    );
    assert_eq!(
        call(&token, "PUT", PATH, r#"{"token":"t","portalAccountId":"p","gwAddress":"g"}"#).await,
        is(200, &all)
    );
    assert_eq!(call(&token, "GET", PATH, "").await, is(200, &all));
    let reset = call(&token, "DELETE", PATH, "").await;
    let new = data(&reset)["password"].clone();
    assert_ne!(new, password);
    let cleared = is(200, &format!(r#"{{"status":true,"data":{{"username":{username},"password":{new}}}}}"#));
    assert_eq!(reset, cleared);
    assert_eq!(call(&token, "GET", PATH.trim_end_matches('/'), "").await, cleared);

    assert_eq!(call(&token, "DELETE", &PATH.replace("acme", "other"), "").await, not_found);
    assert_eq!(call(&token, "DELETE", &PATH.replace("acme", "nobody"), "").await, not_found);
    assert_eq!(call(&weak, "DELETE", PATH, "").await, forbidden);
    assert_eq!(call(&weak, "PUT", PATH, "{").await, forbidden);

    let no_token = is(401, r#"{"status":false,"error":{"code":4002,"message":"No auth token"}}"#);
    assert_eq!(short(send(rekey.http, "DELETE", PATH, &[], "").await), no_token);
    assert_eq!(short(send(rekey.http, "DELETE", PATH, &[("x-auth-token", &token)], "").await), no_token);
    assert_eq!(short(send(rekey.http, "PUT", PATH, &[("authorization", "Basic eDp5")], "{").await), no_token);
    assert_eq!(
        call("nonsense", "DELETE", PATH, "").await,
        is(401, r#"{"status":false,"error":{"code":4004,"message":"Invalid Token"}}"#)
    );
    let expired = expiring_token(&rekey, "acme").await;
    rekey.clock.advance(Duration::from_hours(2));
    assert_eq!(
        call(&expired, "DELETE", PATH, "").await,
        is(401, r#"{"status":false,"error":{"code":4005,"message":"Token Expired"}}"#)
    );
}

/// A token of a caller that may do everything in a tenant, for an hour.
async fn expiring_token(rekey: &Rekey, tenant_id: &str) -> String {
    let mut callers = rekey.admin().callers;
    let request = rekey::proto::CreateCallerRequest {
        tenant_id: tenant_id.to_owned(),
        permissions: vec!["*".to_owned()],
        ..Default::default()
    };
    let caller_id = callers.create_caller(request).await.unwrap().into_inner().caller.unwrap().caller_id;
    let expire_time = Some(prost_types::Timestamp { seconds: START + 3_600, nanos: 0 });
    let request = rekey::proto::CreateApiTokenRequest {
        tenant_id: tenant_id.to_owned(),
        caller_id,
        expire_time,
        ..Default::default()
    };
    callers.create_api_token(request).await.unwrap().into_inner().token
}

/// Signs JWTs as `ocariot` does, but for the algorithm.
struct Issuer(jsonwebtoken::EncodingKey);

impl Issuer {
    fn new() -> (Self, String) {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap().public_key().as_ref().to_vec();
        // RFC 8410 section 4.
        let spki =
            [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], public.as_slice()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&spki));
        (Self(jsonwebtoken::EncodingKey::from_ed_der(pkcs8.as_ref())), pem)
    }

    fn token(&self, sub: &str, sub_type: &str, scope: &str) -> String {
        let claims = json!({"sub": sub, "sub_type": sub_type, "iss": "ocariot", "iat": START, "exp": START + 86_400, "scope": scope});
        jsonwebtoken::encode(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA), &claims, &self.0).unwrap()
    }
}

#[tokio::test]
async fn ocariot() {
    const ID: &str = "507f191e810c19729de860ea";
    const OTHER: &str = "507f191e810c19729de860eb";
    let rekey = Rekey::start().await;
    let (issuer, public_key_pem) = Issuer::new();
    let own = |scope: &str| ScopeGrant {
        scope: scope.to_owned(),
        permission: "users:changePassword".to_owned(),
        own_only: true,
        subject_types: ["admin", "family", "educator", "healthprofessional"].map(str::to_owned).to_vec(),
    };
    let reset = ScopeGrant {
        scope: "users:resetPassword".to_owned(),
        permission: "users:resetPassword".to_owned(),
        ..ScopeGrant::default()
    };
    let jwt_issuers = vec![JwtIssuer {
        issuer: "ocariot".to_owned(),
        public_key_pem,
        scope_grants: vec![reset, own("educators:update"), own("families:update")],
        audience: String::new(),
    }];
    let user_policy = policy(PolicyPreset::Ocariot);
    rekey.make_tenant(Tenant { jwt_issuers, user_policy, ..tenant("ocariot", "ocariot", "main") }).await;
    make_user(&rekey, "ocariot", ID, "jo", SubjectState::Active).await;
    make_user(&rekey, "ocariot", OTHER, "al", SubjectState::Active).await;
    let admin = issuer.token(ID, "admin", "users:delete users:resetPassword educators:update");
    let family = issuer.token(ID, "family", "families:update");
    let child = issuer.token(ID, "child", "families:update");
    let call = async |token: &str, method: &str, path: &str, body: &str| {
        short(send(rekey.http, method, path, &[("authorization", &format!("Bearer {token}"))], body).await)
    };
    let reset_of = |id: &str| format!("/v1/users/{id}/reset-password");
    let change_of = |id: &str| format!("/v1/users/{id}/password");
    let forbidden = is(
        403,
        r#"{"code":403,"message":"FORBIDDEN","description":"Authorization failed due to insufficient permissions."}"#,
    );
    let not_found = is(
        404,
        r#"{"code":404,"message":"User not found!","description":"User not found or already removed. A new operation for the same resource is not required."}"#,
    );
    let new = r#"{"new_password":"x"}"#;

    assert_eq!(call(&admin, "POST", &reset_of(OTHER), new).await, is(204, ""));
    assert!(verifies(&rekey, "ocariot", OTHER, "x").await);
    assert_eq!(call(&admin, "POST", &reset_of(ID), r#"{"new_password":" padded "}"#).await, is(204, ""));
    assert!(verifies(&rekey, "ocariot", ID, " padded ").await);
    assert_eq!(call(&admin, "POST", &reset_of(&ID.replace('e', "f")), new).await, not_found);
    assert_eq!(call(&admin, "POST", &reset_of(&ID.to_uppercase()), new).await, not_found);

    let both = r#"{"old_password":" padded ","new_password":"y"}"#;
    assert_eq!(call(&family, "PUT", &change_of(ID), both).await, is(204, ""));
    assert!(verifies(&rekey, "ocariot", ID, "y").await);
    assert_eq!(call(&admin, "PUT", &change_of(ID), r#"{"old_password":"y","new_password":"y"}"#).await, is(204, ""));
    let mismatch = r#"{"code":400,"message":"Password does not match!","description":"The old password parameter does not match with the actual user password."}"#;
    assert_eq!(call(&family, "PUT", &change_of(ID), both).await, is(400, mismatch));

    // Scope, then ownership, then JSON, then the id, then the fields.
    for (token, path) in [(&family, reset_of(ID)), (&family, reset_of("nonsense")), (&child, reset_of(ID))] {
        assert_eq!(call(token, "POST", &path, "{").await, forbidden, "{path}");
    }
    for (token, path) in [
        (&family, change_of(OTHER)),
        (&family, change_of("nonsense")),
        (&child, change_of(ID)),
        (&admin, change_of(OTHER)),
    ] {
        assert_eq!(call(token, "PUT", &path, "{").await, forbidden, "{path}");
        assert_eq!(call(token, "PUT", &path, both).await, forbidden, "{path}");
    }
    let not_json = r#"{"code":400,"message":"Unable to process request body!","description":"Please verify that the JSON provided in the request body has a valid format and try again."}"#;
    let no_id = r#"{"code":400,"message":"Parameter {user_id} is not in valid format!","description":"A 24-byte hex ID similar to this: 507f191e810c19729de860ea is expected."}"#;
    let missing =
        r#"{"code":400,"message":"Required field not provided...","description":"new_password is required!"}"#;
    assert_eq!(call(&admin, "POST", &reset_of("nonsense"), "{").await, is(400, not_json));
    assert_eq!(call(&admin, "POST", &reset_of("nonsense"), "{}").await, is(400, no_id));
    assert_eq!(call(&admin, "POST", &reset_of(ID), "{}").await, is(400, missing));
    let missing = r#"{"code":400,"message":"Required fields were not provided...","description":"old_password, new_password are required!"}"#;
    assert_eq!(call(&family, "PUT", &change_of(ID), "{}").await, is(400, missing));

    let lack = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed for lack of authentication credentials.","redirect_link":"/auth"}"#;
    for headers in [
        &[][..],
        &[("authorization", "Basic eDp5")],
        &[("authorization", "Bearer ")],
        &[("x-auth-token", admin.as_str())],
    ] {
        assert_eq!(short(send(rekey.http, "POST", &reset_of("nonsense"), headers, "{").await), is(401, lack));
        assert_eq!(short(send(rekey.http, "POST", &reset_of(ID), headers, new).await), is(401, lack));
    }
    let issues = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed due to access token issues.","redirect_link":"/auth"}"#;
    let (stranger, _) = Issuer::new();
    for token in ["garbage", &admin[..admin.len() - 2], &stranger.token(ID, "admin", "users:resetPassword")] {
        assert_eq!(call(token, "POST", &reset_of(ID), new).await, is(401, issues));
    }
    rekey.clock.advance(Duration::from_hours(25));
    let expired = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed because access token is expired.","redirect_link":"/auth"}"#;
    assert_eq!(call(&admin, "POST", &reset_of(ID), new).await, is(401, expired));
}

#[tokio::test]
async fn a_stricter_tenant_of_ocariot_says_what_its_policy_is() {
    let rekey = Rekey::start().await;
    rekey
        .make_tenant(Tenant { user_policy: policy(PolicyPreset::Applivery), ..tenant("strict", "ocariot", "strict") })
        .await;
    make_user(&rekey, "strict", "507f191e810c19729de860ea", "jo", SubjectState::Active).await;
    let token = rekey.make_caller("strict", &["users:resetPassword"]).await;
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let reply = send(
        rekey.http,
        "POST",
        "/v1/users/507f191e810c19729de860ea/reset-password",
        &headers,
        r#"{"new_password":"q7"}"#,
    )
    .await;
    let body = r#"{"code":400,"message":"One or more request fields are invalid...","description":"new_password must have at least 8 characters"}"#;
    assert_eq!(
        (reply.header("content-type"), (reply.status, reply.body.as_str())),
        ("application/json; charset=utf-8", (400, body))
    );
}

/// `Date` and `Authorization` of a request signed as the vendor's SDK signs it.
fn signed(api_key: &str, shared_key: &str, seconds: i64) -> (String, String) {
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, shared_key.as_bytes());
    let signature =
        BASE64.encode(aws_lc_rs::hmac::sign(&key, format!("licenseSpring\ndate: {date}").as_bytes()).as_ref());
    (date, format!(r#"algorithm="hmac-sha256",headers="date",signature="{signature}",apiKey="{api_key}""#))
}

#[tokio::test]
async fn licensespring() {
    const PATH: &str = "/api/v4/change_password";
    const SHARED: &str = "kw4qSnpSwXzgiv5yxYpZZmFEd9QAeiKTQ6OuyMja";
    let rekey = Rekey::start().await;
    let user_policy = policy(PolicyPreset::Licensespring);
    rekey
        .make_tenant(Tenant { user_policy: user_policy.clone(), ..tenant("company", "licensespring", "company") })
        .await;
    let forbids =
        Tenant { change_password_allowed: false, user_policy, ..tenant("forbids", "licensespring", "forbids") };
    rekey.make_tenant(forbids).await;
    make_user(&rekey, "company", "1", "jo", SubjectState::Active).await;
    make_user(&rekey, "company", "2", "disabled", SubjectState::Disabled).await;
    make_user(&rekey, "company", "3", "locked", SubjectState::Locked).await;
    make_user(&rekey, "forbids", "1", "jo", SubjectState::Active).await;
    let mut callers = rekey.admin().callers;
    let mut keys = Vec::new();
    for (tenant_id, api_key, read_only, permission) in [
        ("company", "key-good", false, "users:changePassword"),
        ("company", "key-reads", true, "users:changePassword"),
        ("company", "key-weak", false, "users:get"),
        ("company", "key-gone", false, "users:changePassword"),
        ("forbids", "key-forbids", false, "users:changePassword"),
    ] {
        let request = rekey::proto::CreateCallerRequest {
            tenant_id: tenant_id.to_owned(),
            permissions: vec![permission.to_owned()],
            ..Default::default()
        };
        let caller_id = callers.create_caller(request).await.unwrap().into_inner().caller.unwrap().caller_id;
        let request = CreateSigningKeyRequest {
            tenant_id: tenant_id.to_owned(),
            caller_id: caller_id.clone(),
            api_key: api_key.to_owned(),
            shared_key: SHARED.to_owned(),
            read_only,
            ..Default::default()
        };
        callers.create_signing_key(request).await.unwrap();
        keys.push(caller_id);
    }
    let (tenant_id, caller_id, api_key) = ("company".to_owned(), keys[3].clone(), "key-gone".to_owned());
    callers.revoke_signing_key(RevokeSigningKeyRequest { tenant_id, caller_id, api_key }).await.unwrap();

    let with = async |(date, authorization): (&str, &str), body: &str| {
        short(send(rekey.http, "POST", PATH, &[("Date", date), ("Authorization", authorization)], body).await)
    };
    let sign = |api_key: &str| signed(api_key, SHARED, rekey.clock.seconds());
    let call = async |api_key: &str, body: &str| {
        let (date, authorization) = sign(api_key);
        with((&date, &authorization), body).await
    };
    let body = |username: &str, old: &str, new: &str| {
        json!({"username": username, "password": old, "new_password": new}).to_string()
    };
    let error = |status: u16, code: &str, message: &str| {
        (status, format!(r#"{{"status":{status},"code":"{code}","message":"{message}"}}"#))
    };
    let right = body("jo", "the old phrase", "the new phrase");

    assert_eq!(call("key-good", &right).await, is(200, "password_changed"));
    assert!(verifies(&rekey, "company", "1", "the new phrase").await);
    let not_found = error(400, "license_not_found", "license with the provided license user not found");
    assert_eq!(call("key-good", &right).await, not_found);
    assert_eq!(call("key-good", &body("nobody", "x", "the new phrase")).await, not_found);
    let short_one = call("key-good", &body("jo", "the new phrase", "q7")).await;
    assert_eq!(short_one, error(400, "validation_error", "new_password must have at least 8 characters"));
    assert_eq!(
        call("key-good", &body("disabled", "the old phrase", "the new phrase")).await,
        error(400, "license_not_enabled", "license is not enabled")
    );
    assert_eq!(
        call("key-good", &body("locked", "the old phrase", "the new phrase")).await,
        error(400, "blacklisted", "the license user is blocked")
    );
    assert_eq!(
        call("key-forbids", &right).await,
        error(400, "change_password_not_allowed", "Change password not allowed for the company")
    );

    // The caller before the body.
    let unreadable = "{";
    let read_only = error(400, "read_only_api_key", "provided api key is not allowed to change passwords");
    for body in [right.as_str(), unreadable] {
        assert_eq!(call("key-reads", body).await, read_only);
        assert_eq!(call("key-weak", body).await, read_only);
        assert_eq!(call("key-gone", body).await, error(400, "revoked_api_key", "provided api key is revoked"));
        assert_eq!(call("key-unknown", body).await, error(400, "invalid_api_key", "provided api key is not valid"));
        let (date, wrong) = signed("key-good", "another key of enough length", rekey.clock.seconds());
        assert_eq!(with((&date, &wrong), body).await, error(401, "signature_mismatch", "signature mismatch"));
        for skew in [-16 * 60, 16 * 60] {
            let (date, authorization) = signed("key-good", SHARED, rekey.clock.seconds() + skew);
            let expected =
                error(400, "date_header_diff", "the date header is more than 15 minutes from the server's time");
            assert_eq!(with((&date, &authorization), body).await, expected);
        }
        let (date, good) = sign("key-good");
        let malformed = error(400, "authorization_invalid_headers", "invalid headers value in authorization");
        for authorization in
            [&good.replace(r#"headers="date""#, r#"headers="date host""#), "Basic eDp5", r#"algorithm="hmac"#]
        {
            assert_eq!(with((&date, authorization), body).await, malformed, "{authorization}");
        }
        let other = good.replace("hmac-sha256", "rsa-sha256");
        assert_eq!(with((&date, &other), body).await, error(400, "hmac_required", "hmac is required algorithm"));
        let lacking = good.replace(r#",apiKey="key-good""#, "");
        let expected =
            error(400, "authorization_missing_params", "some parameters are missing in authorization: apiKey");
        assert_eq!(with((&date, &lacking), body).await, expected);
        let malformed = error(401, "oauth_token_malformed", "the token is not valid");
        assert_eq!(with((&date, "Bearer nonsense"), body).await, malformed);
    }
    assert_eq!(call("key-good", unreadable).await, error(400, "invalid_json", "the body is not valid JSON"));
    let (date, good) = sign("key-good");
    let relaxed = good.replace("apiKey", "APIKEY").replace(',', " , ");
    assert_eq!(
        with((&date, &relaxed), &body("jo", "the new phrase", "the old phrase")).await,
        is(200, "password_changed")
    );

    let token = expiring_token(&rekey, "company").await;
    let bearer = format!("Bearer {token}");
    assert_eq!(with((&date, &bearer), &right).await, is(200, "password_changed"));
    rekey.clock.advance(Duration::from_hours(2));
    assert_eq!(with((&date, &bearer), &right).await, error(401, "oauth_token_expired", "the token has expired"));
}

#[tokio::test]
async fn roma() {
    const PATH: &str = "/v2/proj01/link/instances/inst01/devices/4711/authentication";
    let rekey = Rekey::start().await;
    rekey.make_tenant(tenant("factory", "roma", "proj01/inst01")).await;
    rekey.make_tenant(tenant("other", "roma", "proj02/inst01")).await;
    for (device_id, user_name) in [("4711", "device00"), ("4712", "device02")] {
        let request = CreateDeviceRequest {
            tenant_id: "factory".to_owned(),
            device_id: device_id.to_owned(),
            user_name: user_name.to_owned(),
            secret_source: Some(create_device_request::SecretSource::Password("Abcdefgh1234567!".to_owned())),
        };
        rekey.admin().devices.create_device(request).await.unwrap();
    }
    let token = rekey.make_caller("factory", &["devices:resetAuthentication", "devices:revealAuthentication"]).await;
    let weak = rekey.make_caller("factory", &["devices:get"]).await;
    let call = async |token: &str, method: &str, path: &str, body: &str| {
        let headers =
            [("X-Auth-Token", token), ("X-Request-Id", "r1"), ("content-type", "application/json;charset=utf-8")];
        short(send(rekey.http, method, path, &headers, body).await)
    };
    let error = |status: u16, code: &str, message: &str| {
        (status, format!(r#"{{"error_code":"{code}","error_msg":"{message}","request_id":"r1"}}"#))
    };
    let shown =
        |user_name: &str, password: &str| is(200, &format!(r#"{{"user_name":"{user_name}","password":"{password}"}}"#));

    assert_eq!(call(&token, "GET", PATH, "").await, shown("device00", "Abcdefgh1234567!"));
    assert_eq!(call(&token, "PUT", PATH, r#"{"user_name":"device01"}"#).await, shown("device01", "Abcdefgh1234567!"));
    assert_eq!(
        call(&token, "PUT", PATH, r#"{"password":"Zyxwvuts7654321?"}"#).await,
        shown("device01", "Zyxwvuts7654321?")
    );
    let both = r#"{"user_name": "device-01", "password": "Abcdefgh1234567!"}"#;
    assert_eq!(call(&token, "PUT", PATH, both).await, shown("device-01", "Abcdefgh1234567!"));
    let made = call(&token, "PUT", PATH, "").await;
    let password = serde_json::from_str::<Value>(&made.1).unwrap()["password"].as_str().unwrap().to_owned();
    assert!((16..=32).contains(&password.len()) && password != "Abcdefgh1234567!");
    assert_eq!(call(&token, "GET", PATH, "").await, made);
    let request = VerifyAuthenticationRequest {
        tenant_id: "roma:proj01/inst01".to_owned(),
        subject: Some(verify_authentication_request::Subject::UserName("device-01".to_owned())),
        password,
    };
    assert!(rekey.admin().devices.verify_authentication(request).await.unwrap().into_inner().verified);

    let rules = "The parameter does not meet verification rules:";
    let long = "must have at least 16 characters";
    for (body, broken) in [
        (r#"{"password":"Abcdefg1!"}"#, format!("[password:{long}]")),
        (
            r#"{"password":"abcdefg!"}"#,
            format!(
                "[password:{long}; must have at least one digit; must have at least one upper-case letter from A to Z]"
            ),
        ),
        (r#"{"user_name":"a_b"}"#, "[user_name:must be 1 to 64 letters, digits and -]".to_owned()),
        (r#"{"user_name":"device02"}"#, "[user_name:already in use]".to_owned()),
    ] {
        assert_eq!(
            call(&token, "PUT", PATH, body).await,
            error(400, "ROMA.00110001", &format!("{rules} {broken}")),
            "{body}"
        );
    }
    let unknown =
        error(404, "ROMA.00110006", "The resource does not exist. Check whether the resource ID 1 is correct.");
    assert_eq!(call(&token, "PUT", &PATH.replace("4711", "1"), "").await, unknown);
    assert_eq!(call(&token, "GET", &PATH.replace("4711", "1"), "").await, unknown);
    for (project, instance) in [("proj02", "inst01"), ("nobody", "inst01"), ("proj01", "x y")] {
        let path = format!("/v2/{project}/link/instances/{}/devices/4711/authentication", instance.replace(' ', "%20"));
        let message = format!("The instance does not exist. project_id: {project}, instance_id: {instance}");
        assert_eq!(call(&token, "PUT", &path, "").await, error(500, "ROMA.00110002", &message));
    }

    // The caller before the path and the body.
    let parameter = |operation: &str, parameter: &str, processor: &str| {
        let sentence = format!("Parameter is not valid for operation [romalink.link-device.{operation}].");
        error(400, "SCB.00000000", &format!("{sentence} Parameter is [{parameter}]. Processor is [{processor}]."))
    };
    let nonsense = PATH.replace("4711", "nonsense");
    let forbidden = error(403, "ROMA.00012000", "No permissions to request this method");
    let undecryptable = error(401, "APIG.0301", "Incorrect IAM authentication information: decrypt token fail");
    for (path, body) in [(PATH, ""), (PATH, "{"), (&nonsense, "")] {
        assert_eq!(call(&weak, "PUT", path, body).await, forbidden);
        assert_eq!(call("nonsense", "PUT", path, body).await, undecryptable);
        assert_eq!(call("", "PUT", path, body).await, parameter("resetAuthentication", "X-Auth-Token", "header"));
    }
    assert_eq!(call(&token, "PUT", &nonsense, "").await, parameter("resetAuthentication", "deviceOid", "path"));
    assert_eq!(call(&token, "PUT", PATH, "{").await, parameter("resetAuthentication", "body", "body"));

    let expiring = expiring_token(&rekey, "factory").await;
    rekey.clock.advance(Duration::from_hours(2));
    let message = "Incorrect IAM authentication information: token expires, expires_at: 2026-01-01T01:00:00Z";
    assert_eq!(call(&expiring, "PUT", PATH, "").await, error(401, "APIG.0301", message));
}
