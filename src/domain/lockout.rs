//! Slowing guessers down without locking owners out (SP 800-63B-4 section 3.2.2; ASVS 6.1.1).
//!
//! Failures are tallied for a subject and a class of sources. Some are free; from then on each begins a delay that is
//! longer than the one before, up to a bound, and ends by itself. What is checked is reserved before it is checked, so
//! that failures and reservations together never exceed what is allowed, however many come at once.
//!
//! A source that has proved the password lately is known, and has a tally of its own alone: nothing that others do holds
//! it up. All others, strangers, have to pass a tally that they share besides.
//!
//! Pure: a tally and the time in, a decision and the next tally out.

use std::time::Duration;

use super::Timestamp;

/// The delays in seconds, one for each failure from the last free one on; then [`Lockout::longest`].
const DELAYS: [u64; 9] = [1, 3, 5, 10, 30, 60, 120, 300, 600];

/// The longest delay that can be asked for.
pub const MAX_DELAY: Duration = Duration::from_hours(1);
/// Failures this long ago no longer count.
pub const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);
/// Failures in a row still count for a stop so long after the last one: slower than this, guessing leads nowhere.
pub const COUNTED_FOR: Duration = Duration::from_hours(30 * 24);
/// How long a success makes a source known.
pub const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);
/// A reservation that nobody settled is void by then: whoever made it is gone.
pub const LAPSES_AFTER: Duration = Duration::from_mins(2);

/// How far the clocks of replicas may lie apart.
pub const SKEW: Duration = Duration::from_mins(1);

/// How failures are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Failures before the first delay; at least 1.
    pub free: u32,
    /// The longest delay, at most [`MAX_DELAY`].
    pub longest: Duration,
    /// After how many failures in a row nobody is let in any more until that is ended; `None` for never.
    pub stop: Option<u32>,
}

/// What is allowed to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockouts {
    /// To one source.
    pub source: Lockout,
    /// To all strangers together.
    pub strangers: Lockout,
}

/// What is kept for a subject and a class of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Failures that count.
    pub failures: u32,
    /// Checks that may be under way.
    pub reserved: u32,
    /// When those that nobody settled are void.
    pub reserved_until: Timestamp,
    /// When the last delay ends or ended.
    pub blocked_until: Option<Timestamp>,
    /// The last failure.
    pub failure_time: Option<Timestamp>,
    /// The last success.
    pub success_time: Option<Timestamp>,
    /// Failures since the last success, where the rule has a stop. Time alone takes them away only in [`COUNTED_FOR`].
    pub streak: u32,
    /// When they became too many.
    pub stop_time: Option<Timestamp>,
}

impl Tally {
    /// Of whom nothing is known.
    pub const NEW: Self = Self {
        failures: 0,
        reserved: 0,
        reserved_until: Timestamp::from_micros(0),
        blocked_until: None,
        failure_time: None,
        success_time: None,
        streak: 0,
        stop_time: None,
    };

    /// Whether the source has proved the password lately.
    #[must_use]
    pub fn is_known(&self, now: Timestamp) -> bool {
        self.success_time.is_some_and(|time| now < time.plus(KNOWN_FOR))
    }

    /// When this says nothing any more: never, where it is a stop.
    #[must_use]
    pub fn expire_time(&self) -> Timestamp {
        if self.stop_time.is_some() {
            return Timestamp::from_micros(i64::MAX);
        }
        self.expires(if self.streak > 0 { COUNTED_FOR } else { FORGOTTEN_AFTER })
    }

    /// The same for a name that is nobody's. Nobody could end a stop there, and whoever makes names up must not fill the
    /// database with them for ever.
    #[must_use]
    pub fn expire_time_of_nobody(&self) -> Timestamp {
        self.expires(if self.stop_time.is_some() { COUNTED_FOR } else { FORGOTTEN_AFTER })
    }

    fn expires(&self, failures_kept: Duration) -> Timestamp {
        let failures = self.failure_time.map(|time| time.plus(failures_kept));
        let success = self.success_time.map(|time| time.plus(KNOWN_FOR));
        self.reserved_until.max(failures.unwrap_or(self.reserved_until)).max(success.unwrap_or(self.reserved_until))
    }

    /// Without what the time has taken away. What no replica could have written yet comes of a clock that was set back
    /// since: it holds nobody up.
    fn at(mut self, now: Timestamp) -> Self {
        if self.failure_time.is_none_or(|time| now >= time.plus(FORGOTTEN_AFTER)) {
            self.failures = 0;
            self.blocked_until = None;
        }
        if self.failure_time.is_none_or(|time| now >= time.plus(COUNTED_FOR)) {
            self.streak = 0;
        }
        if now >= self.reserved_until || self.reserved_until > now.plus(LAPSES_AFTER).plus(SKEW) {
            self.reserved = 0;
        }
        self
    }
}

