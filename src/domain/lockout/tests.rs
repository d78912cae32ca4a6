use proptest::prelude::*;

use super::*;

const LOCKOUT: Lockout = Lockout { free: 5, longest: Duration::from_mins(15), stop: None };
const STRANGERS: Lockout = Lockout { free: 20, longest: Duration::from_mins(15), stop: Some(100) };
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
    assert!(matches!(LOCKOUT.decide(&tally, NOW.plus(LAPSES_AFTER)), Decision::Allowed(next) if next.reserved == 1));
}

#[test]
fn what_is_reserved_may_be_kept_while_as_much_is_left_to_others() {
    let reserved = |count: u32| {
        (0..count).fold(Tally::NEW, |tally, _| {
            let Decision::Allowed(next) = LOCKOUT.decide(&tally, NOW) else { panic!("five are free") };
            next
        })
    };
    assert_eq!(LOCKOUT.keep(&reserved(2), 1, NOW.plus(LAPSES_AFTER / 2)), Some(reserved(2)), "for a minute as it is");
    let later = NOW.plus(LAPSES_AFTER / 2 + Duration::from_secs(1));
    let kept = LOCKOUT.keep(&reserved(2), 1, later).unwrap();
    assert_eq!((kept.reserved, kept.reserved_until, kept.is_known(later)), (2, later.plus(LAPSES_AFTER), true));
    assert_eq!(LOCKOUT.keep(&reserved(3), 1, later), None, "two are left");
    assert_eq!(LOCKOUT.keep(&reserved(1), 2, later), None, "they were given back");
    assert_eq!(LOCKOUT.keep(&reserved(2), 2, NOW.plus(LAPSES_AFTER)), None, "they have lapsed");
    let failed = LOCKOUT.settle(&reserved(2), 0, Outcome::Wrong, NOW);
    assert_eq!(LOCKOUT.keep(&failed, 2, later).map(|kept| (kept.reserved, kept.failures)), Some((2, 1)));
    assert_eq!(LOCKOUT.keep(&LOCKOUT.settle(&failed, 0, Outcome::Wrong, NOW), 2, later), None, "three may be");
    let blocked = (0..5).fold(reserved(1), |tally, _| LOCKOUT.settle(&tally, 0, Outcome::Wrong, NOW));
    assert_eq!(LOCKOUT.keep(&blocked, 1, NOW), None);
    let single = Lockout { free: 1, ..LOCKOUT };
    assert_eq!(single.keep(&reserved(1), 1, NOW), None);
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

/// So many checks of strangers, each as soon as it may be, end so.
fn strangers(tally: Tally, times: u32, outcome: Outcome, now: &mut Timestamp) -> Tally {
    (0..times).fold(tally, |tally, _| {
        if let Decision::Blocked(until) = STRANGERS.decide(&tally, *now) {
            *now = until;
        }
        let Decision::Allowed(next) = STRANGERS.decide(&tally, *now) else { panic!("stopped: {tally:?}") };
        STRANGERS.settle_shared(&next, 1, outcome, *now)
    })
}

#[test]
fn strangers_are_stopped_after_a_hundred_failures_in_a_row_and_time_does_not_end_it() {
    let mut now = NOW;
    let tally = strangers(Tally::NEW, 99, Outcome::Wrong, &mut now);
    assert!(!STRANGERS.is_stopped(&tally, now));
    // A day in which nothing happens forgives the delays, and not what is in a row.
    now = now.plus(FORGOTTEN_AFTER);
    assert_eq!((STRANGERS.failures(&tally, now), tally.at(now).streak), (0, 99));
    let Decision::Allowed(one) = STRANGERS.decide(&tally, now) else { panic!("one is left") };
    assert_eq!(STRANGERS.decide(&one, now), Decision::Busy, "and no more than one");
    let tally = STRANGERS.settle_shared(&one, 1, Outcome::Wrong, now);
    for later in [Duration::ZERO, COUNTED_FOR, Duration::from_hours(24 * 3_650)] {
        assert_eq!(STRANGERS.decide(&tally, now.plus(later)), Decision::Stopped);
    }
    assert_eq!(tally.expire_time(), Timestamp::from_micros(i64::MAX));
    assert!(tally.expire_time_of_nobody() <= now.plus(COUNTED_FOR));
    let endless = Lockout { stop: None, ..STRANGERS };
    assert!(!matches!(endless.decide(&tally, now.plus(MAX_DELAY)), Decision::Stopped), "where it is the rule");
}

#[test]
fn a_right_one_among_strangers_ends_what_is_in_a_row_and_no_delay() {
    let mut now = NOW;
    let tally = strangers(Tally::NEW, 60, Outcome::Wrong, &mut now);
    let tally = strangers(tally, 1, Outcome::Right { seen: 60 }, &mut now);
    assert_eq!((tally.streak, tally.failures, tally.is_known(now)), (0, 60, false));
    let tally = strangers(tally, 99, Outcome::Wrong, &mut now);
    assert!(!STRANGERS.is_stopped(&tally, now));
    assert!(STRANGERS.is_stopped(&strangers(tally, 1, Outcome::Wrong, &mut now), now));
    let slow = (0..1_000).fold(Tally::NEW, |tally, month| {
        let now = NOW.plus(COUNTED_FOR * month);
        STRANGERS.settle_shared(&tally, 0, Outcome::Wrong, now)
    });
    assert_eq!(slow.streak, 1, "one a month is not what this is for");
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
    (any::<(u32, u32, u32)>(), time(), maybe(), maybe(), maybe(), maybe()).prop_map(
        |((failures, reserved, streak), reserved_until, blocked_until, failure_time, success_time, stop_time)| Tally {
            failures,
            reserved,
            reserved_until,
            blocked_until,
            failure_time,
            success_time,
            streak,
            stop_time,
        },
    )
}

fn lockouts() -> impl Strategy<Value = Lockout> {
    (1..=u32::MAX, 0..=MAX_DELAY.as_secs()).prop_map(|(free, longest)| Lockout {
        free,
        longest: Duration::from_secs(longest),
        stop: None,
    })
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
    fn strangers_are_checked_a_hundred_times_between_two_right_ones_at_most(
        steps in prop::collection::vec((0..4_u8, 0..2_000_u64), 0..600),
    ) {
        let (mut tally, mut under_way, mut wrong, mut now) = (Tally::NEW, 0_u32, 0_u32, NOW);
        for (step, seconds) in steps {
            if step > 0 {
                // Shorter than what makes a reservation lapse: those are settled here.
                now = now.plus(Duration::from_secs(if under_way > 0 { 0 } else { seconds }));
                if let Decision::Allowed(next) = STRANGERS.decide(&tally, now) {
                    (tally, under_way) = (next, under_way + 1);
                }
            } else if under_way > 0 {
                tally = STRANGERS.settle_shared(&tally, 1, Outcome::Wrong, now);
                (under_way, wrong) = (under_way - 1, wrong + 1);
            }
            prop_assert!(under_way + wrong <= 100);
        }
    }

    #[test]
    fn reservations_and_failures_never_exceed_what_is_free(steps in prop::collection::vec(0..5_u8, 0..200)) {
        let (mut tally, mut under_way, mut wrong) = (Tally::NEW, 0_u32, 0_u32);
        for step in steps {
            if step == 4 {
                tally = LOCKOUT.keep(&tally, under_way, NOW).unwrap_or(tally);
                prop_assert_eq!((tally.reserved, tally.failures), (under_way, wrong));
            } else if step > 0 {
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
