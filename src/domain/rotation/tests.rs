use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const HOUR: Duration = Duration::from_hours(1);

fn at(hours: u64) -> Timestamp {
    NOW.plus(HOUR * u32::try_from(hours).unwrap())
}

fn version(version: i64, stage: Stage, expire_time: Option<Timestamp>) -> Version {
    Version { version, stage, expire_time, own_expire_time: None }
}

fn reset(hours: u64) -> Act {
    let overlap = HOUR * u32::try_from(hours).unwrap();
    Act::Reset { beginning: Beginning::Current { overlap }, at_limit: AtLimit::Refuse }
}

fn pending(at_limit: AtLimit) -> Act {
    Act::Reset { beginning: Beginning::Pending, at_limit }
}

fn revoke(version: i64, allow_last: bool) -> Act {
    Act::Revoke { version, allow_last }
}

/// A slot as the database would have it: each step only from the stage it names, a new version as the highest.
fn apply(versions: &mut Vec<Version>, steps: &[Step], expire_time: Option<Timestamp>) -> Result<(), Step> {
    for step in steps {
        match step {
            Step::Add(stage) => {
                let next = versions.iter().map(|other| other.version).max().unwrap_or_default() + 1;
                versions.push(version(next, *stage, expire_time));
            }
            Step::Move(moved) => {
                let row = versions.iter_mut().find(|row| row.version == moved.version && row.stage == moved.from);
                let row = row.ok_or(*step)?;
                let Move { to, expire_time, own_expire_time, .. } = *moved;
                *row = Version { stage: to, expire_time, own_expire_time, ..*row };
            }
        }
    }
    Ok(())
}

/// The stages after these acts, each an hour after the one before, the last ones first.
fn after(acts: &[Act]) -> Vec<(i64, Stage)> {
    let mut versions = Vec::new();
    for (hour, act) in (0..).zip(acts) {
        let steps = plan(&versions, *act, at(hour)).unwrap();
        apply(&mut versions, &steps, None).unwrap();
    }
    versions.iter().rev().map(|version| (version.version, version.stage)).collect()
}

#[test]
fn a_reset_without_overlap_leaves_nothing_of_what_was() {
    use Stage::{Current, Revoked};
    assert_eq!(after(&[reset(0)]), [(1, Current)]);
    assert_eq!(after(&[reset(0), reset(9), reset(0)]), [(3, Current), (2, Revoked), (1, Revoked)]);
    let acts = [reset(0), pending(AtLimit::Refuse), reset(0)];
    assert_eq!(after(&acts), [(3, Current), (2, Revoked), (1, Revoked)]);
}

#[test]
fn an_overlap_keeps_the_old_one_until_the_sooner_of_two_ends() {
    for (own, deadline) in [(None, at(5)), (Some(at(9)), at(5)), (Some(at(2)), at(2))] {
        let old = version(1, Stage::Current, own);
        let steps = plan(&[old], reset(5), NOW).unwrap();
        let to_previous = Move {
            version: 1,
            from: Stage::Current,
            to: Stage::Previous,
            expire_time: Some(deadline),
            own_expire_time: own,
        };
        assert_eq!(steps, [Step::Move(to_previous), Step::Add(Stage::Current)]);
    }
}

#[test]
fn a_third_is_refused_or_drops_the_one_that_is_not_in_force() {
    use Stage::{Current, Pending, Previous, Revoked};
    let drops = |beginning| Act::Reset { beginning, at_limit: AtLimit::DropOldest };
    let overlap = HOUR;
    for (other, act, expected) in [
        (version(1, Previous, Some(at(1))), reset(5), [(1, Revoked), (2, Previous), (3, Current)]),
        (version(1, Previous, Some(at(1))), pending(AtLimit::Refuse), [(1, Revoked), (2, Current), (3, Pending)]),
        (version(1, Pending, None), reset(5), [(1, Revoked), (2, Previous), (3, Current)]),
        (version(1, Pending, None), pending(AtLimit::Refuse), [(1, Revoked), (2, Current), (3, Pending)]),
    ] {
        let mut versions = vec![other, version(2, Current, None)];
        assert_eq!(plan(&versions, act, NOW), Err(Refusal::AtLimit));
        let beginning = if act == reset(5) { Beginning::Current { overlap } } else { Beginning::Pending };
        let steps = plan(&versions, drops(beginning), NOW).unwrap();
        apply(&mut versions, &steps, None).unwrap();
        assert_eq!(versions.iter().map(|row| (row.version, row.stage)).collect::<Vec<_>>(), expected);
    }
    // What has ended is in nobody's way.
    let ended = [version(1, Previous, Some(NOW)), version(2, Current, None)];
    assert!(plan(&ended, reset(5), NOW).is_ok());
}

