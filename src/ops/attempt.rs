//! Attempts to prove a password: reserved in the database before it is checked, settled after.
//!
//! What comes at once is brought to the database as one transaction. A known source whose password was right keeps what
//! it had reserved for the next one, from one second to the next as long as it goes on so and leaves as much to others, so
//! that an account in heavy use writes little. Within a process no more attempts of one source at one subject's name run
//! side by side than are free; the others wait for their turn, before anything is looked up for them.

mod lane;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::MissedTickBehavior,
};

use self::lane::{Lane, Lanes};
use super::limit::Taken;
use crate::{
    crypto::Promise,
    domain::{Clock, Error, Lockouts, Reason, Result, lockout::Outcome},
    store::{AttemptAnswer, AttemptKey, AttemptStep, Store},
};

/// Steps that may wait for the database; past it, whoever brings one waits too.
const WAITING: usize = 4_096;
/// Steps that are done in one transaction.
const BATCH: usize = 64;
/// How long a reservation is kept for the next attempt, until the database is asked whether it may be longer.
const KEPT: Duration = Duration::from_secs(1);
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

/// Who hears what came of a step.
enum Hearer {
    Asker(oneshot::Sender<Result<AttemptAnswer>>),
    /// The lane that wants to keep what it has; none where it is given back.
    Lane(Option<Arc<Lane>>),
}

enum Request {
    Step(AttemptStep, oneshot::Sender<Result<AttemptAnswer>>),
    Flush(oneshot::Sender<()>),
}

/// A place in a lane.
pub(super) struct Place {
    lane: Arc<Lane>,
    lockouts: Lockouts,
    /// What it takes of what its source may fail in all, where that is bounded.
    budget: Option<Taken>,
    _permit: OwnedSemaphorePermit,
}

/// Who came to its turn.
pub(super) enum Entered {
    /// With a check that was reserved already.
    Kept(Reservation),
    /// With none yet.
    Place(Place),
}

/// What an attempt may do.
pub(super) enum Attempt {
    /// Check; one is reserved for it.
    Reserved(Reservation),
    /// Nothing, while its source has to wait: it is answered like a wrong password.
    Blocked,
    /// Nothing, for strangers are stopped: the same.
    Stopped,
}

/// One reserved check. Dropped without being settled, it is given back uncounted: whoever asked went away, and learned
/// nothing. Where a right password would have been told at once, who goes away without an answer knows that it was wrong:
/// that counts.
pub(super) struct Reservation {
    requests: mpsc::Sender<Request>,
    pub(super) key: Arc<AttemptKey>,
    place: Place,
    pub(super) seen: u32,
    pub(super) stranger: bool,
    epoch: u64,
    /// Whether an earlier one kept it, so that a right password is told at once.
    is_kept: bool,
    /// Whether there is nothing to give back.
    is_settled: bool,
}

impl Attempts {
    pub(super) fn start(store: Store, clock: Arc<dyn Clock>) -> Self {
        let lanes = Arc::new(Lanes::new());
        let (requests, receiver) = mpsc::channel(WAITING);
        tokio::spawn(work(store, clock, Arc::clone(&lanes), receiver));
        Self { lanes, requests }
    }

    /// Comes to its turn among those of its name, or is refused at once where too many wait. Before anything is looked up,
    /// so that a crowd at one subject asks the database no more than few would.
    pub(super) async fn enter(&self, name: &AttemptKey, lockouts: Lockouts, budget: Option<Taken>) -> Result<Place> {
        let lane = self.lanes.of(name, lockouts);
        let permit = if let Ok(permit) = Arc::clone(&lane.places).try_acquire_owned() {
            permit
        } else {
            let _turn = self.lanes.wait()?;
            let freed = Box::pin(Arc::clone(&lane.places).acquire_owned());
            let permit = tokio::time::timeout(PATIENCE, freed).await;
            permit.map_err(|_elapsed| crowded())?.map_err(Error::internal)?
        };
        Ok(Place { lane, lockouts, budget, _permit: permit })
    }

    /// Looks whether an earlier one in this place kept a check, whosever it was.
    pub(super) fn kept(&self, place: Place) -> Entered {
        let Some((key, epoch)) = place.lane.take() else { return Entered::Place(place) };
        let (requests, seen, stranger, is_kept, is_settled) = (self.requests.clone(), 0, false, true, false);
        Entered::Kept(Reservation { requests, key, place, seen, stranger, epoch, is_kept, is_settled })
    }

    /// Reserves a check, or says that there may be none now. Where it has to wait for others, it gives up what it was
    /// promised: it will not come soon.
    pub(super) async fn reserve(
        &self,
        place: Place,
        key: AttemptKey,
        promise: &mut Option<Promise>,
    ) -> Result<Attempt> {
        let (is_spare, epoch) = place.lane.take_of(&key);
        let key = Arc::new(key);
        let (requests, seen, stranger) = (self.requests.clone(), 0, false);
        let (is_kept, is_settled) = (false, !is_spare);
        let reservation = Reservation { requests, key, place, seen, stranger, epoch, is_kept, is_settled };
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
            let step = AttemptStep::Reserve { key: AttemptKey::clone(&self.key), lockouts: self.place.lockouts };
            match send(requests.reserve().await.map_err(Error::internal)?, step).await? {
                AttemptAnswer::Reserved { seen, stranger } => {
                    (self.seen, self.stranger, self.is_settled) = (seen, stranger, false);
                    return Ok((Attempt::Reserved(self), promise));
                }
                AttemptAnswer::Blocked(_until) => return Ok((self.refused(Attempt::Blocked), promise)),
                AttemptAnswer::Stopped => return Ok((self.refused(Attempt::Stopped), promise)),
                AttemptAnswer::Busy => {
                    promise = None;
                    turn = Some(turn.map_or_else(|| lanes.wait(), Ok)?);
                    tokio::time::sleep(pause).await;
                }
                AttemptAnswer::Settled | AttemptAnswer::Began(_) | AttemptAnswer::Stops | AttemptAnswer::Ended => {
                    return Err(Error::internal("a reservation was answered like a settlement"));
                }
            }
            paused += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(crowded())
    }

