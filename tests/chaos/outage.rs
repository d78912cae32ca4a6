//! The database gone and back, while the service lives through it: killed, stopped, and behind a network that fails.

use std::{
    cell::RefCell,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::{
    cluster::Cluster,
    parameters::{number, say},
    proxy::{Network, Proxy},
    scene::Scene,
    server::Site,
};

/// Calls before and after.
const CALLS: u64 = 30;

/// How long the database is gone: `REKEY_CHAOS_OUTAGE_S`, in earnest 30.
fn outage() -> Duration {
    Duration::from_secs(number("REKEY_CHAOS_OUTAGE_S").unwrap_or(3))
}

/// Breaks the way to the database under load, and mends it.
async fn survive(scene: &mut Scene, mut break_it: impl FnMut(), mut mend_it: impl FnMut()) {
    scene.calls(CALLS).await;
    let first = scene.log.begun();
    let working = scene.work();
    scene.log.wait_until_begun(first + CALLS / 2).await;
    let begun = Instant::now();
    break_it();
    assert!(scene.turns_unready().await, "{}: ready without a database\n{}", scene.name, scene.server.log());
    let unready = begun.elapsed();
    tokio::time::sleep(outage().saturating_sub(unready)).await;
    assert_eq!(scene.server.health().await, Some(NotServing), "{}: ready without a database", scene.name);
    let mended = Instant::now();
    mend_it();
    scene.server.wait_until_ready().await;
    let ready = mended.elapsed();
    scene.rest(working).await;
    scene.wait_until_it_answers().await;
    let outcomes = scene.outcomes(first);
    say(format_args!("{}: not ready after {unready:.1?}, ready again after {ready:.1?}; {outcomes:?}", scene.name));
    let own_bound = outcomes.keys().all(|outcome| !outcome.contains("Timeout expired"));
    assert!(own_bound, "{}: the service did not answer within its own bound", scene.name);
    scene.settle().await;
    scene.calls(CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_is_found_again() {
    let Some(cluster) = Cluster::start_new() else { return };
    let site = Site::on(cluster.database("killed", None));
    let mut scene = Scene::new("database killed", site, None).await;
    let cluster = RefCell::new(cluster);
    survive(&mut scene, || cluster.borrow_mut().kill(), || cluster.borrow_mut().start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_database_is_found_again() {
    let Some(cluster) = Cluster::start_new() else { return };
    let site = Site::on(cluster.database("stopped", None));
    let mut scene = Scene::new("database stopped", site, None).await;
    survive(&mut scene, || cluster.pause(true), || cluster.pause(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_fails_is_lived_through() {
    let Some(cluster) = Cluster::start_new() else { return };
    let proxy = Proxy::before(SocketAddr::from(([127, 0, 0, 1], cluster.port()))).await;
    let site = Site::on(cluster.database("network", Some(proxy.address().port())));
    let mut scene = Scene::new("network", site, None).await;
    for network in [Network::Resetting, Network::Closing, Network::HalfClosed, Network::Stalled, Network::BlackHole] {
        scene.name = format!("network {network:?}");
        survive(&mut scene, || proxy.become_(network), || proxy.become_(Network::Good)).await;
    }
    // One that is merely slow is no outage.
    proxy.become_(Network::Slow(Duration::from_millis(20)));
    scene.calls(CALLS).await;
    assert_eq!(scene.server.health().await, Some(Serving));
}
