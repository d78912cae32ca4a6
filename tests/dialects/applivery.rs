//! The Harmony Mobile integration of an organization.

use std::collections::BTreeMap;

use rekey::proto::{
    CheckAccessRequest, CreateIntegrationRequest, CreateIntegrationResponse, IntegrationCredentials,
    ResetIntegrationRequest, ResetIntegrationResponse, RevealIntegrationRequest, RevealIntegrationResponse,
    UpdateIntegrationRequest, UpdateIntegrationResponse,
};

use crate::stand_in::{CHECK_ACCESS, Refusal, StandIn};

const PATH: &str = "/v1/organizations/acme/integrations/harmony-mobile/";
const CREATE: &str = "rekey.v1.IntegrationService/CreateIntegration";
const RESET: &str = "rekey.v1.IntegrationService/ResetIntegration";
const UPDATE: &str = "rekey.v1.IntegrationService/UpdateIntegration";
const REVEAL: &str = "rekey.v1.IntegrationService/RevealIntegration";
const TOKEN: (&str, &str) = ("authorization", "Bearer t0ken");
const SETTINGS: &str = r#"{"gwAddress":"g","portalAccountId":"p","token":"t"}"#;

const FORBIDDEN: &str =
    r#"{"status":false,"error":{"code":4003,"message":"Forbidden - You are not allowed to perform this action"}}"#;
const NOT_FOUND: &str = r#"{"status":false,"error":{"code":3001,"message":"Entity not found"}}"#;

async fn send(service: &StandIn, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let reply = service.send(method, path, &[TOKEN], body).await;
    (reply.status, reply.header("content-type").to_owned(), reply.body)
}

fn json(status: u16, body: &str) -> (u16, String, String) {
    (status, "application/json".to_owned(), body.to_owned())
}

fn invalid(errors: &str) -> (u16, String, String) {
    json(
        400,
        &format!(
            r#"{{"status":false,"error":{{"code":3001,"message":"Body Validation Error","data":{{"errors":[{errors}]}}}}}}"#
        ),
    )
}

fn credentials(settings: &[(&str, &str)]) -> IntegrationCredentials {
    let settings: BTreeMap<_, _> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    IntegrationCredentials { username: "hm".to_owned(), password: "p\"w".to_owned(), settings }
}