/// What comes of asking for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be made; this is the tally with its reservation.
    Allowed(Tally),
    /// As many as may be are under way: what comes of them decides.
    Busy,
    /// Not before then.
    Blocked(Timestamp),
    /// Not before somebody ends it.
    Stopped,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The password was right; of the failures, those that were seen when the check was reserved are forgiven.
    Right {
        /// How many were seen.
        seen: u32,
    },
    /// The password was wrong.
    Wrong,
    /// There was no check, or its end says nothing of the password.
    Void,
}

impl Lockout {
    /// How long nobody is let in after so many failures.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let Some(step) = failures.checked_sub(self.free) else { return Duration::ZERO };
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        DELAYS.get(step).map_or(self.longest, |seconds| Duration::from_secs(*seconds)).min(self.longest)
    }

    /// The end of the delay in force. One that is further away than the longest was written before the clock was set back.
    #[must_use]
    pub fn blocked_until(&self, tally: &Tally, now: Timestamp) -> Option<Timestamp> {
        tally.at(now).blocked_until.filter(|until| now < *until && *until <= now.plus(self.longest).plus(SKEW))
    }

    /// Failures that count now.
    #[must_use]
    pub fn failures(&self, tally: &Tally, now: Timestamp) -> u32 {
        tally.at(now).failures
    }

    /// Whether nobody is let in any more.
    #[must_use]
    pub fn is_stopped(&self, tally: &Tally, now: Timestamp) -> bool {
        self.stop.is_some_and(|stop| tally.stop_time.is_some() || tally.at(now).streak >= stop)
    }

    /// Whether one more check may be made.
    #[must_use]
    pub fn decide(&self, tally: &Tally, now: Timestamp) -> Decision {
        if self.is_stopped(tally, now) {
            return Decision::Stopped;
        }
        if let Some(until) = self.blocked_until(tally, now) {
            return Decision::Blocked(until);
        }
        let mut next = tally.at(now);
        if next.reserved >= self.most(&next) {
            return Decision::Busy;
        }
        next.reserved += 1;
        next.reserved_until = now.plus(LAPSES_AFTER);
        Decision::Allowed(next)
    }

    /// Checks that may be under way.
    fn most(&self, tally: &Tally) -> u32 {
        // After the free ones, one at a time.
        let most = self.free.saturating_sub(tally.failures).max(1);
        // And never so many that they could be more than the stop, if all of them fail.
        self.stop.map_or(most, |stop| most.min(stop.saturating_sub(tally.streak)))
    }

    /// The tally with checks that stay reserved for a source whose passwords are right one after the other, as it is for as
    /// long as they do not lapse soon; `None` where they are reserved no more, or more than half of all that may be is:
    /// others are to come to their turn.
    #[must_use]
    pub fn keep(&self, tally: &Tally, reserved: u32, now: Timestamp) -> Option<Tally> {
        let Decision::Allowed(next) = self.decide(tally, now) else { return None };
        let held = tally.at(now).reserved;
        if held < reserved || held > self.most(&next) / 2 {
            return None;
        }
        let lapses_soon = tally.reserved_until < now.plus(LAPSES_AFTER / 2);
        Some(if lapses_soon { Tally { reserved: held, success_time: Some(now), ..next } } else { *tally })
    }

    /// The tally after checks that were reserved ended so. A wrong password is one; the others may be settled together.
    #[must_use]
    pub fn settle(&self, tally: &Tally, reserved: u32, outcome: Outcome, now: Timestamp) -> Tally {
        let mut next = tally.at(now);
        next.reserved = next.reserved.saturating_sub(reserved);
        match outcome {
            Outcome::Void => {}
            Outcome::Right { seen } => {
                next.failures = next.failures.saturating_sub(seen);
                if next.failures < self.free {
                    next.blocked_until = None;
                }
                next.success_time = Some(now);
            }
            Outcome::Wrong => {
                next.failures = next.failures.saturating_add(1);
                next.failure_time = Some(now);
                if next.failures >= self.free {
                    next.blocked_until = Some(now.plus(self.delay(next.failures)));
                }
                if let Some(stop) = self.stop {
                    next.streak = next.streak.saturating_add(1);
                    next.stop_time = next.stop_time.or((next.streak >= stop).then_some(now));
                }
            }
        }
        next
    }

    /// The same for the tally that strangers share. What one of them proves forgives nothing that the others did, and
    /// makes none of them known; but it ends what is in a row.
    #[must_use]
    pub fn settle_shared(&self, tally: &Tally, reserved: u32, outcome: Outcome, now: Timestamp) -> Tally {
        let shared = if matches!(outcome, Outcome::Wrong) { outcome } else { Outcome::Void };
        let mut next = self.settle(tally, reserved, shared, now);
        if matches!(outcome, Outcome::Right { .. }) && next.stop_time.is_none() {
            next.streak = 0;
        }
        next
    }
}

#[cfg(test)]
mod tests;
