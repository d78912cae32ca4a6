//! Many at once.

use rekey::domain::Reason;
use tokio::task::JoinSet;

use crate::site::{RIGHT, Replica, Site, WRONG};

/// Of so many at once, spread over the replicas, how many are told that they are right, and how many that they are wrong.
/// The others are refused for their number.
async fn at_once(replicas: &[Replica], count: usize, password: &'static str, from: &'static str) -> (usize, usize) {
    let mut calls = JoinSet::new();
    for replica in replicas.iter().cycle().take(count) {
        let replica = replica.clone();
        calls.spawn(async move { replica.user("ada", password, from).await });
    }
    let answers = calls.join_all().await;
    let like = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
    assert_eq!(like(Ok(true)) + like(Ok(false)) + like(Err(Reason::Overloaded)), count, "{answers:?}");
    (like(Ok(true)), like(Ok(false)))
}

/// Checks that were made: those that were not are recorded as such.
async fn checks(site: &Site, replicas: &[Replica]) -> i64 {
    for replica in replicas {
        replica.ops.close().await;
    }
    site.count("FROM audit WHERE action = 'UserService/VerifyPassword' AND outcome = 'failed' AND detail = ''").await
}

async fn guesses_are_bounded(site: Site, replicas: &[Replica]) {
    let (right, wrong) = at_once(replicas, 200, WRONG, "203.0.113.9").await;
    assert!(right == 0 && wrong > 90, "{wrong} are answered");
    assert_eq!(checks(&site, replicas).await, 5);
    assert_eq!(at_once(replicas, 20, RIGHT, "203.0.113.9").await, (0, 20), "right, but too early");
    site.pass(1);
    assert_eq!(at_once(replicas, 20, WRONG, "203.0.113.9").await, (0, 20));
    assert_eq!(checks(&site, replicas).await, 6, "one more after the first delay");
    let hashes: u64 = replicas.iter().map(|replica| replica.hasher.load().done).sum();
    // One for the user that was made, and one for each that was answered.
    assert_eq!(hashes, u64::try_from(1 + wrong + 40).unwrap(), "what is not checked costs the same");
}

async fn owners_pass(site: Site, replicas: &[Replica]) {
    assert_eq!(at_once(replicas, 50, RIGHT, "198.51.100.1").await, (50, 0), "not known yet");
    assert_eq!(at_once(replicas, 50, RIGHT, "198.51.100.1").await, (50, 0), "known");
    assert_eq!(at_once(replicas, 50, RIGHT, "").await, (50, 0), "known by the caller");
    assert_eq!(checks(&site, replicas).await, 0);
    assert_eq!(site.count("FROM failure WHERE reserved > 0 OR failures > 0").await, 0, "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guesses_at_once_from_one_source_are_five_checks_on_sqlite() {
    let (site, replica) = Site::sqlite().await;
    guesses_are_bounded(site, &[replica]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guesses_at_once_from_one_source_are_five_checks_for_two_replicas_on_postgresql() {
    if let Some((site, replica)) = Site::postgres().await {
        let other = site.replica().await;
        guesses_are_bounded(site, &[replica, other]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_right_ones_at_once_all_pass_on_sqlite() {
    let (site, replica) = Site::sqlite().await;
    owners_pass(site, &[replica]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_right_ones_at_once_all_pass_with_two_replicas_on_postgresql() {
    if let Some((site, replica)) = Site::postgres().await {
        let other = site.replica().await;
        owners_pass(site, &[replica, other]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_among_right_ones_from_one_source_are_bounded_too() {
    let (site, replica) = Site::sqlite().await;
    assert!(replica.user("ada", RIGHT, "s").await.unwrap());
    let replicas = [replica];
    let ((right, _), _) = tokio::join!(at_once(&replicas, 100, WRONG, "s"), at_once(&replicas, 20, RIGHT, "s"));
    assert_eq!(right, 0);
    // A success forgives what it saw, so that more may follow: at most five for each.
    assert!(checks(&site, &replicas).await <= 5 * 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_whose_clients_go_away_are_given_back() {
    let (site, replica) = Site::sqlite().await;
    for _ in 0..30 {
        let one = replica.clone();
        let attempt = tokio::spawn(async move { one.user("ada", WRONG, "s").await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        attempt.abort();
        let _ = attempt.await;
    }
    replica.ops.close().await;
    assert!(site.count("FROM failure WHERE failures > 5").await == 0);
    site.pass(900);
    assert!(replica.user("ada", RIGHT, "s").await.unwrap());
    replica.ops.close().await;
    assert_eq!(site.count("FROM failure WHERE reserved > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sources_hold_the_owner_up_for_no_longer_than_documented() {
    let (site, replica) = Site::sqlite().await;
    assert!(replica.device("d1", RIGHT, "192.0.2.1").await, "from home");
    for network in 0..40 {
        let mut guesses = JoinSet::new();
        for number in 0..250 {
            let replica = replica.clone();
            guesses.spawn(async move { replica.device("d1", WRONG, &format!("10.{network}.{number}.1")).await });
        }
        assert!(replica.device("d1", RIGHT, "192.0.2.1").await, "at home nothing is felt of it");
        assert!(guesses.join_all().await.iter().all(|verified| !verified));
    }
    replica.ops.close().await;
    let checked = "FROM audit WHERE action = 'UserService/VerifyPassword' AND outcome = 'failed' AND detail = ''";
    assert_eq!(site.count(checked).await, 20, "what strangers may try together");
    assert_eq!(site.count("FROM failure").await, 22, "each that was checked, home, and the strangers");

    assert!(!replica.device("d1", RIGHT, "198.51.100.77").await, "from abroad it has to wait");
    site.pass(900);
    assert!(replica.device("d1", RIGHT, "198.51.100.77").await, "at the longest");
    for number in 0..100_u32 {
        assert!(!replica.device("d1", WRONG, &format!("11.0.{number}.1")).await);
    }
    assert!(replica.device("d1", RIGHT, "198.51.100.77").await, "and never again from there");
}
