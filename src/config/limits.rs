//! What callers and guessers are held to, and hashes of other systems.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    crypto::ForeignBounds,
    domain::{
        Lockout, Rate,
        limit::{FREE_FAILURES, HARD_STOP_FAILURES, STRANGER_FAILURES},
        lockout::MAX_DELAY,
    },
    ops::{FailureBudget, LimitOptions},
};

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Limits {
    free_failures: u32,
    stranger_failures: u32,
    hard_stop_failures: u32,
    longest_delay_s: u64,
    caller_per_second: u32,
    caller_burst: u32,
    tenant_per_second: u32,
    tenant_burst: u32,
    target_per_second: u32,
    target_burst: u32,
    source_failures_per_minute: u32,
    source_failures_burst: u32,
}

impl Limits {
    pub(super) fn options(&self) -> LimitOptions {
        let longest = Duration::from_secs(self.longest_delay_s);
        LimitOptions {
            source: Lockout { free: self.free_failures, longest, stop: None },
            strangers: Lockout { free: self.stranger_failures, longest, stop: Some(self.hard_stop_failures) },
            caller: Rate { per_second: self.caller_per_second, burst: self.caller_burst },
            tenant: Rate { per_second: self.tenant_per_second, burst: self.tenant_burst },
            target: Rate { per_second: self.target_per_second, burst: self.target_burst },
            failures: FailureBudget { per_minute: self.source_failures_per_minute, burst: self.source_failures_burst },
        }
    }

    /// What is wrong although each value is of its kind.
    pub(super) fn problems(&self) -> Vec<&'static str> {
        let bursts = [self.caller_burst, self.tenant_burst, self.target_burst, self.source_failures_burst];
        [
            (FREE_FAILURES.contains(&self.free_failures), "limits.free_failures must be 1 to 100"),
            (
                (self.free_failures..=*STRANGER_FAILURES.end()).contains(&self.stranger_failures),
                "limits.stranger_failures must be at least limits.free_failures, and at most 1000",
            ),
            (
                HARD_STOP_FAILURES.contains(&self.hard_stop_failures),
                "limits.hard_stop_failures must be 1 to 100: SP 800-63B allows no more",
            ),
            (
                (1..=MAX_DELAY.as_secs()).contains(&self.longest_delay_s),
                "limits.longest_delay_s must be 1 to 3600: longer would lock owners out",
            ),
            (!bursts.contains(&0), "limits.*_burst must be at least 1; a rate of 0 means no limit"),
        ]
        .into_iter()
        .filter_map(|(good, sentence)| (!good).then_some(sentence))
        .collect()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "as the settings are called")]
pub(super) struct Foreign {
    max_memory_kib: u32,
    max_argon2_iterations: u32,
    max_bcrypt_cost: u32,
    max_pbkdf2_iterations: u32,
    max_sha_crypt_rounds: u32,
}

impl Foreign {
    pub(super) fn bounds(&self) -> ForeignBounds {
        ForeignBounds {
            memory_kib: self.max_memory_kib,
            argon2_iterations: self.max_argon2_iterations,
            bcrypt_cost: self.max_bcrypt_cost,
            pbkdf2_iterations: self.max_pbkdf2_iterations,
            sha_crypt_rounds: self.max_sha_crypt_rounds,
        }
    }
}
