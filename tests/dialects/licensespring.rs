//! License API v4.

use rekey::proto::{ChangePasswordRequest, ChangePasswordResponse, change_password_request::Subject};

use crate::{
    stand_in::{CHECK_ACCESS, Refusal, StandIn, gateway},
    wire::{self, Reply},
};

const PATH: &str = "/api/v4/change_password";
const CHANGE: &str = "rekey.v1.UserService/ChangePassword";
const DATE: (&str, &str) = ("date", "Tue, 07 Jun 2011 20:51:35 GMT");
const SIGNATURE: &str =
    r#"algorithm="hmac-sha256",headers="date",signature="UDysfR6MndUZReo07Y9r+vErn8vSxrnQ5ulit18iJ/Q=",apiKey="k""#;
const SIGNED: (&str, &str) = ("authorization", SIGNATURE);
const BEARER: (&str, &str) = ("authorization", "bearer t0ken");
const BODY: &str = r#"{"username":"jo","password":"old","new_password":"new"}"#;

async fn send(service: &StandIn, authorization: (&str, &str), body: &str) -> (u16, String, String) {
    short(service.send("POST", PATH, &[DATE, authorization], body).await)
}

fn short(reply: Reply) -> (u16, String, String) {
    (reply.status, reply.header("content-type").to_owned(), reply.body)
}

fn json(status: u16, code: &str, message: &str) -> (u16, String, String) {
    let body = format!(r#"{{"status":{status},"code":"{code}","message":"{message}"}}"#);
    (status, "application/json".to_owned(), body)
}

#[tokio::test]
async fn a_change_is_answered_without_quotes() {
    let service = StandIn::start().await;
    service.answers(CHANGE, &ChangePasswordResponse::default());
    for path in [PATH, "/api/v4/change_password/"] {
        let headers = [DATE, SIGNED, ("x-auth-token", "spoofed"), ("x-tenant-id", "spoofed")];
        let reply = service.send("POST", path, &headers, BODY).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "password_changed"));
        let asked = service.asked_once();
        let request: ChangePasswordRequest = asked.message();
        assert_eq!((request.tenant_id.as_str(), request.subject), ("-", Some(Subject::Username("jo".to_owned()))));
        assert_eq!((request.current_password.as_str(), request.new_password.as_str()), ("old", "new"));
        assert_eq!(
            (&asked.headers["authorization"], &asked.headers["date"]),
            (&SIGNED.1.parse().unwrap(), &DATE.1.parse().unwrap())
        );
        assert!(asked.headers.values().all(|value| value != "spoofed"), "{asked:?}");
    }
}

