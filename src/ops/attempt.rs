//! Attempts to prove a password: reserved in the database before it is checked, settled after.
//!
//! What comes at once is brought to the database as one transaction. A known source whose password was right keeps what
//! it had reserved for the next one, up to a second, so that an account in heavy use writes little. Within a process no
//! more attempts of one source at one subject run side by side than are free; the others wait for their turn.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::MissedTickBehavior,
};

use crate::{
    crypto::Promise,
    domain::{Clock, Error, Reason, Result, Subject, lockout::Outcome},
    store::{AttemptAnswer, AttemptKey, AttemptStep, Lockouts, Store},
};

/// Steps that may wait for the database; past it, whoever brings one waits too.
const WAITING: usize = 4_096;
/// Steps that are done in one transaction.
const BATCH: usize = 64;
/// How long a reservation is kept for the next attempt.
const KEPT: Duration = Duration::from_secs(1);
/// Attempts of a process that may wait for others to end; past it they are refused at once.
const TURNS: usize = 96;
/// How long an attempt waits for others of its kind to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often, in ticks of [`KEPT`], what says nothing any more is removed.
const FORGET_EVERY: u32 = 60;
/// The pauses between two questions whether there is room, from the first to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The attempts of a process.
#[derive(Clone)]
pub(super) struct Attempts {
    lanes: Arc<Lanes>,
    requests: mpsc::Sender<Request>,
}

struct Lanes {
    /// Attempts of one source at one subject that run side by side.
    width: usize,
    /// For those that wait: they hold calls open, and must leave room for everybody else's.
    turns: Arc<Semaphore>,
    by_key: Mutex<HashMap<AttemptKey, Arc<Lane>>>,
    /// The lanes of subjects that are in use, by what they were asked for: so a full one is known before its subject is.
    by_name: Mutex<HashMap<AttemptKey, Weak<Lane>>>,
}

/// The attempts of one source at one subject.
struct Lane {
    places: Arc<Semaphore>,
    spare: Mutex<Spare>,
}

/// What is reserved and not used.
#[derive(Default)]
struct Spare {
    reserved: u32,
    /// Counts the times it was given back: what was reserved before is not kept again, so that other processes come to
    /// their turn.
    epoch: u64,
}

enum Request {
    Step(AttemptStep, oneshot::Sender<Result<AttemptAnswer>>),
    Flush(oneshot::Sender<()>),
}

/// What an attempt may do.
pub(super) enum Attempt {
    /// Check; one is reserved for it.
    Reserved(Reservation),
    /// Nothing: it is answered like a wrong password.
    Blocked,
}

/// One reserved check. Dropped without being settled, it is given back uncounted: whoever asked went away, and learned
/// nothing.
pub(super) struct Reservation {
    requests: mpsc::Sender<Request>,
    key: AttemptKey,
    lane: Arc<Lane>,
    _place: OwnedSemaphorePermit,
    pub(super) seen: u32,
    stranger: bool,
    epoch: u64,
    /// Whether there is nothing to give back.
    is_settled: bool,
}

impl Attempts {
    pub(super) fn start(store: Store, clock: Arc<dyn Clock>, lockouts: Lockouts) -> Self {
        let width = usize::try_from(lockouts.source.free).unwrap_or(Semaphore::MAX_PERMITS);
        let lanes = Lanes {
            width: width.min(Semaphore::MAX_PERMITS),
            turns: Arc::new(Semaphore::new(TURNS)),
            by_key: Mutex::default(),
            by_name: Mutex::default(),
        };
        let lanes = Arc::new(lanes);
        let (requests, receiver) = mpsc::channel(WAITING);
        tokio::spawn(work(store, clock, lockouts, Arc::clone(&lanes), receiver));
        Self { lanes, requests }
    }

    /// Refuses an attempt that would have to wait where no more may, before its subject is looked for.
    pub(super) fn check(&self, name: &AttemptKey) -> Result<()> {
        if self.lanes.turns.available_permits() > 0 {
            return Ok(());
        }
        match self.lanes.named(name) {
            Some(lane) if lane.places.available_permits() == 0 => Err(crowded()),
            Some(_) | None => Ok(()),
        }
    }

