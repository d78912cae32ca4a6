//! Accounts behind an API gateway.

use rekey::proto::{
    ChangePasswordRequest, ChangePasswordResponse, CheckAccessRequest, ResetPasswordRequest, ResetPasswordResponse,
};

use crate::{
    stand_in::{CHECK_ACCESS, Refusal, StandIn, gateway},
    wire::send,
};

const ID: &str = "507f191e810c19729de860ea";
const RESET: &str = "rekey.v1.UserService/ResetPassword";
const CHANGE: &str = "rekey.v1.UserService/ChangePassword";
const JSON: &str = "application/json; charset=utf-8";
const TOKEN: (&str, &str) = ("authorization", "Bearer t0ken");

const NOT_JSON: &str = r#"{"code":400,"message":"Unable to process request body!","description":"Please verify that the JSON provided in the request body has a valid format and try again."}"#;
const INVALID_ID: &str = r#"{"code":400,"message":"Parameter {user_id} is not in valid format!","description":"A 24-byte hex ID similar to this: 507f191e810c19729de860ea is expected."}"#;
const FORBIDDEN: &str =
    r#"{"code":403,"message":"FORBIDDEN","description":"Authorization failed due to insufficient permissions."}"#;
const NOT_FOUND: &str = r#"{"code":404,"message":"User not found!","description":"User not found or already removed. A new operation for the same resource is not required."}"#;
const INTERNAL: &str =
    r#"{"code":500,"message":"INTERNAL SERVER ERROR","description":"An internal server error has occurred."}"#;

async fn reset(service: &StandIn, id: &str, body: &str) -> (u16, String, String) {
    let reply = service.send("POST", &format!("/v1/users/{id}/reset-password"), &[TOKEN], body).await;
    (reply.status, reply.header("content-type").to_owned(), reply.body)
}

async fn change(service: &StandIn, id: &str, body: &str) -> (u16, String, String) {
    let reply = service.send("PUT", &format!("/v1/users/{id}/password"), &[TOKEN], body).await;
    (reply.status, reply.header("content-type").to_owned(), reply.body)
}

fn json(status: u16, body: &str) -> (u16, String, String) {
    (status, JSON.to_owned(), body.to_owned())
}

fn invalid(description: &str) -> (u16, String, String) {
    json(
        400,
        &format!(
            r#"{{"code":400,"message":"One or more request fields are invalid...","description":"{description}"}}"#
        ),
    )
}

