//! What a run is set to: by the environment, and told where it can be seen.

use std::{
    env, fmt,
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    str::FromStr,
};

/// How often a test does what it does: `REKEY_CHAOS_ROUNDS`, or its quick number.
pub(crate) fn rounds(quick: u64) -> u64 {
    number("REKEY_CHAOS_ROUNDS").unwrap_or(quick)
}

/// What the random numbers of a test begin with: `REKEY_CHAOS_SEED`, or another one each time. Said at once, so that it
/// is known also of a run that never ends.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = number("REKEY_CHAOS_SEED").unwrap_or_else(|| RandomState::new().hash_one(test) & 0xffff_ffff);
    say(format_args!("{test}: REKEY_CHAOS_SEED={seed}"));
    seed
}

/// Past the test harness, which shows what a passing test prints to nobody.
pub(crate) fn say(what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "chaos: {what}");
}

/// A number that the environment sets.
pub(crate) fn number<T: FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