#[test]
fn one_is_prepared_promoted_and_taken_back() {
    use Stage::{Current, Pending, Previous, Revoked};
    let prepared = [reset(0), pending(AtLimit::Refuse)];
    assert_eq!(after(&prepared), [(2, Pending), (1, Current)]);
    let promoted = [reset(0), pending(AtLimit::Refuse), Act::Promote { overlap: 9 * HOUR }];
    assert_eq!(after(&promoted), [(2, Current), (1, Previous)]);
    let at_once = [reset(0), pending(AtLimit::Refuse), Act::Promote { overlap: Duration::ZERO }];
    assert_eq!(after(&at_once), [(2, Current), (1, Revoked)]);
    let swapped = [reset(0), reset(9), Act::Swap];
    assert_eq!(after(&swapped), [(2, Previous), (1, Current)]);
    assert_eq!(after(&[reset(0), reset(9), Act::Swap, Act::Swap]), [(2, Current), (1, Previous)]);
    assert_eq!(after(&[reset(0), reset(9), Act::RollBack]), [(2, Revoked), (1, Current)]);
}

#[test]
fn what_comes_back_into_force_has_its_own_end_again() {
    for own in [None, Some(at(100)), Some(at(3))] {
        for act in [Act::RollBack, Act::Swap] {
            let mut versions = vec![version(1, Stage::Current, own)];
            let steps = plan(&versions, reset(5), NOW).unwrap();
            apply(&mut versions, &steps, Some(at(2))).unwrap();
            let steps = plan(&versions, act, at(1)).unwrap();
            apply(&mut versions, &steps, None).unwrap();
            assert_eq!((versions[0].stage, versions[0].expire_time), (Stage::Current, own));
            assert_eq!(versions[1].expire_time, Some(at(2)), "its own end comes before the deadline");
        }
    }
}

#[test]
fn what_is_not_there_is_told_by_its_reason() {
    use Stage::{Current, Pending, Previous, Revoked};
    let overlap = HOUR;
    let alone = [version(1, Current, None)];
    assert_eq!(plan(&alone, Act::Promote { overlap }, NOW), Err(Refusal::NoPending));
    assert_eq!(plan(&alone, Act::RollBack, NOW), Err(Refusal::NoPrevious));
    assert_eq!(plan(&alone, Act::Swap, NOW), Err(Refusal::NoPrevious));
    assert_eq!(plan(&alone, revoke(2, true), NOW), Err(Refusal::UnknownVersion));
    assert_eq!(plan(&[version(1, Revoked, None)], revoke(1, true), NOW), Err(Refusal::UnknownVersion));
    let late = [version(1, Previous, Some(NOW)), version(2, Current, None), version(3, Pending, Some(NOW))];
    assert_eq!(plan(&late, Act::RollBack, NOW), Err(Refusal::NoPrevious));
    assert_eq!(plan(&late, Act::Promote { overlap }, NOW), Err(Refusal::NoPending));
    let ended = [version(1, Previous, Some(at(1))), version(2, Current, Some(NOW))];
    assert_eq!(plan(&ended, Act::Swap, NOW), Err(Refusal::NoCurrent));
    assert!(plan(&ended, Act::RollBack, NOW).is_ok());
}

#[test]
fn the_last_that_is_accepted_goes_only_where_that_is_said() {
    use Stage::{Current, Pending, Previous};
    let waits = version(9, Pending, None);
    let (old, new) = (version(1, Previous, Some(at(1))), version(2, Current, None));
    assert_eq!(plan(&[new, waits], revoke(2, false), NOW), Err(Refusal::Last));
    assert_eq!(plan(&[new, waits], revoke(2, true), NOW).unwrap().len(), 1);
    assert!(plan(&[new, waits], revoke(9, false), NOW).is_ok());
    assert!(plan(&[old, new], revoke(1, false), NOW).is_ok());
    for allow_last in [false, true] {
        assert_eq!(plan(&[old, new], revoke(2, allow_last), NOW), Err(Refusal::HasPrevious));
    }
    // The other has ended: then it is the last after all.
    assert_eq!(plan(&[old, new], revoke(2, false), at(1)), Err(Refusal::Last));
    let ended = version(2, Current, Some(NOW));
    assert_eq!(plan(&[old, ended], revoke(1, false), NOW), Err(Refusal::Last));
    assert!(plan(&[ended], revoke(2, false), NOW).is_ok(), "nothing was accepted before");
}