#[tokio::test]
async fn a_reset_is_answered_204_without_a_body() {
    let service = StandIn::start().await;
    service.answers(RESET, &ResetPasswordResponse::default());
    for content_type in ["application/json", "text/plain"] {
        let headers = [TOKEN, ("content-type", content_type)];
        let reply = service
            .send("POST", &format!("/v1/users/{ID}/reset-password"), &headers, r#"{"new_password":" ü","x":1}"#)
            .await;
        assert_eq!((reply.status, reply.header("content-type"), reply.body.as_str()), (204, "", ""));
        let asked = service.asked_once();
        let request: ResetPasswordRequest = asked.message();
        assert_eq!((request.tenant_id.as_str(), request.user_id.as_str(), asked.method.as_str()), ("-", ID, RESET));
        assert!(
            matches!(request.secret_source, Some(rekey::proto::reset_password_request::SecretSource::NewPassword(password)) if password == " ü")
        );
    }
}

#[tokio::test]
async fn a_change_is_answered_204_without_a_body() {
    let service = StandIn::start().await;
    service.answers(CHANGE, &ChangePasswordResponse::default());
    let upper = ID.to_uppercase();
    assert_eq!(
        change(&service, &upper, r#"{"old_password":"a","new_password":"a"}"#).await,
        (204, String::new(), String::new())
    );
    let request: ChangePasswordRequest = service.asked_once().message();
    assert_eq!(request.tenant_id, "-");
    assert_eq!(request.subject, Some(rekey::proto::change_password_request::Subject::UserId(upper)));
    assert_eq!((request.current_password.as_str(), request.new_password.as_str()), ("a", "a"));
}

#[tokio::test]
async fn bodies_that_are_not_objects_of_json_are_refused() {
    let service = StandIn::start().await;
    for body in
        ["{", "1", "null", "true", r#""text""#, r#"{"new_password":"a","new_password":"b"}"#, "{} {}", "\u{feff}{}"]
    {
        assert_eq!(reset(&service, ID, body).await, json(400, NOT_JSON), "{body}");
        assert_eq!(change(&service, ID, body).await, json(400, NOT_JSON), "{body}");
    }
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused() {
    let service = StandIn::start().await;
    let body = format!(r#"{{"new_password":"{}"}}"#, "x".repeat(64 * 1024));
    let expected = r#"{"code":413,"message":"Unable to process request body!","description":"The request body is larger than 64 KiB."}"#;
    assert_eq!(reset(&service, ID, &body).await, json(413, expected));
}

#[tokio::test]
async fn the_field_of_a_reset_is_checked() {
    let service = StandIn::start().await;
    let missing =
        r#"{"code":400,"message":"Required field not provided...","description":"new_password is required!"}"#;
    for body in ["", "{}", "[]", r#"["new_password"]"#, r#"{"password":"x"}"#] {
        assert_eq!(reset(&service, ID, body).await, json(400, missing), "{body}");
    }
    for value in ["null", "1", "true", "[]", "{}"] {
        let body = format!(r#"{{"new_password":{value}}}"#);
        assert_eq!(reset(&service, ID, &body).await, invalid("new_password must be a string!"), "{body}");
    }
    assert_eq!(
        reset(&service, ID, r#"{"new_password":""}"#).await,
        invalid("new_password must have at least one character!")
    );
}

#[tokio::test]
async fn the_fields_of_a_change_are_checked() {
    let service = StandIn::start().await;
    let missing = |names: &str| {
        json(
            400,
            &format!(
                r#"{{"code":400,"message":"Required fields were not provided...","description":"{names} are required!"}}"#
            ),
        )
    };
    for (body, expected) in [
        ("{}", missing("old_password, new_password")),
        (r#"{"old_password":"a"}"#, missing("new_password")),
        (r#"{"new_password":"a"}"#, missing("old_password")),
        (r#"{"old_password":1,"new_password":2}"#, invalid("old_password must be a string!")),
        (r#"{"old_password":"","new_password":2}"#, invalid("old_password must have at least one character!")),
        (r#"{"old_password":"a","new_password":2}"#, invalid("new_password must be a string!")),
        (r#"{"new_password":""}"#, invalid("new_password must have at least one character!")),
    ] {
        assert_eq!(change(&service, ID, body).await, expected, "{body}");
    }
}

#[tokio::test]
async fn an_id_that_is_not_24_hex_digits_is_refused_after_the_json_and_before_the_fields() {
    let service = StandIn::start().await;
    for id in
        ["1", "507f191e810c19729de860e", "507f191e810c19729de860eag", "507f191e810c19729de860eg", "%zz", "%2e%2e", ".."]
    {
        assert_eq!(reset(&service, id, "{}").await, json(400, INVALID_ID), "{id}");
        assert_eq!(change(&service, id, "{}").await, json(400, INVALID_ID), "{id}");
        assert_eq!(reset(&service, id, "{").await, json(400, NOT_JSON), "{id}");
    }
}

#[tokio::test]
async fn who_may_not_call_does_not_learn_what_is_wrong_with_the_request() {
    let service = StandIn::start().await;
    service.refuses_for(CHECK_ACCESS, "PERMISSION_MISSING");
    assert_eq!(reset(&service, "nonsense", "{").await, json(403, FORBIDDEN));
    let asked = service.asked_once();
    let question: CheckAccessRequest = asked.message();
    assert_eq!((question.method.as_str(), question.subject_id.as_str()), (RESET, "nonsense"));
    assert_eq!(asked.headers["authorization"], "Bearer t0ken");

    service.refuses_for(CHECK_ACCESS, "NOT_OWN_SUBJECT");
    assert_eq!(change(&service, ID, "{}").await, json(403, FORBIDDEN));
    let question: CheckAccessRequest = service.asked_once().message();
    assert_eq!((question.method.as_str(), question.subject_id.as_str()), (CHANGE, ID));
}

#[tokio::test]
async fn every_reason_has_its_body() {
    let lack = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed for lack of authentication credentials.","redirect_link":"/auth"}"#;
    let issues = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed due to access token issues.","redirect_link":"/auth"}"#;
    let expired = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed because access token is expired.","redirect_link":"/auth"}"#;
    let mismatch = r#"{"code":400,"message":"Password does not match!","description":"The old password parameter does not match with the actual user password."}"#;
    let service = StandIn::start().await;
    for (reason, status, body) in [
        ("CREDENTIAL_MISSING", 401, lack),
        ("SIGNATURE_HEADERS_MISSING", 401, lack),
        ("CREDENTIAL_INVALID", 401, issues),
        ("CREDENTIAL_EXPIRED", 401, expired),
        ("PERMISSION_MISSING", 403, FORBIDDEN),
        ("NOT_OWN_SUBJECT", 403, FORBIDDEN),
        ("CHANGE_PASSWORD_NOT_ALLOWED", 403, FORBIDDEN),
        ("CURRENT_PASSWORD_MISMATCH", 400, mismatch),
        ("USER_NOT_FOUND", 404, NOT_FOUND),
        ("TENANT_NOT_FOUND", 404, NOT_FOUND),
        ("STORE_UNAVAILABLE", 500, INTERNAL),
        ("CONCURRENT_CHANGE", 500, INTERNAL),
        ("OUTCOME_UNKNOWN", 500, INTERNAL),
        ("INTERNAL", 500, INTERNAL),
    ] {
        service.refuses_for(RESET, reason);
        service.refuses_for(CHANGE, reason);
        assert_eq!(reset(&service, ID, r#"{"new_password":"x"}"#).await, json(status, body), "{reason}");
        assert_eq!(
            change(&service, ID, r#"{"old_password":"x","new_password":"x"}"#).await,
            json(status, body),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_policy_refusal_says_which_rule() {
    let service = StandIn::start().await;
    let violations = &[("new_password", "must have at least 8 characters"), ("new_password", "is too common")];
    service.refuses(RESET, Refusal { reason: "POLICY_VIOLATED", violations, ..Refusal::default() });
    let expected = invalid("new_password must have at least 8 characters; new_password is too common");
    assert_eq!(reset(&service, ID, r#"{"new_password":"x"}"#).await, expected);
}

#[tokio::test]
async fn an_overloaded_service_says_when_to_come_back() {
    let service = StandIn::start().await;
    for reason in ["OVERLOADED", "RATE_LIMITED"] {
        service.refuses(RESET, Refusal { reason, retry_after_millis: Some(1_200), ..Refusal::default() });
        let reply =
            service.send("POST", &format!("/v1/users/{ID}/reset-password"), &[TOKEN], r#"{"new_password":"x"}"#).await;
        let body =
            r#"{"code":429,"message":"TOO MANY REQUESTS","description":"The server is busy. Please try again later."}"#;
        assert_eq!((reply.status, reply.header("retry-after"), reply.body.as_str()), (429, "2", body));
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_internal_error() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = gateway(free).await;
    for body in ["{}", r#"{"new_password":"x"}"#] {
        let reply = send(gateway.address(), "POST", &format!("/v1/users/{ID}/reset-password"), &[TOKEN], body).await;
        assert_eq!((reply.status, reply.body.as_str()), (500, INTERNAL));
    }
}

#[tokio::test]
async fn only_the_authorization_goes_on() {
    let service = StandIn::start().await;
    service.answers(RESET, &ResetPasswordResponse::default());
    let headers = [
        TOKEN,
        ("x-auth-token", "spoofed"),
        ("date", "spoofed"),
        ("x-tenant-id", "spoofed"),
        ("grpc-metadata-authorization", "spoofed"),
        ("x-forwarded-user", "spoofed"),
    ];
    let reply =
        service.send("POST", &format!("/v1/users/{ID}/reset-password"), &headers, r#"{"new_password":"x"}"#).await;
    assert_eq!(reply.status, 204);
    let asked = service.asked_once();
    assert!(asked.headers.values().all(|value| value != "spoofed"), "{asked:?}");
}

#[tokio::test]
async fn a_header_that_cannot_be_carried_on_is_a_token_with_issues() {
    let service = StandIn::start().await;
    for headers in [&[("authorization", "Bearer a\tb")][..], &[("authorization", "Bearer ü")], &[TOKEN, TOKEN]] {
        let reply =
            service.send("POST", &format!("/v1/users/{ID}/reset-password"), headers, r#"{"new_password":"x"}"#).await;
        let body = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed due to access token issues.","redirect_link":"/auth"}"#;
        assert_eq!((reply.status, reply.body.as_str()), (401, body));
    }
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn another_method_is_refused_with_those_that_there_are() {
    let service = StandIn::start().await;
    let body = r#"{"code":405,"message":"METHOD NOT ALLOWED","description":"The resource does not have the requested method."}"#;
    for (method, path, allowed) in [("GET", "reset-password", "POST"), ("DELETE", "password", "PUT")] {
        let reply = service.send(method, &format!("/v1/users/{ID}/{path}"), &[TOKEN], "").await;
        assert_eq!((reply.status, reply.header("allow"), reply.body.as_str()), (405, allowed, body));
    }
}