#[tokio::test]
async fn both_headers_must_be_there() {
    let service = StandIn::start().await;
    for headers in [&[][..], &[DATE], &[SIGNED], &[BEARER]] {
        let reply = service.send("POST", PATH, headers, BODY).await;
        assert_eq!(short(reply), json(400, "missing_headers", "Some headers are missing"), "{headers:?}");
    }
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn a_header_that_cannot_be_carried_on_is_invalid() {
    let service = StandIn::start().await;
    for headers in [
        &[DATE, ("authorization", "a\tb")][..],
        &[DATE, SIGNED, SIGNED],
        &[DATE, DATE, SIGNED],
        &[DATE, ("authorization", "ü")],
    ] {
        let reply = service.send("POST", PATH, headers, BODY).await;
        assert_eq!(short(reply), json(400, "authorization_invalid_headers", "invalid headers value in authorization"));
    }
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn the_body_is_checked() {
    let service = StandIn::start().await;
    let missing =
        |names: &str| json(400, "missing_parameters", &format!("Some parameters are missing in the request: {names}"));
    for (body, expected) in [
        ("", missing("username, password, new_password")),
        ("{}", missing("username, password, new_password")),
        (r#"{"new_password":1}"#, missing("username, password")),
        (r#"{"username":"jo","password":"old"}"#, missing("new_password")),
        ("{", json(400, "invalid_json", "the body is not valid JSON")),
        (r#"{"username":"a","username":"b"}"#, json(400, "invalid_json", "the body is not valid JSON")),
        ("[]", json(400, "validation_error", "the body must be a JSON object")),
        ("null", json(400, "validation_error", "the body must be a JSON object")),
        (
            r#"{"username":"jo","password":null,"new_password":1}"#,
            json(400, "validation_error", "must be a string: password, new_password"),
        ),
        (
            r#"{"username":"jo","password":"old","new_password":"new","x":1}"#,
            json(400, "validation_error", "the body has a member that is not known"),
        ),
    ] {
        assert_eq!(send(&service, SIGNED, body).await, expected, "{body}");
        assert_eq!(service.asked_once().method, CHECK_ACCESS);
    }
    let large = format!(r#"{{"username":"{}"}}"#, "x".repeat(64 * 1024));
    assert_eq!(send(&service, SIGNED, &large).await, json(413, "validation_error", "the body is larger than 64 KiB"));
}

#[tokio::test]
async fn who_may_not_call_does_not_learn_what_is_wrong_with_the_request() {
    let service = StandIn::start().await;
    service.refuses_for(CHECK_ACCESS, "SIGNATURE_MISMATCH");
    assert_eq!(send(&service, SIGNED, "{").await, json(401, "signature_mismatch", "signature mismatch"));
}

#[tokio::test]
async fn every_reason_has_its_body() {
    let internal = json(500, "internal_error", "Server-side error: Internal error");
    let not_found = json(400, "license_not_found", "license with the provided license user not found");
    let malformed = json(400, "authorization_invalid_headers", "invalid headers value in authorization");
    let read_only = json(400, "read_only_api_key", "provided api key is not allowed to change passwords");
    let service = StandIn::start().await;
    for (reason, expected) in [
        ("CREDENTIAL_MISSING", malformed.clone()),
        ("SIGNATURE_HEADERS_MISSING", json(400, "missing_headers", "Some headers are missing")),
        ("SIGNATURE_MALFORMED", malformed.clone()),
        ("SIGNATURE_ALGORITHM_UNSUPPORTED", json(400, "hmac_required", "hmac is required algorithm")),
        (
            "SIGNATURE_DATE_SKEWED",
            json(400, "date_header_diff", "the date header is more than 15 minutes from the server's time"),
        ),
        ("API_KEY_UNKNOWN", json(400, "invalid_api_key", "provided api key is not valid")),
        ("API_KEY_REVOKED", json(400, "revoked_api_key", "provided api key is revoked")),
        ("API_KEY_READ_ONLY", read_only.clone()),
        ("PERMISSION_MISSING", read_only),
        ("SIGNATURE_MISMATCH", json(401, "signature_mismatch", "signature mismatch")),
        (
            "CHANGE_PASSWORD_NOT_ALLOWED",
            json(400, "change_password_not_allowed", "Change password not allowed for the company"),
        ),
        ("CURRENT_PASSWORD_MISMATCH", not_found.clone()),
        ("USER_NOT_FOUND", not_found),
        ("SUBJECT_DISABLED", json(400, "license_not_enabled", "license is not enabled")),
        ("SUBJECT_LOCKED", json(400, "blacklisted", "the license user is blocked")),
        ("STORE_UNAVAILABLE", internal.clone()),
        ("CONCURRENT_CHANGE", internal.clone()),
        ("INTERNAL", internal),
    ] {
        service.refuses_for(CHANGE, reason);
        assert_eq!(send(&service, SIGNED, BODY).await, expected, "{reason}");
        assert_eq!(send(&service, BEARER, BODY).await, expected, "{reason}");
    }
}

#[tokio::test]
async fn the_missing_parts_of_a_signature_are_named() {
    let service = StandIn::start().await;
    let metadata = &[("parameters", "algorithm, apiKey")];
    service.refuses(CHANGE, Refusal { reason: "SIGNATURE_PARAMETERS_MISSING", metadata, ..Refusal::default() });
    let message = "some parameters are missing in authorization: algorithm, apiKey";
    assert_eq!(send(&service, SIGNED, BODY).await, json(400, "authorization_missing_params", message));
}

#[tokio::test]
async fn the_codes_of_tokens_are_for_callers_with_a_token() {
    let service = StandIn::start().await;
    for (reason, code, message) in [
        ("CREDENTIAL_EXPIRED", "oauth_token_expired", "the token has expired"),
        ("CREDENTIAL_INVALID", "oauth_token_malformed", "the token is not valid"),
    ] {
        service.refuses_for(CHANGE, reason);
        assert_eq!(send(&service, BEARER, BODY).await, json(401, code, message));
        let expected = json(400, "authorization_invalid_headers", "invalid headers value in authorization");
        assert_eq!(send(&service, SIGNED, BODY).await, expected);
    }
}

#[tokio::test]
async fn a_policy_refusal_is_a_validation_error_under_the_bodys_names() {
    let service = StandIn::start().await;
    let violations = &[("new_password", "must have at least 8 characters"), ("current_password", "must not be empty")];
    service.refuses(CHANGE, Refusal { reason: "POLICY_VIOLATED", violations, ..Refusal::default() });
    let message = "new_password must have at least 8 characters; password must not be empty";
    assert_eq!(send(&service, SIGNED, BODY).await, json(400, "validation_error", message));
}

#[tokio::test]
async fn an_overloaded_service_says_when_to_come_back() {
    let service = StandIn::start().await;
    for reason in ["OVERLOADED", "RATE_LIMITED"] {
        service.refuses(CHANGE, Refusal { reason, retry_after_millis: Some(3_000), ..Refusal::default() });
        let reply = service.send("POST", PATH, &[DATE, SIGNED], BODY).await;
        assert_eq!(reply.header("retry-after"), "3");
        assert_eq!(short(reply), json(429, "too_many_requests", "too many requests, try again later"));
    }
}

#[tokio::test]
async fn every_4xx_under_the_prefix_is_json() {
    let service = StandIn::start().await;
    for path in ["/api/v4/", "/api/v4", "/api/v4/versions", "/api/v4/change_password//", "/api/v4/%zz", "/api/v4/../x"]
    {
        let reply = service.send("POST", path, &[DATE, SIGNED], BODY).await;
        assert_eq!(short(reply), json(404, "not_found", "the path is not known"), "{path}");
    }
    let reply = service.send("GET", PATH, &[DATE, SIGNED], "").await;
    assert_eq!(reply.header("allow"), "POST");
    assert_eq!(short(reply), json(405, "method_not_allowed", "the path has the method POST only"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_internal_error() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = gateway(free).await;
    let reply = wire::send(gateway.address(), "POST", PATH, &[DATE, SIGNED], BODY).await;
    assert_eq!(short(reply), json(500, "internal_error", "Server-side error: Internal error"));
}
