//! A flood of password checks at twenty times what the machine can do: what others notice of it, how soon the refused are
//! told, what it takes of memory.
//!
//! `cargo bench --bench flood`, two minutes; `-- --quick` for seconds. Server and clients share the machine. So who
//! measures goes before everything else on it, where it may (as root, with util-linux's `chrt`), and tells its own lateness
//! too: no answer can be seen sooner than who waits for it is woken.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

mod service;

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rekey::proto::user_service_client::UserServiceClient;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use self::service::{Authorised, Service, check_right, get_user, is_quick, machine, millis, quantile, tell};

const MEMORY_KIB: u64 = 19_456;
/// How often its capacity is offered.
const TIMES: f64 = 20.0;
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
    let seconds = |full, quick| Duration::from_secs(if is_quick() { quick } else { full });
    println!("{}", machine());
    // On one thread: what the clients take of the processors, the service does not have.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let service = Arc::new(runtime.block_on(Service::start(&[])));

    let before_it = runtime.block_on(capacity(&service, seconds(15, 1)));
    println!("capacity, closed loop: {before_it:.1} checks/s");
    let probe = Probe::start(&service);
    thread::sleep(seconds(10, 1));
    let mut idle = probe.stop();
    idle.tell("idle");

    let before = service.kib("VmRSS");
    let probe = Probe::start(&service);
    let length = seconds(60, 3);
    let own = service::own_cpu();
    let flood = runtime.block_on(flood(&service, before_it * TIMES, length));
    let mut during = probe.stop();
    let own = service::own_cpu().saturating_sub(own);
    thread::sleep(seconds(5, 1));
    // A machine that others share is not as fast at all times.
    let after_it = runtime.block_on(capacity(&service, seconds(15, 1)));
    println!("capacity, closed loop: {after_it:.1} checks/s");
    during.tell("flood");
    let ratio = |flood: &mut Times, idle: &mut Times| millis(quantile(flood, 990)) / millis(quantile(idle, 990));
    println!("p99 in the flood / idle: GetUser {:.1}", ratio(&mut during.get, &mut idle.get));
    println!("p99 in the flood / idle: health  {:.1}", ratio(&mut during.health, &mut idle.health));
    flood.tell(f64::midpoint(before_it, after_it), length, during.checked.len(), own);
    flood.tell_memory(&service, before);
}

