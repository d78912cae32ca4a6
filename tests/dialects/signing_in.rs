//! How callers of the dialects get tokens and sign requests, and what of that reaches the service.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use rekey::proto::{
    DeleteUserRequest, DeleteUserResponse, DeviceAuthentication, ExchangeClientCredentialsRequest,
    ExchangeClientCredentialsResponse, ExchangeSignatureRequest, ExchangeSignatureResponse, GetKeySetRequest,
    GetKeySetResponse, IssueTokenRequest, IssueTokenResponse, JsonWebKey, ResetAuthenticationRequest,
    ResetAuthenticationResponse, RevealAuthenticationRequest, RevealAuthenticationResponse, WhoAmIResponse,
    issue_token_request::Subject,
};

use crate::{
    stand_in::{CHECK_ACCESS, GATEWAY_TOKEN, Refusal, StandIn},
    wire::{Reply, send_raw},
};

const ISSUE: &str = "rekey.v1.UserService/IssueToken";
const DELETE: &str = "rekey.v1.UserService/DeleteUser";
const WHO: &str = "rekey.v1.CallerService/WhoAmI";
const CLIENT: &str = "rekey.v1.TokenService/ExchangeClientCredentials";
const SIGNATURE: &str = "rekey.v1.TokenService/ExchangeSignature";
const KEY_SET: &str = "rekey.v1.TokenService/GetKeySet";
const RESET: &str = "rekey.v1.DeviceService/ResetAuthentication";
const REVEAL: &str = "rekey.v1.DeviceService/RevealAuthentication";

fn short(reply: Reply) -> (u16, String) {
    (reply.status, reply.body)
}

