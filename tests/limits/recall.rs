//! Of a device that signs in all the time its password is remembered for a moment. That must let nobody in who should
//! not be, and must help nobody to guess.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use rekey::{
    domain::{Password, ResourceId, SubjectKind, Transition},
    ops::{Source, device::ResetAuthentication, lifecycle::Named, rotation::Placement},
};
use sea_orm::{ConnectionTrait as _, Statement};
use tokio::task::JoinSet;

use crate::site::{RIGHT, Replica, Site, WRONG, call, system};

const NEW: &str = "An0ther-one-and-long-enough-too";
const HOME: &str = "192.0.2.1";

fn device() -> ResourceId {
    ResourceId::parse("d1").unwrap()
}

async fn reset(replica: &Replica, password: &str) {
    let reset = ResetAuthentication {
        tenant: system(),
        device_id: device(),
        user_name: None,
        source: Some(Source::Given(Password::parse(password.to_owned()).unwrap(), "password")),
        placement: Placement::ALONE,
        return_current: false,
        etag: None,
    };
    replica.ops.reset_authentication(&call("admin"), reset).await.unwrap();
}

async fn set_state(replica: &Replica, transition: Transition) {
    let named = Named::of(&system(), SubjectKind::Device, device());
    replica.ops.set_state(&call("admin"), &named, transition).await.unwrap();
}

/// Has the password right so often that it is remembered, with a check that is kept for the next.
async fn sign_in(replica: &Replica) {
    for _ in 0..4 {
        assert!(replica.device("d1", RIGHT, HOME).await);
    }
}

/// Makes whatever is looked up in the database unusable, so that only what is remembered is right.
async fn hide(site: &Site) {
    site.run("UPDATE subject SET external_id = 'hidden' WHERE external_id = 'd1'").await;
}

