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
    };

    /// Whether the source has proved the password lately.
    #[must_use]
    pub fn is_known(&self, now: Timestamp) -> bool {
        self.success_time.is_some_and(|time| now < time.plus(KNOWN_FOR))
    }

    /// When this says nothing any more.
    #[must_use]
    pub fn expire_time(&self) -> Timestamp {
        let failures = self.failure_time.map(|time| time.plus(FORGOTTEN_AFTER));
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

    /// Whether one more check may be made.
    #[must_use]
    pub fn decide(&self, tally: &Tally, now: Timestamp) -> Decision {
        if let Some(until) = self.blocked_until(tally, now) {
            return Decision::Blocked(until);
        }
        let mut next = tally.at(now);
        // After the free ones, one at a time.
        let most = self.free.saturating_sub(next.failures).max(1);
        if next.reserved >= most {
            return Decision::Busy;
        }
        next.reserved += 1;
        next.reserved_until = now.plus(LAPSES_AFTER);
        Decision::Allowed(next)
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
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCKOUT: Lockout = Lockout { free: 5, longest: Duration::from_mins(15) };
    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn failed(times: u32, now: Timestamp) -> Tally {
        (0..times).fold(Tally::NEW, |tally, _| LOCKOUT.settle(&tally, 0, Outcome::Wrong, now))
    }

    #[test]
    fn five_failures_are_free_and_delays_grow_to_a_quarter_of_an_hour() {
        let delays: Vec<u64> = (4..=16).map(|failures| LOCKOUT.delay(failures).as_secs()).collect();
        assert_eq!(delays, [0, 1, 3, 5, 10, 30, 60, 120, 300, 600, 900, 900, 900]);
    }

    #[test]
    fn a_delay_ends_by_itself_and_then_one_at_a_time_is_let_in() {
        let tally = failed(5, NOW);
        let end = NOW.plus(Duration::from_secs(1));
        assert_eq!(LOCKOUT.decide(&tally, NOW), Decision::Blocked(end));
        let Decision::Allowed(one) = LOCKOUT.decide(&tally, end) else { panic!("the delay is over") };
        assert_eq!(LOCKOUT.decide(&one, end), Decision::Busy);
    }

    #[test]
    fn what_nobody_settled_is_void_after_two_minutes() {
        let mut tally = Tally::NEW;
        while let Decision::Allowed(next) = LOCKOUT.decide(&tally, NOW) {
            tally = next;
        }
        assert_eq!(tally.reserved, 5);
        assert!(
            matches!(LOCKOUT.decide(&tally, NOW.plus(LAPSES_AFTER)), Decision::Allowed(next) if next.reserved == 1)
        );
    }

    #[test]
    fn failures_are_forgotten_after_a_day_and_a_success_forgives_those_it_saw() {
        let tally = failed(9, NOW);
        assert_eq!(LOCKOUT.failures(&tally, NOW.plus(FORGOTTEN_AFTER)), 0);
        let after = LOCKOUT.settle(&tally, 0, Outcome::Right { seen: 9 }, NOW);
        assert_eq!((after.failures, after.blocked_until, after.is_known(NOW)), (0, None, true));
        let after = LOCKOUT.settle(&tally, 0, Outcome::Right { seen: 3 }, NOW);
        assert_eq!((after.failures, after.blocked_until), (6, tally.blocked_until), "later ones still count");
        assert!(!after.is_known(NOW.plus(KNOWN_FOR)));
    }

    #[test]
    fn replicas_whose_clocks_differ_a_little_see_the_same() {
        let ahead = NOW.plus(SKEW);
        let Decision::Allowed(tally) = LOCKOUT.decide(&Tally::NEW, ahead) else { panic!("nothing was tried") };
        let Decision::Allowed(tally) = LOCKOUT.decide(&tally, NOW) else { panic!("one was") };
        assert_eq!(tally.reserved, 2);
        assert!(matches!(LOCKOUT.decide(&failed(99, ahead), NOW), Decision::Blocked(_)));
    }

    #[test]
    fn a_clock_that_was_ahead_blocks_nobody() {
        let tally = failed(20, NOW.plus(Duration::from_hours(400 * 24)));
        let Decision::Allowed(next) = LOCKOUT.decide(&tally, NOW) else { panic!("blocked by the future") };
        let next = LOCKOUT.settle(&next, 1, Outcome::Wrong, NOW);
        assert_eq!(LOCKOUT.decide(&next, NOW), Decision::Blocked(NOW.plus(LOCKOUT.longest)));
    }

    fn tallies() -> impl Strategy<Value = Tally> {
        let time = || any::<i64>().prop_map(Timestamp::from_micros);
        let maybe = || prop::option::of(time());
        (any::<u32>(), any::<u32>(), time(), maybe(), maybe(), maybe()).prop_map(
            |(failures, reserved, reserved_until, blocked_until, failure_time, success_time)| Tally {
                failures,
                reserved,
                reserved_until,
                blocked_until,
                failure_time,
                success_time,
            },
        )
    }

    fn lockouts() -> impl Strategy<Value = Lockout> {
        (1..=u32::MAX, 0..=MAX_DELAY.as_secs())
            .prop_map(|(free, longest)| Lockout { free, longest: Duration::from_secs(longest) })
    }

    proptest! {
        #[test]
        fn delays_never_shrink_and_never_pass_the_bound(lockout in lockouts(), one: u32, other: u32) {
            let (fewer, more) = (one.min(other), one.max(other));
            prop_assert!(lockout.delay(fewer) <= lockout.delay(more));
            prop_assert!(lockout.delay(more) <= lockout.longest);
        }

        #[test]
        fn whatever_is_kept_nobody_waits_longer_than_the_bound(
            lockout in lockouts(), tally in tallies(), now in any::<i64>().prop_map(Timestamp::from_micros),
        ) {
            if let Decision::Blocked(until) = lockout.decide(&tally, now) {
                prop_assert!(now < until && until <= now.plus(lockout.longest).plus(SKEW));
                prop_assert!(!matches!(lockout.decide(&tally, until), Decision::Blocked(_)));
            }
            for outcome in [Outcome::Right { seen: 1 }, Outcome::Wrong, Outcome::Void] {
                let next = lockout.settle(&tally, 1, outcome, now);
                prop_assert!(next.expire_time() >= next.reserved_until);
            }
        }

        #[test]
        fn reservations_and_failures_never_exceed_what_is_free(steps in prop::collection::vec(0..4_u8, 0..200)) {
            let (mut tally, mut under_way, mut wrong) = (Tally::NEW, 0_u32, 0_u32);
            for step in steps {
                if step > 0 {
                    if let Decision::Allowed(next) = LOCKOUT.decide(&tally, NOW) {
                        (tally, under_way) = (next, under_way + 1);
                    }
                } else if under_way > 0 {
                    tally = LOCKOUT.settle(&tally, 1, Outcome::Wrong, NOW);
                    (under_way, wrong) = (under_way - 1, wrong + 1);
                }
                prop_assert!(under_way + wrong <= LOCKOUT.free);
            }
        }
    }
}
