//! The threads that hash, and the queue before them.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use argon2::Block;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::HasherOptions;
use crate::crypto::argon2::Memory;
use crate::domain::{Error, Reason, Result};

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
    waiting: VecDeque<Job>,
    busy: usize,
    closed: bool,
    /// How long a job takes, smoothed.
    service: Duration,
}

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Tag>>,
}

impl Pool {
    /// Starts the threads, each with `blocks` of memory. `service` is what a job is expected to take until one did.
    pub(super) fn start(options: &HasherOptions, blocks: usize, service: Duration) -> Result<Self, String> {
        let state = State { waiting: VecDeque::new(), busy: 0, closed: false, service };
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
                .spawn(move || work_until_closed(&shared, memory))
                .map_err(|cause| format!("cannot start a hashing thread: {cause}"))?;
        }
        Ok(pool)
    }

    /// Does one job, or refuses it at once. Given up before its turn, it is not done.
    pub(super) async fn run(&self, work: Work) -> Result<Tag> {
        self.admit(work)?.await.unwrap_or_else(|gone| Err(Error::internal(gone)))
    }

    /// Jobs that wait.
    pub(super) fn queued(&self) -> usize {
        self.0.lock().waiting.len()
    }

    fn admit(&self, work: Work) -> Result<oneshot::Receiver<Result<Tag>>> {
        let shared = &self.0;
        let mut state = shared.lock();
        if shared.wait(&state).is_none_or(|wait| wait > shared.max_wait) {
            state.waiting.retain(|job| !job.reply.is_closed());
        }
        match shared.wait(&state) {
            Some(wait) if wait <= shared.max_wait => {
                let (reply, receiver) = oneshot::channel();
                state.waiting.push_back(Job { work, reply });
                drop(state);
                shared.wake.notify_one();
                Ok(receiver)
            }
            Some(wait) => Err(overloaded(wait)),
            None => Err(overloaded(shared.time_for(&state, shared.queue + 1))),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long one more job is expected to wait; `None` where the queue is full.
    fn wait(&self, state: &State) -> Option<Duration> {
        let idle = self.threads - state.busy;
        let ahead = (state.waiting.len() + 1).saturating_sub(idle);
        (ahead <= self.queue).then(|| self.time_for(state, ahead))
    }

    /// The time in which the threads finish this many jobs.
    fn time_for(&self, state: &State, jobs: usize) -> Duration {
        let as_factor = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        state.service.saturating_mul(as_factor(jobs)) / as_factor(self.threads)
    }
}

/// One thread's life. What a job leaves in the memory is overwritten by the next one, or wiped when there is none: a
/// wipe after each job would cost a busy service a part of its throughput.
fn work_until_closed(shared: &Shared, mut memory: Memory) {
    let mut wiped = true;
    let mut state = shared.lock();
    while !state.closed {
        let Some(job) = state.waiting.pop_front() else {
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
        if job.reply.is_closed() {
            continue;
        }
        state.busy += 1;
        drop(state);
        wiped = false;
        let (took, outcome) = measure(job.work, &mut memory);
        state = shared.lock();
        state.busy -= 1;
        state.service = (state.service * 7 + took) / 8;
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

#[expect(clippy::disallowed_methods, reason = "admission is measured here, and nowhere else")]
fn measure(work: Work, memory: &mut [Block]) -> (Duration, thread::Result<Result<Tag>>) {
    let begin = Instant::now();
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
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    const SERVICE: Duration = Duration::from_millis(40);

    fn pool(threads: usize, queue: usize, max_wait: Duration) -> Pool {
        let options = HasherOptions { threads, queue, max_wait, memory_kib: 8, iterations: 1, parallelism: 1 };
        Pool::start(&options, 8, SERVICE).unwrap()
    }

    fn tag(byte: u8) -> Work {
        Box::new(move |_memory| Ok(Zeroizing::new(vec![byte])))
    }

    /// Occupies a thread until the sender is dropped; returns once it is occupied.
    fn occupy(pool: &Pool) -> (mpsc::Sender<()>, oneshot::Receiver<Result<Tag>>) {
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let work: Work = Box::new(move |_memory| {
            started.send(()).unwrap();
            let _ = released.recv();
            Ok(Zeroizing::new(Vec::new()))
        });
        let reply = pool.admit(work).unwrap();
        has_started.recv().unwrap();
        (release, reply)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
        let pool = pool(1, 2, Duration::MAX);
        let (release, first) = occupy(&pool);
        let waiting = [pool.admit(tag(1)).unwrap(), pool.admit(tag(2)).unwrap()];
        assert_eq!(pool.queued(), 2);
        let refusal = pool.admit(tag(3)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Overloaded);
        assert_eq!(refusal.retry_delay(), Some(SERVICE * 3));
        drop(release);
        first.await.unwrap().unwrap();
        for (reply, expected) in waiting.into_iter().zip(1..) {
            assert_eq!(*reply.await.unwrap().unwrap(), [expected]);
        }
        assert_eq!(*pool.run(tag(4)).await.unwrap(), [4]);
    }

    #[tokio::test]
    async fn a_job_that_would_wait_too_long_is_refused() {
        let pool = pool(2, 100, SERVICE);
        let held = [occupy(&pool), occupy(&pool)];
        let waiting = [pool.admit(tag(1)).unwrap(), pool.admit(tag(2)).unwrap()];
        let refusal = pool.admit(tag(3)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Overloaded);
        assert_eq!(refusal.retry_delay(), Some(SHORTEST_RETRY));
        drop(held);
        for reply in waiting {
            reply.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn without_a_queue_an_idle_thread_still_takes_a_job() {
        let pool = pool(1, 0, Duration::ZERO);
        for byte in 0..5 {
            assert_eq!(*pool.run(tag(byte)).await.unwrap(), [byte]);
        }
        let _held = occupy(&pool);
        assert_eq!(pool.run(tag(9)).await.unwrap_err().reason(), Reason::Overloaded);
    }

    /// Work that counts itself.
    fn counted(done: &Arc<AtomicUsize>) -> Work {
        let done = Arc::clone(done);
        Box::new(move |_memory| {
            done.fetch_add(1, Ordering::SeqCst);
            Ok(Zeroizing::new(Vec::new()))
        })
    }

    #[tokio::test]
    async fn what_was_given_up_is_not_done() {
        let pool = pool(1, 10, Duration::MAX);
        let done = Arc::new(AtomicUsize::new(0));
        let (release, _first) = occupy(&pool);
        drop(pool.admit(counted(&done)).unwrap());
        drop(pool.admit(counted(&done)).unwrap());
        let wanted = pool.admit(counted(&done)).unwrap();
        drop(release);
        wanted.await.unwrap().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_was_given_up_makes_room_in_a_full_queue() {
        let pool = pool(1, 1, Duration::MAX);
        let done = Arc::new(AtomicUsize::new(0));
        let (release, _first) = occupy(&pool);
        let given_up = pool.admit(counted(&done)).unwrap();
        assert!(pool.admit(counted(&done)).is_err());
        drop(given_up);
        let wanted = pool.admit(counted(&done)).unwrap();
        drop(release);
        wanted.await.unwrap().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_fails_its_job_and_not_the_thread() {
        let pool = pool(1, 1, Duration::MAX);
        let failure = pool.run(Box::new(|_memory| panic!("a test's panic"))).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::Internal);
        assert_eq!(*pool.run(tag(1)).await.unwrap(), [1]);
        assert_eq!(pool.0.lock().busy, 0);
    }

    #[tokio::test]
    async fn the_threads_end_with_the_pool() {
        let pool = pool(3, 1, Duration::MAX);
        pool.run(tag(1)).await.unwrap();
        let shared = Arc::downgrade(&pool.0);
        drop(pool);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn an_idle_thread_has_wiped_its_memory() {
        let pool = pool(1, 1, Duration::MAX);
        let dirty: Work = Box::new(|memory| {
            for block in memory {
                block.as_mut().fill(0x5e_c4e7);
            }
            Ok(Zeroizing::new(Vec::new()))
        });
        pool.run(dirty).await.unwrap();
        // It may be asked before it is idle; it gets there by itself.
        loop {
            let look: Work = Box::new(|memory| {
                let clean = memory.iter().all(|block| block.as_ref().iter().all(|word| *word == 0));
                Ok(Zeroizing::new(vec![clean.into()]))
            });
            if *pool.run(look).await.unwrap() == [1] {
                break;
            }
            thread::yield_now();
        }
    }
}
