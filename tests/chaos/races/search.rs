//! Whether a history is linearizable: whether there is an order of its calls in which each could have been answered so by
//! one process alone, and which no two calls contradict of which one ended before the other began (Herlihy and Wing).
//!
//! The search is that of Wing and Gong, with what Lowe adds: where the same calls led to the same state before, it is not
//! gone on from there again. A call without an answer may be put anywhere after its beginning, or left out.

use std::collections::HashSet;

use super::sequential::{Act, Answer, State, step};

/// A call: what, when by the history's own counter, and with what result.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) act: Act,
    pub(super) answer: Answer,
    pub(super) begun: u64,
    /// [`u64::MAX`] where there was no answer.
    pub(super) ended: u64,
}

/// The most calls of one history.
pub(super) const MOST: usize = 64;

/// Whether there is such an order, from where there is no subject yet.
pub(super) fn is_linearizable(events: &[Event]) -> bool {
    assert!(events.len() <= MOST, "a history of {} calls", events.len());
    visit(events, 0, None, &mut HashSet::new())
}

fn visit(events: &[Event], done: u64, state: State, seen: &mut HashSet<(u64, State)>) -> bool {
    let open = || events.iter().enumerate().filter(|(number, _)| done & (1 << number) == 0);
    let Some(first_end) = open().map(|(_, event)| event.ended).min().filter(|end| *end != u64::MAX) else {
        return true;
    };
    for (number, event) in open().filter(|(_, event)| event.begun < first_end) {
        let Some(next) = step(state, event.act, event.answer) else { continue };
        let with = done | (1 << number);
        if seen.insert((with, next)) && visit(events, with, next, seen) {
            return true;
        }
    }
    false
}

#[test]
fn what_could_have_been_is_told_from_what_could_not() {
    use super::sequential::{Etag, Mode, Move};

    let etag = |version| Some(Etag::of(7, version));
    let event = |act, answer, begun, ended| Event { act, answer, begun, ended };
    let create = || event(Act::Create { password: 1 }, Answer::Done(etag(1)), 0, 1);
    let reset = |password, from, answer, begun, ended| event(Act::Reset { password, etag: from }, answer, begun, ended);
    let verify = |password, right, begun, ended| event(Act::Verify { password }, Answer::Verified(right), begun, ended);

    // Two with one etag: one of them.
    let second = |answer| reset(3, etag(1), answer, 3, 5);
    let winner = reset(2, etag(1), Answer::Done(etag(2)), 2, 4);
    assert!(is_linearizable(&[create(), winner.clone(), second(Answer::Stale)]));
    assert!(is_linearizable(&[create(), winner.clone(), second(Answer::Beaten)]));
    assert!(!is_linearizable(&[create(), winner.clone(), second(Answer::Done(etag(2)))]));
    assert!(!is_linearizable(&[create(), winner.clone(), second(Answer::Done(etag(3)))]));

    // An old password after its reset, and during it.
    assert!(!is_linearizable(&[create(), winner.clone(), verify(1, true, 5, 6)]));
    assert!(is_linearizable(&[create(), winner.clone(), verify(1, true, 3, 6)]));
    assert!(is_linearizable(&[create(), winner.clone(), verify(2, true, 3, 6)]));
    assert!(!is_linearizable(&[create(), winner.clone(), verify(2, true, 3, 5), verify(1, true, 6, 7)]));

    // What was given up is done late, once, or never.
    let given_up = reset(9, None, Answer::Unknown, 2, u64::MAX);
    let late = [verify(1, true, 10, 11), verify(9, true, 12, 13)];
    assert!(is_linearizable(&[create(), given_up.clone(), verify(1, true, 10, 11)]));
    assert!(is_linearizable(&[&[create(), given_up.clone()], late.as_slice()].concat()));
    assert!(!is_linearizable(&[&[create(), given_up.clone()], late.as_slice(), &[verify(1, true, 14, 15)]].concat()));
    let after = event(Act::Get, Answer::Shown(Etag::of(7, 3), Mode::Active), 20, 21);
    assert!(!is_linearizable(&[create(), given_up, after]), "twice");

    // Its mode, its end, and another one of the same id.
    let lock = event(Act::Moved { to: Move::Lock, etag: None }, Answer::Done(etag(2)), 2, 3);
    let unlock = |answer| event(Act::Moved { to: Move::Unlock, etag: None }, answer, 4, 5);
    assert!(is_linearizable(&[create(), lock.clone(), verify(1, false, 4, 5), unlock(Answer::Done(etag(3)))]));
    assert!(!is_linearizable(&[create(), lock.clone(), verify(1, true, 4, 5)]));
    assert!(!is_linearizable(&[create(), lock, unlock(Answer::InTheWay)]));
    let delete = event(Act::Delete { etag: etag(1) }, Answer::Done(None), 2, 3);
    let again = event(Act::Create { password: 5 }, Answer::Done(Some(Etag::of(8, 1))), 4, 5);
    assert!(is_linearizable(&[create(), delete.clone(), verify(1, false, 4, 6), again.clone()]));
    assert!(!is_linearizable(&[create(), delete.clone(), again.clone(), verify(1, true, 6, 7)]));
    assert!(!is_linearizable(&[create(), delete, again, reset(6, etag(1), Answer::Done(etag(2)), 6, 7)]));
}
