//! Processes that are gone from one moment to the next, and processes that are at one job at once.

use std::{
    future::pending,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use rekey::{
    app::{Environment, Service},
    crypto::SystemEntropy,
    domain::Clock,
    ops::job::JobOptions,
    proto::{JobState, ResetManyRequest},
};
use tokio::runtime::Runtime;

use super::{assert_each_once, begin, counts, get, last, make_devices, plan, reset, with_tenants};
use crate::common::rekey::{Clients, Rekey, Stopped, connect};

const DEVICES: i64 = 500;
const KILLS: u64 = 20;
/// The most devices that are let pass between two kills, at random from one on.
const STRIDE: u64 = 22;

/// A service whose every task ends where it stands when its runtime does.
struct Mortal {
    runtime: Runtime,
    clients: Clients,
}

impl Mortal {
    async fn start(stopped: &Stopped, jobs: JobOptions) -> Self {
        let environment =
            Environment { clock: Arc::clone(&stopped.clock) as Arc<dyn Clock>, entropy: Arc::new(SystemEntropy) };
        let mut options = stopped.options.clone();
        options.jobs = jobs;
        let runtime = Runtime::new().unwrap();
        let (told, address) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let service = Service::start(options, environment, false).await.unwrap();
            told.send(service.address()).unwrap();
            pending::<()>().await;
            drop(service);
        });
        let channel = connect(address.await.unwrap()).await;
        Self { runtime, clients: Clients::on(&channel, &stopped.admin_token) }
    }

    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// Numbers that come again with their seed.
struct Dice(u64);

impl Dice {
    fn cast(what: &str) -> Self {
        let seed = RandomState::new().hash_one(what);
        // Shown where the test fails.
        println!("{what}: seed {seed}");
        Self(seed)
    }

    fn below(&mut self, most: u64) -> u64 {
        // Sebastiano Vigna's splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_killed_twenty_times_changes_everybody_once() {
    let jobs = JobOptions { lease: Duration::from_millis(40), poll: Duration::from_millis(5) };
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, (0..DEVICES).map(|number| format!("d{number}"))).await;
        let confirmation = plan(&admin, reset("")).await.unwrap().confirmation;
        let request = ResetManyRequest { confirmation, request_id: "once".to_owned(), ..reset("") };
        let stopped = rekey.pause().await;
        let mut dice = Dice::cast("kills");
        let (mut killed, mut before) = (0, 0);
        for kill in 0..KILLS {
            let service = Mortal::start(&stopped, jobs).await;
            // The same request each time: the first begins the job, the others find it.
            let mut answers = service.clients.devices.clone().reset_many(request.clone()).await.unwrap().into_inner();
            // At an even share of the way, and then somewhere within a step.
            let target = before + i64::try_from(1 + dice.below(STRIDE)).unwrap();
            while let Ok(Some(answer)) = answers.message().await {
                let job = answer.job.unwrap();
                assert!(job.done >= before, "{kill}: {} after {before}", job.done);
                before = job.done;
                if job.done >= target {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_micros(dice.below(8_000))).await;
            killed += usize::from(before < DEVICES);
            service.kill();
        }
        assert!(killed >= 15, "only {killed} were killed before the end");
        let rekey = stopped.start().await;
        let answers = rekey.admin().devices.reset_many(request).await.unwrap().into_inner();
        let job = last(answers).await;
        assert_eq!(counts(&job), (JobState::Done, DEVICES, 0, 0));
        assert_each_once(&rekey, "DeviceService/ResetMany", "device", &job).await;
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_all_think_the_job_is_theirs_change_everybody_once() {
    // Nobody waits for anybody: each takes the job over whenever it looks.
    let jobs = JobOptions { lease: Duration::ZERO, poll: Duration::from_millis(3) };
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, (0..150).map(|number| format!("d{number}"))).await;
        let stopped = rekey.pause().await;
        let (one, other) = (Mortal::start(&stopped, jobs).await, Mortal::start(&stopped, jobs).await);
        let answers = begin(&one.clients, reset("")).await.unwrap();
        let job = last(answers).await;
        assert_eq!(counts(&job), (JobState::Done, 150, 0, 0));
        assert_eq!(get(&other.clients, &job.job_id).await, job);
        one.kill();
        other.kill();
        let rekey: Rekey = stopped.start().await;
        assert_each_once(&rekey, "DeviceService/ResetMany", "device", &job).await;
        rekey.stop().await;
    }
}