    fn spend(&mut self) {
        if let Some(taken) = self.place.budget.take() {
            taken.spend();
        }
    }

    /// To insist on what is refused counts like a failure.
    fn refused(&mut self, attempt: Attempt) -> Attempt {
        self.spend();
        attempt
    }

    /// Keeps the check for the next, where this one was right: then it is settled.
    pub(super) fn keep(&mut self) -> bool {
        let Place { lane, lockouts, .. } = &self.place;
        self.is_settled = !self.stranger && self.seen == 0 && lane.keep(&self.key, self.epoch, *lockouts);
        self.is_settled
    }

    pub(super) async fn settle(mut self, outcome: Outcome) -> Result<AttemptAnswer> {
        let is_right = matches!(outcome, Outcome::Right { .. });
        if matches!(outcome, Outcome::Wrong) {
            self.spend();
        }
        if is_right && self.keep() {
            return Ok(AttemptAnswer::Settled);
        }
        let step = self.step(1, outcome);
        let requests = self.requests.clone();
        let room = requests.reserve().await.map_err(Error::internal)?;
        // From here on it is, once, whether or not anybody waits for it.
        self.is_settled = true;
        let answer = send(room, step).await?;
        if self.is_kept && !is_right {
            // Changes nothing, and takes as long as to reserve: what is not right is told no sooner for who was.
            let room = requests.reserve().await.map_err(Error::internal)?;
            send(room, self.step(0, Outcome::Void)).await?;
        }
        Ok(answer)
    }

    fn step(&self, reserved: u32, outcome: Outcome) -> AttemptStep {
        let (key, lockouts) = (AttemptKey::clone(&self.key), self.place.lockouts);
        AttemptStep::Settle { key, reserved, stranger: self.stranger, outcome, lockouts }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_settled {
            let outcome = if self.is_kept { Outcome::Wrong } else { Outcome::Void };
            if self.is_kept {
                self.spend();
            }
            let (unheard, _) = oneshot::channel();
            // Where there is no room for it, it lapses by itself.
            let _ = self.requests.try_send(Request::Step(self.step(1, outcome), unheard));
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
            Self::Stopped => "not checked: sources that are not known are stopped",
        }
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

async fn work(store: Store, clock: Arc<dyn Clock>, lanes: Arc<Lanes>, mut requests: mpsc::Receiver<Request>) {
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
                steps = lanes.sweep().into_iter().map(|(step, lane)| (step, Hearer::Lane(lane))).collect();
                if ticks.is_multiple_of(FORGET_EVERY)
                    && let Err(error) = store.forget_attempts(clock.now()).await
                {
                    tracing::debug!(reason = ?error.reason(), "old tallies of attempts stay for now");
                }
            }
        }
        let mut flushed = Vec::new();
        for request in batch.drain(..) {
            match request {
                Request::Step(step, asker) => steps.push((step, Hearer::Asker(asker))),
                Request::Flush(done) => {
                    steps.extend(lanes.empty().into_iter().map(|step| (step, Hearer::Lane(None))));
                    flushed.push(done);
                }
            }
        }
        while !steps.is_empty() {
            steps = take_steps(&store, &*clock, steps).await;
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

/// Takes steps in one transaction. What comes back are those that give back what could not be kept.
async fn take_steps(store: &Store, clock: &dyn Clock, steps: Vec<(AttemptStep, Hearer)>) -> Vec<(AttemptStep, Hearer)> {
    let (steps, hearers): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    let mut left = Vec::new();
    let mut give_back = |lane: &Lane| left.extend(lane.give_back().map(|step| (step, Hearer::Lane(None))));
    match store.attempt(steps, clock.now()).await {
        Ok(answers) => {
            for (hearer, answer) in hearers.into_iter().zip(answers) {
                match hearer {
                    Hearer::Asker(asker) => drop(asker.send(Ok(answer))),
                    Hearer::Lane(Some(lane)) if answer == AttemptAnswer::Busy => give_back(&lane),
                    Hearer::Lane(_) => {}
                }
            }
        }
        Err(error) => {
            for hearer in hearers {
                match hearer {
                    Hearer::Asker(asker) => drop(asker.send(Err(again(&error)))),
                    Hearer::Lane(Some(lane)) => give_back(&lane),
                    Hearer::Lane(None) => {}
                }
            }
            tracing::warn!(reason = ?error.reason(), cause = ?error.cause(), "attempts were not written");
        }
    }
    left
}

/// One failure for everybody who was in the batch.
pub(super) fn again(error: &Error) -> Error {
    let copy = Error::new(error.reason(), error.message().to_owned());
    match error.retry_delay() {
        Some(wait) => copy.retry_after(wait),
        None => copy,
    }
}
