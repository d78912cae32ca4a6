//! What a hash costs on one core, by each kernel, and what the hasher's queue and threads cost on all of them: hashes a
//! second relative to the `argon2` crate as it is usually called and to the bare function, in one run.
//!
//! `cargo bench --bench hashing`. Absolute times say more about the machine than about us. Where `REKEY_REFERENCE` is the
//! path of the C implementation's program (`make` in P-H-C/phc-winner-argon2 builds it for this CPU), it has a row too, by
//! its own clock, which counts milliseconds.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::indexing_slicing, reason = "of as many columns and rounds as there are")]

use std::{
    env, fs,
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use rekey::{
    crypto::{
        ForeignBounds, Hasher, HasherOptions, SystemEntropy, Turn,
        argon2::{Kernel, Memory},
    },
    domain::{Password, Uid},
};
use zeroize::Zeroize as _;

const MEMORY_KIB: u32 = 19_456;
const ITERATIONS: u32 = 2;
const PASSWORD: &str = "correct horse";
const SALT: &str = "sixteen bytes of";
/// Hashes a thread does in a round of the second part.
const HASHES: usize = 20;
const ROUNDS: usize = 7;
/// Rounds of the first part, with a hash of each kind.
const SINGLE_ROUNDS: usize = 51;

fn main() {
    let kernels: Vec<_> = [Kernel::Avx2, Kernel::Avx512].into_iter().filter(|kernel| kernel.is_available()).collect();
    println!("Argon2id m={MEMORY_KIB} t={ITERATIONS} p=1; medians, relative to what shared the round");
    one_core(&kernels);
    all_cores();
}

/// Side by side in every round, so that a neighbour's load meets them alike.
fn one_core(kernels: &[Kernel]) {
    let params = params();
    let before = huge_pages();
    let mut huge = Memory::new(params.block_count()).unwrap();
    let got = huge_pages() - before;
    let mut plain = vec![Block::new(); params.block_count()];
    let reference = env::var("REKEY_REFERENCE").ok();

    let mut rounds: Vec<Vec<Duration>> = (0..=SINGLE_ROUNDS)
        .map(|_| {
            let mut times = vec![
                time(|| by_crate_with_new_memory(&params)),
                time(|| hash(Kernel::Portable, &params, &mut plain)),
                time(|| hash(Kernel::Portable, &params, &mut huge)),
            ];
            times.extend(kernels.iter().map(|kernel| time(|| hash(*kernel, &params, &mut huge))));
            times.push(time(|| huge.iter_mut().for_each(Block::zeroize)));
            times.extend(reference.iter().map(|program| by_reference(program)));
            times
        })
        .collect();
    // The first one touches the memory and wakes the CPU.
    rounds.remove(0);

    println!("\none core, {SINGLE_ROUNDS} rounds; huge pages: {got} KiB of {MEMORY_KIB}");
    let mut names = vec!["crate, new memory".to_owned(), "crate, reused memory".to_owned()];
    names.push("crate, reused, huge pages".to_owned());
    names.extend(kernels.iter().map(|kernel| format!("{kernel:?}, reused, huge pages")));
    names.push("(a wipe of the memory)".to_owned());
    names.extend(reference.iter().map(|_| "reference C, new memory".to_owned()));
    for (which, name) in names.iter().enumerate() {
        let milliseconds = median(rounds.iter().map(|round| round[which].as_secs_f64() * 1e3));
        let speed = median(rounds.iter().map(|round| round[0].div_duration_f64(round[which])));
        println!("{name:<27} {milliseconds:>7.2} ms {speed:>7.2}");
    }
}

/// The pool against the function it calls, on as many threads.
fn all_cores() {
    let threads = thread::available_parallelism().unwrap().get();
    let options = HasherOptions {
        threads,
        queue: threads * HASHES,
        max_wait: Duration::MAX,
        memory_kib: MEMORY_KIB,
        iterations: ITERATIONS,
        parallelism: 1,
        foreign: ForeignBounds::DEFAULT,
    };
    let hasher = Hasher::start(options, Arc::new(SystemEntropy)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let params = params();
    let rounds: Vec<[Duration; 3]> = (0..ROUNDS)
        .map(|_| {
            let mut memories: Vec<_> = (0..threads).map(|_| Memory::new(params.block_count()).unwrap()).collect();
            [
                time(|| runtime.block_on(all_through(&hasher, threads))),
                time(|| on_threads(&mut memories, |memory| hash(Kernel::fastest(), &params, memory))),
                time(|| on_threads(&mut memories, |_| by_crate_with_new_memory(&params))),
            ]
        })
        .collect();
    let ratio =
        |over: usize, under: usize| median(rounds.iter().map(|round| round[over].div_duration_f64(round[under])));
    println!(
        "\n{threads} threads, {HASHES} hashes each, {ROUNDS} rounds: throughput of the hasher by {:?} relative to",
        Kernel::fastest()
    );
    println!("the bare function, memory reused {:>7.3}", ratio(1, 0));
    println!("the crate, new memory each       {:>7.3}", ratio(2, 0));
}

async fn all_through(hasher: &Hasher, threads: usize) {
    let jobs: Vec<_> = (0..threads * HASHES)
        .map(|_| {
            let hasher = hasher.clone();
            async move {
                hasher
                    .verify(
                        Turn { tenant: &Uid::from_stored("bench"), deadline: None },
                        Password::parse(PASSWORD.to_owned()).unwrap(),
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

fn on_threads(memories: &mut [Memory], hash: impl Fn(&mut [Block]) + Copy + Send) {
    thread::scope(|scope| {
        for memory in memories {
            scope.spawn(move || (0..HASHES).for_each(|_| hash(memory)));
        }
    });
}

fn params() -> Params {
    Params::new(MEMORY_KIB, ITERATIONS, 1, Some(32)).unwrap()
}

fn hash(kernel: Kernel, params: &Params, memory: &mut [Block]) {
    let mut tag = [0; 32];
    kernel.hash(Algorithm::Argon2id, params, PASSWORD.as_bytes(), SALT.as_bytes(), &mut tag, memory).unwrap();
}

fn by_crate_with_new_memory(params: &Params) {
    let mut tag = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into(PASSWORD.as_bytes(), SALT.as_bytes(), &mut tag).unwrap();
}

/// What the reference's program says that the hash took it.
fn by_reference(program: &str) -> Duration {
    let [memory, iterations] = [MEMORY_KIB, ITERATIONS].map(|number| number.to_string());
    let mut child = Command::new(program)
        .args([SALT, "-id", "-k", &memory, "-t", &iterations, "-p", "1", "-l", "32"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let seconds = said.lines().find_map(|line| line.strip_suffix(" seconds")).unwrap();
    Duration::from_secs_f64(seconds.parse().unwrap())
}

/// KiB of this process on huge pages; nothing where Linux's figures are not to be had.
fn huge_pages() -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = maps.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
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
