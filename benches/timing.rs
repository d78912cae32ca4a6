//! Whether time, or anything in the answer, tells why a password was not right: an unknown user, a wrong password, a locked
//! user, a disabled one, one who came with another system's hash that is done in no time. Over gRPC and, by the gateway,
//! over REST; on SQLite and, where its server programs are found, on PostgreSQL. Interleaved at random, on an idle server,
//! one at a time. Besides, whether a source that has to wait can tell a user from none: that it has to wait it knows by
//! itself, for it counts its guesses as we do.
//!
//! `cargo bench --bench timing`, twenty minutes, for 3,000 of each; `-- --quick` for a few. The PostgreSQL is that of the
//! tests, which does not wait for the disk: one that does hides more.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::indexing_slicing, reason = "of as many classes as there are")]

#[path = "../tests/common/postgres.rs"]
mod postgres;
mod service;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use prost::Message as _;
use rekey::proto::{SubjectState, VerifyPasswordRequest, user_service_client::UserServiceClient};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use tonic::Code;

use self::service::{Authorised, PASSWORD, Service, TENANT, check_user, is_quick, machine, millis, quantile, tell};

const CLASSES: [&str; 7] = [
    "wrong password",
    "unknown user",
    "locked user",
    "disabled user",
    "has to wait",
    "has to wait, unknown",
    "imported user",
];
/// Of the class of those who came with the hash of another system, which is done in no time.
const IMPORTED: usize = 6;
const SSHA: &str = "{SSHA}46BnfOtjjVkV2IM1YrlQPStNxk5zYWx0c2FsdA==";
/// The users there are, and their state.
const USERS: [(usize, SubjectState); 4] =
    [(0, SubjectState::Active), (2, SubjectState::Locked), (3, SubjectState::Disabled), (4, SubjectState::Active)];
/// Whom to compare with whom.
const PAIRS: [(usize, usize); 5] = [(1, 0), (2, 0), (3, 0), (5, 4), (IMPORTED, 1)];
/// Names of a class, which take turns: no row is always the last that was read. So many that none fails a hundred times
/// in a row, from when on strangers are stopped and nothing is checked.
const NAMES: usize = 80;
/// Of each class in a round: so few that most of a round is over before a source's first wait is.
const EACH: [usize; 7] = [10, 10, 10, 10, 5, 5, 10];
/// Over each transport.
const ROUNDS: usize = 300;
const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");
const TRANSPORTS: [&str; 2] = ["gRPC", "REST"];
const WRONG: &str = "another phrase of similar size!!";
/// Failures that make a source wait, and for how long at first.
const FREE: usize = 5;
const WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Class {
    times: Vec<Duration>,
    answers: BTreeSet<Vec<u8>>,
}

/// What was seen over one transport.
#[derive(Default)]
struct Side {
    classes: [Class; 7],
    /// Samples that were none, because the server was busy or a wait was over.
    dropped: usize,
}

/// A connection to where passwords are checked.
enum Door {
    Grpc(UserServiceClient<Authorised>),
    Rest { client: reqwest::Client, url: String, token: String },
}

enum Answer {
    Right,
    /// Not right, with all that was told, but for what each answer has for its own: its date and its random id.
    Wrong(Vec<u8>),
    Refused,
}

fn main() {
    println!("{}", machine());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(measure("SQLite", None));
    if let Some(url) = postgres::url() {
        runtime.block_on(measure("PostgreSQL", Some(&url)));
    }
    println!("told apart where medians differ by 2 %, p < 0.01, or a threshold is right in 53 % and more");
}

async fn measure(database: &str, url: Option<&str>) {
    // Each wrong one comes from somewhere else, so that it is checked; that must not make strangers wait.
    let mut settings = vec![("REKEY_LIMITS__STRANGER_FAILURES", "1000")];
    settings.extend(url.map(|url| ("REKEY_DATABASE__URL", url)));
    let mut service = Service::start(&settings).await;
    let gateway = service.start_gateway().await;
    for number in 0..NAMES {
        for (class, state) in USERS {
            service.create_user(&format!("c{class}-{number:02}"), &name(class, number), state).await;
        }
    }
    service.import_users((0..NAMES).map(|number| (name(IMPORTED, number), SSHA))).await;
    let mut sides: [Side; 2] = Default::default();
    let rounds = if is_quick() { 2 } else { ROUNDS };
    for round in 0..rounds * TRANSPORTS.len() {
        let transport = round % TRANSPORTS.len();
        let door = if transport == 0 {
            Door::Grpc(UserServiceClient::new(service.connect().await))
        } else {
            Door::rest(gateway, service.reach().1)
        };
        one_round(&door, round, &mut sides[transport]).await;
    }
    for (transport, side) in TRANSPORTS.iter().zip(&mut sides) {
        println!("\n{database}, {transport}");
        report(side);
    }
}