fn is(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn ocariot_signs_in_with_a_password() {
    let service = StandIn::start().await;
    let issued = IssueTokenResponse { access_token: "a.b.c".to_owned(), ..IssueTokenResponse::default() };
    service.answers(ISSUE, &issued);
    let ask = async |body: &str| {
        let spoofed = [("authorization", "Bearer x"), ("x-forwarded-for", "192.0.2.1")];
        let reply = service.send("POST", "/v1/auth", &spoofed, body).await;
        assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
        short(reply)
    };
    let good = r#"{"username":"ada","password":"p","x":1}"#;
    assert_eq!(ask(good).await, is(200, r#"{"access_token":"a.b.c"}"#));
    let asked = service.asked_once();
    assert!(!asked.headers.contains_key("authorization"));
    let request: IssueTokenRequest = asked.message();
    assert_eq!((request.tenant_id.as_str(), request.password.as_str()), ("ocariot:default", "p"));
    assert_eq!((request.subject, request.source.as_str()), (Some(Subject::Username("ada".to_owned())), "127.0.0.1"));

    let missing = |names: &str| {
        let body = format!(
            r#"{{"code":400,"message":"Required fields were not provided...","description":"{names} are required!"}}"#
        );
        (400, body)
    };
    let invalid = |what: &str| {
        let body =
            format!(r#"{{"code":400,"message":"One or more request fields are invalid...","description":"{what}"}}"#);
        (400, body)
    };
    for body in ["", "{", "null", "[]", "7", "{}"] {
        assert_eq!(ask(body).await, missing("username, password"), "{body}");
    }
    assert_eq!(ask(r#"{"username":"a"}"#).await, missing("password"));
    assert_eq!(ask(r#"{"password":"a"}"#).await, missing("username"));
    assert_eq!(ask(r#"{"username":7}"#).await, invalid("username must be a string!"));
    assert_eq!(ask(r#"{"username":"a","password":""}"#).await, invalid("password must have at least one character!"));
    assert!(service.asked().is_empty());

    let wrong = is(401, r#"{"code":401,"message":"Invalid username or password!"}"#);
    let internal =
        r#"{"code":500,"message":"INTERNAL SERVER ERROR","description":"An internal server error has occurred."}"#;
    let forbidden =
        r#"{"code":403,"message":"FORBIDDEN","description":"Authorization failed due to insufficient permissions."}"#;
    for (reason, answer) in [
        ("LOGIN_REFUSED", wrong.clone()),
        ("FIELDS_INVALID", wrong),
        ("PASSWORD_CHANGE_REQUIRED", is(403, forbidden)),
        ("TOKEN_ISSUER_NOT_SET", is(500, internal)),
        ("INTERNAL", is(500, internal)),
    ] {
        service.refuses_for(ISSUE, reason);
        assert_eq!(ask(good).await, answer, "{reason}");
    }
    service.refuses(ISSUE, Refusal { reason: "RATE_LIMITED", retry_after_millis: Some(1_200), ..Refusal::default() });
    let reply = service.send("POST", "/v1/auth", &[], good).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "2"));
    let reply = service.send("GET", "/v1/auth", &[], "").await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn ocariot_removes_users_and_tells_nothing_of_those_that_stay() {
    const ID: &str = "507f191e810c19729de860ea";
    const TOKEN: (&str, &str) = ("authorization", "Bearer t0ken");
    let service = StandIn::start().await;
    let who = WhoAmIResponse { caller_id: "5a62be07de34500146d9c544".to_owned(), ..WhoAmIResponse::default() };
    service.answers(WHO, &who);
    service.answers(DELETE, &DeleteUserResponse {});
    let ask = async |id: &str| short(service.send("DELETE", &format!("/v1/users/{id}"), &[TOKEN], "").await);
    assert_eq!(ask(ID).await, is(204, ""));
    let asked = service.asked();
    let request: DeleteUserRequest = asked.last().unwrap().message();
    assert_eq!((request.tenant_id.as_str(), request.user_id.as_str(), request.allow_missing), ("-", ID, true));
    assert!(asked.iter().all(|asked| asked.headers["authorization"] == "Bearer t0ken"));

    let forbidden = is(
        403,
        r#"{"code":403,"message":"FORBIDDEN","description":"Authorization failed due to insufficient permissions."}"#,
    );
    assert_eq!(ask(&who.caller_id).await, forbidden);
    let id = r#"{"code":400,"message":"Parameter {user_id} is not in valid format!","description":"A 24-byte hex ID similar to this: 507f191e810c19729de860ea is expected."}"#;
    assert_eq!(ask("nonsense").await, is(400, id));
    for reason in ["USER_NOT_FOUND", "RANK_TOO_LOW"] {
        service.refuses_for(DELETE, reason);
        assert_eq!(ask(ID).await, is(204, ""), "{reason}");
    }
    service.refuses_for(DELETE, "INTERNAL");
    assert_eq!(ask(ID).await.0, 500);
    // The scope comes before the id is looked at.
    for (reason, status) in [("PERMISSION_MISSING", 403), ("CREDENTIAL_INVALID", 401), ("CREDENTIAL_MISSING", 401)] {
        service.refuses_for(CHECK_ACCESS, reason);
        for id in [ID, "nonsense", &who.caller_id] {
            assert_eq!(ask(id).await.0, status, "{reason}");
        }
    }
}

#[tokio::test]
async fn licensespring_names_its_token_endpoint_and_gives_tokens_there() {
    let service = StandIn::start().await;
    let host = service.gateway.address();
    let asked = service.send("GET", "/api/v4/oauth_url?login_type=client_credentials", &[], "").await;
    assert_eq!(short(asked), is(200, &format!(r#"{{"url":"http://{host}/api/v4/oauth_token"}}"#)));
    let request = "GET /api/v4/oauth_url?login_type=client_credentials HTTP/1.1\r\nhost: keys.example\r\nconnection: close\r\n\r\n";
    let far = send_raw(host, request.as_bytes()).await;
    assert_eq!(short(far), is(200, r#"{"url":"https://keys.example/api/v4/oauth_token"}"#));
    for query in ["", "?login_type=password", "?login_type=client_credentials&login_type=client_credentials"] {
        let reply = service.send("GET", &format!("/api/v4/oauth_url{query}"), &[], "").await;
        let body = r#"{"status":400,"code":"validation_error","message":"login_type must be client_credentials"}"#;
        assert_eq!(short(reply), is(400, body), "{query}");
    }

    let issued = ExchangeClientCredentialsResponse {
        access_token: "a.b.c".to_owned(),
        ttl: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        ..Default::default()
    };
    service.answers(CLIENT, &issued);
    let ask = async |body: &str| {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        short(service.send("POST", "/api/v4/oauth_token", &form, body).await)
    };
    let good = "grant_type=client_credentials&client_id=k%2B1&client_secret=s+s%26";
    assert_eq!(ask(good).await, is(200, r#"{"access_token":"a.b.c","expires_in":3600,"token_type":"Bearer"}"#));
    let request: ExchangeClientCredentialsRequest = service.asked_once().message();
    assert_eq!((request.client_id.as_str(), request.client_secret.as_str()), ("k+1", "s s&"));
    for (body, status, code) in [
        ("", 400, "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        ("grant_type=%zz", 400, "invalid_request"),
        ("grant_type=password&client_id=a&client_secret=b", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials&client_id=a", 401, "invalid_client"),
    ] {
        let (found, body_found) = ask(body).await;
        assert!(
            found == status && body_found.starts_with(&format!(r#"{{"error":"{code}","error_description":""#)),
            "{body}: {body_found}"
        );
    }
    assert!(service.asked().is_empty());
    for (reason, status, code) in [
        ("CREDENTIAL_INVALID", 401, "invalid_client"),
        ("FIELDS_INVALID", 401, "invalid_client"),
        ("RATE_LIMITED", 429, "temporarily_unavailable"),
        ("TOKEN_ISSUER_NOT_SET", 500, "server_error"),
    ] {
        service.refuses_for(CLIENT, reason);
        let (found, body) = ask(good).await;
        assert!(found == status && body.starts_with(&format!(r#"{{"error":"{code}""#)), "{reason}: {body}");
    }
}

const PATH: &str = "/v2/proj01/link/instances/inst01/devices/4711/authentication";
const BODY: &str = r#"{"user_name": "device01", "password": "Abcdefgh1234567!"}"#;
const SIGNED: &str = "757deaa832f9d8525bf03622c3ae17ec80907a79c227010fb65e6f1b9f888dff";

/// The request of the contract's known answer.
fn known(method: &str, path: &str, more: &str, body: &str) -> String {
    let names = "content-type;host;user-agent;x-project-id;x-sdk-date";
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: ua/1\r\nX-Project-Id: proj01\r\n\
         Content-Type: application/json;charset=utf-8\r\nX-Sdk-Date: 20240102T030405Z\r\nX-Request-Id: r1\r\n\
         Authorization: SDK-HMAC-SHA256 Access=AKEXAMPLE, SignedHeaders={names}, Signature={SIGNED}\r\n\
         Content-Length: {}\r\nConnection: close\r\n{more}\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn roma_has_a_signed_request_checked_by_the_service_and_calls_as_its_signer() {
    let service = StandIn::start().await;
    let authentication =
        DeviceAuthentication { user_name: "device01".to_owned(), password: "Abcdefgh1234567!".to_owned() };
    service.answers(RESET, &ResetAuthenticationResponse { authentication: Some(authentication), ..Default::default() });
    let issued = ExchangeSignatureResponse { access_token: "a.b.c".to_owned(), ..Default::default() };
    service.answers(SIGNATURE, &issued);
    let ask = async |request: String| short(send_raw(service.gateway.address(), request.as_bytes()).await);
    let good = ask(known("PUT", PATH, "", BODY)).await;
    assert_eq!(good, is(200, r#"{"user_name":"device01","password":"Abcdefgh1234567!"}"#));
    let asked = service.asked();
    let [exchange, reset] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(exchange.headers["authorization"], format!("Bearer {GATEWAY_TOKEN}"));
    let request: ExchangeSignatureRequest = exchange.message();
    let digest = digest::digest(&digest::SHA256, &request.canonical_request);
    let canonical = String::from_utf8_lossy(&request.canonical_request).into_owned();
    assert_eq!(
        HEXLOWER.encode(digest.as_ref()),
        "06b2c01034a96ed4340a24b25dc98654c401fdb81231edfc9a736680ff2648e6",
        "{canonical}"
    );
    assert_eq!((request.access_key.as_str(), request.date.as_str()), ("AKEXAMPLE", "20240102T030405Z"));
    assert_eq!(request.signature, SIGNED);
    assert_eq!(reset.headers["authorization"], "Bearer a.b.c");
    let request: ResetAuthenticationRequest = reset.message();
    assert_eq!((request.tenant_id.as_str(), request.device_id.as_str()), ("roma:proj01/inst01", "4711"));

    // A token that is sent counts alone.
    ask(known("PUT", PATH, "X-Auth-Token: t0ken\r\n", BODY)).await;
    let asked = service.asked_once();
    assert!(!asked.headers.contains_key("authorization") && asked.headers["x-auth-token"] == "t0ken");

    let error = |status: u16, code: &str, message: &str| {
        (status, format!(r#"{{"error_code":"{code}","error_msg":"{message}","request_id":"r1"}}"#))
    };
    let refused = error(401, "APIG.0301", "Incorrect IAM authentication information: verify aksk signature fail");
    // What cannot be read in one way is not asked about.
    for (from, to) in [
        ("Access=AKEXAMPLE, ", ""),
        ("Access=AKEXAMPLE", "Access=AKEXAMPLE, Access=OTHER"),
        ("SignedHeaders=", "Signed="),
        ("X-Sdk-Date: 20240102T030405Z\r\n", ""),
        ("User-Agent: ua/1\r\n", "User-Agent: ua/1\r\nUser-Agent: ua/2\r\n"),
        ("SignedHeaders=content-type;", "SignedHeaders=content-type;x-none;"),
    ] {
        let request = known("PUT", PATH, "", BODY);
        assert!(request.contains(from));
        assert_eq!(ask(request.replacen(from, to, 1)).await, refused, "{from} to {to}");
    }
    assert!(service.asked().is_empty());
    for (reason, answer) in [
        ("SIGNATURE_MISMATCH", refused.clone()),
        ("SIGNATURE_MALFORMED", refused.clone()),
        ("SIGNATURE_DATE_SKEWED", refused.clone()),
        ("API_KEY_UNKNOWN", refused.clone()),
        ("API_KEY_REVOKED", refused),
        // Of the gateway's own: the signer cannot help it.
        ("CREDENTIAL_INVALID", error(500, "ROMA.00011000", "System error")),
        ("PERMISSION_MISSING", error(500, "ROMA.00011000", "System error")),
        ("RATE_LIMITED", error(429, "APIG.0308", "The throttling threshold has been reached")),
    ] {
        service.refuses_for(SIGNATURE, reason);
        assert_eq!(ask(known("PUT", PATH, "", BODY)).await, answer, "{reason}");
    }
}

#[tokio::test]
async fn roma_products_are_devices_of_their_own_name() {
    let service = StandIn::start().await;
    let authentication =
        DeviceAuthentication { user_name: "device01".to_owned(), password: "Abcdefgh1234567!".to_owned() };
    service.answers(
        RESET,
        &ResetAuthenticationResponse { authentication: Some(authentication.clone()), ..Default::default() },
    );
    service.answers(REVEAL, &RevealAuthenticationResponse { authentication: Some(authentication) });
    let path = "/v2/proj01/link/instances/inst01/products/815/authentication";
    let ask = async |method: &str, path: &str| {
        let headers = [("x-auth-token", "t0ken"), ("x-request-id", "r1")];
        short(service.send(method, path, &headers, "").await)
    };
    let shown = is(200, r#"{"user_name":"device01","password":"Abcdefgh1234567!"}"#);
    assert_eq!(ask("PUT", path).await, shown);
    let request: ResetAuthenticationRequest = service.asked_once().message();
    assert_eq!((request.tenant_id.as_str(), request.device_id.as_str()), ("roma:proj01/inst01", "product.815"));
    assert_eq!(ask("GET", path).await, shown);
    let request: RevealAuthenticationRequest = service.asked_once().message();
    assert_eq!(request.device_id, "product.815");
    service.refuses_for(REVEAL, "DEVICE_NOT_FOUND");
    let unknown = r#"{"error_code":"ROMA.00110006","error_msg":"The resource does not exist. Check whether the resource ID 815 is correct.","request_id":"r1"}"#;
    assert_eq!(ask("GET", path).await, is(404, unknown));
    // No device is reached by a product's path, and no product by a device's.
    for odd in [path.replace("815", "product.815"), path.replace("815", "0"), PATH.replace("4711", "product.815")] {
        let (status, body) = ask("GET", &odd).await;
        assert!(status == 400 && body.contains("Processor is [path]"), "{odd}: {body}");
    }
}

#[tokio::test]
async fn the_public_keys_are_where_resource_servers_look() {
    let service = StandIn::start().await;
    let key = JsonWebKey {
        kty: "OKP".to_owned(),
        kid: "k1".to_owned(),
        alg: "EdDSA".to_owned(),
        r#use: "sig".to_owned(),
        crv: "Ed25519".to_owned(),
        x: "AA".to_owned(),
        ..JsonWebKey::default()
    };
    service.answers(KEY_SET, &GetKeySetResponse { keys: vec![key] });
    let reply = service.send("GET", "/.well-known/jwks.json", &[("authorization", "Bearer x")], "").await;
    assert_eq!(reply.header("cache-control"), "public, max-age=300");
    let body = r#"{"keys":[{"kty":"OKP","use":"sig","alg":"EdDSA","kid":"k1","crv":"Ed25519","x":"AA"}]}"#;
    assert_eq!(short(reply), is(200, body));
    let asked = service.asked_once();
    assert!(!asked.headers.contains_key("authorization"));
    let GetKeySetRequest {} = asked.message();
    let reply = service.send("POST", "/.well-known/jwks.json", &[], "").await;
    assert_eq!((reply.status, reply.header("allow"), reply.header("cache-control")), (405, "GET", "no-store"));
}
