//! The threads that hash, and who is let in to wait for them.

mod queue;

use std::{
    collections::HashMap,
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use argon2::Block;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use self::queue::{Job, Queue};
use super::{HasherOptions, Load, Turn};
use crate::{
    crypto::argon2::Memory,
    domain::{Error, Reason, Result, Uid},
    metrics::Histogram,
};

/// What a job finds.
pub(super) type Tag = Zeroizing<Vec<u8>>;
/// What a job does, with its thread's memory.
pub(super) type Work = Box<dyn FnOnce(&mut [Block]) -> Result<Tag> + Send>;

/// Hints shorter than this would only make a client come back at once.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// The handle; its drop ends the threads.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    threads: usize,
    queue: usize,
    max_wait: Duration,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    waiting: Queue,
    /// Jobs that were promised a place and are not here yet, by tenant; none of them 0.
    coming: HashMap<Uid, usize>,
    busy: usize,
    closed: bool,
    /// How long a job takes, smoothed.
    service: Duration,
    /// Jobs that were taken in.
    admitted: u64,
    done: u64,
    refused: u64,
    cancelled: u64,
    wait_times: Histogram,
    service_times: Histogram,
}

impl Pool {
    /// Starts the threads, each with `blocks` of memory. `service` is what a job is expected to take until one did.
    pub(super) fn start(options: &HasherOptions, blocks: usize, service: Duration) -> Result<Self, String> {
        let state = State {
            waiting: Queue::default(),
            coming: HashMap::new(),
            busy: 0,
            closed: false,
            service,
            admitted: 0,
            done: 0,
            refused: 0,
            cancelled: 0,
            wait_times: Histogram::default(),
            service_times: Histogram::default(),
        };
        let pool = Self(Arc::new(Shared {
            threads: options.threads,
            queue: options.queue,
            max_wait: options.max_wait,
            state: Mutex::new(state),
            wake: Condvar::new(),
        }));
        for number in 0..options.threads {
            let memory = Memory::new(blocks).map_err(|cause| format!("no memory for the hashing threads: {cause}"))?;
            let shared = Arc::clone(&pool.0);
            thread::Builder::new()
                .name(format!("rekey-hash-{number}"))
                .spawn(move || {
                    give_way();
                    work_until_closed(&shared, memory);
                })
                .map_err(|cause| format!("cannot start a hashing thread: {cause}"))?;
        }
        Ok(pool)
    }

    /// Does one job, or refuses it at once. Given up before its turn, it leaves the queue and is not done.
    pub(super) async fn run(&self, turn: Turn<'_>, work: Work) -> Result<Tag> {
        self.admit(turn, work)?.wait().await
    }

    pub(super) fn threads(&self) -> usize {
        self.0.threads
    }

    /// What it does now, and did since it started.
    pub(super) fn load(&self) -> Load {
        let state = self.0.lock();
        Load {
            threads: self.0.threads,
            busy: state.busy,
            waiting: state.waiting.len(),
            done: state.done,
            refused: state.refused,
            cancelled: state.cancelled,
            wait: state.wait_times.clone(),
            service: state.service_times.clone(),
        }
    }

    /// Promises a place to who has more to do before there is a job, or refuses at once what would be refused then: those
    /// that are on their way count like those that wait.
    pub(super) fn promise(&self, turn: Turn<'_>) -> Result<Promise> {
        let mut state = self.0.lock();
        let room = self.0.room_to_come(&state, turn, now());
        state.refused += u64::from(room.is_err());
        room?;
        *state.coming.entry(turn.tenant.clone()).or_default() += 1;
        Ok(Promise { shared: Arc::clone(&self.0), tenant: turn.tenant.clone() })
    }

    fn admit(&self, turn: Turn<'_>, work: Work) -> Result<Ticket> {
        let shared = &self.0;
        let now = now();
        let mut state = shared.lock();
        let room = shared.room(&state, turn, now);
        state.refused += u64::from(!matches!(room, Ok(None)));
        let displaced = room?.and_then(|debtor| state.waiting.displace(&debtor));
        state.admitted += 1;
        let number = state.admitted;
        let (reply, receiver) = oneshot::channel();
        let tenant = turn.tenant.clone();
        state.waiting.push(Job { tenant: tenant.clone(), number, since: now, work, reply });
        let retry = shared.time_for(&state, state.waiting.len());
        drop(state);
        shared.wake.notify_one();
        if let Some(job) = displaced {
            // Nobody may be there to hear it any more.
            drop(job.reply.send(Err(overloaded(retry))));
        }
        Ok(Ticket { shared: Arc::clone(shared), tenant, number, receiver })
    }
}

/// A place in the queue that is kept for a job on its way. To be dropped when the job is brought, or will not be soon.
pub struct Promise {
    shared: Arc<Shared>,
    tenant: Uid,
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(count) = state.coming.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                state.coming.remove(&self.tenant);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let given_up = state.waiting.clear();
        drop(state);
        drop(given_up);
        self.0.wake.notify_all();
    }
}

/// A place in the queue. Whoever drops it gives it up; a job that has begun is done all the same.
struct Ticket {
    shared: Arc<Shared>,
    tenant: Uid,
    number: u64,
    receiver: oneshot::Receiver<Result<Tag>>,
}

