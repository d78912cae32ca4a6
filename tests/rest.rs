//! The canonical REST API through a listening gateway, before a real service: JSON in and out, errors with their
//! details, and everything a request can get wrong.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

mod common;
#[path = "rest/docs.rs"]
mod docs;
#[path = "dialects/wire.rs"]
mod wire;

use common::rekey::Rekey;
use prost_reflect::{DynamicMessage, Value as Field};
use rekey::proto::DESCRIPTORS;
use serde_json::{Value, json};
use wire::{Reply, is, send, send_raw};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A Rekey with the tenant `acme`, and the user `7` in it.
struct Acme {
    rekey: Rekey,
    token: String,
}

impl Acme {
    async fn start() -> Self {
        let rekey = Rekey::start().await;
        let token = format!("Bearer {}", rekey.admin_token);
        let acme = Self { rekey, token };
        let tenant = json!({"tenant": {"tenantId": "acme", "changePasswordAllowed": true, "aliases": [{"dialect": "applivery", "alias": "acme"}]}});
        assert_eq!(acme.call("POST", "/v1/tenants", &tenant).await.0, 200);
        let user = json!({"userId": "7", "username": "jo", "password": "a phrase of 15 and more"});
        assert_eq!(acme.call("POST", "/v1/tenants/acme/users", &user).await.0, 200);
        acme
    }

    async fn call(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.send(method, target, &[JSON], &body).await;
        assert_eq!(reply.header("content-type"), "application/json");
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = [&[("authorization", self.token.as_str())], headers].concat();
        send(self.rekey.http, method, target, &headers, body).await
    }
}

/// Every route: HTTP method, path with its variables filled in, and whether it takes a body.
fn routes() -> Vec<(String, String, bool)> {
    let http = DESCRIPTORS.get_extension_by_name("google.api.http").unwrap();
    let mut routes = Vec::new();
    let mut add = |rule: &DynamicMessage| {
        let text = |name: &str| rule.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
        let method = ["get", "put", "post", "delete", "patch"].into_iter().find(|verb| !text(verb).is_empty()).unwrap();
        let path = text(method).replace("{tenant_id}", "acme").replace(['{', '}'], "");
        routes.push((method.to_uppercase(), path, !text("body").is_empty()));
    };
    for service in DESCRIPTORS.services() {
        for method in service.methods().filter(|method| !method.is_client_streaming() && !method.is_server_streaming())
        {
            let options = method.options();
            let Field::Message(rule) = options.get_extension(&http).into_owned() else {
                panic!("{}", method.full_name())
            };
            add(&rule);
            rule.get_field_by_name("additional_bindings")
                .unwrap()
                .as_list()
                .unwrap()
                .iter()
                .for_each(|rule| add(rule.as_message().unwrap()));
        }
    }
    routes
}