#[tokio::test]
async fn a_reset_answers_user_name_and_new_password_with_and_without_the_slash() {
    let service = StandIn::start().await;
    service.answers(RESET, &ResetIntegrationResponse { credentials: Some(credentials(&[])), ..Default::default() });
    for path in [PATH, PATH.trim_end_matches('/')] {
        let expected = json(200, r#"{"status":true,"data":{"username":"hm","password":"p\"w"}}"#);
        assert_eq!(send(&service, "DELETE", path, "").await, expected);
        let request: ResetIntegrationRequest = service.asked_once().message();
        assert_eq!((request.tenant_id.as_str(), request.integration_id.as_str()), ("applivery:acme", "harmony-mobile"));
    }
}

#[tokio::test]
async fn an_update_answers_all_five_members_in_order() {
    let all = [("token", "t"), ("portalAccountId", "p"), ("gwAddress", "g")];
    let service = StandIn::start().await;
    service.answers(UPDATE, &UpdateIntegrationResponse { credentials: Some(credentials(&all)), ..Default::default() });
    let expected = r#"{"status":true,"data":{"username":"hm","password":"p\"w","token":"t","portalAccountId":"p","gwAddress":"g"}}"#;
    assert_eq!(send(&service, "PUT", PATH, SETTINGS).await, json(200, expected));
    let request: UpdateIntegrationRequest = service.asked_once().message();
    assert_eq!(request.settings, credentials(&all).settings);
    assert!(request.return_credentials);
    assert_eq!((request.tenant_id.as_str(), request.integration_id.as_str()), ("applivery:acme", "harmony-mobile"));
}

#[tokio::test]
async fn a_read_leaves_cleared_members_out() {
    let service = StandIn::start().await;
    service.answers(REVEAL, &RevealIntegrationResponse { credentials: Some(credentials(&[("gwAddress", "g")])) });
    let expected = r#"{"status":true,"data":{"username":"hm","password":"p\"w","gwAddress":"g"}}"#;
    assert_eq!(send(&service, "GET", PATH, "").await, json(200, expected));
    let request: RevealIntegrationRequest = service.asked_once().message();
    assert_eq!((request.tenant_id.as_str(), request.integration_id.as_str()), ("applivery:acme", "harmony-mobile"));
}

#[tokio::test]
async fn an_activation_makes_the_integration_once() {
    let service = StandIn::start().await;
    service.answers(CREATE, &CreateIntegrationResponse { credentials: Some(credentials(&[])), ..Default::default() });
    let path = format!("{PATH}activate");
    let expected = json(200, r#"{"status":true,"data":{"username":"hm","password":"p\"w"}}"#);
    assert_eq!(send(&service, "POST", &path, "").await, expected);
    let request: CreateIntegrationRequest = service.asked_once().message();
    assert_eq!((request.tenant_id.as_str(), request.integration_id.as_str()), ("applivery:acme", "harmony-mobile"));

    service.refuses_for(CREATE, "ALREADY_EXISTS");
    let expected = json(409, r#"{"status":false,"error":{"code":5001,"message":"Conflict"}}"#);
    assert_eq!(send(&service, "POST", &path, "").await, expected);
}

#[tokio::test]
async fn the_body_of_an_update_is_told_every_rule_it_breaks() {
    let service = StandIn::start().await;
    let long = format!(r#"{{"token":"{}","portalAccountId":"{}","gwAddress":"ü"}}"#, "x".repeat(129), "ü".repeat(257));
    let object = r#"{"path":"","message":"must be a JSON object"}"#;
    for (body, errors) in [
        ("{", object),
        ("[]", object),
        ("null", object),
        (r#"{"token":"a","token":"a"}"#, object),
        (
            "",
            r#"{"path":"token","message":"is required"},{"path":"portalAccountId","message":"is required"},{"path":"gwAddress","message":"is required"}"#,
        ),
        (
            r#"{"token":1,"portalAccountId":null,"gwAddress":""}"#,
            r#"{"path":"token","message":"must be a string"},{"path":"portalAccountId","message":"must be a string"},{"path":"gwAddress","message":"must not be empty"}"#,
        ),
        (
            &long,
            r#"{"path":"token","message":"must be at most 128 characters"},{"path":"portalAccountId","message":"must be at most 256 characters"}"#,
        ),
        (
            r#"{"token":"a","portalAccountId":"b","gwAddress":"c","password":"d"}"#,
            r#"{"path":"","message":"must have no other members"}"#,
        ),
    ] {
        assert_eq!(send(&service, "PUT", PATH, body).await, invalid(errors), "{body}");
    }
    assert!(service.asked().iter().all(|asked| asked.method == CHECK_ACCESS));

    service.answers(UPDATE, &UpdateIntegrationResponse::default());
    let longest =
        format!(r#"{{"token":"{}","portalAccountId":"{}","gwAddress":"ü"}}"#, "ü".repeat(128), "ü".repeat(256));
    assert_eq!(send(&service, "PUT", PATH, &longest).await.0, 200);
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused() {
    let service = StandIn::start().await;
    let body = format!(r#"{{"token":"{}"}}"#, "x".repeat(64 * 1024));
    let expected = r#"{"status":false,"error":{"code":3001,"message":"Body Validation Error","data":{"errors":[{"path":"","message":"must not be larger than 64 KiB"}]}}}"#;
    assert_eq!(send(&service, "PUT", PATH, &body).await, json(413, expected));
}

#[tokio::test]
async fn an_organization_that_cannot_be_is_not_found_by_those_who_may_look() {
    let service = StandIn::start().await;
    for organization in ["ab", "a_b", "a.b.c", "%zz", "..", "a%2fb", "", "aaaa%20"] {
        let path = format!("/v1/organizations/{organization}/integrations/harmony-mobile/");
        assert_eq!(send(&service, "DELETE", &path, "").await, json(404, NOT_FOUND), "{organization}");
        let question: CheckAccessRequest = service.asked_once().message();
        assert_eq!(question.method, RESET);
    }
    service.refuses_for(CHECK_ACCESS, "PERMISSION_MISSING");
    assert_eq!(
        send(&service, "DELETE", "/v1/organizations/a/integrations/harmony-mobile/", "").await,
        json(403, FORBIDDEN)
    );
    assert_eq!(send(&service, "PUT", PATH, "{").await, json(403, FORBIDDEN));
}

#[tokio::test]
async fn every_reason_has_its_body() {
    let no_token = r#"{"status":false,"error":{"code":4002,"message":"No auth token"}}"#;
    let internal = r#"{"status":false,"error":{"code":1000,"message":"Internal error"}}"#;
    let conflict = r#"{"status":false,"error":{"code":5001,"message":"Conflict"}}"#;
    let service = StandIn::start().await;
    for (reason, status, body) in [
        ("CREDENTIAL_MISSING", 401, no_token),
        ("SIGNATURE_HEADERS_MISSING", 401, no_token),
        ("SIGNATURE_MALFORMED", 401, no_token),
        ("CREDENTIAL_INVALID", 401, r#"{"status":false,"error":{"code":4004,"message":"Invalid Token"}}"#),
        ("CREDENTIAL_EXPIRED", 401, r#"{"status":false,"error":{"code":4005,"message":"Token Expired"}}"#),
        ("PERMISSION_MISSING", 403, FORBIDDEN),
        ("TENANT_NOT_FOUND", 404, NOT_FOUND),
        ("INTEGRATION_NOT_FOUND", 404, NOT_FOUND),
        ("CONCURRENT_CHANGE", 409, conflict),
        ("STORE_UNAVAILABLE", 500, internal),
        ("OUTCOME_UNKNOWN", 500, internal),
        ("SUBJECT_DISABLED", 500, internal),
        ("INTERNAL", 500, internal),
    ] {
        for (rpc, method, request) in [(RESET, "DELETE", ""), (UPDATE, "PUT", SETTINGS), (REVEAL, "GET", "")] {
            service.refuses_for(rpc, reason);
            assert_eq!(send(&service, method, PATH, request).await, json(status, body), "{method} {reason}");
        }
    }
}

#[tokio::test]
async fn what_the_service_finds_wrong_with_the_settings_is_named_as_in_the_body() {
    let service = StandIn::start().await;
    let violations = &[("settings[token]", "must not hold control characters")];
    service.refuses(UPDATE, Refusal { reason: "FIELDS_INVALID", violations, ..Refusal::default() });
    let errors = r#"{"path":"token","message":"must not hold control characters"}"#;
    assert_eq!(send(&service, "PUT", PATH, SETTINGS).await, invalid(errors));

    service.refuses(
        RESET,
        Refusal { reason: "FIELDS_INVALID", violations: &[("tenant_id", "is no name")], ..Refusal::default() },
    );
    assert_eq!(send(&service, "DELETE", PATH, "").await, json(404, NOT_FOUND));
}

#[tokio::test]
async fn an_overloaded_service_says_when_to_come_back() {
    let service = StandIn::start().await;
    for reason in ["OVERLOADED", "RATE_LIMITED"] {
        service.refuses(RESET, Refusal { reason, retry_after_millis: Some(20), ..Refusal::default() });
        let reply = service.send("DELETE", PATH, &[TOKEN], "").await;
        let body = r#"{"status":false,"error":{"code":5003,"message":"Limit Exceeded"}}"#;
        assert_eq!((reply.status, reply.header("retry-after"), reply.body.as_str()), (429, "1", body));
    }
}

#[tokio::test]
async fn other_methods_and_paths_have_the_dialects_envelope() {
    let service = StandIn::start().await;
    let body = r#"{"status":false,"error":{"code":3001,"message":"Method not allowed"}}"#;
    let reply = service.send("PATCH", PATH, &[TOKEN], "{}").await;
    assert_eq!((reply.status, reply.header("allow"), reply.body.as_str()), (405, "DELETE, GET, PUT", body));
    let reply = service.send("GET", &format!("{PATH}activate/"), &[TOKEN], "").await;
    assert_eq!((reply.status, reply.header("allow"), reply.body.as_str()), (405, "POST", body));
    for path in [
        "/v1/organizations/acme/integrations/other/",
        "/v1/organizations",
        "/v1/organizations/acme/integrations/harmony-mobile//",
    ] {
        assert_eq!(send(&service, "DELETE", path, "").await, json(404, NOT_FOUND), "{path}");
    }
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn only_the_authorization_goes_on() {
    let service = StandIn::start().await;
    service.answers(RESET, &ResetIntegrationResponse::default());
    let headers = [TOKEN, ("x-auth-token", "spoofed"), ("date", "spoofed"), ("x-tenant-id", "spoofed")];
    service.send("DELETE", PATH, &headers, "").await;
    let asked = service.asked_once();
    assert_eq!(asked.headers["authorization"], "Bearer t0ken");
    assert!(asked.headers.values().all(|value| value != "spoofed"), "{asked:?}");
}
