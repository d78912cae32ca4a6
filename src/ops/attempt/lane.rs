//! Turns at a name, and what is reserved at it and not used.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::crowded;
use crate::{
    domain::{Lockouts, Result, lockout::Outcome},
    store::{AttemptKey, AttemptStep},
};

/// Attempts of a process that may wait for others to end; past it they are refused at once.
const TURNS: usize = 96;

/// The turns of a process.
pub(super) struct Lanes {
    /// For those that wait: they hold calls open, and must leave room for everybody else's.
    turns: Arc<Semaphore>,
    /// By what subjects are asked for, so that a full one is known before its subject is. One that is asked for by two
    /// names has two, which take turns as those of two processes do.
    by_name: Mutex<HashMap<AttemptKey, Arc<Lane>>>,
}

/// The attempts of one source at one subject under one name.
pub(super) struct Lane {
    /// The rules it was made by: they hold while somebody is in it.
    lockouts: Lockouts,
    /// For as many as run side by side.
    pub(super) places: Arc<Semaphore>,
    spare: Mutex<Spare>,
}

/// What is reserved and not used.
#[derive(Default)]
struct Spare {
    /// Whose it is: a name may be given to another subject.
    key: Option<Arc<AttemptKey>>,
    reserved: u32,
    /// Whether something was kept, by the lane's own rules, since it was last looked at.
    is_in_use: bool,
    /// Counts the times it was given back: what was reserved before is not kept again, so that other processes come to
    /// their turn.
    epoch: u64,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(TURNS)), by_name: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptKey, Arc<Lane>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more wait, or refuses it at once.
    pub(super) fn wait(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).try_acquire_owned().map_err(|_none| crowded())
    }

    pub(super) fn of(&self, name: &AttemptKey, lockouts: Lockouts) -> Arc<Lane> {
        let lane = || {
            let width = usize::try_from(lockouts.source.free).unwrap_or(Semaphore::MAX_PERMITS);
            let places = Arc::new(Semaphore::new(width.clamp(1, Semaphore::MAX_PERMITS)));
            Arc::new(Lane { lockouts, places, spare: Mutex::default() })
        };
        let mut by_name = self.lock();
        if let Some(known) = by_name.get(name) {
            return Arc::clone(known);
        }
        Arc::clone(by_name.entry(name.clone()).or_insert_with(lane))
    }

    /// What asks for what is in use, each with the lane that is to hear the answer, and gives the rest back. Forgets the
    /// lanes that nobody is in.
    pub(super) fn sweep(&self) -> Vec<(AttemptStep, Option<Arc<Lane>>)> {
        let mut steps = Vec::new();
        self.lock().retain(|_, lane| {
            if let Some(step) = lane.going_on() {
                steps.push((step, Some(Arc::clone(lane))));
            } else {
                steps.extend(lane.give_back().map(|step| (step, None)));
            }
            Arc::strong_count(lane) > 1
        });
        steps
    }

    /// What gives back all that is kept.
    pub(super) fn empty(&self) -> Vec<AttemptStep> {
        self.lock().values().filter_map(|lane| lane.give_back()).collect()
    }
}

impl Lane {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something was kept of this key, and is now the caller's; and the epoch.
    pub(super) fn take_of(&self, key: &AttemptKey) -> (bool, u64) {
        let mut spare = self.spare();
        let taken = spare.reserved > 0 && spare.key.as_deref() == Some(key);
        spare.reserved -= u32::from(taken);
        (taken, spare.epoch)
    }

    /// What was kept, if anything, is now the caller's: of which key, and since which epoch.
    pub(super) fn take(&self) -> Option<(Arc<AttemptKey>, u64)> {
        let mut spare = self.spare();
        let left = spare.reserved.checked_sub(1)?;
        let key = Arc::clone(spare.key.as_ref()?);
        spare.reserved = left;
        Some((key, spare.epoch))
    }

    /// Keeps one for the next who is held to these rules, unless what was there when it was taken was given back.
    pub(super) fn keep(&self, key: &Arc<AttemptKey>, epoch: u64, lockouts: Lockouts) -> bool {
        let mut spare = self.spare();
        let may = spare.epoch == epoch && spare.key.get_or_insert_with(|| Arc::clone(key)) == key;
        if may {
            spare.reserved += 1;
            // By other rules there may be more or less of it: then the lane is to end.
            spare.is_in_use = lockouts == self.lockouts;
        }
        may
    }

    /// What asks whether this may be kept for longer; nothing where nobody needs it.
    fn going_on(&self) -> Option<AttemptStep> {
        let mut spare = self.spare();
        let is_in_use = std::mem::take(&mut spare.is_in_use);
        let (key, reserved) = (spare.key.as_ref()?, spare.reserved);
        let keep = || AttemptStep::Keep { key: AttemptKey::clone(key), reserved, lockouts: self.lockouts };
        (is_in_use && reserved > 0).then(keep)
    }

    /// What gives back what is kept, if anything is. What is being used is not kept again.
    pub(super) fn give_back(&self) -> Option<AttemptStep> {
        let mut spare = self.spare();
        spare.epoch += 1;
        let (key, reserved) = (Arc::unwrap_or_clone(spare.key.take()?), std::mem::take(&mut spare.reserved));
        let (outcome, lockouts) = (Outcome::Right { seen: 0 }, self.lockouts);
        (reserved > 0).then_some(AttemptStep::Settle { key, reserved, stranger: false, outcome, lockouts })
    }
}
