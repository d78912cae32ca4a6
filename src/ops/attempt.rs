//! Attempts to prove a password: reserved in the database before it is checked, settled after.
//!
//! What comes at once is brought to the database as one transaction. A known source whose password was right keeps what
//! it had reserved for the next one, up to a second, so that an account in heavy use writes little. Within a process no
//! more attempts of one source at one subject run side by side than are free; the others wait for their turn.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::MissedTickBehavior,
};

use super::{Call, Ops};
use crate::{
    audit::{Outcome as Ending, Target},
    domain::{Clock, Error, Reason, Result, Subject, SubjectKind, SubjectRef, Tenant, Timestamp, lockout::Outcome},
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
    lanes: Mutex<HashMap<AttemptKey, Arc<Lane>>>,
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

/// Failed attempts at a subject, as an administrator sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftLock {
    /// When the last delay in force ends, of whatever source.
    pub blocked_until: Option<Timestamp>,
    /// Failures that count.
    pub failures: u32,
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
    seen: u32,
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
            lanes: Mutex::default(),
        };
        let lanes = Arc::new(lanes);
        let (requests, receiver) = mpsc::channel(WAITING);
        tokio::spawn(work(store, clock, lockouts, Arc::clone(&lanes), receiver));
        Self { lanes, requests }
    }

    /// Reserves a check, or says that there may be none now.
    async fn begin(&self, key: AttemptKey) -> Result<Attempt> {
        let lane = self.lanes.of(&key);
        let place = if let Ok(place) = Arc::clone(&lane.places).try_acquire_owned() {
            place
        } else {
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
        tokio::spawn(reservation.reserve(Arc::clone(&self.lanes))).await.map_err(Error::internal)?
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
    async fn reserve(mut self, lanes: Arc<Lanes>) -> Result<Attempt> {
        let mut turn = None;
        let requests = self.requests.clone();
        let (mut pause, mut paused) = (SHORTEST_PAUSE, Duration::ZERO);
        while paused < PATIENCE {
            let step = AttemptStep::Reserve(self.key.clone());
            match send(requests.reserve().await.map_err(Error::internal)?, step).await? {
                AttemptAnswer::Reserved { seen, stranger } => {
                    (self.seen, self.stranger, self.is_settled) = (seen, stranger, false);
                    return Ok(Attempt::Reserved(self));
                }
                AttemptAnswer::Blocked(_until) => return Ok(Attempt::Blocked),
                AttemptAnswer::Busy => {
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

    async fn settle(mut self, outcome: Outcome) -> Result<AttemptAnswer> {
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
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
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
fn again(error: &Error) -> Error {
    let copy = Error::new(error.reason(), error.message().to_owned());
    match error.retry_delay() {
        Some(wait) => copy.retry_after(wait),
        None => copy,
    }
}

impl Ops {
    /// Reserves an attempt at a subject, or at a name that is nobody's: that is tallied the same way.
    pub(super) async fn attempt(
        &self,
        call: &Call,
        tenant: &Tenant,
        (kind, asked): (SubjectKind, &SubjectRef),
        found: Option<&Subject>,
        source: Option<&str>,
    ) -> Result<Attempt> {
        let form = match asked {
            SubjectRef::Id(_) => "id",
            SubjectRef::Login(_) => "login",
        };
        // Made for everybody, so that it takes the same time.
        let nobody = self.keyring.attempt_mark(&["subject", tenant.uid.as_str(), kind.as_str(), form, asked.as_str()]);
        let subject = found.map_or_else(|| format!("?{nobody}"), |subject| subject.uid.to_string());
        let caller = call.grant.caller();
        let source = match source.map(class) {
            Some(class) => self.keyring.attempt_mark(&["source", &class]),
            None => self.keyring.attempt_mark(&["caller", caller.tenant_uid.as_str(), &caller.id]),
        };
        self.attempts.begin(AttemptKey { subject, source }).await
    }

    /// Settles an attempt. Where a soft lock begins or ends with it, that is recorded.
    pub(super) async fn settle(
        &self,
        call: &Call,
        kind: SubjectKind,
        found: Option<&Subject>,
        attempt: Attempt,
        outcome: Outcome,
    ) -> Result<()> {
        let Attempt::Reserved(reservation) = attempt else { return Ok(()) };
        let outcome = match outcome {
            Outcome::Right { .. } => Outcome::Right { seen: reservation.seen },
            Outcome::Wrong | Outcome::Void => outcome,
        };
        let detail = match reservation.settle(outcome).await? {
            AttemptAnswer::Began(_until) => "begins",
            AttemptAnswer::Ended => "ends by a success",
            AttemptAnswer::Settled
            | AttemptAnswer::Reserved { .. }
            | AttemptAnswer::Busy
            | AttemptAnswer::Blocked(_) => return Ok(()),
        };
        if let Some(subject) = found {
            self.record_soft_lock(call, kind, subject, detail).await;
        }
        Ok(())
    }

    /// The failed attempts at a subject that count now, if any.
    pub(super) async fn soft_lock(&self, subject: &Subject) -> Result<Option<SoftLock>> {
        let (now, mut failures, mut blocked_until) = (self.now(), 0_u32, None);
        for (tally, is_strangers) in self.store.tallies(&subject.uid).await? {
            let rule = if is_strangers { self.lockouts.strangers } else { self.lockouts.source };
            blocked_until = blocked_until.max(rule.blocked_until(&tally, now));
            // Each stranger's are in its own tally too.
            failures = failures.saturating_add(if is_strangers { 0 } else { rule.failures(&tally, now) });
        }
        Ok((failures > 0 || blocked_until.is_some()).then_some(SoftLock { blocked_until, failures }))
    }

    /// Whether somebody has to wait before the next attempt at a subject.
    pub(super) async fn is_soft_locked(&self, subject: &Subject) -> Result<bool> {
        Ok(self.soft_lock(subject).await?.is_some_and(|lock| lock.blocked_until.is_some()))
    }

    /// Records that a soft lock begins or ends.
    pub(super) async fn record_soft_lock(&self, call: &Call, kind: SubjectKind, subject: &Subject, detail: &str) {
        let target = Target::Subject(kind, subject.id.to_string());
        let mut record = call.record(self, target, Ending::Succeeded, None, detail.to_owned());
        record.action = match call.action {
            "UserService/ResetPassword" => "UserService/ResetPassword#softLock",
            "UserService/ChangePassword" => "UserService/ChangePassword#softLock",
            "DeviceService/ResetAuthentication" => "DeviceService/ResetAuthentication#softLock",
            "DeviceService/VerifyAuthentication" => "DeviceService/VerifyAuthentication#softLock",
            _ => "UserService/VerifyPassword#softLock",
        };
        self.journal.write(record).await;
    }
}

/// What counts as one source: an IPv4 network of 24 bits, an IPv6 network of 64, or the text itself.
fn class(source: &str) -> String {
    match source.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Err(_) => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_source() {
        assert_eq!(class("192.0.2.7"), class("192.0.2.200"));
        assert_eq!(class("192.0.2.7"), class("::ffff:192.0.2.9"));
        assert_ne!(class("192.0.2.7"), class("192.0.3.7"));
        assert_eq!(class("2001:db8:1:2:3::4"), class("2001:db8:1:2:ffff::1"));
        assert_ne!(class("2001:db8:1:2::1"), class("2001:db8:1:3::1"));
        assert_ne!(class("device-one"), class("device-two"));
    }
}
