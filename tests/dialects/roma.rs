//! Device authentication of ROMA Connect LINK.

use rekey::proto::{
    CheckAccessRequest, DeviceAuthentication, GenerateSecret, ResetAuthenticationRequest, ResetAuthenticationResponse,
    RevealAuthenticationRequest, RevealAuthenticationResponse, reset_authentication_request::SecretSource,
};

use crate::{
    stand_in::{CHECK_ACCESS, Refusal, StandIn},
    wire::Reply,
};

const PATH: &str = "/v2/proj01/link/instances/inst01/devices/4711/authentication";
const RESET: &str = "rekey.v1.DeviceService/ResetAuthentication";
const REVEAL: &str = "rekey.v1.DeviceService/RevealAuthentication";
const TOKEN: (&str, &str) = ("x-auth-token", "t0ken");
const ID: (&str, &str) = ("x-request-id", "req-1");

async fn send(service: &StandIn, method: &str, path: &str, body: &str) -> (u16, String) {
    short(service.send(method, path, &[TOKEN, ID], body).await)
}

fn short(reply: Reply) -> (u16, String) {
    assert_eq!((reply.header("content-type"), reply.header("x-request-id")), ("application/json", "req-1"));
    (reply.status, reply.body)
}

fn error(status: u16, code: &str, message: &str) -> (u16, String) {
    (status, format!(r#"{{"error_code":"{code}","error_msg":"{message}","request_id":"req-1"}}"#))
}

fn parameter(status: u16, operation: &str, parameter: &str, processor: &str) -> (u16, String) {
    let message = format!(
        "Parameter is not valid for operation [romalink.link-device.{operation}]. Parameter is [{parameter}]. Processor is [{processor}]."
    );
    error(status, "SCB.00000000", &message)
}

fn authentication() -> DeviceAuthentication {
    DeviceAuthentication { user_name: "device01".to_owned(), password: "Abcdefgh1234567!".to_owned() }
}

const AUTHENTICATION: &str = r#"{"user_name":"device01","password":"Abcdefgh1234567!"}"#;

#[tokio::test]
async fn a_reset_keeps_what_is_empty_or_absent_and_makes_a_password_where_both_are() {
    let service = StandIn::start().await;
    service
        .answers(RESET, &ResetAuthenticationResponse { authentication: Some(authentication()), ..Default::default() });
    let made = || Some(SecretSource::Generate(GenerateSecret::default()));
    let given = || Some(SecretSource::Password("Abcdefgh1234567!".to_owned()));
    let name = || Some("device01".to_owned());
    for (body, user_name, secret_source, shows_the_kept) in [
        ("", None, made(), false),
        ("{}", None, made(), false),
        (r#"{"user_name":"","password":""}"#, None, made(), false),
        (r#"{"user_name":null,"password":null,"x":[]}"#, None, made(), false),
        (r#"{"user_name":"device01"}"#, name(), None, true),
        (r#"{"user_name":"device01","password":""}"#, name(), None, true),
        (r#"{"password":"Abcdefgh1234567!"}"#, None, given(), false),
        (r#"{"user_name": "device01", "password": "Abcdefgh1234567!"}"#, name(), given(), false),
    ] {
        assert_eq!(send(&service, "PUT", PATH, body).await, (200, AUTHENTICATION.to_owned()), "{body}");
        let request: ResetAuthenticationRequest = service.asked_once().message();
        assert_eq!((request.tenant_id.as_str(), request.device_id.as_str()), ("roma:proj01/inst01", "4711"));
        assert_eq!((request.user_name, request.secret_source), (user_name, secret_source), "{body}");
        assert_eq!(request.return_current_password, shows_the_kept, "{body}");
    }
}

#[tokio::test]
async fn a_read_shows_user_name_and_password() {
    let service = StandIn::start().await;
    service.answers(REVEAL, &RevealAuthenticationResponse { authentication: Some(authentication()) });
    assert_eq!(send(&service, "GET", PATH, "").await, (200, AUTHENTICATION.to_owned()));
    let request: RevealAuthenticationRequest = service.asked_once().message();
    assert_eq!((request.tenant_id.as_str(), request.device_id.as_str()), ("roma:proj01/inst01", "4711"));
}

#[tokio::test]
async fn a_device_is_a_positive_integer() {
    let service = StandIn::start().await;
    for device in ["0", "01", "-1", "+1", "1.0", "x", "", "100000000000000000", "%zz", "1%2f2", "%D9%A1"] {
        let path = format!("/v2/proj01/link/instances/inst01/devices/{device}/authentication");
        assert_eq!(
            send(&service, "PUT", &path, "").await,
            parameter(400, "resetAuthentication", "deviceOid", "path"),
            "{device}"
        );
        assert_eq!(
            send(&service, "GET", &path, "").await,
            parameter(400, "showAuthentication", "deviceOid", "path"),
            "{device}"
        );
        assert!(service.asked().iter().all(|asked| asked.method == CHECK_ACCESS));
    }
    service.answers(RESET, &ResetAuthenticationResponse::default());
    let path = "/v2/proj01/link/instances/inst01/devices/99999999999999999/authentication";
    assert_eq!(send(&service, "PUT", path, "").await.0, 200);
    for path in [
        "/v2/a%2fb/link/instances/inst01/devices/1/authentication",
        "/v2/%zz/link/instances/inst01/devices/1/authentication",
    ] {
        assert_eq!(send(&service, "PUT", path, "").await, parameter(400, "resetAuthentication", "project_id", "path"));
    }
    let path = "/v2/proj01/link/instances/%00/devices/1/authentication";
    assert_eq!(send(&service, "PUT", path, "").await, parameter(400, "resetAuthentication", "instance_id", "path"));
}

#[tokio::test]
async fn the_body_of_a_reset_is_checked() {
    let service = StandIn::start().await;
    for body in
        ["{", "[]", "null", "1", r#"{"password":1}"#, r#"{"user_name":{}}"#, r#"{"password":"a","password":"a"}"#]
    {
        assert_eq!(
            send(&service, "PUT", PATH, body).await,
            parameter(400, "resetAuthentication", "body", "body"),
            "{body}"
        );
    }
    let large = format!(r#"{{"password":"{}"}}"#, "x".repeat(64 * 1024));
    assert_eq!(send(&service, "PUT", PATH, &large).await, parameter(413, "resetAuthentication", "body", "body"));
    assert!(service.asked().iter().all(|asked| asked.method == CHECK_ACCESS));
}

#[tokio::test]
async fn a_call_needs_a_token_or_a_signature() {
    let service = StandIn::start().await;
    let no_token = parameter(400, "resetAuthentication", "X-Auth-Token", "header");
    let signature = ("authorization", "SDK-HMAC-SHA256 Access=AKEXAMPLE, SignedHeaders=host, Signature=00");
    assert_eq!(short(service.send("PUT", PATH, &[ID], "").await), no_token);
    assert_eq!(short(service.send("PUT", PATH, &[ID, ("authorization", "Bearer t0ken")], "").await), no_token);
    assert_eq!(short(service.send("PUT", PATH, &[ID, TOKEN, TOKEN], "").await), no_token);
    assert_eq!(short(service.send("PUT", PATH, &[ID, ("x-auth-token", "a\tb")], "").await), no_token);
    let refused = error(401, "APIG.0301", "Incorrect IAM authentication information: verify aksk signature fail");
    assert_eq!(short(service.send("PUT", PATH, &[ID, signature], "").await), refused);
    assert!(service.asked().is_empty());

    service.answers(RESET, &ResetAuthenticationResponse::default());
    let headers = [ID, TOKEN, signature, ("date", "spoofed"), ("x-project-id", "spoofed")];
    assert_eq!(short(service.send("PUT", PATH, &headers, "").await).0, 200);
    let asked = service.asked_once();
    assert_eq!(
        (&asked.headers["x-auth-token"], &asked.headers["x-request-id"]),
        (&"t0ken".parse().unwrap(), &"req-1".parse().unwrap())
    );
    assert!(
        !asked.headers.contains_key("authorization") && asked.headers.values().all(|value| value != "spoofed"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn who_may_not_call_does_not_learn_what_is_wrong_with_the_request() {
    let service = StandIn::start().await;
    service.refuses_for(CHECK_ACCESS, "PERMISSION_MISSING");
    let expected = error(403, "ROMA.00012000", "No permissions to request this method");
    assert_eq!(send(&service, "PUT", PATH, "{").await, expected);
    let question: CheckAccessRequest = service.asked_once().message();
    assert_eq!((question.method.as_str(), question.subject_id.as_str()), (RESET, "4711"));
}

#[tokio::test]
async fn every_reason_has_its_body() {
    let internal = error(500, "ROMA.00011000", "System error");
    let no_token = parameter(400, "resetAuthentication", "X-Auth-Token", "header");
    let service = StandIn::start().await;
    for (reason, expected) in [
        ("CREDENTIAL_MISSING", no_token.clone()),
        ("SIGNATURE_HEADERS_MISSING", no_token),
        ("CREDENTIAL_INVALID", error(401, "APIG.0301", "Incorrect IAM authentication information: decrypt token fail")),
        ("PERMISSION_MISSING", error(403, "ROMA.00012000", "No permissions to request this method")),
        (
            "TENANT_NOT_FOUND",
            error(500, "ROMA.00110002", "The instance does not exist. project_id: proj01, instance_id: inst01"),
        ),
        (
            "DEVICE_NOT_FOUND",
            error(404, "ROMA.00110006", "The resource does not exist. Check whether the resource ID 4711 is correct."),
        ),
        (
            "ALREADY_EXISTS",
            error(400, "ROMA.00110001", "The parameter does not meet verification rules: [user_name:already in use]"),
        ),
        ("STORE_UNAVAILABLE", internal.clone()),
        ("CONCURRENT_CHANGE", internal.clone()),
        ("OUTCOME_UNKNOWN", internal.clone()),
        ("INTERNAL", internal),
    ] {
        service.refuses_for(RESET, reason);
        assert_eq!(send(&service, "PUT", PATH, "{}").await, expected, "{reason}");
    }
}

#[tokio::test]
async fn an_expired_token_is_told_when_it_ended() {
    let service = StandIn::start().await;
    let metadata = &[("expire_time", "2026-01-02T03:04:05Z")];
    service.refuses(RESET, Refusal { reason: "CREDENTIAL_EXPIRED", metadata, ..Refusal::default() });
    let message = "Incorrect IAM authentication information: token expires, expires_at: 2026-01-02T03:04:05Z";
    assert_eq!(send(&service, "PUT", PATH, "").await, error(401, "APIG.0301", message));
}

#[tokio::test]
async fn all_rules_that_are_broken_are_listed_by_field() {
    let service = StandIn::start().await;
    let violations = &[("user_name", "too long"), ("password", "too short"), ("password", "lacks a digit")];
    for reason in ["FIELDS_INVALID", "POLICY_VIOLATED"] {
        service.refuses(RESET, Refusal { reason, violations, ..Refusal::default() });
        let message =
            "The parameter does not meet verification rules: [password:too short; lacks a digit, user_name:too long]";
        assert_eq!(send(&service, "PUT", PATH, r#"{"password":"x"}"#).await, error(400, "ROMA.00110001", message));
    }
    service
        .refuses(RESET, Refusal { reason: "FIELDS_INVALID", violations: &[("tenant_id", "no")], ..Refusal::default() });
    let message = "The instance does not exist. project_id: proj01, instance_id: inst01";
    assert_eq!(send(&service, "PUT", PATH, "").await, error(500, "ROMA.00110002", message));
}

#[tokio::test]
async fn an_overloaded_service_says_when_to_come_back() {
    let service = StandIn::start().await;
    for reason in ["OVERLOADED", "RATE_LIMITED"] {
        service.refuses(RESET, Refusal { reason, retry_after_millis: Some(250), ..Refusal::default() });
        let reply = service.send("PUT", PATH, &[TOKEN, ID], "").await;
        assert_eq!(reply.header("retry-after"), "1");
        assert_eq!(short(reply), error(429, "APIG.0308", "The throttling threshold has been reached"));
    }
}

#[tokio::test]
async fn other_paths_and_methods_have_the_dialects_shape() {
    let service = StandIn::start().await;
    for path in ["/v2/proj01/link/other", "/v2/proj01/link/instances/i/things/1/authentication", "/v2/p/link/"] {
        assert_eq!(send(&service, "PUT", path, "").await, error(404, "APIG.0101", "The API does not exist"), "{path}");
    }
    let reply = service.send("DELETE", PATH, &[TOKEN, ID], "").await;
    assert_eq!(reply.header("allow"), "GET, PUT");
    assert_eq!(short(reply), error(405, "APIG.0101", "The API does not exist"));
}

#[tokio::test]
async fn a_request_id_that_was_made_is_in_the_header_and_the_body() {
    let service = StandIn::start().await;
    let reply = service.send("PUT", PATH, &[], "").await;
    let id = reply.header("x-request-id");
    assert_eq!(id.len(), 36);
    assert!(reply.body.ends_with(&format!(r#","request_id":"{id}"}}"#)), "{}", reply.body);
}
