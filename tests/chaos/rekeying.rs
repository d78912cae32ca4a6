//! SIGKILL in the middle of rotations of the keys, under mixed load: each is finished by the next one, and no secret is
//! ever unreadable.

use std::time::{Duration, Instant};

use rekey::{
    crypto::{Keyring, SystemEntropy},
    domain::{KeyPurpose, Timestamp},
    proto::{KeyRotationPart, ListKeysRequest, ListKeysResponse, RotateKeysRequest},
};

use crate::{
    check::all_sign_in,
    common::rekey::Clients,
    parameters::{rounds, say},
    scene::Scene,
    server::Site,
};

/// Kills in the quick suite, on each engine; `REKEY_CHAOS_ROUNDS=50` for the full number.
const QUICK: u64 = 6;
/// Kills within which a planted bug must have shown itself.
const CAUGHT_WITHIN: u64 = 60;
/// Of those, kills of one installation: the answers that it keeps pile up, and soon nearly all of a rotation is theirs,
/// which the planted bug leaves alone.
const AFRESH: u64 = 5;
/// Who asks at the same time.
const WORKERS: usize = 4;
/// The kill comes at most so long after a rotation was asked for: longer than most take.
const LATER: Duration = Duration::from_millis(400);
/// Kills between one new wrapping key and the next: so that some rotations are the rest of an interrupted one.
const GENERATION: u64 = 5;

/// A load, on a service whose keys are rotated.
struct Campaign {
    scene: Scene,
    begun: Instant,
    /// Kills that met a rotation before it had told its end.
    met: u64,
}

/// A rotation to its end: whether it came there.
async fn rotate(clients: &Clients, parts: &[KeyRotationPart], batch_size: i32) -> bool {
    let parts = parts.iter().map(|part| (*part).into()).collect();
    let settle_time = Some(prost_types::Duration::default());
    let request = RotateKeysRequest { parts, batch_size, settle_time, ..RotateKeysRequest::default() };
    let Ok(told) = clients.clone().keys.rotate_keys(request).await else { return false };
    let mut told = told.into_inner();
    loop {
        match told.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_killed) => return false,
        }
    }
}

impl Campaign {
    async fn new(name: &str, site: Site, bug: Option<&str>) -> Self {
        let mut scene = Scene::new(name, site, bug).await;
        scene.workers.clear();
        scene.join(WORKERS);
        Self { scene, begun: Instant::now(), met: 0 }
    }

    /// The service makes with a new wrapping key from its next start on.
    fn promote_another(&self, round: u64) {
        let file = self.scene.site.path("keyring.json");
        let now = Timestamp::from_micros((1_767_225_600 + i64::try_from(round).unwrap()) * 1_000_000);
        let id = Keyring::add(&file, KeyPurpose::Wrapping, None, now, &SystemEntropy).unwrap();
        assert!(Keyring::promote(&file, &id, now).unwrap());
    }

    fn admin(&self) -> Clients {
        self.scene.server.clients(&self.scene.site.admin_token)
    }

    /// Load, a rotation, a kill, and a new start; then a look at everything: what is wrong.
    async fn round(&mut self, round: u64) -> Vec<String> {
        let admin = self.admin();
        let scene = &mut self.scene;
        let (first, later) = (scene.log.begun(), LATER.mul_f64(scene.rng.f64()));
        let working = scene.work();
        scene.log.wait_until_begun(first + 20).await;
        let rotation = tokio::spawn(async move { rotate(&admin, &[], 1).await });
        tokio::time::sleep(later).await;
        let met = !rotation.is_finished();
        scene.server.kill();
        scene.rest(working).await;
        self.met += u64::from(met && !rotation.await.unwrap());
        if round % GENERATION == GENERATION - 1 {
            self.promote_another(round);
        }
        let scene = &mut self.scene;
        scene.server = scene.site.serve().await;
        let mut wrong = scene.look().await;
        wrong.extend(all_sign_in(&scene.site, &scene.server, &scene.workers).await);
        wrong
    }

    /// Rounds, in each of which nothing may be wrong; then a rotation to its end, after which nothing needs an older key.
    async fn run(mut self, rounds: u64) {
        self.promote_another(0);
        for round in 0..rounds {
            let wrong = self.round(round).await;
            assert!(
                wrong.is_empty(),
                "{}, round {round}: {}\n{}",
                self.scene.name,
                wrong.join("\n"),
                self.scene.server.log()
            );
        }
        // While the load goes on: what was under way at the last look stays under an older key until the next one.
        let admin = self.admin();
        let working = self.scene.work();
        assert!(rotate(&admin, &[], 0).await, "{}", self.scene.server.log());
        self.scene.rest(working).await;
        assert!(rotate(&admin, &[KeyRotationPart::Sealed], 0).await, "{}", self.scene.server.log());
        self.scene.settle().await;
        let wrong = all_sign_in(&self.scene.site, &self.scene.server, &self.scene.workers).await;
        assert_eq!(wrong, Vec::<String>::new());

        let keys = admin.clone().keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner();
        let ListKeysResponse { keys, data_keys: Some(census), .. } = keys else { panic!("no census") };
        assert_eq!((census.older_secrets, census.older_replies), (0, 0));
        let wrapping = keys.iter().filter(|key| key.data_keys > 0).count();
        assert_eq!(wrapping, 1, "one key wraps all data keys: {keys:?}");
        say(format_args!(
            "{}: {rounds} kills, {} of them in the middle of a rotation, {} calls; nothing unreadable, nothing lost, and \
             the last rotation left nothing under an older key; {:.0?} in all",
            self.scene.name,
            self.met,
            self.scene.log.begun(),
            self.begun.elapsed(),
        ));
        assert!(self.met > 0, "no kill met a rotation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_is_finished_by_the_next_on_sqlite() {
    Campaign::new("keys on sqlite", Site::on_sqlite(), None).await.run(rounds(QUICK)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_is_finished_by_the_next_on_postgres() {
    if let Some(site) = Site::on_postgres() {
        Campaign::new("keys on postgres", site, None).await.run(rounds(QUICK)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_that_moves_after_its_key_is_caught() {
    for before in (0..CAUGHT_WITHIN).step_by(usize::try_from(AFRESH).unwrap()) {
        let mut campaign = Campaign::new("reseal_apart", Site::on_sqlite(), Some("reseal_apart")).await;
        for round in 0..AFRESH {
            if let Some(first) = campaign.round(round).await.first() {
                let first = first.lines().next().unwrap_or_default();
                say(format_args!("reseal_apart was caught by kill {} as: {first}", before + round + 1));
                return;
            }
        }
    }
    panic!("{CAUGHT_WITHIN} kills did not show the bug");
}