async fn show(site: &Site) {
    site.run("UPDATE subject SET external_id = 'd1' WHERE external_id = 'hidden'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_is_remembered_for_less_than_a_second() {
    let (site, replica) = Site::sqlite().await;
    sign_in(&replica).await;
    hide(&site).await;
    site.clock.advance(Duration::from_millis(999));
    assert!(replica.device("d1", RIGHT, HOME).await);
    assert!(!replica.device("d1", WRONG, HOME).await, "a wrong one is looked up");
    show(&site).await;
    sign_in(&replica).await;
    hide(&site).await;
    site.pass(1);
    assert!(!replica.device("d1", RIGHT, HOME).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_looked_at_again_behind_an_answer() {
    let (site, replica) = Site::sqlite().await;
    sign_in(&replica).await;
    hide(&site).await;
    site.clock.advance(Duration::from_millis(750));
    assert!(replica.device("d1", RIGHT, HOME).await, "remembered still");
    // At this time of the clock it would be for ever, had nobody looked.
    while replica.device("d1", RIGHT, HOME).await {}
}

/// How often a reservation was written.
async fn written(site: &Site) -> i64 {
    let statement = "SELECT max(revision) AS n FROM failure WHERE source_class <> '*'";
    let statement = Statement::from_string(site.raw.get_database_backend(), statement);
    site.raw.query_one_raw(statement).await.unwrap().unwrap().try_get("", "n").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_in_use_waits_for_no_transaction() {
    let (site, replica) = Site::sqlite().await;
    sign_in(&replica).await;
    for _ in 0..3 {
        // More than half of the time for which a check is reserved.
        site.pass(61);
        let begin = written(&site).await;
        sign_in(&replica).await;
        while written(&site).await == begin {
            assert_eq!(at_once(&replica, RIGHT), Poll::Ready(true));
        }
        assert_eq!(at_once(&replica, RIGHT), Poll::Ready(true), "it is reserved for as long again");
    }
    replica.ops.close().await;
    assert_eq!(site.count("FROM failure WHERE reserved > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_keeps_all_checks_lets_another_come_to_its_turn() {
    let (site, replica) = Site::sqlite().await;
    let other = site.replica().await;
    sign_in(&replica).await;
    let crowd = async || {
        let mut crowd = JoinSet::new();
        for _ in 0..5 {
            let replica = replica.clone();
            crowd.spawn(async move { replica.device("d1", RIGHT, HOME).await });
        }
        crowd.join_all().await
    };
    let elsewhere = other.clone();
    let waiting = tokio::spawn(async move { elsewhere.device("d1", RIGHT, HOME).await });
    while !waiting.is_finished() {
        crowd().await;
    }
    assert!(waiting.await.unwrap());
    for process in [replica, other] {
        process.ops.close().await;
    }
    assert_eq!(site.count("FROM failure WHERE reserved > 0 OR failures > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_process_changes_is_not_remembered_otherwise() {
    let (_site, replica) = Site::sqlite().await;
    sign_in(&replica).await;
    reset(&replica, NEW).await;
    assert!(!replica.device("d1", RIGHT, HOME).await, "void at once");
    assert!(replica.device("d1", NEW, HOME).await, "good at once");
    reset(&replica, RIGHT).await;
    sign_in(&replica).await;
    for (out, back) in [(Transition::Lock, Transition::Unlock), (Transition::Disable, Transition::Enable)] {
        set_state(&replica, out).await;
        assert!(!replica.device("d1", RIGHT, HOME).await, "{out:?}");
        set_state(&replica, back).await;
        sign_in(&replica).await;
    }
    let named = Named::of(&system(), SubjectKind::Device, device());
    replica.ops.delete_subject(&call("admin"), &named, false).await.unwrap();
    assert!(!replica.device("d1", RIGHT, HOME).await, "deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_changes_is_noticed_within_a_second() {
    let (site, replica) = Site::sqlite().await;
    let other = site.replica().await;
    sign_in(&replica).await;
    reset(&other, NEW).await;
    assert!(replica.device("d1", NEW, HOME).await, "what is good elsewhere is good here at once");
    site.pass(1);
    assert!(!replica.device("d1", RIGHT, HOME).await);
    assert!(replica.device("d1", NEW, HOME).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_ends_is_not_remembered_beyond_its_end() {
    let (site, replica) = Site::sqlite().await;
    let end = site.now().micros() + 500_000;
    site.run(&format!("UPDATE secret SET expire_time = {end} WHERE slot = 'password' AND material = 'sealed'")).await;
    sign_in(&replica).await;
    site.clock.advance(Duration::from_millis(499));
    assert!(replica.device("d1", RIGHT, HOME).await);
    site.clock.advance(Duration::from_millis(1));
    assert!(!replica.device("d1", RIGHT, HOME).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_becomes_anothers_takes_nothing_with_it() {
    let (site, replica) = Site::sqlite().await;
    sign_in(&replica).await;
    let named = Named::of(&system(), SubjectKind::Device, device());
    replica.ops.delete_subject(&call("admin"), &named, false).await.unwrap();
    replica.create_device("d1", NEW).await;
    assert!(!replica.device("d1", RIGHT, HOME).await);
    assert!(replica.device("d1", NEW, HOME).await);
    replica.ops.close().await;
    assert_eq!(site.count("FROM failure WHERE reserved > 0").await, 0);
}

/// What comes of an attempt without waiting for anything; then whoever asked goes away.
fn at_once(replica: &Replica, password: &'static str) -> Poll<bool> {
    pin!(replica.device("d1", password, HOME)).poll(&mut Context::from_waker(Waker::noop()))
}

/// A right one is told at once, so who goes away without an answer has learned that it was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_before_a_wrong_answer_has_guessed_all_the_same() {
    let (site, replica) = Site::sqlite().await;
    for _ in 0..3 {
        sign_in(&replica).await;
        assert_eq!(at_once(&replica, RIGHT), Poll::Ready(true));
        assert_eq!(at_once(&replica, WRONG), Poll::Pending);
        replica.ops.close().await;
        assert_eq!(site.count("FROM failure WHERE failures = 1 AND reserved = 0").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_ones_between_right_ones_are_counted_and_lead_to_a_wait() {
    let (site, replica) = Site::sqlite().await;
    sign_in(&replica).await;
    for _ in 0..5 {
        assert!(!replica.device("d1", WRONG, HOME).await);
    }
    assert_eq!(at_once(&replica, RIGHT), Poll::Pending, "nothing is kept for who has to wait");
    assert!(!replica.device("d1", RIGHT, HOME).await, "right, but too early");
    site.pass(1);
    sign_in(&replica).await;
    replica.ops.close().await;
    assert_eq!(site.count("FROM failure WHERE reserved > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guesses_at_once_at_a_device_that_is_remembered_are_five_checks() {
    let (site, replica) = Site::sqlite().await;
    sign_in(&replica).await;
    let mut guesses = JoinSet::new();
    for _ in 0..200 {
        let replica = replica.clone();
        guesses.spawn(async move { replica.device("d1", WRONG, HOME).await });
    }
    assert!(guesses.join_all().await.iter().all(|verified| !verified));
    replica.ops.close().await;
    let checked = "FROM audit WHERE action = 'UserService/VerifyPassword' AND outcome = 'failed' AND detail = ''";
    assert_eq!(site.count(checked).await, 5);
    assert_eq!(site.count("FROM failure WHERE failures = 5 AND reserved = 0 AND blocked_until IS NOT NULL").await, 1);
}
