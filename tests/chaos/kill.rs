//! SIGKILL under mixed load: of the service on each engine, and of PostgreSQL under a service that lives on.

use std::time::{Duration, Instant};

use crate::{
    cluster::Cluster,
    database::Rows,
    load::TENANT,
    model::Kind,
    parameters::{rounds, say},
    scene::Scene,
    server::Site,
};

/// Kills of the service in the quick suite, on each engine; of the database half as many. `REKEY_CHAOS_ROUNDS=500` for the
/// full number.
const QUICK: u64 = 8;
/// Kills within which a planted bug must have shown itself.
const CAUGHT_WITHIN: u64 = 60;
/// Who asks at the same time.
const WORKERS: usize = 6;
/// The kill comes when at most so many calls of a round have begun.
const CALLS: u64 = 150;
/// And at most so much later, so that it meets every part of a call.
const LATER: Duration = Duration::from_millis(12);
/// Rounds after which workers leave their subjects and make new ones, so that looking at all of them stays quick.
const GENERATION: u64 = 6;

/// A load, and what its kills came to.
struct Campaign {
    scene: Scene,
    /// What the workers make where it is not a mixture.
    kinds: Option<&'static [Kind]>,
    begun: Instant,
    starts: Vec<Duration>,
}

impl Campaign {
    async fn new(name: &str, site: Site, bug: Option<&str>) -> Self {
        let scene = Scene::new(name, site, bug).await;
        Self { scene, kinds: None, begun: Instant::now(), starts: Vec::new() }
    }

    /// Load, a kill, and a new start once all calls have ended; then a look at everything: what is wrong.
    async fn round(&mut self, round: u64, cluster: Option<&mut Cluster>) -> Vec<String> {
        let scene = &mut self.scene;
        if round.is_multiple_of(GENERATION) {
            scene.workers.clear();
            scene.join(WORKERS);
            for worker in &mut scene.workers {
                worker.kinds = self.kinds.unwrap_or(worker.kinds);
            }
        }
        let (first, calls, later) = (scene.log.begun(), scene.rng.u64(1..=CALLS), LATER.mul_f64(scene.rng.f64()));
        let working = scene.work();
        scene.log.wait_until_begun(first + calls).await;
        tokio::time::sleep(later).await;
        if let Some(cluster) = cluster {
            cluster.kill();
            let begun = Instant::now();
            cluster.start();
            scene.rest(working).await;
            scene.server.wait_until_ready().await;
            scene.wait_until_it_answers().await;
            self.starts.push(begun.elapsed());
        } else {
            scene.server.kill();
            scene.rest(working).await;
            let begun = Instant::now();
            scene.server = scene.site.serve().await;
            self.starts.push(begun.elapsed());
        }
        self.scene.look().await
    }

    /// Rounds, in each of which nothing may be wrong; then the whole database, and what is told of the run.
    async fn run(mut self, rounds: u64, mut cluster: Option<Cluster>) {
        for round in 0..rounds {
            let wrong = self.round(round, cluster.as_mut()).await;
            if !wrong.is_empty() {
                let Scene { name, site, server, .. } = self.scene;
                let (log, kept) = (server.log(), site.keep());
                let wrong = wrong.join("\n");
                panic!("{name}, round {round}, files in {kept:?}:\n{wrong}\nThe service said:\n{log}");
            }
        }
        let rows = Rows::open(&self.scene.site.url).await;
        assert_eq!(rows.miscounted(TENANT).await, Vec::<String>::new());
        rows.close().await;
        self.starts.sort();
        let (kills, calls) = (self.starts.len(), self.scene.log.begun());
        let (middle, last) = (self.starts[kills / 2], self.starts[kills - 1]);
        say(format_args!(
            "{}: {kills} kills, {calls} calls, nothing lost and nothing half; ready after {middle:.0?} in the middle, \
             {last:.0?} at most; {:.0?} in all",
            self.scene.name,
            self.begun.elapsed(),
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_on_sqlite_loses_nothing() {
    Campaign::new("kill on sqlite", Site::on_sqlite(), None).await.run(rounds(QUICK), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_on_postgres_loses_nothing() {
    if let Some(site) = Site::on_postgres() {
        Campaign::new("kill on postgres", site, None).await.run(rounds(QUICK), None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_loses_nothing() {
    if let Some(cluster) = Cluster::start_new() {
        let site = Site::on(cluster.database("kill", None));
        Campaign::new("kill of postgres", site, None).await.run(rounds(QUICK / 2), Some(cluster)).await;
    }
}

/// A load on a service with a bug, on those kinds that it is about, until something is wrong; the kill is the same.
async fn is_caught(bug: &str, site: Site, kinds: Option<&'static [Kind]>) {
    let mut campaign = Campaign { kinds, ..Campaign::new(bug, site, Some(bug)).await };
    for round in 0..CAUGHT_WITHIN {
        let wrong = campaign.round(round, None).await;
        if let Some(first) = wrong.first() {
            say(format_args!(
                "{bug} was caught by kill {} as: {}",
                round + 1,
                first.lines().next().unwrap_or_default()
            ));
            return;
        }
    }
    panic!("{CAUGHT_WITHIN} kills did not show the bug {bug}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_its_commit_is_caught() {
    is_caught("answer_before_commit", Site::on_sqlite(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_in_a_transaction_of_its_own_is_caught() {
    is_caught("record_apart", Site::on_sqlite(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_in_a_transaction_of_its_own_is_caught() {
    is_caught("reply_apart", Site::on_sqlite(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_wiped_in_a_transaction_of_their_own_are_caught() {
    if let Some(site) = Site::on_postgres() {
        is_caught("settings_apart", site, Some(&[Kind::Integration])).await;
    }
}
