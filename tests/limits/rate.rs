//! How often who may call.

use std::time::Duration;

use rekey::{
    domain::Rate,
    proto::{ListTenantsRequest, VerifyAuthenticationRequest, verify_authentication_request},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::common::rekey::{Clients, Rekey, reason};

const THREE: Rate = Rate { per_second: 1, burst: 3 };

async fn list(clients: &Clients) -> Result<(), Status> {
    clients.tenants.clone().list_tenants(ListTenantsRequest::default()).await.map(drop)
}

async fn verify(clients: &Clients, tenant: &str, device: &str) -> Result<(), Status> {
    let verify = VerifyAuthenticationRequest {
        tenant_id: tenant.to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId(device.to_owned())),
        password: "whatever it may be".to_owned(),
        source: String::new(),
    };
    clients.devices.clone().verify_authentication(verify).await.map(drop)
}

fn assert_refused(refused: &Status) {
    assert_eq!((refused.code(), reason(refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
}

#[tokio::test]
async fn a_caller_is_let_in_as_often_as_agreed_and_others_do_not_feel_it() {
    let rekey = Rekey::start_with(|options| options.limits.caller = Rate { per_second: 2, burst: 6 }).await;
    let token = rekey.make_caller("system", &["tenants:list"]).await;
    let (other, greedy) = (rekey.clients(&token), rekey.admin());
    for _ in 0..4 {
        list(&greedy).await.unwrap();
    }
    assert_refused(&list(&greedy).await.unwrap_err());
    list(&other).await.unwrap();
    rekey.clock.advance(Duration::from_millis(600));
    list(&greedy).await.unwrap();
    assert_refused(&list(&greedy).await.unwrap_err());
    rekey.clock.set_back(Duration::from_hours(1));
    assert_refused(&list(&greedy).await.unwrap_err());
    rekey.clock.advance(Duration::from_secs(1));
    list(&greedy).await.unwrap();
    list(&greedy).await.unwrap();
    assert_refused(&list(&greedy).await.unwrap_err());
}

#[tokio::test]
async fn the_gateway_says_429_and_when_to_come_back() {
    let rekey = Rekey::start_with(|options| options.limits.caller = THREE).await;
    let http = reqwest::Client::new();
    let get = || {
        let request = http.get(format!("http://{}/v1/tenants", rekey.http)).bearer_auth(&rekey.admin_token);
        async move { request.send().await.unwrap() }
    };
    for _ in 0..3 {
        assert_eq!(get().await.status(), 200);
    }
    let refused = get().await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(refused.text().await.unwrap().contains("RATE_LIMITED"));
}

#[tokio::test]
async fn a_subject_is_asked_about_as_often_as_agreed_whether_or_not_there_is_one() {
    let rekey = Rekey::start_with(|options| options.limits.target = THREE).await;
    let clients = rekey.admin();
    for _ in 0..3 {
        verify(&clients, "system", "d1").await.unwrap();
    }
    assert_refused(&verify(&clients, "system", "d1").await.unwrap_err());
    verify(&clients, "system", "d2").await.unwrap();
    rekey.clock.advance(Duration::from_secs(1));
    verify(&clients, "system", "d1").await.unwrap();
}

#[tokio::test]
async fn a_tenant_is_called_about_as_often_as_agreed_by_whomever() {
    let rekey = Rekey::start_with(|options| options.limits.tenant = Rate { per_second: 1, burst: 5 }).await;
    rekey.make_tenant(rekey::proto::Tenant { tenant_id: "acme".to_owned(), ..Default::default() }).await;
    let (one, other) = (rekey.clients(&rekey.make_caller("system", &["*"]).await), rekey.admin());
    for clients in [&one, &other, &one, &other, &one] {
        verify(clients, "acme", "d1").await.unwrap();
    }
    assert_refused(&verify(&other, "acme", "d1").await.unwrap_err());
    verify(&other, "system", "d1").await.unwrap();
}
