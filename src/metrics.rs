//! What is counted and timed, and how Prometheus reads it.
//!
//! Labels are names of the API and of algorithms alone, so that their number is bounded and none tells of anybody. Every
//! series belongs to a part that is passed around, none to the process, so that two services in one process do not mix.

mod calls;
mod census;
mod endpoint;
mod guessing;
mod keyring_reloads;
mod text;
mod usage;

use std::time::Duration;

pub use self::{
    calls::{Calls, Running},
    census::Census,
    endpoint::Endpoint,
    guessing::{Guessing, Refusal},
    keyring_reloads::KeyringReloads,
    text::{Kind, Text},
    usage::{UseOf, Uses},
};

/// The upper bounds of a histogram's buckets, in microseconds: from a fraction of one hash to the longest a call may take.
const BOUNDS: [u32; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Up to the bound of the same place and above that before; the rest is in none.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&mut self, time: Duration) {
        let bucket = BOUNDS.iter().position(|bound| time <= Duration::from_micros((*bound).into()));
        if let Some(bucket) = bucket.and_then(|place| self.buckets.get_mut(place)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Each bound in seconds, and how many took no longer.
    fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.iter().zip(self.buckets).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((f64::from(*bound) / 1e6, *sum))
        })
    }
}
