//! Whether time, or anything in the answer, tells why a password was not right: an unknown user, a wrong password, a locked
//! user, a disabled one. Interleaved at random, on an idle server, one at a time. Besides, whether a source that has to
//! wait can tell a user from none: that it has to wait it knows by itself, for it counts its guesses as we do.
//!
//! `cargo bench --bench timing`, about two minutes, for 2,000 of each; `-- --quick` for a few.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::indexing_slicing, reason = "of as many classes as there are")]

mod service;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use prost::Message as _;
use rekey::proto::{SubjectState, VerifyPasswordRequest, user_service_client::UserServiceClient};
use tonic::Code;

use self::service::{Authorised, PASSWORD, Service, check_user, is_quick, machine, millis, quantile, tell};

const CLASSES: [&str; 6] =
    ["wrong password", "unknown user", "locked user", "disabled user", "has to wait", "has to wait, unknown"];
/// The users there are, and their state.
const USERS: [(usize, SubjectState); 4] =
    [(0, SubjectState::Active), (2, SubjectState::Locked), (3, SubjectState::Disabled), (4, SubjectState::Active)];
/// Whom to compare with whom.
const PAIRS: [(usize, usize); 4] = [(1, 0), (2, 0), (3, 0), (5, 4)];
/// Names of a class, which take turns: no row is always the last that was read. So many that none fails a hundred times
/// in a row, from when on strangers are stopped and nothing is checked.
const NAMES: usize = 40;
/// Of each class in a round: so few that most of a round is over before a source's first wait is.
const EACH: [usize; 6] = [10, 10, 10, 10, 5, 5];
const ROUNDS: usize = 200;
const WRONG: &str = "another phrase of similar size!!";
/// Failures that make a source wait, and for how long at first.
const FREE: usize = 5;
const WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Class {
    times: Vec<Duration>,
    answers: BTreeSet<Vec<u8>>,
}

fn main() {
    println!("{}", machine());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        // Each wrong one comes from somewhere else, so that it is checked; that must not make strangers wait.
        let service = Service::start(&[("REKEY_LIMITS__STRANGER_FAILURES", "1000")]).await;
        for number in 0..NAMES {
            for (class, state) in USERS {
                service.create_user(&format!("c{class}-{number:02}"), &name(class, number), state).await;
            }
        }
        let mut classes: [Class; 6] = Default::default();
        let mut dropped = 0;
        for round in 0..if is_quick() { 2 } else { ROUNDS } {
            dropped += one_round(&service.connect().await, round, &mut classes).await;
        }
        report(&mut classes, dropped);
    });
}

/// Names of all classes have one length.
fn name(class: usize, number: usize) -> String {
    format!("class{class}-{:02}@example.org", number % NAMES)
}

fn check(class: usize, number: usize, source: String) -> VerifyPasswordRequest {
    // What keeps a right one from being right must not show.
    let password = if class < 2 { WRONG } else { PASSWORD };
    VerifyPasswordRequest { source, ..check_user(&name(class, number), password) }
}

/// Returns how many samples were none, because the server was busy or a wait was over.
async fn one_round(channel: &Authorised, round: usize, classes: &mut [Class; 6]) -> usize {
    let mut users = UserServiceClient::new(channel.clone());
    // Connects, and warms up.
    drop(users.verify_password(check(1, round, format!("warm-{round}"))).await);
    let waiting = format!("waits-{round:06}");
    let mut waits = Instant::now();
    for class in [4, 5].repeat(FREE) {
        if class == 4 {
            waits = Instant::now();
        }
        let wrong = VerifyPasswordRequest { password: WRONG.to_owned(), ..check(class, round, waiting.clone()) };
        drop(users.verify_password(wrong).await);
    }
    let mut order: Vec<(usize, usize)> =
        EACH.iter().enumerate().flat_map(|(class, each)| (0..*each).map(move |number| (class, number))).collect();
    let seed = RandomState::new();
    order.sort_by_key(|place| seed.hash_one(place));
    let mut dropped = 0;
    for (class, number) in order {
        let (number, source) = match class {
            4 | 5 => (round, waiting.clone()),
            _ => (round * EACH[class] + number, format!("{class}-{:010}", round * 1_000 + number)),
        };
        let request = check(class, number, source);
        let begin = Instant::now();
        let answer = users.verify_password(request).await;
        let time = begin.elapsed();
        match answer {
            // Who need not wait any more is checked again: that is another class.
            Ok(_) if class >= 4 && waits.elapsed() > WAIT => dropped += 1,
            Ok(answer) if !answer.get_ref().verified => {
                let mut metadata = answer.metadata().clone();
                metadata.remove("date");
                let mut told = format!("{metadata:?}").into_bytes();
                told.extend(answer.into_inner().encode_to_vec());
                classes[class].answers.insert(told);
                classes[class].times.push(time);
            }
            Ok(_) => panic!("a wrong password was right, or a wait over too soon"),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                dropped += 1;
            }
        }
    }
    dropped
}

fn report(classes: &mut [Class; 6], dropped: usize) {
    for (class, what) in classes.iter_mut().zip(CLASSES) {
        tell(what, &mut class.times);
    }
    println!("{dropped} samples dropped: refused, or a wait was over");
    let answers: BTreeSet<_> = classes.iter().flat_map(|class| &class.answers).collect();
    println!("different answers, metadata and message: {}", answers.len());
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
    println!("told apart where medians differ by 2 %, p < 0.01, or a threshold is right in 53 % and more");
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
