//! A flood of password checks at twenty times what the machine can do: what others notice of it, how soon the refused are
//! told, what it takes of memory. Then whether time tells an unknown user from a wrong password.
//!
//! `cargo bench --bench flood -- SECONDS SAMPLES`; 60 and 2,000 where absent. Server and clients share the machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

mod service;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rekey::proto::{GetUserRequest, user_service_client::UserServiceClient};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use self::service::{Authorised, Service, argument, check_right, check_user, machine, millis, quantile};

const MEMORY_KIB: u64 = 19_456;
/// The flood's connections.
const CONNECTIONS: usize = 8;
/// How often the flood's next calls are sent.
const TICK: Duration = Duration::from_millis(10);
/// How often others ask.
const PROBE: Duration = Duration::from_millis(5);
/// Calls that may be in flight before one counts as not sent.
const MOST: usize = 1_500;

type Times = Vec<Duration>;

fn main() {
    let length = Duration::from_secs(argument(0, 60));
    let samples = usize::try_from(argument(1, 2_000)).unwrap();
    println!("{}", machine());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let service = Arc::new(runtime.block_on(Service::start(&[])));

    let capacity = runtime.block_on(capacity(&service));
    println!("capacity, closed loop:        {capacity:>8.1} checks/s");
    let idle = Probe::start(&service);
    thread::sleep(length.min(Duration::from_secs(10)));
    idle.stop().tell("idle");

    let probe = Probe::start(&service);
    let flood = runtime.block_on(flood(&service, capacity * 20.0, length));
    probe.stop().tell("flood");
    flood.tell(&service, capacity, length);
    runtime.block_on(guess(&service, samples));
}

/// Checks a second, with two in flight for each thread: one that is hashed, and one that waits.
async fn capacity(service: &Service) -> f64 {
    let channel = service.connect().await;
    let begin = Instant::now();
    let callers = (0..thread::available_parallelism().unwrap().get() * 2).map(|_| {
        let mut users = UserServiceClient::new(channel.clone());
        async move {
            let mut count = 0.0;
            while begin.elapsed() < Duration::from_secs(5) {
                match users.verify_password(check_right()).await {
                    Ok(answer) => {
                        assert!(answer.into_inner().verified);
                        count += 1.0;
                    }
                    // On a machine that is busy with other things a hash may take longer than may be waited.
                    Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
                }
            }
            count
        }
    });
    let counts: f64 = futures_util::future::join_all(callers).await.into_iter().sum();
    counts / begin.elapsed().as_secs_f64()
}

/// Others, who ask for little: a thread with connections of its own.
struct Probe {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Probed>,
}

#[derive(Default)]
struct Probed {
    refused: usize,
    get: Times,
    health: Times,
}

impl Probe {
    fn start(service: &Arc<Service>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, service) = (Arc::clone(&stop), Arc::clone(service));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let channel = service.connect().await;
                let mut users = UserServiceClient::new(channel.clone());
                let mut health = HealthClient::new(channel);
                let mut probed = Probed::default();
                while !stopped.load(Ordering::Relaxed) {
                    let request = GetUserRequest { tenant_id: "bench".to_owned(), user_id: "ada".to_owned() };
                    let begin = Instant::now();
                    match users.get_user(request).await {
                        Ok(_) => probed.get.push(begin.elapsed()),
                        Err(status) if status.code() == Code::ResourceExhausted => probed.refused += 1,
                        Err(status) => panic!("{status}"),
                    }
                    let begin = Instant::now();
                    let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
                    probed.health.push(begin.elapsed());
                    assert_eq!(answer.into_inner().status().as_str_name(), "SERVING");
                    tokio::time::sleep(PROBE).await;
                }
                probed
            })
        });
        Self { stop, thread }
    }

    fn stop(self) -> Probed {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Probed {
    fn tell(mut self, when: &str) {
        println!("{when:<6} GetUser  refused {:>6}", self.refused);
        for (what, times) in [("GetUser", &mut self.get), ("health", &mut self.health)] {
            let [p50, p99, most] = [500, 990, 1_000].map(|part| millis(quantile(times, part)));
            let count = times.len();
            println!("{when:<6} {what:<8} of {count:>6}:  p50 {p50:>7.2} ms  p99 {p99:>7.2} ms  most {most:>7.2} ms");
        }
    }
}

#[derive(Default)]
struct Flood {
    by_code: BTreeMap<String, usize>,
    refused: Times,
    not_sent: usize,
    offered: usize,
    rss_kib: Vec<u64>,
}

/// Offers so many checks a second, whatever becomes of them.
async fn flood(service: &Service, rate: f64, length: Duration) -> Flood {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(service.connect().await);
    }
    let found = Arc::new(Mutex::new(Flood::default()));
    let in_flight = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let mut offered = 0.0;
    let mut next_look = Duration::ZERO;
    let mut channels = channels.iter().cycle();
    while begin.elapsed() < length {
        ticks.tick().await;
        while offered < begin.elapsed().as_secs_f64() * rate {
            offered += 1.0;
            let channel = channels.next().unwrap().clone();
            offer(channel, &found, &in_flight);
        }
        if begin.elapsed() >= next_look {
            next_look += Duration::from_secs(1);
            found.lock().unwrap().rss_kib.push(service.kib("VmRSS"));
        }
    }
    while in_flight.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(TICK).await;
    }
    std::mem::take(&mut *found.lock().unwrap())
}

