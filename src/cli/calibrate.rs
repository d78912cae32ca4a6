//! `rekey calibrate`: which of Argon2id's parameters this machine can afford.

use std::{
    io::{self, IsTerminal as _, Write as _},
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    failure::{Exit, Failure},
    output,
};
use crate::{
    crypto::{ForeignBounds, Hasher, HasherOptions, SystemEntropy, Turn},
    domain::{Password, Uid},
};

const HELP: &str = "\
Examples:
  rekey calibrate
  rekey calibrate --target-ms 250 --threads 4
  rekey calibrate >> rekey.toml          the table goes to standard error, the settings to standard output

Every set is measured with all threads at work, as a busy service has it: one hash alone is faster. The strongest set
within the target is proposed: the most memory times passes, for that is what a guess costs too.";

/// What is measured: OWASP's sets, which are about as strong as each other, then larger ones. m in KiB, and t.
const SETS: [(u32, u32); 14] = [
    (47_104, 1),
    (19_456, 2),
    (12_288, 3),
    (9_216, 4),
    (7_168, 5),
    (32_768, 2),
    (47_104, 2),
    (65_536, 1),
    (65_536, 2),
    (65_536, 3),
    (131_072, 2),
    (131_072, 3),
    (262_144, 2),
    (262_144, 3),
];

/// How long a set is measured at least.
const LEAST: Duration = Duration::from_millis(500);
/// Rounds of a set; the median counts.
const ROUNDS: usize = 5;
/// A set that takes longer than this has fewer rounds.
const MOST: Duration = Duration::from_secs(2);

/// Measure this machine, and propose Argon2id's parameters
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// How long a hash may take, in milliseconds
    #[arg(long, value_name = "MS", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    target_ms: u32,
    /// How many threads hash at once [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// What was found of a set.
struct Row {
    memory_kib: u32,
    iterations: u32,
    time: Duration,
}

impl Row {
    fn strength(&self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.iterations)
    }

    fn told(&self, threads: usize, width: usize) -> String {
        let per_second = Duration::from_secs(1).div_duration_f64(self.time) * factor(threads);
        let memory = u64::from(self.memory_kib) * u64::try_from(threads).unwrap_or(u64::MAX) / 1_024;
        let ms = self.time.as_secs_f64() * 1e3;
        format!("{:>9} {:>3} {ms:>9.1} {per_second:>9.1} {memory:>width$} MiB", self.memory_kib, self.iterations)
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let threads = arguments.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let target = Duration::from_millis(arguments.target_ms.into());
    let many = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    output::say(&format!(
        "Argon2id with p = 1 on {many}, all at work\n\n    m KiB   t   ms/hash  hashes/s  memory of all"
    ));
    let mut rows = Vec::with_capacity(SETS.len());
    for (number, (memory_kib, iterations)) in SETS.into_iter().enumerate() {
        progress(&format!("measuring m={memory_kib} t={iterations} ({} of {})", number + 1, SETS.len()));
        let row = measure(threads, memory_kib, iterations).await?;
        progress("");
        output::say(&row.told(threads, 9));
        rows.push(row);
    }
    let fastest = rows.iter().min_by_key(|row| row.time);
    let within = rows.iter().filter(|row| row.time <= target).max_by_key(|row| (row.strength(), row.memory_kib));
    match (within, fastest) {
        (Some(row), _) => {
            output::say(&format!("\nThe strongest within {} ms:\n", arguments.target_ms));
            output::line(&toml(row, threads));
            Ok(())
        }
        (None, Some(row)) => {
            output::say(&format!("\nNone is within {} ms. The fastest that OWASP allows:\n", arguments.target_ms));
            output::line(&toml(row, threads));
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

fn toml(row: &Row, threads: usize) -> String {
    let Row { memory_kib, iterations, .. } = row;
    format!("[hashing]\nthreads = {threads}\nmemory_kib = {memory_kib}\niterations = {iterations}\nparallelism = 1")
}

/// The pool's own threads, memory and queue, never idle: a hash's time is that of all of them over their number.
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn measure(threads: usize, memory_kib: u32, iterations: u32) -> Result<Row, Failure> {
    let options = HasherOptions {
        threads,
        queue: threads * 2,
        max_wait: Duration::MAX,
        memory_kib,
        iterations,
        parallelism: 1,
        foreign: ForeignBounds::DEFAULT,
    };
    let hasher = Hasher::start(options, Arc::new(SystemEntropy)).map_err(|cause| Failure::new(Exit::Config, cause))?;
    // The memory's pages are the machine's only once they were touched.
    hash(&hasher, threads, 1).await?;
    let mut times = Vec::with_capacity(ROUNDS);
    let mut each = 1;
    let start = Instant::now();
    while times.len() < ROUNDS && (times.is_empty() || start.elapsed() < MOST) {
        let begin = Instant::now();
        hash(&hasher, threads, each).await?;
        let took = begin.elapsed();
        if took < LEAST / u32::try_from(ROUNDS).unwrap_or(1) {
            each *= 2;
        } else {
            times.push(took.div_f64(factor(each)));
        }
    }
    times.sort_unstable();
    let time = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(Row { memory_kib, iterations, time })
}

/// Has each thread do so many hashes.
async fn hash(hasher: &Hasher, threads: usize, each: usize) -> Result<(), Failure> {
    let failed = |cause: String| Failure::new(Exit::Failed, format!("cannot hash: {cause}"));
    // Two askers for each thread, so that none waits for the next.
    let mut askers = JoinSet::new();
    for half in 0..threads * 2 {
        let hasher = hasher.clone();
        let count = if half % 2 == 0 { each.div_ceil(2) } else { each / 2 };
        askers.spawn(async move {
            let tenant = Uid::from_stored("calibrate");
            for _ in 0..count {
                let password = Password::parse("correct horse battery staple".to_owned());
                let password = password.map_err(|unfit| unfit.to_string())?;
                let turn = Turn { tenant: &tenant, deadline: None };
                hasher.verify(turn, password, None).await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(ended) = askers.join_next().await {
        ended.map_err(|cause| failed(cause.to_string()))?.map_err(failed)?;
    }
    Ok(())
}

/// A line that the next one overwrites; only for people.
fn progress(text: &str) {
    let mut terminal = io::stderr().lock();
    if terminal.is_terminal() {
        let _ = write!(terminal, "\r\x1b[K{text}");
        let _ = terminal.flush();
    }
}

fn factor(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_set_is_measured_and_told() {
        let row = measure(1, 7_168, 5).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(row.time > Duration::ZERO);
        let row = Row { time: Duration::from_millis(20), ..row };
        assert_eq!(row.told(4, 6).split_whitespace().collect::<Vec<_>>(), ["7168", "5", "20.0", "200.0", "28", "MiB"]);
        let written: toml::Table = toml(&row, 4).parse().unwrap();
        assert_eq!(written["hashing"]["memory_kib"].as_integer(), Some(7_168));
    }

    #[test]
    fn every_set_is_allowed() {
        for (memory_kib, iterations) in SETS {
            let options = HasherOptions {
                threads: 1,
                queue: 1,
                max_wait: Duration::ZERO,
                memory_kib,
                iterations,
                parallelism: 1,
                foreign: ForeignBounds::DEFAULT,
            };
            Hasher::start(options, Arc::new(SystemEntropy)).unwrap();
        }
    }
}