    /// Reserves a check of this subject, or of the name that is nobody's, or says that there may be none now. Where it
    /// has to wait for others, it gives up what it was promised: it will not come soon.
    pub(super) async fn begin(
        &self,
        name: AttemptKey,
        found: Option<&Subject>,
        promise: &mut Option<Promise>,
    ) -> Result<Attempt> {
        let (lane, key) = match found {
            Some(subject) => {
                let key = AttemptKey { subject: subject.uid.to_string(), source: name.source.clone() };
                let lane = self.lanes.of(&key);
                self.lanes.names().insert(name, Arc::downgrade(&lane));
                (lane, key)
            }
            None => (self.lanes.of(&name), name),
        };
        let place = if let Ok(place) = Arc::clone(&lane.places).try_acquire_owned() {
            place
        } else {
            *promise = None;
            let _turn = self.lanes.wait()?;
            let place = tokio::time::timeout(PATIENCE, Arc::clone(&lane.places).acquire_owned()).await;
            place.map_err(|_elapsed| crowded())?.map_err(Error::internal)?
        };
        let (is_spare, epoch) = lane.take();
        let (requests, seen, stranger) = (self.requests.clone(), 0, false);
        let reservation =
            Reservation { requests, key, lane, _place: place, seen, stranger, epoch, is_settled: !is_spare };
        if is_spare {
            return Ok(Attempt::Reserved(reservation));
        }
        // In a task of its own: where the client goes away meanwhile, what was reserved is given back by its drop.
        let reserved = tokio::spawn(reservation.reserve(Arc::clone(&self.lanes), promise.take()));
        let (attempt, kept) = reserved.await.map_err(Error::internal)??;
        *promise = kept;
        Ok(attempt)
    }

    /// Returns when everything that was kept is given back.
    pub(super) async fn flush(&self) {
        let (done, waiting) = oneshot::channel();
        if self.requests.send(Request::Flush(done)).await.is_ok() {
            let _ = waiting.await;
        }
    }
}

impl Reservation {
    /// The attempt, and what it was promised, unless it had to wait.
    async fn reserve(mut self, lanes: Arc<Lanes>, mut promise: Option<Promise>) -> Result<(Attempt, Option<Promise>)> {
        let mut turn = None;
        let requests = self.requests.clone();
        let (mut pause, mut paused) = (SHORTEST_PAUSE, Duration::ZERO);
        while paused < PATIENCE {
            let step = AttemptStep::Reserve(self.key.clone());
            match send(requests.reserve().await.map_err(Error::internal)?, step).await? {
                AttemptAnswer::Reserved { seen, stranger } => {
                    (self.seen, self.stranger, self.is_settled) = (seen, stranger, false);
                    return Ok((Attempt::Reserved(self), promise));
                }
                AttemptAnswer::Blocked(_until) => return Ok((Attempt::Blocked, promise)),
                AttemptAnswer::Busy => {
                    promise = None;
                    turn = Some(turn.map_or_else(|| lanes.wait(), Ok)?);
                    tokio::time::sleep(pause).await;
                }
                AttemptAnswer::Settled | AttemptAnswer::Began(_) | AttemptAnswer::Ended => {
                    return Err(Error::internal("a reservation was answered like a settlement"));
                }
            }
            paused += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(crowded())
    }

    pub(super) async fn settle(mut self, outcome: Outcome) -> Result<AttemptAnswer> {
        let is_right = matches!(outcome, Outcome::Right { .. });
        if is_right && !self.stranger && self.seen == 0 && self.lane.keep(self.epoch) {
            self.is_settled = true;
            return Ok(AttemptAnswer::Settled);
        }
        let step = self.step(outcome);
        let requests = self.requests.clone();
        let room = requests.reserve().await.map_err(Error::internal)?;
        // From here on it is, once, whether or not anybody waits for it.
        self.is_settled = true;
        send(room, step).await
    }

    fn step(&self, outcome: Outcome) -> AttemptStep {
        AttemptStep::Settle { key: self.key.clone(), reserved: 1, stranger: self.stranger, outcome }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_settled {
            let (unheard, _) = oneshot::channel();
            // Where there is no room for it, it lapses by itself.
            let _ = self.requests.try_send(Request::Step(self.step(Outcome::Void), unheard));
        }
    }
}

impl Attempt {
    /// What may be compared: nothing, where the attempt is blocked.
    pub(super) fn admit<T>(&self, stored: Option<T>) -> Option<T> {
        stored.filter(|_| matches!(self, Self::Reserved(_)))
    }

    /// For the record of the check.
    pub(super) const fn detail(&self) -> &'static str {
        match self {
            Self::Reserved(_) => "",
            Self::Blocked => "not checked: the source has to wait",
        }
    }
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptKey, Arc<Lane>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, HashMap<AttemptKey, Weak<Lane>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane that attempts under this name are in now.
    fn named(&self, name: &AttemptKey) -> Option<Arc<Lane>> {
        let of_subject = self.names().get(name).and_then(Weak::upgrade);
        of_subject.or_else(|| self.lock().get(name).cloned())
    }

