//! How long a question to a list of breached passwords takes: `cargo bench --bench blocklist [-- ENTRIES]`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench measures, says so, and stops at the first surprise"
)]

use std::{env, time::Instant};

use rekey::{
    blocklist::{Blocklist, Builder, Fingerprint},
    domain::Password,
};

fn main() {
    let entries = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(2_000_000_u32);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    let password = |number: u32| Password::parse(format!("password {number}")).unwrap();

    let begin = Instant::now();
    let mut builder = Builder::new(&path);
    for number in 0..entries {
        builder.add(Fingerprint::of(&password(number))).unwrap();
    }
    let info = builder.finish(|_| {}).unwrap();
    println!("built in {:?}: {info:?}", begin.elapsed());
    let begin = Instant::now();
    let list = Blocklist::open(&path).unwrap();
    println!("opened in {:?}", begin.elapsed());

    let mut times = Vec::new();
    let mut found = 0_u32;
    for number in (0..400_000).map(|step: u32| step.wrapping_mul(2_654_435_761) % (entries * 2)) {
        let password = password(number);
        let begin = Instant::now();
        found += u32::from(list.contains(&password));
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 1_000).or(times.last()).copied().unwrap_or_default();
    println!(
        "{} questions, {found} on it: p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
        times.len(),
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
}
