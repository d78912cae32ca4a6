//! What the hasher's queue and threads cost: hashes a second against the bare function on as many threads with the same
//! parameters, in one run, as ratios.
//!
//! `cargo bench --bench hashing`. Absolute times say more about the machine than about us.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::indexing_slicing, reason = "of three columns and as many rounds as there are")]

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use rekey::{
    crypto::{Hasher, HasherOptions, SystemEntropy, Turn},
    domain::{Password, Uid},
};
use zeroize::Zeroize as _;

const MEMORY_KIB: u32 = 19_456;
const ITERATIONS: u32 = 2;
/// Hashes a thread does in a round.
const HASHES: usize = 20;
const ROUNDS: usize = 7;

fn main() {
    let threads = thread::available_parallelism().unwrap().get();
    println!("Argon2id m={MEMORY_KIB} t={ITERATIONS} p=1, {threads} threads, median of {ROUNDS} rounds");

    let options = HasherOptions {
        threads,
        queue: threads * HASHES,
        max_wait: Duration::MAX,
        memory_kib: MEMORY_KIB,
        iterations: ITERATIONS,
        parallelism: 1,
    };
    let hasher = Hasher::start(options, Arc::new(SystemEntropy)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Side by side in every round, so that a neighbour's load meets them alike.
    let rounds: Vec<[Duration; 3]> = (0..ROUNDS)
        .map(|_| {
            let pool = time(|| runtime.block_on(all_through(&hasher, threads)));
            let reused = time(|| on_threads(threads, with_memory));
            let fresh = time(|| on_threads(threads, |_| with_memory(&mut memory())));
            [pool, reused, fresh]
        })
        .collect();
    let ratio =
        |over: usize, under: usize| median(rounds.iter().map(|round| round[over].div_duration_f64(round[under])));
    println!("hasher / bare function, memory reused:   {:.3} of its throughput", ratio(1, 0));
    println!("hasher / bare function, new memory each: {:.3} of its throughput", ratio(2, 0));

    let mut blocks = memory();
    let single: Vec<[Duration; 3]> = (0..ROUNDS * 3)
        .map(|_| {
            [
                time(|| with_memory(&mut memory())),
                time(|| with_memory(&mut blocks)),
                time(|| blocks.iter_mut().for_each(Block::zeroize)),
            ]
        })
        .collect();
    let milliseconds = |which: usize| median(single.iter().map(|times| times[which].as_secs_f64() * 1e3));
    println!("one hash, new memory:    {:.1} ms", milliseconds(0));
    println!("one hash, memory reused: {:.1} ms", milliseconds(1));
    println!("a wipe of the memory:    {:.1} ms", milliseconds(2));
}

async fn all_through(hasher: &Hasher, threads: usize) {
    let jobs: Vec<_> = (0..threads * HASHES)
        .map(|_| {
            let hasher = hasher.clone();
            async move {
                hasher
                    .verify(
                        Turn { tenant: &Uid::from_stored("bench"), deadline: None },
                        Password::parse("correct horse".to_owned()).unwrap(),
                        None,
                    )
                    .await
                    .unwrap()
            }
        })
        .collect();
    let local = tokio::task::LocalSet::new();
    let jobs: Vec<_> = jobs.into_iter().map(|job| local.spawn_local(job)).collect();
    local
        .run_until(async {
            for job in jobs {
                job.await.unwrap();
            }
        })
        .await;
}

fn on_threads(threads: usize, hash: impl Fn(&mut [Block]) + Copy + Send) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(move || {
                let mut blocks = memory();
                for _ in 0..HASHES {
                    hash(&mut blocks);
                }
            });
        }
    });
}

fn with_memory(blocks: &mut [Block]) {
    let params = Params::new(MEMORY_KIB, ITERATIONS, 1, Some(32)).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut tag = [0; 32];
    argon2.hash_password_into_with_memory(b"correct horse", b"sixteen bytes of", &mut tag, blocks).unwrap();
}

fn memory() -> Vec<Block> {
    vec![Block::new(); MEMORY_KIB as usize]
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
