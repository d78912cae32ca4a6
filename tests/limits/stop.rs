//! A hundred wrong passwords in a row stop those that nobody knows, and nobody else (SP 800-63B-4 section 3.2.2).

use rekey::{
    domain::{ResourceId, SubjectKind, Transition},
    ops::lifecycle::Named,
    proto::{SoftLock, TenantLimits},
};
use tokio::task::JoinSet;

use crate::{
    lock::{rekey, reset, soft_lock, verify},
    site::{RIGHT, Replica, Site, WRONG, call, system},
};

const HOME: &str = "192.0.2.1";
const CHECKED: &str = "FROM audit WHERE action = 'UserService/VerifyPassword' AND outcome = 'failed' AND detail = ''";

async fn is_stopped(replica: &Replica) -> bool {
    let device = replica.ops.get_device(&call("admin"), &system(), ResourceId::parse("d1").unwrap()).await.unwrap();
    device.soft_lock.is_some_and(|lock| lock.stopped)
}

/// A day of guessing from ever new places, with all replicas at once, as soon as each delay is over.
async fn a_day_of_guessing(site: Site, replicas: &[Replica]) {
    let owner = replicas.first().unwrap();
    assert!(owner.device("d1", RIGHT, HOME).await);
    for quarter in 0..96_u32 {
        let mut guesses = JoinSet::new();
        for (number, replica) in replicas.iter().cycle().take(16).enumerate() {
            let (replica, from) = (replica.clone(), format!("10.{quarter}.{number}.1"));
            guesses.spawn(async move { replica.device("d1", WRONG, &from).await });
        }
        assert!(guesses.join_all().await.iter().all(|verified| !verified));
        assert!(owner.device("d1", RIGHT, HOME).await, "known sources go on");
        site.pass(900);
    }
    for replica in replicas {
        assert!(is_stopped(replica).await);
        replica.ops.close().await;
    }
    assert_eq!(site.count(CHECKED).await, 100, "of 1,536");
    assert_eq!(site.count("FROM audit WHERE detail = 'sources that are not known are stopped'").await, 1);

    // Time does not end it.
    site.pass(20 * 24 * 3_600);
    site.store().await.forget_attempts(site.now()).await.unwrap();
    assert!(!owner.device("d1", RIGHT, "198.51.100.1").await);
    assert!(owner.device("d1", RIGHT, HOME).await);
    site.pass(20 * 24 * 3_600);
    site.store().await.forget_attempts(site.now()).await.unwrap();
    assert!(is_stopped(owner).await);
    assert!(owner.device("d1", RIGHT, HOME).await);

    let named = Named::of(&system(), SubjectKind::Device, ResourceId::parse("d1").unwrap());
    owner.ops.set_state(&call("admin"), &named, Transition::Unlock).await.unwrap();
    owner.ops.set_state(&call("admin"), &named, Transition::Unlock).await.unwrap();
    assert!(!is_stopped(owner).await);
    assert!(replicas.last().unwrap().device("d1", RIGHT, "198.51.100.1").await);
    for replica in replicas {
        replica.ops.close().await;
    }
    assert_eq!(site.count("FROM audit WHERE detail = 'ends by an unlock'").await, 1, "only where it ends something");
    site.pass(40 * 24 * 3_600);
    site.store().await.forget_attempts(site.now()).await.unwrap();
    assert_eq!(site.count("FROM failure").await, 0, "nothing of it is kept for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_guessing_is_a_hundred_checks_and_the_owner_goes_on_on_sqlite() {
    let (site, replica) = Site::sqlite().await;
    a_day_of_guessing(site, &[replica]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_guessing_is_a_hundred_checks_and_the_owner_goes_on_with_two_replicas_on_postgresql() {
    if let Some((site, replica)) = Site::postgres().await {
        let other = site.replica().await;
        a_day_of_guessing(site, &[replica, other]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_nobodys_are_stopped_too_but_not_kept_for_ever() {
    let (site, replica) = Site::sqlite().await;
    for number in 0..150 {
        assert!(!replica.device("nobody", WRONG, &format!("10.0.{number}.1")).await);
        site.pass(900);
    }
    replica.ops.close().await;
    assert_eq!(site.count(CHECKED).await, 100);
    assert_eq!(site.count("FROM failure WHERE stop_time IS NOT NULL").await, 1);
    site.pass(30 * 24 * 3_600);
    site.store().await.forget_attempts(site.now()).await.unwrap();
    assert_eq!(site.count("FROM failure").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_a_stop_and_ends_it_by_a_reset() {
    let (rekey, clients) = rekey(TenantLimits { hard_stop_failures: Some(3), ..TenantLimits::default() }).await;
    assert!(verify(&clients, RIGHT, HOME).await.unwrap());
    for number in 0..4 {
        assert!(!verify(&clients, WRONG, &format!("10.0.{number}.1")).await.unwrap());
    }
    let lock = soft_lock(&clients).await.unwrap();
    assert_eq!(lock, SoftLock { blocked_until: None, failures: 3, stopped: true });
    assert!(!verify(&clients, RIGHT, "198.51.100.1").await.unwrap());
    assert!(verify(&clients, RIGHT, HOME).await.unwrap());

    let new = "another long enough phrase";
    reset(&clients, new).await;
    assert_eq!(soft_lock(&clients).await, None);
    assert!(verify(&clients, new, "198.51.100.1").await.unwrap());
    drop(rekey);
}