#[tokio::test]
async fn every_route_reaches_its_method_and_asks_who_calls_before_anything_else() {
    let rekey = Rekey::start().await;
    let routes = routes();
    assert!(routes.len() >= 27, "{routes:?}");
    // Who shows something else, or asks for what is public, is not asked who he is.
    let for_anybody = |path: &str| path.ends_with(":issueToken") || path.starts_with("/v1/tokens");
    for (method, path, has_body) in routes.into_iter().filter(|(_, path, _)| !for_anybody(path)) {
        for (headers, body, query) in
            [(&[JSON][..], "{}", ""), (&[JSON], "{", ""), (&[], "x", ""), (&[JSON], "{}", "?nonsense=1")]
        {
            let body = if has_body { body } else { "" };
            let reply = send(rekey.http, &method, &format!("{path}{query}"), headers, body).await;
            assert_eq!(reply.error(), is(401, 16, "CREDENTIAL_MISSING"), "{method} {path} {body}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
    }
}

#[tokio::test]
async fn no_body_or_path_makes_a_fault_of_ours() {
    let acme = Acme::start().await;
    for (method, path, has_body) in routes() {
        let bodies = [
            "",
            "{}",
            "{",
            "[]",
            "null",
            "1",
            r#"{"x":1}"#,
            r#"{"tenantId":1}"#,
            r#"{"tenantId":"acme","tenantId":"acme"}"#,
            "\u{0}",
            r#"{"password":"\u0000"}"#,
        ];
        for body in bodies.into_iter().take(if has_body { bodies.len() } else { 1 }) {
            let status = acme.send(&method, &path, &[JSON], body).await.status;
            assert!((200..500).contains(&status), "{method} {path} {body}: {status}");
        }
        for broken in ["%", "%zz", "%2f", "%00", "%ff", "..", "%2e%2e", "", "x%0d%0ay", ";", "%F0%9F%98%80", "a:b:c"] {
            let path = path.replace("acme", broken);
            let status = acme.send(&method, &path, &[JSON], if has_body { "{}" } else { "" }).await.status;
            assert!((200..500).contains(&status), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn users_live_through_json() {
    let acme = Acme::start().await;
    let (status, user) = acme.call("GET", "/v1/tenants/acme/users/7", &Value::Null).await;
    let user = &user["user"];
    assert_eq!(status, 200);
    assert_eq!((&user["tenantId"], &user["userId"], &user["username"]), (&json!("acme"), &json!("7"), &json!("jo")));
    assert_eq!((&user["state"], user["etag"].is_string()), (&json!("SUBJECT_STATE_ACTIVE"), true));
    assert!(user["createTime"].as_str().unwrap().starts_with("2026-01-01T00:00:00"));

    let verify = async |target: &str, body: Value| acme.call("POST", target, &body).await.1;
    let right = json!({"verified": true, "userId": "7", "mustChange": true});
    assert_eq!(
        verify("/v1/tenants/acme/users/7:verifyPassword", json!({"password": "a phrase of 15 and more"})).await,
        right
    );
    let by_name = json!({"username": "jo", "password": "a phrase of 15 and more"});
    assert_eq!(verify("/v1/tenants/applivery:acme/users:verifyPassword", by_name).await, right);
    let wrong = json!({"verified": false, "userId": "", "mustChange": false});
    assert_eq!(verify("/v1/tenants/acme/users/7:verifyPassword", json!({"password": "wrong"})).await, wrong);

    let (status, reset) =
        acme.call("POST", "/v1/tenants/acme/users/7:resetPassword", &json!({"generate": {"length": 20}})).await;
    let made = reset["generatedPassword"].as_str().unwrap().to_owned();
    assert_eq!((status, made.chars().count()), (200, 20));
    let change = json!({"current_password": made, "newPassword": "another phrase of mine"});
    assert_eq!(acme.call("POST", "/v1/tenants/acme/users/7:changePassword", &change).await.1["user"]["userId"], "7");
    let stale = json!({"newPassword": "yet another phrase of mine", "etag": user["etag"]});
    let reply = acme.send("POST", "/v1/tenants/acme/users/7:resetPassword", &[JSON], &stale.to_string()).await;
    assert_eq!(reply.error(), is(409, 10, "ETAG_MISMATCH"));
}

#[tokio::test]
async fn devices_and_integrations_live_through_json() {
    let acme = Acme::start().await;
    let device = json!({"deviceId": "d1", "userName": "device01", "password": "Abcdefgh1234567!"});
    let (status, made) = acme.call("POST", "/v1/tenants/acme/devices", &device).await;
    assert_eq!(
        (status, &made["authentication"]),
        (200, &json!({"userName": "device01", "password": "Abcdefgh1234567!"}))
    );
    let (_, read) = acme.call("GET", "/v1/tenants/acme/devices/d1", &Value::Null).await;
    assert_eq!((read["device"]["userName"].as_str(), read.get("authentication")), (Some("device01"), None));
    let (_, shown) = acme.call("POST", "/v1/tenants/acme/devices/d1:revealAuthentication", &Value::Null).await;
    assert_eq!(shown["authentication"], made["authentication"]);
    let (_, reset) =
        acme.call("POST", "/v1/tenants/acme/devices/d1:resetAuthentication", &json!({"generate": {}})).await;
    let password = reset["authentication"]["password"].as_str().unwrap();
    let question = json!({"userName": "device01", "password": password});
    let (_, verified) = acme.call("POST", "/v1/tenants/acme/devices:verifyAuthentication", &question).await;
    assert_eq!(verified, json!({"verified": true, "deviceId": "d1", "secretVersion": "2"}));

    let integration = json!({"integrationId": "hm", "username": "hm", "settings": {"token": "t"}});
    assert_eq!(acme.call("POST", "/v1/tenants/acme/integrations", &integration).await.0, 200);
    assert_eq!(
        acme.call("GET", "/v1/tenants/acme/integrations/hm", &Value::Null).await.1["integration"]["configured"],
        true
    );
    let settings = json!({"settings": {"token": "u", "gwAddress": "g"}});
    let (_, updated) = acme.call("PATCH", "/v1/tenants/acme/integrations/hm", &settings).await;
    assert_eq!(updated.get("credentials"), None);
    let (_, shown) = acme.call("POST", "/v1/tenants/acme/integrations/hm:reveal", &json!({"purpose": "a test"})).await;
    assert_eq!(shown["credentials"]["settings"], settings["settings"]);
    let (_, reset) = acme.call("POST", "/v1/tenants/acme/integrations/hm:reset", &json!({})).await;
    assert_eq!((&reset["credentials"]["settings"], &reset["integration"]["configured"]), (&json!({}), &json!(false)));
}

#[tokio::test]
async fn tenants_and_callers_live_through_json() {
    let acme = Acme::start().await;
    assert_eq!(acme.call("GET", "/v1/tenants/applivery:acme", &Value::Null).await.1["tenant"]["tenantId"], "acme");
    let (_, page) = acme.call("GET", "/v1/tenants?pageSize=1", &Value::Null).await;
    assert_eq!((page["tenants"].as_array().unwrap().len(), &page["tenants"][0]["tenantId"]), (1, &json!("acme")));
    let next = page["nextPageToken"].as_str().unwrap().replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let (_, page) = acme.call("GET", &format!("/v1/tenants?page_size=5&page_token={next}"), &Value::Null).await;
    assert_eq!((page["tenants"][0]["tenantId"].as_str(), page["nextPageToken"].as_str()), (Some("system"), Some("")));

    let caller = json!({"callerId": "c1", "permissions": ["users:verify"]});
    assert_eq!(acme.call("POST", "/v1/tenants/acme/callers", &caller).await.0, 200);
    let (_, token) = acme
        .call("POST", "/v1/tenants/acme/callers/c1/apiTokens", &json!({"expireTime": "2026-01-02T00:00:00Z"}))
        .await;
    assert_eq!(token["expireTime"], "2026-01-02T00:00:00Z");
    let secret = token["token"].as_str().unwrap();
    let me = send(acme.rekey.http, "GET", "/v1/whoami", &[("x-auth-token", secret)], "").await;
    let me: Value = serde_json::from_str(&me.body).unwrap();
    assert_eq!(
        me,
        json!({
            "tenantId": "acme", "callerId": "c1", "permissions": ["users:verify"], "ownPermissions": [],
            "credentialKind": "CREDENTIAL_KIND_API_TOKEN", "expireTime": "2026-01-02T00:00:00Z", "roles": [], "rank": 0,
            "credentialId": token["tokenId"], "credentialVersion": "2", "credentialStage": "SECRET_STAGE_CURRENT",
        })
    );
    let access = json!({"method": "rekey.v1.UserService/ResetPassword"}).to_string();
    let refused =
        send(acme.rekey.http, "POST", "/v1/whoami:checkAccess", &[("x-auth-token", secret), JSON], &access).await;
    assert_eq!(refused.error(), is(403, 7, "PERMISSION_MISSING"));
    assert_eq!(
        acme.call("POST", "/v1/whoami:checkAccess", &serde_json::from_str(&access).unwrap()).await,
        (200, json!({}))
    );

    let revoke = format!("/v1/tenants/acme/callers/c1/apiTokens/{}:revoke", token["tokenId"].as_str().unwrap());
    assert_eq!(acme.call("POST", &revoke, &json!({})).await, (200, json!({})));
    let refused = send(acme.rekey.http, "GET", "/v1/whoami", &[("x-auth-token", secret)], "").await;
    assert_eq!(refused.error(), is(401, 16, "CREDENTIAL_INVALID"));

    let key = json!({"apiKey": "key-0001", "readOnly": true});
    let (_, key) = acme.call("POST", "/v1/tenants/acme/callers/c1/signingKeys", &key).await;
    assert!(key["sharedKey"].as_str().unwrap().len() >= 16);
    assert_eq!(acme.call("POST", "/v1/tenants/acme/callers/c1/signingKeys/key-0001:revoke", &json!({})).await.0, 200);
}

#[tokio::test]
async fn lists_masks_and_deletions_go_through_json_and_queries() {
    let acme = Acme::start().await;
    let device = json!({"deviceId": "d1", "userName": "device01", "labels": {"site": "north"}});
    assert_eq!(acme.call("POST", "/v1/tenants/acme/devices", &device).await.0, 200);
    let target = "/v1/tenants/acme/devices?filter=labels.site%20%3D%20%22no*%22&orderBy=user_name+desc&countTotal=true";
    let (status, page) = acme.call("GET", target, &Value::Null).await;
    assert_eq!((status, &page["totalSize"], page["nextPageToken"].as_str()), (200, &json!("1"), Some("")));
    assert_eq!(
        (&page["devices"][0]["deviceId"], &page["devices"][0]["labels"]),
        (&json!("d1"), &json!({"site": "north"}))
    );
    let (_, page) = acme.call("GET", "/v1/tenants/acme/devices?filter=state%3DLOCKED", &Value::Null).await;
    assert_eq!((&page["devices"], page.get("totalSize")), (&json!([]), None));

    let update = json!({"device": {"userName": "device02", "labels": {}}, "updateMask": "userName"});
    let (status, updated) = acme.call("PATCH", "/v1/tenants/acme/devices/d1", &update).await;
    let updated = &updated["device"];
    assert_eq!(
        (status, &updated["userName"], &updated["labels"]),
        (200, &json!("device02"), &json!({"site": "north"}))
    );
    let update = json!({"device": {}, "updateMask": "etag"}).to_string();
    let refused = acme.send("PATCH", "/v1/tenants/acme/devices/d1", &[JSON], &update).await;
    assert_eq!(refused.error(), is(400, 3, "FIELDS_INVALID"));
    let (_, locked) = acme.call("POST", "/v1/tenants/acme/devices/d1:lock", &json!({})).await;
    assert_eq!(locked["device"]["state"], "SUBJECT_STATE_LOCKED");

    let stale = acme.send("DELETE", "/v1/tenants/acme/devices/d1?etag=stale", &[], "").await;
    assert_eq!(stale.error(), is(409, 10, "ETAG_MISMATCH"));
    let target = format!("/v1/tenants/acme/devices/d1?etag={}", locked["device"]["etag"].as_str().unwrap());
    assert_eq!(acme.call("DELETE", &target, &Value::Null).await, (200, json!({})));
    let gone = acme.send("DELETE", "/v1/tenants/acme/devices/d1", &[], "").await;
    assert_eq!(gone.error(), is(404, 5, "DEVICE_NOT_FOUND"));
    let target = "/v1/tenants/acme/devices/d1?allow_missing=true";
    assert_eq!(acme.call("DELETE", target, &Value::Null).await, (200, json!({})));
    let wrong = acme.send("DELETE", "/v1/tenants/acme?force=yes", &[], "").await;
    assert_eq!(wrong.error(), is(400, 3, "PATH_INVALID"));
    let full = acme.send("DELETE", "/v1/tenants/acme", &[], "").await;
    assert_eq!(full.error(), is(400, 9, "TENANT_NOT_EMPTY"));
    assert_eq!(acme.call("DELETE", "/v1/tenants/acme?force=true", &Value::Null).await, (200, json!({})));
}

#[tokio::test]
async fn errors_carry_their_details() {
    let acme = Acme::start().await;
    let reply = acme
        .send("POST", "/v1/tenants/acme/users", &[JSON, ("x-request-id", "r 1")], r#"{"userId":"a/b","password":"x"}"#)
        .await;
    assert_eq!(reply.error(), is(400, 3, "FIELDS_INVALID"));
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let of = |name: &str| {
        body["details"]
            .as_array()
            .unwrap()
            .iter()
            .find(|detail| detail["@type"].as_str().unwrap().ends_with(name))
            .unwrap()
            .clone()
    };
    let fields: Vec<_> = of("BadRequest")["fieldViolations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| violation["field"].clone())
        .collect();
    assert_eq!(fields, ["user_id", "username"]);
    assert_eq!((&of("RequestInfo")["requestId"], reply.header("x-request-id")), (&json!("r 1"), "r 1"));

    for (method, target, expected) in [
        ("GET", "/v1/tenants/nobody", is(404, 5, "TENANT_NOT_FOUND")),
        ("GET", "/v1/tenants/acme/users/8", is(404, 5, "USER_NOT_FOUND")),
        ("GET", "/v1/tenants/acme/devices/8", is(404, 5, "DEVICE_NOT_FOUND")),
        ("GET", "/v1/tenants/a%20b", is(400, 3, "FIELDS_INVALID")),
    ] {
        assert_eq!(acme.send(method, target, &[], "").await.error(), expected, "{target}");
    }
    let taken = acme.send("POST", "/v1/tenants/acme/users", &[JSON], r#"{"userId":"7","username":"x"}"#).await;
    assert_eq!(taken.error(), is(409, 6, "ALREADY_EXISTS"));
}

#[tokio::test]
async fn routes_and_paths_that_are_none_are_told_apart() {
    let acme = Acme::start().await;
    for (method, target, expected, allow) in [
        ("GET", "/", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/nothing", is(404, 5, "ROUTE_NOT_FOUND"), ""),
        ("GET", "/V1/whoami", is(404, 5, "ROUTE_NOT_FOUND"), ""),
        ("GET", "/v1/whoami;x=1", is(404, 5, "ROUTE_NOT_FOUND"), ""),
        ("POST", "/v1/tenants/acme/users/7:fly", is(404, 5, "ROUTE_NOT_FOUND"), ""),
        ("DELETE", "/v1/tenants", is(405, 12, "METHOD_NOT_ALLOWED"), "GET, POST"),
        ("OPTIONS", "/v1/whoami", is(405, 12, "METHOD_NOT_ALLOWED"), "GET"),
        ("TRACE", "/v1/whoami", is(405, 12, "METHOD_NOT_ALLOWED"), "GET"),
        ("GET", "/v1/tenants/acme/users/7:resetPassword", is(405, 12, "METHOD_NOT_ALLOWED"), "POST"),
        ("GET", "/v1//whoami", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/whoami/", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/x/../whoami", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants/acme/users/%2e%2e", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants/acme/users/a%2fb", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants/acme/users/a%5Cb", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants/acme/users/a%00", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants/acme/users/%", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants/acme/users/%252f", is(400, 3, "FIELDS_INVALID"), ""),
        ("GET", "/v1/whoami?x=1", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants?pageSize=1&pageSize=2", is(400, 3, "PATH_INVALID"), ""),
        ("GET", "/v1/tenants?pageSize=many", is(400, 3, "PATH_INVALID"), ""),
    ] {
        let reply = acme.send(method, target, &[], "").await;
        assert_eq!((reply.error(), reply.header("allow")), (expected, allow), "{method} {target}");
    }
    let head = acme.send("HEAD", "/v1/whoami", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (405, ""));
}

#[tokio::test]
async fn bodies_that_are_not_the_methods_are_refused_without_being_quoted() {
    const RESET: &str = "/v1/tenants/acme/users/7:resetPassword";
    let acme = Acme::start().await;
    let invalid = is(400, 3, "JSON_INVALID");
    let large = format!(r#"{{"newPassword":"{}"}}"#, "canary".repeat(11_000));
    let deep = format!(r#"{{"newPassword":{}}}"#, "[".repeat(1_000));
    for (body, expected) in [
        (r#"{"newPassword":"canary""#, invalid.clone()),
        (r#"["canary"]"#, invalid.clone()),
        ("null", invalid.clone()),
        (r#""canary""#, invalid.clone()),
        (r#"{"canary":"canary"}"#, invalid.clone()),
        (r#"{"newPassword":["canary"]}"#, invalid.clone()),
        (r#"{"newPassword":7}"#, invalid.clone()),
        (r#"{"newPassword":"canary","newPassword":"canary"}"#, invalid.clone()),
        (r#"{"newPassword":"canary","new_password":"canary"}"#, invalid.clone()),
        (r#"{"newPassword":"canary","generate":{}}"#, invalid.clone()),
        (r#"{"newPassword":"canary"} {}"#, invalid.clone()),
        (r#"{"userId":"canary"}"#, invalid.clone()),
        (r#"{"generate":{"length":"canary"}}"#, invalid.clone()),
        ("\u{feff}{}", invalid.clone()),
        (&deep, invalid),
        (&large, is(413, 3, "BODY_TOO_LARGE")),
    ] {
        let reply = acme.send("POST", RESET, &[JSON], body).await;
        assert_eq!(reply.error(), expected, "{body}");
        assert!(!reply.body.contains("canary"), "{}", reply.body);
    }
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/json; charset=latin1")],
        &[JSON, JSON],
    ] {
        let reply = acme.send("POST", RESET, headers, r#"{"newPassword":"a phrase of 15 and more"}"#).await;
        assert_eq!(reply.error(), is(415, 3, "CONTENT_TYPE_UNSUPPORTED"));
    }
    let chunked = format!(
        "POST {RESET} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        acme.token
    );
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, "x".repeat(40_000));
    let reply = send_raw(acme.rekey.http, format!("{chunked}{chunk}{chunk}0\r\n\r\n").as_bytes()).await;
    assert_eq!(reply.error(), is(413, 3, "BODY_TOO_LARGE"));
    let nothing = acme.send("POST", RESET, &[("content-type", "text/plain")], "").await;
    assert_eq!(nothing.error(), is(400, 3, "FIELDS_INVALID"));
}

#[tokio::test]
async fn who_may_not_call_does_not_learn_what_is_wrong_with_the_request() {
    let acme = Acme::start().await;
    let token = acme.rekey.make_caller("acme", &["users:verify"]).await;
    let headers = [("authorization", &*format!("Bearer {token}")), JSON];
    let large = "x".repeat(70_000);
    for (target, body) in [
        ("/v1/tenants/acme/users/7:resetPassword", "{"),
        ("/v1/tenants/acme/users/%zz:resetPassword", "{}"),
        ("/v1/tenants/acme/users/7:resetPassword?x=1", "{}"),
        ("/v1/tenants/acme/users/7:resetPassword", &large),
    ] {
        let reply = send(acme.rekey.http, "POST", target, &headers, body).await;
        assert_eq!(reply.error(), is(403, 7, "PERMISSION_MISSING"), "{target}");
    }
}

#[tokio::test]
async fn policies_are_explained_and_passwords_tried() {
    let acme = Acme::start().await;
    let (status, explained) =
        acme.call("GET", "/v1/tenants/acme/policies/POLICY_KIND_USER:explain", &Value::Null).await;
    assert_eq!(status, 200, "{explained}");
    let first = json!({"kind": "POLICY_RULE_KIND_MIN_LENGTH", "description": "must have at least 15 characters"});
    assert_eq!(explained["rules"][0], first);
    assert_eq!(explained["policy"]["temporaryTtl"], "604800s");
    assert_eq!(explained["policy"]["resetMustChange"], true);

    let of =
        |length: usize| "k\u{e9}\u{1F600}\u{4e00}7Q".chars().cycle().take(length - 1).chain(['z']).collect::<String>();
    let check = async |password: &str| {
        let body = json!({"kind": "POLICY_KIND_USER", "password": password});
        let (status, answer) = acme.call("POST", "/v1/tenants/acme/policies:checkPassword", &body).await;
        assert_eq!(status, 200, "{answer}");
        let told = answer["violations"].as_array().map(Vec::as_slice).unwrap_or_default();
        let kinds: Vec<_> = told.iter().map(|rule| rule["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(answer["accepted"].as_bool().unwrap_or_default(), kinds.is_empty());
        kinds.join(" ").replace("POLICY_RULE_KIND_", "")
    };
    for (length, expected) in
        [(7, "MIN_LENGTH"), (14, "MIN_LENGTH"), (15, ""), (64, ""), (128, ""), (129, "MAX_LENGTH")]
    {
        assert_eq!(check(&of(length)).await, expected, "{length}");
    }
    assert_eq!(check("PasswordPassword").await, "COMMON");
    assert_eq!(check("null\0in the midst of it").await, "CHARACTERS");
    let (_, strong) =
        acme.call("POST", "/v1/tenants/acme/policies:checkPassword", &json!({"password": "vT3k9Wq1#zR7mX0aB"})).await;
    assert_eq!((&strong["accepted"], &strong["strength"]["score"]), (&json!(true), &json!(4)));

    // What sets one refuses with the same kinds.
    let path = "/v1/tenants/acme/users/7:resetPassword";
    let (status, refused) = acme.call("POST", path, &json!({"newPassword": "passwordpassw"})).await;
    let info = &refused["details"][0];
    assert_eq!((status, info["reason"].as_str()), (400, Some("POLICY_VIOLATED")), "{refused}");
    assert_eq!(info["metadata"]["rules"], "MIN_LENGTH");
    let (_, reset) = acme.call("POST", path, &json!({"newPassword": "caf\u{65}\u{301} au lait, twice"})).await;
    assert_eq!(reset["user"]["passwordMustChange"], true, "{reset}");
    let body = json!({"username": "jo", "password": "caf\u{e9} au lait, twice"});
    let (_, verified) = acme.call("POST", "/v1/tenants/acme/users:verifyPassword", &body).await;
    assert_eq!((&verified["verified"], &verified["mustChange"]), (&json!(true), &json!(true)), "{verified}");
    acme.rekey.stop().await;
}