    /// Lets one more wait, or refuses it at once.
    fn wait(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).try_acquire_owned().map_err(|_none| crowded())
    }

    fn of(&self, key: &AttemptKey) -> Arc<Lane> {
        let lane = || Arc::new(Lane { places: Arc::new(Semaphore::new(self.width)), spare: Mutex::default() });
        Arc::clone(self.lock().entry(key.clone()).or_insert_with(lane))
    }

    /// Takes what is kept to give it back, and forgets the lanes that nobody is in.
    fn sweep(&self) -> Vec<AttemptStep> {
        let mut steps = Vec::new();
        self.lock().retain(|key, lane| {
            let mut spare = lane.spare();
            spare.epoch += 1;
            let reserved = std::mem::take(&mut spare.reserved);
            drop(spare);
            if reserved > 0 {
                let outcome = Outcome::Right { seen: 0 };
                steps.push(AttemptStep::Settle { key: key.clone(), reserved, stranger: false, outcome });
            }
            Arc::strong_count(lane) > 1
        });
        self.names().retain(|_, lane| lane.strong_count() > 0);
        steps
    }
}

impl Lane {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something was kept, and is now the caller's; and the epoch.
    fn take(&self) -> (bool, u64) {
        let mut spare = self.spare();
        let taken = spare.reserved > 0;
        spare.reserved -= u32::from(taken);
        (taken, spare.epoch)
    }

    /// Keeps one for the next, unless it has been kept for long enough.
    fn keep(&self, epoch: u64) -> bool {
        let mut spare = self.spare();
        let is_new = spare.epoch == epoch;
        spare.reserved += u32::from(is_new);
        is_new
    }
}

async fn send(room: mpsc::Permit<'_, Request>, step: AttemptStep) -> Result<AttemptAnswer> {
    let (answer, waiting) = oneshot::channel();
    room.send(Request::Step(step, answer));
    // Fails only when the task has ended, with the runtime itself.
    waiting.await.map_err(Error::internal)?
}

fn crowded() -> Error {
    Error::new(Reason::Overloaded, "too many attempts at this subject are under way; try again later")
        .retry_after(Duration::from_secs(1))
}

async fn work(
    store: Store,
    clock: Arc<dyn Clock>,
    lockouts: Lockouts,
    lanes: Arc<Lanes>,
    mut requests: mpsc::Receiver<Request>,
) {
    let mut tick = tokio::time::interval(KEPT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let mut steps = Vec::new();
        tokio::select! {
            count = requests.recv_many(&mut batch, BATCH) => if count == 0 { return },
            _ = tick.tick() => {
                ticks = ticks.wrapping_add(1);
                steps = lanes.sweep();
                if ticks.is_multiple_of(FORGET_EVERY)
                    && let Err(error) = store.forget_attempts(clock.now()).await
                {
                    tracing::debug!(reason = ?error.reason(), "old tallies of attempts stay for now");
                }
            }
        }
        let mut answers: Vec<Option<oneshot::Sender<_>>> = steps.iter().map(|_| None).collect();
        let mut flushed = Vec::new();
        for request in batch.drain(..) {
            match request {
                Request::Step(step, answer) => {
                    steps.push(step);
                    answers.push(Some(answer));
                }
                Request::Flush(done) => {
                    let kept = lanes.sweep();
                    answers.extend(kept.iter().map(|_| None));
                    steps.extend(kept);
                    flushed.push(done);
                }
            }
        }
        if !steps.is_empty() {
            match store.attempt(steps, lockouts, clock.now()).await {
                Ok(done) => {
                    for (answer, done) in answers.into_iter().zip(done) {
                        answer.map(|answer| answer.send(Ok(done)));
                    }
                }
                Err(error) => {
                    for answer in answers.into_iter().flatten() {
                        let _ = answer.send(Err(again(&error)));
                    }
                    tracing::warn!(reason = ?error.reason(), cause = ?error.cause(), "attempts were not written");
                }
            }
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

/// One failure for everybody who was in the batch.
pub(super) fn again(error: &Error) -> Error {
    let copy = Error::new(error.reason(), error.message().to_owned());
    match error.retry_delay() {
        Some(wait) => copy.retry_after(wait),
        None => copy,
    }
}
