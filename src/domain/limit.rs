//! Limits: what the service is configured with, and what a tenant sets otherwise for itself.

use std::{ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Lockout,
    lockout::{Lockouts, MAX_DELAY},
};

/// How many failures may be free for one source.
pub const FREE_FAILURES: RangeInclusive<u32> = 1..=100;
/// How many may be free for all strangers together.
pub const STRANGER_FAILURES: RangeInclusive<u32> = 1..=1_000;
/// After how many in a row strangers are stopped: SP 800-63B-4 section 3.2.2 allows no more.
pub const HARD_STOP_FAILURES: RangeInclusive<u32> = 1..=100;

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Calls a second in the long run; 0 for no limit.
    pub per_second: u32,
    /// Calls at once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { per_second: 0, burst: 1 };

    fn or(self, per_second: Option<u32>, burst: Option<u32>) -> Self {
        Self { per_second: per_second.unwrap_or(self.per_second), burst: burst.unwrap_or(self.burst) }
    }
}

/// What one tenant sets otherwise than the service; what is absent is the service's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TenantLimits {
    /// Failures of one source before its first delay.
    pub free_failures: Option<u32>,
    /// Failures of all strangers together before their first delay.
    pub stranger_failures: Option<u32>,
    /// Failures of strangers in a row after which they are stopped.
    pub hard_stop_failures: Option<u32>,
    /// The longest delay, in seconds.
    pub longest_delay_s: Option<u64>,
    /// Calls of one caller of the tenant, a second.
    pub caller_per_second: Option<u32>,
    /// The same, at once.
    pub caller_burst: Option<u32>,
    /// Calls about the tenant, a second.
    pub tenant_per_second: Option<u32>,
    /// The same, at once.
    pub tenant_burst: Option<u32>,
    /// Checks and changes of one subject's password, a second.
    pub target_per_second: Option<u32>,
    /// The same, at once.
    pub target_burst: Option<u32>,
}

impl TenantLimits {
    /// What is out of bounds: each field with its rule.
    #[must_use]
    pub fn defects(&self) -> Vec<(&'static str, String)> {
        let mut defects = Vec::new();
        let numbers = [
            ("free_failures", self.free_failures, FREE_FAILURES),
            ("stranger_failures", self.stranger_failures, STRANGER_FAILURES),
            ("hard_stop_failures", self.hard_stop_failures, HARD_STOP_FAILURES),
            ("caller_burst", self.caller_burst, 1..=u32::MAX),
            ("tenant_burst", self.tenant_burst, 1..=u32::MAX),
            ("target_burst", self.target_burst, 1..=u32::MAX),
        ];
        for (field, value, bounds) in numbers {
            if value.is_some_and(|value| !bounds.contains(&value)) {
                let (least, most) = (*bounds.start(), *bounds.end());
                let rule = if most == u32::MAX { "must be at least 1".to_owned() } else { between(least, most) };
                defects.push((field, rule));
            }
        }
        if self.longest_delay_s.is_some_and(|seconds| !(1..=MAX_DELAY.as_secs()).contains(&seconds)) {
            defects.push(("longest_delay", "must be 1 s to 3600 s: longer would lock owners out".to_owned()));
        }
        let fewer = self.free_failures.zip(self.stranger_failures).is_some_and(|(free, strangers)| strangers < free);
        if fewer {
            defects.push(("stranger_failures", "must be at least free_failures".to_owned()));
        }
        defects
    }

    /// The rules of the soft lock, where the service's are these.
    #[must_use]
    pub fn lockouts(&self, service: Lockouts) -> Lockouts {
        let longest = self.longest_delay_s.map(Duration::from_secs);
        let source = Lockout {
            free: self.free_failures.unwrap_or(service.source.free),
            longest: longest.unwrap_or(service.source.longest),
            ..service.source
        };
        let strangers = Lockout {
            // Not fewer than one of them has alone.
            free: self.stranger_failures.unwrap_or(service.strangers.free).max(source.free),
            longest: longest.unwrap_or(service.strangers.longest),
            stop: self.hard_stop_failures.or(service.strangers.stop),
        };
        Lockouts { source, strangers }
    }

    /// The bucket of each of its callers.
    #[must_use]
    pub fn caller(&self, service: Rate) -> Rate {
        service.or(self.caller_per_second, self.caller_burst)
    }

    /// The bucket of the tenant.
    #[must_use]
    pub fn tenant(&self, service: Rate) -> Rate {
        service.or(self.tenant_per_second, self.tenant_burst)
    }

    /// The bucket of each of its subjects.
    #[must_use]
    pub fn target(&self, service: Rate) -> Rate {
        service.or(self.target_per_second, self.target_burst)
    }
}

fn between(least: u32, most: u32) -> String {
    format!("must be {least} to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Lockouts = Lockouts {
        source: Lockout { free: 5, longest: Duration::from_mins(15), stop: None },
        strangers: Lockout { free: 20, longest: Duration::from_mins(15), stop: Some(100) },
    };

    #[test]
    fn what_a_tenant_does_not_set_is_the_services() {
        let none = TenantLimits::default();
        assert_eq!(none.lockouts(SERVICE), SERVICE);
        assert_eq!(none.caller(Rate::OFF), Rate::OFF);
        assert!(none.defects().is_empty());
        let some = TenantLimits { free_failures: Some(30), longest_delay_s: Some(60), ..none };
        let rules = some.lockouts(SERVICE);
        assert_eq!((rules.source.free, rules.strangers.free), (30, 30), "strangers have no fewer than one of them");
        assert_eq!((rules.source.longest, rules.strangers.longest), (Duration::from_mins(1), Duration::from_mins(1)));
        assert_eq!((rules.source.stop, rules.strangers.stop), (None, Some(100)));
        let rate = TenantLimits { tenant_per_second: Some(7), ..none }.tenant(Rate { per_second: 1, burst: 3 });
        assert_eq!(rate, Rate { per_second: 7, burst: 3 });
    }

    #[test]
    fn everything_out_of_bounds_is_told() {
        let wrong = TenantLimits {
            free_failures: Some(101),
            stranger_failures: Some(0),
            hard_stop_failures: Some(u32::MAX),
            longest_delay_s: Some(u64::MAX),
            caller_burst: Some(0),
            tenant_burst: Some(0),
            target_burst: Some(0),
            ..TenantLimits::default()
        };
        let fields: Vec<_> = wrong.defects().into_iter().map(|(field, _)| field).collect();
        let expected = [
            "free_failures",
            "stranger_failures",
            "hard_stop_failures",
            "caller_burst",
            "tenant_burst",
            "target_burst",
            "longest_delay",
            "stranger_failures",
        ];
        assert_eq!(fields, expected);
        let largest = TenantLimits {
            free_failures: Some(100),
            stranger_failures: Some(1_000),
            hard_stop_failures: Some(100),
            longest_delay_s: Some(3_600),
            caller_per_second: Some(u32::MAX),
            caller_burst: Some(u32::MAX),
            ..TenantLimits::default()
        };
        assert!(largest.defects().is_empty());
    }

    #[test]
    fn rows_of_before_and_of_after_are_read() {
        let read = |text: &str| serde_json::from_str::<TenantLimits>(text).unwrap();
        assert_eq!(read("{}"), TenantLimits::default());
        assert_eq!(read(r#"{"free_failures": 3, "of_a_later_version": 1}"#).free_failures, Some(3));
    }
}