impl Door {
    fn rest(port: u16, token: &str) -> Self {
        let url = format!("http://127.0.0.1:{port}/v1/tenants/{TENANT}/users:verifyPassword");
        Self::Rest { client: reqwest::Client::new(), url, token: token.to_owned() }
    }

    /// The answer, and how long it took until all of it was there.
    async fn check(&self, request: VerifyPasswordRequest) -> (Duration, Answer) {
        match self {
            Self::Grpc(users) => {
                let mut users = users.clone();
                let begin = Instant::now();
                let answer = users.verify_password(request).await;
                let time = begin.elapsed();
                match answer {
                    Ok(answer) if answer.get_ref().verified => (time, Answer::Right),
                    Ok(mut answer) => {
                        answer.metadata_mut().remove("date");
                        let mut told = format!("{:?}", answer.metadata()).into_bytes();
                        told.extend(answer.into_inner().encode_to_vec());
                        (time, Answer::Wrong(told))
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                        (time, Answer::Refused)
                    }
                }
            }
            Self::Rest { client, url, token } => {
                let Some(rekey::proto::verify_password_request::Subject::Username(username)) = request.subject else {
                    panic!("users are checked by their names");
                };
                let body = json!({"username": username, "password": request.password, "source": request.source});
                let request = client.post(url).bearer_auth(token).header(header::CONTENT_TYPE, "application/json");
                let request = request.body(body.to_string());
                let begin = Instant::now();
                let answer = request.send().await.unwrap();
                let (status, mut headers) = (answer.status(), answer.headers().clone());
                let body = answer.bytes().await.unwrap();
                let time = begin.elapsed();
                if status == StatusCode::TOO_MANY_REQUESTS {
                    return (time, Answer::Refused);
                }
                assert_eq!(status, StatusCode::OK, "{body:?}");
                let read: Value = serde_json::from_slice(&body).unwrap();
                if read["verified"] == true {
                    return (time, Answer::Right);
                }
                for its_own in [header::DATE, REQUEST_ID] {
                    headers.remove(its_own);
                }
                let mut told = format!("{headers:?}").into_bytes();
                told.extend(body);
                (time, Answer::Wrong(told))
            }
        }
    }
}

/// Names of all classes have one length.
fn name(class: usize, number: usize) -> String {
    format!("class{class}-{:02}@example.org", number % NAMES)
}

fn check(class: usize, number: usize, source: String) -> VerifyPasswordRequest {
    // What keeps a right one from being right must not show.
    let password = if matches!(class, 0 | 1 | IMPORTED) { WRONG } else { PASSWORD };
    VerifyPasswordRequest { source, ..check_user(&name(class, number), password) }
}

async fn one_round(door: &Door, round: usize, side: &mut Side) {
    // Connects, and warms up.
    door.check(check(1, round, format!("warm-{round}"))).await;
    let waiting = format!("waits-{round:06}");
    let mut waits = Instant::now();
    for class in [4, 5].repeat(FREE) {
        if class == 4 {
            waits = Instant::now();
        }
        let wrong = VerifyPasswordRequest { password: WRONG.to_owned(), ..check(class, round, waiting.clone()) };
        door.check(wrong).await;
    }
    let mut order: Vec<(usize, usize)> =
        EACH.iter().enumerate().flat_map(|(class, each)| (0..*each).map(move |number| (class, number))).collect();
    let seed = RandomState::new();
    order.sort_by_key(|place| seed.hash_one(place));
    for (class, number) in order {
        let (number, source) = match class {
            4 | 5 => (round, waiting.clone()),
            _ => (round * EACH[class] + number, format!("{class}-{:010}", round * 1_000 + number)),
        };
        let (time, answer) = door.check(check(class, number, source)).await;
        match answer {
            Answer::Refused => side.dropped += 1,
            // Who need not wait any more is checked again: that is another class.
            _ if matches!(class, 4 | 5) && waits.elapsed() > WAIT => side.dropped += 1,
            Answer::Wrong(told) => {
                side.classes[class].answers.insert(told);
                side.classes[class].times.push(time);
            }
            Answer::Right => panic!("a wrong password was right, or a wait over too soon"),
        }
    }
}

