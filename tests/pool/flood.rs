//! Too much at once.

use std::time::Duration;

use rekey::proto::Tenant;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::{
    common::rekey::{Rekey, reason},
    make, verify,
};

#[tokio::test]
async fn one_tenants_flood_costs_another_nothing() {
    let rekey = Rekey::start_with(|options| {
        options.hasher.threads = 1;
        options.hasher.queue = 4;
    })
    .await;
    make(&rekey, "loud", "ada").await;
    make(&rekey, "quiet", "bea").await;

    let flood: Vec<_> = (0..40)
        .map(|_| {
            let mut users = rekey.admin().users;
            tokio::spawn(async move { users.verify_password(verify("loud", "ada")).await })
        })
        .collect();
    let mut users = rekey.admin().users;
    for _ in 0..5 {
        assert!(users.verify_password(verify("quiet", "bea")).await.unwrap().into_inner().verified);
    }
    for answer in flood {
        match answer.await.unwrap() {
            Ok(answer) => assert!(answer.into_inner().verified),
            Err(refused) => {
                assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
                assert!(refused.get_details_retry_info().unwrap().retry_delay.unwrap() >= Duration::from_millis(100));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_calls_that_are_given_up_no_more_are_hashed_than_were_begun() {
    let rekey = Rekey::start_with(|options| {
        options.metrics = Some(([127, 0, 0, 1], 0).into());
        options.hasher.threads = 2;
    })
    .await;
    make(&rekey, "acme", "ada").await;
    for _ in 0..10 {
        // Of many users, for one has no more at once than may fail.
        let calls: Vec<_> = (0..100)
            .map(|number| {
                let mut users = rekey.admin().users;
                tokio::spawn(async move { users.verify_password(verify("acme", &format!("u{number}"))).await })
            })
            .collect();
        // Until some are at work, and others wait.
        while figure(&rekey, "rekey_hashing_queue_length").await < 20 {}
        for call in &calls {
            call.abort();
        }
        for call in calls {
            let _ = call.await;
        }
        while figure(&rekey, "rekey_calls_running{method=\"UserService/VerifyPassword\"}").await > 0 {}
        let done = figure(&rekey, "rekey_hashing_jobs_total{outcome=\"done\"}").await;
        assert_eq!(figure(&rekey, "rekey_hashing_queue_length").await, 0);
        while figure(&rekey, "rekey_hashing_threads_busy").await > 0 {}
        let after = figure(&rekey, "rekey_hashing_jobs_total{outcome=\"done\"}").await;
        assert!(after - done <= 2, "{} were hashed for nobody", after - done);
    }
    assert!(figure(&rekey, "rekey_hashing_jobs_total{outcome=\"cancelled\"}").await > 100);
    let mut users = rekey.admin().users;
    assert!(users.verify_password(verify("acme", "ada")).await.unwrap().into_inner().verified);
}

/// A figure of the metrics.
async fn figure(rekey: &Rekey, series: &str) -> u64 {
    let page = crate::metrics::page(rekey).await;
    let line = page.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test]
async fn nothing_is_hashed_for_a_client_that_will_not_wait_for_it() {
    // Before the first hash is done, a pass over a KiB is expected to take a microsecond: here more than a second.
    let rekey = Rekey::start_with(|options| {
        options.metrics = Some(([127, 0, 0, 1], 0).into());
        options.hasher.threads = 1;
        options.hasher.memory_kib = 100_000;
        options.hasher.iterations = 16;
    })
    .await;
    rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    let mut request = Request::new(verify("acme", "nobody"));
    request.set_timeout(Duration::from_secs(1));
    let refused = rekey.admin().users.verify_password(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    let page = crate::metrics::page(&rekey).await;
    assert!(page.contains("rekey_hashing_jobs_total{outcome=\"done\"} 0\n"), "{page}");
    assert!(page.contains("rekey_hashing_jobs_total{outcome=\"refused\"} 1\n"), "{page}");
}
