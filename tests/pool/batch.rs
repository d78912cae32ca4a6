//! Several checks in one call.

use std::time::Duration;

use rekey::proto::{
    AuthenticationCheck, BatchVerifyAuthenticationsRequest, BatchVerifyPasswordsRequest, CreateDeviceRequest,
    PasswordCheck, PasswordCheckResult, Tenant, authentication_check, create_device_request, password_check,
};
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::{
    PASSWORD,
    common::rekey::{Rekey, fields},
    make,
};

fn by_id(user_id: &str, password: &str) -> PasswordCheck {
    let subject = Some(password_check::Subject::UserId(user_id.to_owned()));
    PasswordCheck { source: String::new(), subject, password: password.to_owned() }
}

fn by_name(username: &str, password: &str) -> PasswordCheck {
    let subject = Some(password_check::Subject::Username(username.to_owned()));
    PasswordCheck { source: String::new(), subject, password: password.to_owned() }
}

fn batch(checks: Vec<PasswordCheck>) -> BatchVerifyPasswordsRequest {
    BatchVerifyPasswordsRequest { tenant_id: "acme".to_owned(), checks }
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_questions() {
    let rekey = Rekey::start().await;
    make(&rekey, "acme", "ada").await;
    let checks: Vec<_> = (0..25)
        .flat_map(|four| {
            // One wrong password of hers: more would hold up the right ones.
            let wrong = if four == 0 { "ada" } else { "nobody" };
            [
                by_id("ada", PASSWORD),
                by_id(wrong, "another long enough phrase"),
                by_name("ada@example.org", PASSWORD),
                by_name("nobody@example.org", PASSWORD),
            ]
        })
        .collect();
    let results = rekey.admin().users.batch_verify_passwords(batch(checks)).await.unwrap().into_inner().results;
    assert_eq!(results.len(), 100);
    let yes = PasswordCheckResult { verified: true, user_id: "ada".to_owned(), overloaded: false, must_change: true };
    for four in results.chunks(4) {
        assert_eq!(four, [yes.clone(), PasswordCheckResult::default(), yes.clone(), PasswordCheckResult::default()]);
    }
}

#[tokio::test]
async fn what_is_too_much_is_marked_and_the_call_is_not_refused() {
    // Before the first hash is done, a pass over a KiB is expected to take a microsecond: here more than a second.
    let rekey = Rekey::start_with(|options| {
        options.hasher.threads = 1;
        options.hasher.memory_kib = 100_000;
        options.hasher.iterations = 16;
    })
    .await;
    rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    let mut request = Request::new(batch(vec![by_id("ada", PASSWORD); 5]));
    request.set_timeout(Duration::from_secs(1));
    let results = rekey.admin().users.batch_verify_passwords(request).await.unwrap().into_inner().results;
    assert_eq!(results, vec![PasswordCheckResult { overloaded: true, ..PasswordCheckResult::default() }; 5]);
}

#[tokio::test]
async fn everything_wrong_with_a_batch_is_told_at_once() {
    let rekey = Rekey::start().await;
    make(&rekey, "acme", "ada").await;
    let mut users = rekey.admin().users;
    for count in [0, 101] {
        let refused = users.batch_verify_passwords(batch(vec![by_id("ada", PASSWORD); count])).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["checks".to_owned()]));
    }
    let checks = vec![
        by_id("ada", PASSWORD),
        by_id("no id", ""),
        by_name("", PASSWORD),
        PasswordCheck { source: String::new(), subject: None, password: PASSWORD.to_owned() },
    ];
    let request = BatchVerifyPasswordsRequest { tenant_id: "?".to_owned(), ..batch(checks) };
    let refused = users.batch_verify_passwords(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let expected = ["tenant_id", "checks[1].user_id", "checks[1].password", "checks[2].username", "checks[3].subject"];
    assert_eq!(fields(&refused), expected);
    let elsewhere = BatchVerifyPasswordsRequest { tenant_id: "else".to_owned(), ..batch(vec![by_id("ada", PASSWORD)]) };
    assert_eq!(users.batch_verify_passwords(elsewhere).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_batch_is_had_over_rest_too() {
    let rekey = Rekey::start().await;
    make(&rekey, "acme", "ada").await;
    let body = json!({"checks": [
        {"userId": "ada", "password": PASSWORD},
        {"username": "nobody@example.org", "password": PASSWORD},
    ]});
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/tenants/acme/users:batchVerifyPasswords", rekey.http))
        .bearer_auth(&rekey.admin_token)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["results"][0]["verified"], true);
    assert_eq!(answer["results"][0]["userId"], "ada");
    assert_ne!(answer["results"][1]["verified"], true);
    assert_eq!(answer["results"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn devices_are_checked_by_the_hundred_too() {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "plant".to_owned(), ..Tenant::default() }).await;
    let mut devices = rekey.admin().devices;
    let device = CreateDeviceRequest {
        tenant_id: "plant".to_owned(),
        device_id: "4711".to_owned(),
        user_name: "device01".to_owned(),
        secret_source: Some(create_device_request::SecretSource::Password("Abcdefgh1234567!".to_owned())),
        ..Default::default()
    };
    devices.create_device(device).await.unwrap();
    let check = |subject, password: &str| AuthenticationCheck {
        source: String::new(),
        subject: Some(subject),
        password: password.to_owned(),
    };
    let id = |id: &str| authentication_check::Subject::DeviceId(id.to_owned());
    let name = |name: &str| authentication_check::Subject::UserName(name.to_owned());
    let checks = [
        check(id("4711"), "Abcdefgh1234567!"),
        check(id("4711"), "Abcdefgh1234567?"),
        check(name("device01"), "Abcdefgh1234567!"),
        check(name("device02"), "Abcdefgh1234567!"),
    ];
    // Few enough wrong ones not to hold the others up.
    let checks = checks.iter().chain(checks.iter().step_by(2).cycle().take(96)).cloned().collect();
    let request = BatchVerifyAuthenticationsRequest { tenant_id: "plant".to_owned(), checks };
    let results = devices.batch_verify_authentications(request).await.unwrap().into_inner().results;
    let found: Vec<_> = results.iter().map(|result| (result.verified, result.device_id.as_str())).collect();
    assert_eq!(found[..4], [(true, "4711"), (false, ""), (true, "4711"), (false, "")]);
    assert_eq!(found[4..], [(true, "4711")].repeat(96));
    assert!(results.iter().all(|result| !result.overloaded));
}