fn offer(channel: Authorised, found: &Arc<Mutex<Flood>>, in_flight: &Arc<AtomicUsize>) {
    found.lock().unwrap().offered += 1;
    if in_flight.fetch_add(1, Ordering::Relaxed) >= MOST {
        in_flight.fetch_sub(1, Ordering::Relaxed);
        found.lock().unwrap().not_sent += 1;
        return;
    }
    let (found, in_flight) = (Arc::clone(found), Arc::clone(in_flight));
    tokio::spawn(async move {
        let begin = Instant::now();
        let answer = UserServiceClient::new(channel).verify_password(check_right()).await;
        let time = begin.elapsed();
        let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        let mut found = found.lock().unwrap();
        *found.by_code.entry(format!("{code:?}")).or_default() += 1;
        if code == Code::ResourceExhausted {
            found.refused.push(time);
        }
        in_flight.fetch_sub(1, Ordering::Relaxed);
    });
}

impl Flood {
    fn tell(mut self, service: &Service, capacity: f64, length: Duration) {
        let per_second = |count: usize| f64::from(u32::try_from(count).unwrap()) / length.as_secs_f64();
        let offered = per_second(self.offered);
        println!("offered {offered:.0}/s, {:.1} times the capacity; {} not sent", offered / capacity, self.not_sent);
        for (code, count) in &self.by_code {
            println!("  {code:<18} {count:>8}  {:>8.1}/s", per_second(*count));
        }
        let [p50, p99] = [500, 990].map(|part| millis(quantile(&mut self.refused, part)));
        println!("refused: p50 {p50:.2} ms, p99 {p99:.2} ms");
        let threads = u64::try_from(thread::available_parallelism().unwrap().get()).unwrap();
        let bound = threads * MEMORY_KIB + 64 * 1_024;
        let third = self.rss_kib.len() / 3;
        let mean = |part: &[u64]| part.iter().sum::<u64>() / u64::try_from(part.len().max(1)).unwrap();
        let (early, late) = self.rss_kib.split_at(third);
        println!(
            "memory: at most {} MiB of {} MiB (threads x m + 64 MiB); first third {} MiB, rest {} MiB on average",
            service.kib("VmHWM") / 1_024,
            bound / 1_024,
            mean(early) / 1_024,
            mean(late) / 1_024,
        );
    }
}

/// Unknown users and wrong passwords by turns, on an idle server.
async fn guess(service: &Service, samples: usize) {
    let mut users = UserServiceClient::new(service.connect().await);
    let mut times: [Times; 2] = Default::default();
    for number in 0..samples * 2 {
        let which = number % 2;
        let request = match which {
            0 => check_user("bob@example.org", service::PASSWORD),
            _ => check_user("ada@example.org", "another phrase of similar size!!"),
        };
        let begin = Instant::now();
        let answer = users.verify_password(request).await;
        let time = begin.elapsed();
        match answer {
            Ok(answer) => assert!(!answer.into_inner().verified),
            // As above; not a sample.
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                continue;
            }
        }
        times.get_mut(which).unwrap().push(time);
    }
    let (z, p) = mann_whitney(&times);
    let [unknown, wrong] = times.each_mut().map(|times| millis(quantile(times, 500)));
    let apart = (unknown / wrong - 1.0) * 100.0;
    println!("unknown user {unknown:.3} ms, wrong password {wrong:.3} ms (medians of {samples}): {apart:+.2} %");
    println!("rank test (Mann-Whitney): z = {z:+.2}, p = {p:.3}; told apart where p < 0.01");
}

/// The standardised rank sum of the first against the second, and how likely one as large is by chance (normal
/// approximation; times of nanoseconds hardly tie).
fn mann_whitney([first, second]: &[Times; 2]) -> (f64, f64) {
    let mut all: Vec<_> =
        first.iter().map(|time| (time, true)).chain(second.iter().map(|time| (time, false))).collect();
    all.sort_unstable();
    let ranks: f64 = (1..).zip(&all).map(|(rank, (_, of_first))| if *of_first { f64::from(rank) } else { 0.0 }).sum();
    let [n, m] = [first, second].map(|times| f64::from(u32::try_from(times.len()).unwrap()));
    let mean = n * (n + m + 1.0) / 2.0;
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    let z = (ranks - mean) / deviation;
    (z, erfc(z.abs() / std::f64::consts::SQRT_2))
}

/// The complementary error function (Abramowitz and Stegun 7.1.26, within 1.5e-7).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    polynomial.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp()
}
