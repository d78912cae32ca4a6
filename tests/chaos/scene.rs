//! A service under load that something happens to while it runs on.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rekey::proto::{GetDeviceRequest, GetTenantRequest};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_check_response::ServingStatus::NotServing;

use crate::{
    check::settle,
    load::{Log, TENANT, Worker, prepare},
    model::{Act, Kind},
    parameters::seed,
    recorder::{Ended, Recorder},
    server::{PATIENCE, PAUSE, Server, Site},
};

/// Who asks at the same time.
pub(crate) const WORKERS: usize = 4;
/// Who shares a connection: fewer than the calls that one may carry at once.
const TOGETHER: usize = 50;
/// How long a service may take to see that it is not ready: it asks every two seconds, and waits for an answer.
const UNSEEN: Duration = Duration::from_secs(20);

/// The load, and who bears it.
pub(crate) struct Scene {
    pub(crate) name: String,
    pub(crate) site: Site,
    pub(crate) server: Server,
    pub(crate) log: Arc<Log>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) rng: Rng,
    joined: u32,
}

/// Workers under way, and what stops them.
pub(crate) struct Working(CancellationToken, Vec<JoinHandle<Worker>>);

impl Working {
    /// Whether each is in doubt about everything it has.
    fn is_finished(&self) -> bool {
        self.1.iter().all(JoinHandle::is_finished)
    }
}

impl Scene {
    /// With a planted bug where one is named.
    pub(crate) async fn new(name: &str, mut site: Site, bug: Option<&str>) -> Self {
        site.allow_many_failures();
        if let Some(bug) = bug {
            site.plant(bug);
        }
        let server = site.serve().await;
        prepare(&mut server.clients(&site.admin_token)).await;
        let log = Recorder::new(&site.history());
        let rng = Rng::with_seed(seed(name));
        let mut scene = Self { name: name.to_owned(), site, server, log, workers: Vec::new(), rng, joined: 0 };
        scene.join(WORKERS);
        scene
    }

    /// More workers.
    pub(crate) fn join(&mut self, count: usize) {
        for _ in 0..count {
            self.joined += 1;
            let name = format!("w{}", self.joined);
            self.workers.push(Worker::new(name, self.rng.fork(), &self.log));
        }
    }

    /// Begins to work, until told to rest.
    pub(crate) fn work(&mut self) -> Working {
        let stop = CancellationToken::new();
        let workers = std::mem::take(&mut self.workers);
        let connections = 1 + (workers.len() / TOGETHER).max(WORKERS - 1);
        let clients: Vec<_> = (0..connections).map(|_| self.server.clients(&self.site.admin_token)).collect();
        let working = workers.into_iter().zip(clients.iter().cycle()).map(|(mut worker, clients)| {
            let (clients, stop) = (clients.clone(), stop.clone());
            tokio::spawn(async move {
                worker.work(&clients, &stop).await;
                worker
            })
        });
        let working = working.collect();
        Working(stop, working)
    }

    /// Ends the work, once the calls under way are answered.
    pub(crate) async fn rest(&mut self, working: Working) {
        let Working(stop, workers) = working;
        stop.cancel();
        for worker in workers {
            self.workers.push(worker.await.unwrap());
        }
    }

    /// Works, but for one, until nothing is done any more. The one's subjects stay known.
    pub(crate) async fn work_in_vain(&mut self) {
        /// Changes in a row that are not done.
        const VAIN: usize = 60;
        let witness = self.workers.remove(0);
        let (begun, first, working) = (Instant::now(), self.log.begun(), self.work());
        let is_vain = || {
            let calls = self.log.since(first);
            let ended = calls.iter().rev().filter(|call| call.asked.act.changes() && call.outcome.is_some());
            let last: Vec<_> = ended.take(VAIN).collect();
            last.len() == VAIN && last.iter().all(|call| !matches!(call.outcome, Some(Ended::Acknowledged(_))))
        };
        while !working.is_finished() && !is_vain() {
            assert!(begun.elapsed() < PATIENCE, "{}: changes are made all the same", self.name);
            tokio::time::sleep(PAUSE).await;
        }
        self.rest(working).await;
        self.workers.push(witness);
    }