/// What the rules say, told once more in other words: who sits where, and when each ends by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    last: i64,
    pending: Option<(i64, u64)>,
    current: Option<(i64, u64)>,
    previous: Option<(i64, u64, u64)>,
}

impl Model {
    fn forget(&mut self, now: u64) {
        self.pending = self.pending.filter(|(_, end)| now < *end);
        self.current = self.current.filter(|(_, end)| now < *end);
        self.previous = self.previous.filter(|(_, end, deadline)| now < *end && now < *deadline);
    }

    fn add(&mut self, end: u64) -> (i64, u64) {
        self.last += 1;
        (self.last, end)
    }

    fn retire(&mut self, deadline: u64) {
        if let Some((version, end)) = self.current.take() {
            self.previous = Some((version, end, deadline));
        }
    }

    fn act(&mut self, act: Act, end: u64, now: u64) -> Result<(), Refusal> {
        let hours = |overlap: Duration| overlap.as_secs() / 3_600;
        match act {
            Act::Reset { beginning, at_limit } => {
                if beginning == (Beginning::Current { overlap: Duration::ZERO }) {
                    *self = Self { last: self.last, ..Self::default() };
                    self.current = Some(self.add(end));
                    return Ok(());
                }
                let others = (self.pending.is_some(), self.current.is_some(), self.previous.is_some());
                let full = matches!(others, (true, true, _) | (_, true, true) | (true, _, true))
                    || (beginning == Beginning::Pending && others.0);
                match (full, at_limit, others.0) {
                    (true, AtLimit::Refuse, _) => return Err(Refusal::AtLimit),
                    (true, AtLimit::DropOldest, true) => self.pending = None,
                    (true, AtLimit::DropOldest, false) => self.previous = None,
                    (false, ..) => {}
                }
                match beginning {
                    Beginning::Pending => self.pending = Some(self.add(end)),
                    Beginning::Current { overlap } => {
                        self.retire(now + hours(overlap));
                        self.current = Some(self.add(end));
                    }
                }
            }
            Act::Promote { overlap } => {
                let pending = self.pending.take().ok_or(Refusal::NoPending)?;
                self.retire(now + hours(overlap));
                if overlap.is_zero() {
                    self.previous = None;
                }
                self.current = Some(pending);
            }
            Act::RollBack => {
                let (version, end, _) = self.previous.take().ok_or(Refusal::NoPrevious)?;
                self.current = Some((version, end));
            }
            Act::Swap => {
                let (version, end, deadline) = self.previous.ok_or(Refusal::NoPrevious)?;
                let (other, other_end) = self.current.ok_or(Refusal::NoCurrent)?;
                // The overlap ends when the previous one does, whichever of its ends that was.
                (self.current, self.previous) = (Some((version, end)), Some((other, other_end, deadline.min(end))));
            }
            Act::Revoke { version, allow_last } => {
                let is_pending = self.pending.is_some_and(|(other, _)| other == version);
                let is_current = self.current.is_some_and(|(other, _)| other == version);
                let is_previous = self.previous.is_some_and(|(other, ..)| other == version);
                match (is_pending, is_current, is_previous) {
                    (true, ..) => self.pending = None,
                    (_, true, _) if self.previous.is_some() => return Err(Refusal::HasPrevious),
                    (_, true, _) if !allow_last => return Err(Refusal::Last),
                    (_, true, _) => self.current = None,
                    (_, _, true) if self.current.is_none() && !allow_last => return Err(Refusal::Last),
                    (_, _, true) => self.previous = None,
                    (false, false, false) => return Err(Refusal::UnknownVersion),
                }
            }
        }
        Ok(())
    }