fn report(Side { classes, dropped }: &mut Side) {
    for (class, what) in classes.iter_mut().zip(CLASSES) {
        tell(what, &mut class.times);
    }
    println!("{dropped} samples dropped: refused, or a wait was over");
    let answers: BTreeSet<_> = classes.iter().flat_map(|class| &class.answers).collect();
    println!("different answers, headers and body: {}", answers.len());
    for (one, other) in PAIRS {
        let [first, second] = [one, other].map(|class| classes[class].times.clone());
        let [mut sorted, mut sorted_too] = [first.clone(), second.clone()];
        let apart = millis(quantile(&mut sorted, 500)) / millis(quantile(&mut sorted_too, 500)) - 1.0;
        let (z, by_rank) = mann_whitney(&first, &second);
        let (distance, by_distance, accuracy) = kolmogorov_smirnov(&first, &second);
        println!("{} against {}:", CLASSES[one], CLASSES[other]);
        println!("  medians {:+.2} %; Mann-Whitney z {z:+.2}, p {by_rank:.3}", apart * 100.0);
        println!("  Kolmogorov-Smirnov D {distance:.4}, p {by_distance:.3}; best threshold {:.2} %", accuracy * 100.0);
    }
}

fn count(times: &[Duration]) -> f64 {
    f64::from(u32::try_from(times.len()).unwrap())
}

/// All times in order, and whether each is of the first.
fn merged(first: &[Duration], second: &[Duration]) -> Vec<(Duration, bool)> {
    let mut all: Vec<_> =
        first.iter().map(|time| (*time, true)).chain(second.iter().map(|time| (*time, false))).collect();
    all.sort_unstable();
    all
}

/// The standardised rank sum of the first against the second, and how likely one as large is by chance (normal
/// approximation; times of nanoseconds hardly tie).
fn mann_whitney(first: &[Duration], second: &[Duration]) -> (f64, f64) {
    let all = merged(first, second);
    let ranks: f64 = (1..).zip(&all).map(|(rank, (_, of_first))| if *of_first { f64::from(rank) } else { 0.0 }).sum();
    let (n, m) = (count(first), count(second));
    let mean = n * (n + m + 1.0) / 2.0;
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    let z = (ranks - mean) / deviation;
    (z, erfc(z.abs() / std::f64::consts::SQRT_2))
}

/// The largest distance of the two distributions, how likely one as large is by chance (the asymptotic series), and how
/// often the best single threshold tells them apart, where both are as frequent.
fn kolmogorov_smirnov(first: &[Duration], second: &[Duration]) -> (f64, f64, f64) {
    let (n, m) = (count(first), count(second));
    let (mut of_first, mut of_second, mut distance) = (0.0, 0.0, 0.0_f64);
    for (_, is_first) in merged(first, second) {
        if is_first {
            of_first += 1.0 / n;
        } else {
            of_second += 1.0 / m;
        }
        distance = distance.max((of_first - of_second).abs());
    }
    let size = (n * m / (n + m)).sqrt();
    let lambda = (size + 0.12 + 0.11 / size) * distance;
    let term = |k: i32| (-1.0_f64).powi(k - 1) * (-2.0 * f64::from(k * k) * lambda * lambda).exp();
    // The series does not converge where there is next to no distance.
    let p = if lambda < 0.3 { 1.0 } else { 2.0 * (1..=100).map(term).sum::<f64>() };
    (distance, p.clamp(0.0, 1.0), f64::midpoint(1.0, distance))
}

/// The complementary error function (Abramowitz and Stegun 7.1.26, within 1.5e-7).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    polynomial.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp()
}