    /// Works so many calls, and looks at what came of them.
    pub(crate) async fn calls(&mut self, count: u64) {
        let first = self.log.begun();
        let working = self.work();
        self.log.wait_until_begun(first + count).await;
        self.rest(working).await;
        self.settle().await;
    }

    /// What is wrong.
    pub(crate) async fn look(&mut self) -> Vec<String> {
        settle(&self.site, &self.server, &mut self.workers).await
    }

    /// Nothing must be wrong.
    pub(crate) async fn settle(&mut self) {
        let wrong = self.look().await;
        assert!(wrong.is_empty(), "{}: {}\n{}", self.name, wrong.join("\n"), self.server.log());
    }

    /// Whether the service sees by itself that it is not ready.
    pub(crate) async fn turns_unready(&self) -> bool {
        let begun = Instant::now();
        while self.server.health().await != Some(NotServing) {
            if begun.elapsed() > UNSEEN {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }

    /// Waits until the service answers call after call. Of connections that were cut each is told by its first use.
    pub(crate) async fn wait_until_it_answers(&self) {
        let (begun, mut answered) = (Instant::now(), 0);
        let mut tenants = self.server.clients(&self.site.admin_token).tenants;
        while answered < 20 {
            let asked = tenants.get_tenant(GetTenantRequest { tenant_id: TENANT.to_owned() }).await;
            answered = if asked.is_ok() { answered + 1 } else { 0 };
            assert!(begun.elapsed() < PATIENCE, "{}: it does not come back\n{}", self.name, self.server.log());
        }
    }

    /// How the calls from this one on ended, and how often.
    pub(crate) fn outcomes(&self, first: u64) -> BTreeMap<String, u32> {
        let mut outcomes = BTreeMap::new();
        for operation in self.log.since(first) {
            let outcome = match operation.outcome {
                Some(Ended::Acknowledged(_)) => "done".to_owned(),
                Some(Ended::Refused(code, reason)) => format!("{code:?} {reason}"),
                Some(Ended::Unknown { said, .. }) => said,
                None => panic!(
                    "{}: call {} of moment {} never ended: {:?}",
                    self.name, operation.number, operation.invoked, operation.asked
                ),
            };
            *outcomes.entry(outcome).or_default() += 1;
        }
        outcomes
    }

    /// Asks for a change of each subject whose state is known: none is done, and each is told why.
    pub(crate) async fn changes_fail(&mut self) {
        let clients = self.server.clients(&self.site.admin_token);
        for worker in &mut self.workers {
            for place in 0..worker.owned.len() {
                let owned = &worker.owned[place];
                let known = matches!(owned.states.as_slice(), [state] if state.version > 0);
                if !known || owned.subject.kind == Kind::Caller {
                    continue;
                }
                let (subject, act) = (owned.subject.clone(), Act::Label { value: "full".to_owned() });
                let request_id = worker.name_of_request();
                let asked = worker.asked(subject, act, request_id);
                let ended = worker.ask(&clients, place, asked).await;
                let is_clear = match &ended {
                    Ended::Unknown { said, denied } => *denied || said.contains("OUTCOME_UNKNOWN"),
                    Ended::Acknowledged(_) | Ended::Refused(..) => false,
                };
                assert!(is_clear, "{}: {ended:?}\n{}", self.name, self.server.log());
            }
        }
    }

    /// Reads each device.
    pub(crate) async fn reads_go_on(&self) {
        let mut devices = self.server.clients(&self.site.admin_token).devices;
        for owned in self.workers.iter().flat_map(|worker| &worker.owned) {
            if owned.subject.kind == Kind::Device && owned.states.iter().all(|state| state.version > 0) {
                let (tenant_id, device_id) = (TENANT.to_owned(), owned.subject.id.clone());
                devices.get_device(GetDeviceRequest { tenant_id, device_id }).await.unwrap();
            }
        }
    }
}
