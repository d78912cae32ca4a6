//! A user changes a password through a company's signed requests.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use rekey::proto::{
    CreateCallerRequest, CreateSigningKeyRequest, PolicyPreset, RevokeSigningKeyRequest, SubjectState, Tenant,
};
use serde_json::json;

use super::{expiring_token, is, make_user, policy, short, tenant, verifies};
use crate::{common::rekey::Rekey, wire::send};

const SHARED: &str = "kw4qSnpSwXzgiv5yxYpZZmFEd9QAeiKTQ6OuyMja";

/// `Date` and `Authorization` of a request signed as the vendor's SDK signs it.
fn signed(api_key: &str, shared_key: &str, seconds: i64) -> (String, String) {
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, shared_key.as_bytes());
    let signature =
        BASE64.encode(aws_lc_rs::hmac::sign(&key, format!("licenseSpring\ndate: {date}").as_bytes()).as_ref());
    (date, format!(r#"algorithm="hmac-sha256",headers="date",signature="{signature}",apiKey="{api_key}""#))
}

fn error(status: u16, code: &str, message: &str) -> (u16, String) {
    (status, format!(r#"{{"status":{status},"code":"{code}","message":"{message}"}}"#))
}

fn body(username: &str, password: &str, new_password: &str) -> String {
    json!({"username": username, "password": password, "new_password": new_password}).to_string()
}

/// A company with users and keys of every kind, and one that lets nobody change a password.
struct Company(Rekey);

impl Company {
    async fn start() -> Self {
        let rekey = Rekey::start().await;
        let of = |id: &str, change_password_allowed: bool| {
            let user_policy = Some(policy(PolicyPreset::Licensespring));
            Tenant { change_password_allowed, user_policy, ..tenant(id, "licensespring", id) }
        };
        rekey.make_tenant(of("company", true)).await;
        rekey.make_tenant(of("forbids", false)).await;
        make_user(&rekey, "company", "1", "jo", SubjectState::Active).await;
        make_user(&rekey, "company", "2", "disabled", SubjectState::Disabled).await;
        make_user(&rekey, "company", "3", "locked", SubjectState::Locked).await;
        make_user(&rekey, "forbids", "1", "jo", SubjectState::Active).await;
        let company = Self(rekey);
        for (tenant_id, api_key, read_only, permission) in [
            ("company", "key-good", false, "users:changePassword"),
            ("company", "key-reads", true, "users:changePassword"),
            ("company", "key-weak", false, "users:get"),
            ("forbids", "key-forbids", false, "users:changePassword"),
        ] {
            company.make_key(tenant_id, api_key, read_only, permission).await;
        }
        let caller_id = company.make_key("company", "key-gone", false, "users:changePassword").await;
        let (tenant_id, api_key) = ("company".to_owned(), "key-gone".to_owned());
        let request = RevokeSigningKeyRequest { tenant_id, caller_id, api_key, ..Default::default() };
        company.0.admin().callers.revoke_signing_key(request).await.unwrap();
        company
    }

    async fn make_key(&self, tenant_id: &str, api_key: &str, read_only: bool, permission: &str) -> String {
        let mut callers = self.0.admin().callers;
        let request = CreateCallerRequest {
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
        caller_id
    }

    /// Date and authorization of a request signed now.
    fn sign(&self, api_key: &str) -> (String, String) {
        signed(api_key, SHARED, self.0.clock.seconds())
    }

    async fn send(&self, date: &str, authorization: &str, body: &str) -> (u16, String) {
        let headers = [("Date", date), ("Authorization", authorization)];
        short(send(self.0.http, "POST", "/api/v4/change_password", &headers, body).await)
    }

    async fn call(&self, api_key: &str, body: &str) -> (u16, String) {
        let (date, authorization) = self.sign(api_key);
        self.send(&date, &authorization, body).await
    }
}

#[tokio::test]
async fn a_signed_request_changes_a_password() {
    let company = Company::start().await;
    let right = body("jo", "the old phrase", "the new phrase");
    assert_eq!(company.call("key-good", &right).await, is(200, "password_changed"));
    assert!(verifies(&company.0, "company", "1", "the new phrase").await);

    let (date, good) = company.sign("key-good");
    let relaxed = good.replace("apiKey", "APIKEY").replace(',', " , ");
    let back = body("jo", "the new phrase", "the old phrase");
    assert_eq!(company.send(&date, &relaxed, &back).await, is(200, "password_changed"));
}

#[tokio::test]
async fn what_stands_against_a_change_has_its_code() {
    let company = Company::start().await;
    let not_found = error(400, "license_not_found", "license with the provided license user not found");
    for (key, username, password, new_password, expected) in [
        ("key-good", "jo", "wrong", "the new phrase", not_found.clone()),
        ("key-good", "nobody", "the old phrase", "the new phrase", not_found),
        (
            "key-good",
            "jo",
            "the old phrase",
            "q7",
            error(400, "validation_error", "new_password must have at least 8 characters"),
        ),
        ("key-good", "", "x", "the new phrase", error(400, "validation_error", "username must not be empty")),
        (
            "key-good",
            "disabled",
            "the old phrase",
            "the new phrase",
            error(400, "license_not_enabled", "license is not enabled"),
        ),
        (
            "key-good",
            "locked",
            "the old phrase",
            "the new phrase",
            error(400, "blacklisted", "the license user is blocked"),
        ),
        (
            "key-forbids",
            "jo",
            "the old phrase",
            "the new phrase",
            error(400, "change_password_not_allowed", "Change password not allowed for the company"),
        ),
    ] {
        assert_eq!(company.call(key, &body(username, password, new_password)).await, expected, "{username}");
    }
    let unreadable = company.call("key-good", "{").await;
    assert_eq!(unreadable, error(400, "invalid_json", "the body is not valid JSON"));
}

#[tokio::test]
async fn what_is_wrong_with_a_signature_comes_before_what_is_wrong_with_the_body() {
    let company = Company::start().await;
    let right = body("jo", "the old phrase", "the new phrase");
    let read_only = error(400, "read_only_api_key", "provided api key is not allowed to change passwords");
    let malformed = error(400, "authorization_invalid_headers", "invalid headers value in authorization");
    let skewed = error(400, "date_header_diff", "the date header is more than 15 minutes from the server's time");
    for body in [right.as_str(), "{"] {
        assert_eq!(company.call("key-reads", body).await, read_only);
        assert_eq!(company.call("key-weak", body).await, read_only);
        assert_eq!(company.call("key-gone", body).await, error(400, "revoked_api_key", "provided api key is revoked"));
        let unknown = company.call("key-unknown", body).await;
        assert_eq!(unknown, error(400, "invalid_api_key", "provided api key is not valid"));

        let now = company.0.clock.seconds();
        let (date, wrong) = signed("key-good", "another key of enough length", now);
        assert_eq!(company.send(&date, &wrong, body).await, error(401, "signature_mismatch", "signature mismatch"));
        for skew in [-16 * 60, 16 * 60] {
            let (date, authorization) = signed("key-good", SHARED, now + skew);
            assert_eq!(company.send(&date, &authorization, body).await, skewed);
        }
        let (date, good) = company.sign("key-good");
        let signs_more = good.replace(r#"headers="date""#, r#"headers="date host""#);
        for authorization in [&signs_more, "Basic eDp5", r#"algorithm="hmac"#] {
            assert_eq!(company.send(&date, authorization, body).await, malformed, "{authorization}");
        }
        let other = company.send(&date, &good.replace("hmac-sha256", "rsa-sha256"), body).await;
        assert_eq!(other, error(400, "hmac_required", "hmac is required algorithm"));
        let lacking = company.send(&date, &good.replace(r#",apiKey="key-good""#, ""), body).await;
        let message = "some parameters are missing in authorization: apiKey";
        assert_eq!(lacking, error(400, "authorization_missing_params", message));
    }
}

#[tokio::test]
async fn a_token_is_as_good_and_has_codes_of_its_own() {
    let company = Company::start().await;
    let right = body("jo", "the old phrase", "the old phrase");
    let (date, _) = company.sign("key-good");
    let bearer = format!("Bearer {}", expiring_token(&company.0, "company").await);
    assert_eq!(company.send(&date, &bearer, &right).await, is(200, "password_changed"));
    let malformed = company.send(&date, "Bearer nonsense", "{").await;
    assert_eq!(malformed, error(401, "oauth_token_malformed", "the token is not valid"));
    company.0.clock.advance(Duration::from_hours(2));
    let expired = company.send(&date, &bearer, &right).await;
    assert_eq!(expired, error(401, "oauth_token_expired", "the token has expired"));
}