/// Checks a second, with two in flight for each thread: one that is hashed, and one that waits.
async fn capacity(service: &Service, length: Duration) -> f64 {
    let channel = service.connect().await;
    let begin = Instant::now();
    let callers = (0..thread::available_parallelism().unwrap().get() * 2).map(|number| {
        let mut users = UserServiceClient::new(channel.clone());
        async move {
            let mut count = 0.0;
            while begin.elapsed() < length {
                match users.verify_password(check_right(number)).await {
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

/// Others, who ask for little: a thread with a connection of its own. It also asks for a check each time, and learns as
/// others do how soon it is refused.
struct Probe {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Probed>,
}

#[derive(Default)]
struct Probed {
    get: Times,
    health: Times,
    refused: Times,
    checked: Times,
    /// How much later than asked for it was woken.
    late: Times,
    failed: BTreeMap<String, usize>,
}

impl Probe {
    fn start(service: &Arc<Service>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, service) = (Arc::clone(&stop), Arc::clone(service));
        let thread = thread::spawn(move || {
            come_first();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut probed = Probed::default();
                let channel = service.connect().await;
                while !stopped.load(Ordering::Relaxed) {
                    probed.ask(channel.clone()).await;
                    let begin = Instant::now();
                    tokio::time::sleep(PROBE).await;
                    probed.late.push(begin.elapsed().saturating_sub(PROBE));
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

/// Has this thread woken before all others.
fn come_first() {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let set = ["--fifo", "--pid", "1", thread.file_name().unwrap().to_str().unwrap()];
    // Where it may not, it is late, and that is told.
    let _ = Command::new("chrt").args(set).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

impl Probed {
    async fn ask(&mut self, channel: Authorised) {
        let mut users = UserServiceClient::new(channel.clone());
        let begin = Instant::now();
        match users.get_user(get_user()).await {
            Ok(_) => self.get.push(begin.elapsed()),
            Err(status) => *self.failed.entry(format!("GetUser {:?}", status.code())).or_default() += 1,
        }
        let begin = Instant::now();
        let answer = HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await.unwrap();
        self.health.push(begin.elapsed());
        assert_eq!(answer.into_inner().status().as_str_name(), "SERVING");
        let begin = Instant::now();
        match users.verify_password(check_right(self.get.len())).await {
            Ok(_) => self.checked.push(begin.elapsed()),
            Err(status) if status.code() == Code::ResourceExhausted => self.refused.push(begin.elapsed()),
            Err(status) => *self.failed.entry(format!("VerifyPassword {:?}", status.code())).or_default() += 1,
        }
    }

    fn tell(&mut self, when: &str) {
        let Self { get, health, refused, checked, late, failed } = self;
        let rows = [
            ("GetUser", get),
            ("health", health),
            ("VerifyPassword refused", refused),
            ("VerifyPassword checked", checked),
            ("(own lateness)", late),
        ];
        for (what, times) in rows {
            tell(&format!("{when:<5} {what}"), times);
        }
        for (what, count) in failed {
            println!("{when:<5} {what} {count:>6} times");
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
            next_look += Duration::from_millis(500);
            found.lock().unwrap().rss_kib.push(service.kib("VmRSS"));
        }
    }
    while in_flight.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(TICK).await;
    }
    std::mem::take(&mut *found.lock().unwrap())
}

fn offer(channel: Authorised, found: &Arc<Mutex<Flood>>, in_flight: &Arc<AtomicUsize>) {
    let number = {
        let mut found = found.lock().unwrap();
        found.offered += 1;
        found.offered
    };
    if in_flight.fetch_add(1, Ordering::Relaxed) >= MOST {
        in_flight.fetch_sub(1, Ordering::Relaxed);
        found.lock().unwrap().not_sent += 1;
        return;
    }
    let (found, in_flight) = (Arc::clone(found), Arc::clone(in_flight));
    tokio::spawn(async move {
        let begin = Instant::now();
        let answer = UserServiceClient::new(channel).verify_password(check_right(number)).await;
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
    /// `others` is how many were checked for who is not the flood. `own` is the time that the clients took of the
    /// processors, which the checks did not have.
    fn tell(&self, capacity: f64, length: Duration, others: usize, own: Duration) {
        let per_second = |count: usize| f64::from(u32::try_from(count).unwrap()) / length.as_secs_f64();
        let offered = per_second(self.offered);
        println!("offered {offered:.0}/s, {:.1} times the capacity; {} not sent", offered / capacity, self.not_sent);
        for (code, count) in &self.by_code {
            println!("  {code:<18} {count:>8}  {:>8.1}/s", per_second(*count));
        }
        let good = per_second(self.by_code.get("Ok").copied().unwrap_or_default() + others);
        println!("  done / capacity    {:>8.3}", good / capacity);
        let threads = u32::try_from(thread::available_parallelism().unwrap().get()).unwrap();
        let share = own.as_secs_f64() / (length * threads).as_secs_f64();
        println!(
            "  the clients took {:.1} % of the processors; done / what they left {:.3}",
            share * 100.0,
            good / capacity / (1.0 - share)
        );
        tell("flood's own refused", &mut self.refused.clone());
    }

    fn tell_memory(&self, service: &Service, before: u64) {
        let threads = u64::try_from(thread::available_parallelism().unwrap().get()).unwrap();
        let bound = threads * MEMORY_KIB + 64 * 1_024;
        let (early, late) = self.rss_kib.split_at(self.rss_kib.len() / 3);
        let mean = |part: &[u64]| part.iter().sum::<u64>() / u64::try_from(part.len().max(1)).unwrap();
        println!(
            "memory in MiB: before {}, at most {} of {} (threads x m + 64), after {}; first third {}, rest {} on average",
            before / 1_024,
            service.kib("VmHWM") / 1_024,
            bound / 1_024,
            service.kib("VmRSS") / 1_024,
            mean(early) / 1_024,
            mean(late) / 1_024,
        );
    }
}