    /// What lives, by version, with when it ends.
    fn living(&self) -> Vec<(i64, Stage, u64)> {
        let pending = self.pending.map(|(version, end)| (version, Stage::Pending, end));
        let current = self.current.map(|(version, end)| (version, Stage::Current, end));
        let previous = self.previous.map(|(version, end, deadline)| (version, Stage::Previous, end.min(deadline)));
        let mut living: Vec<_> = [pending, current, previous].into_iter().flatten().collect();
        living.sort_by_key(|(version, ..)| *version);
        living
    }
}

fn acts() -> impl Strategy<Value = Act> {
    let overlap = || prop_oneof![Just(0), 1..40_u32].prop_map(|hours| HOUR * hours);
    let at_limit = || prop_oneof![Just(AtLimit::Refuse), Just(AtLimit::DropOldest)];
    let beginning = prop_oneof![overlap().prop_map(|overlap| Beginning::Current { overlap }), Just(Beginning::Pending)];
    prop_oneof![
        4 => (beginning, at_limit()).prop_map(|(beginning, at_limit)| Act::Reset { beginning, at_limit }),
        3 => overlap().prop_map(|overlap| Act::Promote { overlap }),
        2 => Just(Act::RollBack),
        2 => Just(Act::Swap),
        2 => (1..24_i64, any::<bool>()).prop_map(|(version, allow_last)| Act::Revoke { version, allow_last }),
    ]
}

proptest! {
    /// Walks through acts, each some hours after the one before, with new versions that end some hours later or not at all.
    #[test]
    fn a_slot_keeps_its_rules_wherever_it_goes(
        walk in prop::collection::vec((acts(), 0..12_u64, prop_oneof![Just(None), (1..60_u64).prop_map(Some)]), 1..60)
    ) {
        let (mut versions, mut model, mut now) = (Vec::new(), Model::default(), 0);
        let mut own_ends = Vec::<Option<Timestamp>>::new();
        for (act, pause, life) in walk {
            now += pause;
            model.forget(now);
            let accepted = |versions: &[Version]| versions.iter().filter(|row| row.is_accepted(at(now))).count();
            let before = accepted(&versions);
            let end = life.map(|life| now + life);
            let planned = plan(&versions, act, at(now));

            // Revoking what has ended but was not swept away tidies up and changes nothing; the model forgot it.
            let ended = |version| versions.iter().any(|row: &Version| {
                row.version == version && row.stage != Stage::Revoked && !row.is_live(at(now))
            });
            let expected = if let Act::Revoke { version, .. } = act && ended(version) {
                let is_current = versions.iter().any(|row| row.version == version && row.stage == Stage::Current);
                if is_current && model.previous.is_some() { Err(Refusal::HasPrevious) } else { Ok(()) }
            } else {
                model.act(act, end.unwrap_or(u64::MAX / 7_200), now)
            };
            prop_assert_eq!(planned.as_ref().map(drop), expected.as_ref().map(drop));
            let Ok(steps) = planned else { continue };

            let end = end.map(at);
            own_ends.extend(steps.iter().filter(|step| matches!(step, Step::Add(_))).map(|_| end));
            let applied = apply(&mut versions, &steps, end);
            prop_assert!(applied.is_ok(), "a step from where the version is not: {:?}", applied);

            for stage in [Stage::Pending, Stage::Current, Stage::Previous] {
                prop_assert!(versions.iter().filter(|row| row.stage == stage).count() <= 1, "{:?}", versions);
            }
            let living: Vec<_> = versions.iter().filter(|row| row.is_live(at(now))).collect();
            prop_assert!(living.len() <= MOST_LIVE, "{:?}", versions);
            let found: Vec<_> = living.iter().map(|row| (row.version, row.stage, row.expire_time)).collect();
            let wanted = model.living().into_iter().map(|(version, stage, end)| {
                (version, stage, (end != u64::MAX / 7_200).then(|| at(end)))
            });
            prop_assert_eq!(found, wanted.collect::<Vec<_>>());
            for (row, own) in versions.iter().zip(&own_ends) {
                let never_later = own.is_none_or(|own| row.expire_time.is_some_and(|end| end <= own));
                prop_assert!(never_later, "{:?} after {:?}", row, own);
                prop_assert!(row.stage != Stage::Previous || row.expire_time.is_some(), "{:?}", row);
            }
            let says_so = matches!(act, Act::Revoke { allow_last: true, .. });
            prop_assert!(before == 0 || accepted(&versions) > 0 || says_so, "{:?} left nothing", act);
        }
    }
}
