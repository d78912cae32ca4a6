//! One password on many accounts.

use std::time::Duration;

use rekey::{
    ops::FailureBudget,
    proto::{VerifyAuthenticationRequest, verify_authentication_request},
};
use tokio::task::JoinSet;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::common::rekey::{Rekey, reason};

/// One guess at each of so many devices, all at once: how many were answered, and the others' refusals.
async fn spray(rekey: &Rekey, names: std::ops::Range<u32>, source: &str) -> (usize, Vec<Status>) {
    let mut guesses = JoinSet::new();
    for number in names {
        let mut devices = rekey.admin().devices;
        let verify = VerifyAuthenticationRequest {
            tenant_id: "system".to_owned(),
            subject: Some(verify_authentication_request::Subject::DeviceId(format!("d{number}"))),
            password: "Summer-2026-and-so-on".to_owned(),
            source: source.to_owned(),
        };
        guesses.spawn(async move { devices.verify_authentication(verify).await.map(tonic::Response::into_inner) });
    }
    let (mut answered, mut refused) = (0, Vec::new());
    for answer in guesses.join_all().await {
        match answer {
            Ok(answer) => {
                assert!(!answer.verified);
                answered += 1;
            }
            Err(status) => refused.push(status),
        }
    }
    (answered, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_is_throttled_over_all_accounts_together_and_others_are_not() {
    let budget = FailureBudget { per_minute: 30, burst: 100 };
    let rekey = Rekey::start_with(|options| options.limits.failures = budget).await;
    let (answered, refused) = spray(&rekey, 0..300, "203.0.113.9").await;
    assert_eq!((answered, refused.len()), (100, 200));
    for status in refused {
        assert_eq!(reason(&status), "RATE_LIMITED");
        let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2), "{wait:?}");
    }
    assert_eq!(spray(&rekey, 300..310, "203.0.113.200").await.0, 0, "the same network");
    assert_eq!(spray(&rekey, 300..310, "198.51.100.9").await.0, 10, "another one");
    assert_eq!(spray(&rekey, 310..500, "").await.0, 190, "a caller that does not tell sources apart");
    rekey.clock.advance(Duration::from_mins(1));
    assert_eq!(spray(&rekey, 500..600, "203.0.113.9").await.0, 30);
    rekey.clock.set_back(Duration::from_hours(24));
    assert_eq!(spray(&rekey, 600..610, "203.0.113.9").await.0, 0, "a clock that is set back gives nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_take_nothing_from_a_source() {
    use crate::site::RIGHT;
    let budget = FailureBudget { per_minute: 1, burst: 2 };
    let rekey = Rekey::start_with(|options| options.limits.failures = budget).await;
    let mut devices = rekey.admin().devices;
    let device = rekey::proto::CreateDeviceRequest {
        tenant_id: "system".to_owned(),
        device_id: "d1".to_owned(),
        user_name: "d1".to_owned(),
        secret_source: Some(rekey::proto::create_device_request::SecretSource::Password(RIGHT.to_owned())),
        ..Default::default()
    };
    devices.create_device(device).await.unwrap();
    let verify = VerifyAuthenticationRequest {
        tenant_id: "system".to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId("d1".to_owned())),
        password: RIGHT.to_owned(),
        source: "192.0.2.1".to_owned(),
    };
    for _ in 0..50 {
        assert!(devices.verify_authentication(verify.clone()).await.unwrap().into_inner().verified);
    }
    assert_eq!(spray(&rekey, 10..20, "192.0.2.1").await.0, 2);
    let refused = devices.verify_authentication(verify).await.unwrap_err();
    assert_eq!(reason(&refused), "RATE_LIMITED");
}
