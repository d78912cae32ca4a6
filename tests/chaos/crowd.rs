//! Too many at once for the pool of connections, and callers that are gone without a word.

use std::time::{Duration, Instant};

use rekey::proto::{CreateTenantRequest, Tenant, WhoAmIRequest};
use tonic_health::pb::health_check_response::ServingStatus::Serving;

use crate::{
    common::{postgres, rekey::Clients},
    load::TENANT,
    parameters::say,
    proxy::{Network, Proxy},
    scene::{Scene, WORKERS},
    server::{PATIENCE, Site, channel_to},
};

/// Who asks at the same time.
const CROWD: usize = 500;
/// Calls before and after.
const CALLS: u64 = 30;

/// A service with two connections to a PostgreSQL behind a proxy.
async fn narrow(name: &str, bug: Option<&str>) -> Option<(Scene, Proxy)> {
    let url = postgres::url()?;
    let (address, database) = url.strip_prefix("postgres://rekey@").unwrap().split_once('/').unwrap();
    let proxy = Proxy::before(address.parse().unwrap()).await;
    let mut site = Site::on(format!("postgres://rekey@{}/{database}", proxy.address()));
    site.set("REKEY_DATABASE__MAX_CONNECTIONS", "2");
    let scene = Scene::new(name, site, bug).await;
    Some((scene, proxy))
}

/// A crowd that comes while the database is slow: whether more than one in twenty were let wait for the last bound of all,
/// rather than told at once or after the wait for a connection. (A change of many statements may take that long by itself.)
async fn crowd(scene: &mut Scene, proxy: &Proxy) -> bool {
    scene.calls(CALLS).await;
    proxy.become_(Network::Slow(Duration::from_millis(50)));
    scene.join(CROWD - WORKERS);
    let (first, working) = (scene.log.begun(), scene.work());
    scene.log.wait_until_begun(first + 2 * CROWD as u64).await;
    scene.rest(working).await;
    proxy.become_(Network::Good);
    let outcomes = scene.outcomes(first);
    say(format_args!("{}: {CROWD} callers, two connections: {outcomes:?}", scene.name));
    let late = |outcome: &str| outcome.contains("TOOK_TOO_LONG") || outcome.contains("Timeout expired");
    let waited: u32 = outcomes.iter().filter(|(outcome, _)| late(outcome)).map(|(_, count)| count).sum();
    waited > outcomes.values().sum::<u32>() / 20
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_a_slow_database_is_refused_in_time() {
    let Some((mut scene, proxy)) = narrow("crowd", None).await else { return };
    assert!(!crowd(&mut scene, &proxy).await, "too many had to wait to the end");
    refusals(&scene).await;
    scene.server.wait_until_ready().await;
    scene.settle().await;
    scene.calls(CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_without_end_is_caught() {
    let Some((mut scene, proxy)) = narrow("endless_patience", Some("endless_patience")).await else { return };
    assert!(crowd(&mut scene, &proxy).await, "the planted bug was not caught");
}

/// Changes that the database refuses, more than it has connections: each within the transaction that it began.
async fn refusals(scene: &Scene) {
    let mut tenants = scene.server.clients(&scene.site.admin_token).tenants;
    for _ in 0..4 {
        let tenant = Tenant { tenant_id: TENANT.to_owned(), ..Tenant::default() };
        let request = CreateTenantRequest { tenant: Some(tenant), ..CreateTenantRequest::default() };
        tenants.create_tenant(request).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_leaks_is_caught() {
    let Some((scene, _proxy)) = narrow("connection_leaked", Some("connection_leaked")).await else { return };
    refusals(&scene).await;
    assert!(scene.turns_unready().await, "the planted bug was not caught");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_are_gone_without_a_word_hold_up_nobody() {
    /// Fewer than the service takes of one peer.
    const GONE: usize = 40;
    let mut site = Site::on_sqlite();
    site.set("REKEY_DRAIN_S", "2");
    let mut scene = Scene::new("half-open", site, None).await;
    let proxy = Proxy::before(scene.server.address()).await;
    let mut gone = Vec::new();
    for _ in 0..GONE {
        let clients = Clients::on(&channel_to(proxy.address()), &scene.site.admin_token);
        clients.callers.clone().who_am_i(WhoAmIRequest {}).await.unwrap();
        gone.push(clients);
    }
    proxy.become_(Network::BlackHole);
    // Each sends one more request that never comes.
    for clients in &gone {
        let mut callers = clients.callers.clone();
        tokio::spawn(async move { callers.who_am_i(WhoAmIRequest {}).await });
    }
    scene.calls(CALLS).await;
    assert_eq!(scene.server.health().await, Some(Serving));
    let begun = Instant::now();
    let (status, log) = scene.server.stop();
    assert!(status.success() && begun.elapsed() < PATIENCE, "{status}\n{log}");
    say(format_args!("{GONE} half-open connections: ended {:.1?} after SIGTERM", begun.elapsed()));
}