impl Ticket {
    async fn wait(mut self) -> Result<Tag> {
        (&mut self.receiver).await.unwrap_or_else(|gone| Err(Error::internal(gone)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.receiver.is_terminated() {
            return;
        }
        let mut state = self.shared.lock();
        let job = state.waiting.remove(&self.tenant, self.number);
        state.cancelled += u64::from(job.is_some());
        drop(state);
        // With the password in it, and not under the lock.
        drop(job);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more, were all those here that are on their way.
    fn room_to_come(&self, state: &State, turn: Turn<'_>, now: Instant) -> Result<()> {
        let idle = self.threads - state.busy;
        let coming = |tenant| state.coming.get(tenant).copied().unwrap_or_default();
        let ahead = state.waiting.ahead(turn.tenant) + coming(turn.tenant);
        self.in_time(state, self.time_for(state, (ahead + 1).saturating_sub(idle)), turn, now)?;
        let all = state.waiting.len() + state.coming.values().sum::<usize>();
        if (all + 1).saturating_sub(idle) <= self.queue {
            return Ok(());
        }
        // Somebody has to have more than this tenant will, to give a place to it.
        let line = |tenant| state.waiting.waiting(tenant) + coming(tenant);
        let longest = state.waiting.tenants().chain(state.coming.keys()).map(line).max().unwrap_or_default();
        if longest >= line(turn.tenant) + 2 {
            return Ok(());
        }
        Err(overloaded(self.time_for(state, self.queue + 1)))
    }

    /// Refuses what would have to wait so long, where that is too long.
    fn in_time(&self, state: &State, wait: Duration, turn: Turn<'_>, now: Instant) -> Result<()> {
        // A hash whose answer comes too late is done for nobody.
        let in_time = turn.deadline.is_none_or(|deadline| wait + state.service <= deadline.duration_since(now));
        if wait > self.max_wait || !in_time { Err(overloaded(wait)) } else { Ok(()) }
    }

    /// Whether there is room for one more: who has to make it, where the queue is full. Refused where its tenant would have
    /// to wait too long, or has its share of a full queue.
    fn room(&self, state: &State, turn: Turn<'_>, now: Instant) -> Result<Option<Uid>> {
        let idle = self.threads - state.busy;
        let wait = self.time_for(state, (state.waiting.ahead(turn.tenant) + 1).saturating_sub(idle));
        self.in_time(state, wait, turn, now)?;
        if (state.waiting.len() + 1).saturating_sub(idle) <= self.queue {
            return Ok(None);
        }
        let debtor = state.waiting.debtor(turn.tenant);
        debtor.map(Some).ok_or_else(|| overloaded(self.time_for(state, self.queue + 1)))
    }

    /// The time in which the threads finish this many jobs.
    fn time_for(&self, state: &State, jobs: usize) -> Duration {
        let as_factor = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        state.service.saturating_mul(as_factor(jobs)) / as_factor(self.threads)
    }
}

/// Lets the processors first do what is quickly done: a refusal or a read that waits behind a hash is late by milliseconds.
/// Where nothing else wants to run, hashing has the whole machine all the same.
#[cfg(target_os = "linux")]
fn give_way() {
    /// That leaves a third of an ordinary thread's weight (sched(7)): little enough that whoever wakes is preferred, and
    /// enough that no one keeps hashes from being done.
    const STEPS: i32 = 5;
    // On Linux this is about the calling thread (nice(2), "C library/kernel differences"). To step back is allowed to
    // everybody; a sandbox that forbids it costs punctuality only.
    if let Err(error) = rustix::process::nice(STEPS) {
        tracing::debug!(%error, "hashing does not give way to other threads");
    }
}

/// Elsewhere a priority is the whole process's.
#[cfg(not(target_os = "linux"))]
const fn give_way() {}

/// One thread's life. What a job leaves in the memory is overwritten by the next one, or wiped when there is none: a
/// wipe after each job would cost a busy service a part of its throughput.
fn work_until_closed(shared: &Shared, mut memory: Memory) {
    let mut wiped = true;
    let mut state = shared.lock();
    while !state.closed {
        let Some(job) = state.waiting.pop() else {
            if wiped {
                state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                drop(state);
                wipe(&mut memory);
                wiped = true;
                state = shared.lock();
            }
            continue;
        };
        state.busy += 1;
        state.wait_times.observe(now().duration_since(job.since));
        drop(state);
        wiped = false;
        let (took, outcome) = measure(job.work, &mut memory);
        state = shared.lock();
        state.busy -= 1;
        state.service = (state.service * 7 + took) / 8;
        state.done += 1;
        state.service_times.observe(took);
        drop(state);
        match outcome {
            // Nobody may be there to hear it any more.
            Ok(result) => drop(job.reply.send(result)),
            // The panic hook has told where; whoever waits learns it by the end of the channel.
            Err(_panic) => tracing::error!("a hashing job panicked"),
        }
        state = shared.lock();
    }
}

#[expect(clippy::disallowed_methods, reason = "waiting and hashing are measured here, and nowhere else")]
fn now() -> Instant {
    Instant::now()
}

fn measure(work: Work, memory: &mut [Block]) -> (Duration, thread::Result<Result<Tag>>) {
    let begin = now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| work(memory)));
    (begin.elapsed(), outcome)
}

fn wipe(memory: &mut [Block]) {
    memory.iter_mut().for_each(zeroize::Zeroize::zeroize);
}

fn overloaded(wait: Duration) -> Error {
    Error::new(Reason::Overloaded, "too many passwords are being hashed; try again later")
        .retry_after(wait.max(SHORTEST_RETRY))
}

#[cfg(test)]
mod tests;
