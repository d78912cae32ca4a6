//! A device's authentication, set and shown.

use std::time::Duration;

use rekey::proto::{
    CreateDeviceRequest, VerifyAuthenticationRequest, create_device_request, verify_authentication_request,
};
use serde_json::Value;

use super::{expiring_token, is, short, tenant};
use crate::{common::rekey::Rekey, wire::send};

#[tokio::test]
async fn a_device_is_reset_and_shown() {
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
            ..Default::default()
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
        source: String::new(),
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
