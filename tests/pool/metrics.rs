//! What Prometheus reads.

use rekey::proto::VerifyPasswordRequest;
use tonic::Code;

use crate::{PASSWORD, common::rekey::Rekey, make, verify};

pub(crate) async fn page(rekey: &Rekey) -> String {
    let answer = reqwest::get(format!("http://{}/metrics", rekey.metrics().unwrap())).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    answer.text().await.unwrap()
}

#[tokio::test]
async fn calls_and_hashes_are_counted_and_nobody_is_named() {
    let rekey = Rekey::start_with(|options| options.metrics = Some(([127, 0, 0, 1], 0).into())).await;
    make(&rekey, "acme", "ada").await;
    let mut users = rekey.admin().users;
    for _ in 0..3 {
        assert!(users.verify_password(verify("acme", "ada")).await.unwrap().into_inner().verified);
    }
    let unknown = users.verify_password(verify("elsewhere", "ada")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let stranger = rekey.clients("").users.verify_password(verify("acme", "ada")).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);

    let page = page(&rekey).await;
    for line in [
        r#"rekey_calls_total{method="UserService/VerifyPassword",code="OK"} 3"#,
        r#"rekey_calls_total{method="UserService/VerifyPassword",code="NOT_FOUND"} 1"#,
        r#"rekey_calls_total{method="UserService/VerifyPassword",code="UNAUTHENTICATED"} 1"#,
        r#"rekey_calls_running{method="UserService/VerifyPassword"} 0"#,
        r#"rekey_call_duration_seconds_count{method="UserService/VerifyPassword"} 5"#,
        "rekey_hashing_threads 2",
        "rekey_hashing_queue_length 0",
        r#"rekey_hashing_jobs_total{outcome="done"} 4"#,
        r#"rekey_hashing_jobs_total{outcome="refused"} 0"#,
        "rekey_hashing_wait_seconds_count 4",
        "rekey_hashing_service_seconds_count 4",
        r#"rekey_secret_uses_total{kind="user"} 3"#,
    ] {
        assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
    }
    for name in ["acme", "elsewhere", "ada", "admin", PASSWORD, &rekey.admin_token] {
        assert!(!page.contains(name), "{name} is in\n{page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let labels = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let name = label.split_once('=').unwrap().0;
            assert!(["method", "code", "le", "outcome", "lane", "cause", "scheme", "kind"].contains(&name), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessers_and_what_passwords_are_kept_as_are_counted() {
    let rekey = Rekey::start_with(|options| options.metrics = Some(([127, 0, 0, 1], 0).into())).await;
    make(&rekey, "acme", "ada").await;
    let mut users = rekey.admin().users;
    assert!(users.verify_password(verify("acme", "ada")).await.unwrap().into_inner().verified);
    for (user, source, times) in [("ada", "", 2), ("ada", "203.0.113.9", 7), ("bob", "203.0.113.9", 1)] {
        let wrong = VerifyPasswordRequest {
            password: "a wrong one".to_owned(),
            source: source.to_owned(),
            ..verify("acme", user)
        };
        for _ in 0..times {
            assert!(!users.verify_password(wrong.clone()).await.unwrap().into_inner().verified);
        }
    }
    let text = page(&rekey).await;
    for line in [
        r#"rekey_attempts_failed_total{lane="known"} 2"#,
        r#"rekey_attempts_failed_total{lane="stranger"} 6"#,
        r#"rekey_attempts_refused_total{cause="delay"} 2"#,
        r#"rekey_attempts_refused_total{cause="stop"} 0"#,
        r#"rekey_attempts_refused_total{cause="source"} 0"#,
        "rekey_attempts_failed_subjects_total 2",
        "rekey_soft_locks_total 1",
        "rekey_hard_stops_total 0",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
    for name in ["acme", "ada", "bob", "203.0.113.9"] {
        assert!(!text.contains(name), "{name} is in\n{text}");
    }

    // The census is made at the start, and then now and again.
    let rekey = rekey.pause().await.start().await;
    while !page(&rekey).await.contains("rekey_passwords{scheme=\"argon2id m=7168 t=5 p=1\"} 1\n") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn only_the_page_is_served_and_only_where_it_was_asked_for() {
    let rekey = Rekey::start_with(|options| options.metrics = Some(([127, 0, 0, 1], 0).into())).await;
    let address = rekey.metrics().unwrap();
    assert_eq!(reqwest::get(format!("http://{address}/")).await.unwrap().status(), 404);
    let posted = reqwest::Client::new().post(format!("http://{address}/metrics")).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    assert!(Rekey::start().await.metrics().is_none());
}
