use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use super::*;

const SERVICE: Duration = Duration::from_millis(40);

fn pool(threads: usize, queue: usize, max_wait: Duration) -> Pool {
    let options = HasherOptions {
        threads,
        queue,
        max_wait,
        memory_kib: 8,
        iterations: 1,
        parallelism: 1,
        foreign: crate::crypto::ForeignBounds::DEFAULT,
    };
    Pool::start(&options, 8, SERVICE).unwrap()
}

/// The turn of a tenant that can wait.
fn of(tenant: usize) -> Turn<'static> {
    static TENANTS: LazyLock<Vec<Uid>> =
        LazyLock::new(|| (0..10).map(|tenant| Uid::from_stored(format!("{tenant:024x}"))).collect());
    Turn { tenant: &TENANTS[tenant], deadline: None }
}

fn tag(byte: u8) -> Work {
    Box::new(move |_memory| Ok(Zeroizing::new(vec![byte])))
}

/// Occupies a thread until the sender is dropped; returns once it is occupied.
fn occupy(pool: &Pool) -> (mpsc::Sender<()>, Ticket) {
    let (release, released) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    let work: Work = Box::new(move |_memory| {
        started.send(()).unwrap();
        let _ = released.recv();
        Ok(Zeroizing::new(Vec::new()))
    });
    let reply = pool.admit(of(1), work).unwrap();
    has_started.recv().unwrap();
    (release, reply)
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let pool = pool(1, 2, Duration::MAX);
    let (release, first) = occupy(&pool);
    let waiting = [pool.admit(of(1), tag(1)).unwrap(), pool.admit(of(1), tag(2)).unwrap()];
    assert_eq!(pool.load().waiting, 2);
    let refusal = pool.admit(of(1), tag(3)).map(drop).unwrap_err();
    assert_eq!(refusal.reason(), Reason::Overloaded);
    assert_eq!(refusal.retry_delay(), Some(SERVICE * 3));
    drop(release);
    first.wait().await.unwrap();
    for (reply, expected) in waiting.into_iter().zip(1..) {
        assert_eq!(*reply.wait().await.unwrap(), [expected]);
    }
    assert_eq!(*pool.run(of(1), tag(4)).await.unwrap(), [4]);
}

#[tokio::test]
async fn a_job_that_would_wait_too_long_is_refused() {
    let pool = pool(2, 100, SERVICE);
    let held = [occupy(&pool), occupy(&pool)];
    let waiting = [pool.admit(of(1), tag(1)).unwrap(), pool.admit(of(1), tag(2)).unwrap()];
    let refusal = pool.admit(of(1), tag(3)).map(drop).unwrap_err();
    assert_eq!(refusal.reason(), Reason::Overloaded);
    assert_eq!(refusal.retry_delay(), Some(SHORTEST_RETRY));
    drop(held);
    for reply in waiting {
        reply.wait().await.unwrap();
    }
}

#[tokio::test]
async fn without_a_queue_an_idle_thread_still_takes_a_job() {
    let pool = pool(1, 0, Duration::ZERO);
    for byte in 0..5 {
        assert_eq!(*pool.run(of(1), tag(byte)).await.unwrap(), [byte]);
    }
    let _held = occupy(&pool);
    assert_eq!(pool.run(of(1), tag(9)).await.unwrap_err().reason(), Reason::Overloaded);
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
    drop(pool.admit(of(1), counted(&done)).unwrap());
    drop(pool.admit(of(1), counted(&done)).unwrap());
    let wanted = pool.admit(of(1), counted(&done)).unwrap();
    drop(release);
    wanted.wait().await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_given_up_makes_room_in_a_full_queue() {
    let pool = pool(1, 1, Duration::MAX);
    let done = Arc::new(AtomicUsize::new(0));
    let (release, _first) = occupy(&pool);
    let given_up = pool.admit(of(1), counted(&done)).unwrap();
    assert!(pool.admit(of(1), counted(&done)).is_err());
    drop(given_up);
    let wanted = pool.admit(of(1), counted(&done)).unwrap();
    drop(release);
    wanted.wait().await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_panic_fails_its_job_and_not_the_thread() {
    let pool = pool(1, 1, Duration::MAX);
    let failure = pool.run(of(1), Box::new(|_memory| panic!("a test's panic"))).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Internal);
    assert_eq!(*pool.run(of(1), tag(1)).await.unwrap(), [1]);
    assert_eq!(pool.0.lock().busy, 0);
}

#[tokio::test]
async fn the_threads_end_with_the_pool() {
    let pool = pool(3, 1, Duration::MAX);
    pool.run(of(1), tag(1)).await.unwrap();
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
    pool.run(of(1), dirty).await.unwrap();
    // It may be asked before it is idle; it gets there by itself.
    loop {
        let look: Work = Box::new(|memory| {
            let clean = memory.iter().all(|block| block.as_ref().iter().all(|word| *word == 0));
            Ok(Zeroizing::new(vec![clean.into()]))
        });
        if *pool.run(of(1), look).await.unwrap() == [1] {
            break;
        }
        thread::yield_now();
    }
}

/// Work that notes its name.
fn noted(name: &'static str, notes: &Arc<Mutex<Vec<&'static str>>>) -> Work {
    let notes = Arc::clone(notes);
    Box::new(move |_memory| {
        notes.lock().unwrap().push(name);
        Ok(Zeroizing::new(Vec::new()))
    })
}

#[tokio::test]
async fn a_flood_of_one_tenant_does_not_hold_up_another() {
    let pool = pool(1, 8, Duration::MAX);
    let (release, _first) = occupy(&pool);
    let notes = Arc::default();
    let mut flood: Vec<_> = (0..8).map(|_| pool.admit(of(1), noted("flood", &notes)).unwrap()).collect();
    assert!(pool.admit(of(1), tag(0)).is_err(), "the flood has filled the queue");

    let others =
        [(2, "two"), (3, "three"), (2, "two again")].map(|(tenant, name)| pool.admit(of(tenant), noted(name, &notes)));
    assert_eq!(pool.load().waiting, 8, "each took a place of the flood's");
    for displaced in flood.split_off(5) {
        let refusal = displaced.wait().await.unwrap_err();
        assert_eq!(refusal.reason(), Reason::Overloaded);
        assert_eq!(refusal.retry_delay(), Some(SERVICE * 8));
    }
    drop(release);
    for reply in others.into_iter().map(Result::unwrap).chain(flood) {
        reply.wait().await.unwrap();
    }
    let expected = ["flood", "two", "three", "flood", "two again", "flood", "flood", "flood"];
    assert_eq!(*notes.lock().unwrap(), expected);
}

#[tokio::test]
async fn who_waits_how_long_is_asked_for_each_tenant() {
    let pool = pool(1, 100, SERVICE * 3);
    let (release, _first) = occupy(&pool);
    let flood: Vec<_> = std::iter::from_fn(|| pool.admit(of(1), tag(1)).ok()).collect();
    assert_eq!(flood.len(), 3);
    assert_eq!(pool.admit(of(1), tag(1)).map(drop).unwrap_err().retry_delay(), Some(SERVICE * 4));
    let other = pool.admit(of(2), tag(2)).unwrap();
    let again = pool.admit(of(2), tag(2)).map(drop).unwrap_err();
    assert_eq!(again.retry_delay(), Some(SERVICE * 4), "two of the flood and its own are before it");
    drop(release);
    other.wait().await.unwrap();
    for reply in flood {
        reply.wait().await.unwrap();
    }
}

#[tokio::test]
async fn what_would_come_too_late_for_its_caller_is_not_begun() {
    let pool = pool(1, 100, Duration::MAX);
    let within = |patience| Turn { deadline: Some(now() + patience), ..of(1) };
    let done = Arc::new(AtomicUsize::new(0));
    let refusal = pool.admit(within(SERVICE / 2), counted(&done)).map(drop).unwrap_err();
    assert_eq!(refusal.reason(), Reason::Overloaded);
    assert!(pool.admit(Turn { deadline: Some(now()), ..of(1) }, counted(&done)).is_err());
    pool.run(within(SERVICE * 1_000), counted(&done)).await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn everything_that_happens_is_counted() {
    let pool = pool(1, 1, Duration::MAX);
    let (release, first) = occupy(&pool);
    assert_eq!((pool.load().busy, pool.load().waiting), (1, 0));
    drop(pool.admit(of(1), tag(1)).unwrap());
    let second = pool.admit(of(1), tag(2)).unwrap();
    assert!(pool.admit(of(1), tag(3)).is_err());
    drop(release);
    first.wait().await.unwrap();
    second.wait().await.unwrap();
    let load = pool.load();
    assert_eq!((load.threads, load.done, load.refused, load.cancelled), (1, 2, 1, 1));
    assert_eq!((load.wait.count(), load.service.count()), (2, 2));
}

#[tokio::test]
async fn what_is_on_its_way_has_its_place_and_gives_it_back() {
    let pool = pool(1, 2, Duration::MAX);
    let (release, first) = occupy(&pool);
    let promised = [pool.promise(of(1)).unwrap(), pool.promise(of(1)).unwrap()];
    assert_eq!(pool.promise(of(1)).map(drop).unwrap_err().reason(), Reason::Overloaded);
    assert_eq!((pool.load().refused, pool.load().waiting), (1, 0));
    let [one, other] = promised;
    drop(one);
    let brought = pool.admit(of(1), tag(1)).unwrap();
    assert!(pool.promise(of(1)).is_err(), "one waits and one is coming");
    drop(other);
    assert!(pool.promise(of(1)).is_ok());
    drop(release);
    first.wait().await.unwrap();
    assert_eq!(*brought.wait().await.unwrap(), [1]);
    assert!(pool.0.lock().coming.is_empty());
}

#[tokio::test]
async fn those_on_their_way_keep_no_other_tenant_out() {
    let pool = pool(1, 4, Duration::MAX);
    let (_release, _first) = occupy(&pool);
    let _flood: Vec<_> = (0..4).map(|_| pool.promise(of(1)).unwrap()).collect();
    assert!(pool.promise(of(1)).is_err());
    let _quiet = [pool.promise(of(2)).unwrap(), pool.promise(of(2)).unwrap(), pool.promise(of(2)).unwrap()];
    assert!(pool.promise(of(2)).is_err(), "as even as can be");
}

#[tokio::test]
async fn nobody_is_promised_what_would_come_too_late() {
    let pool = pool(1, 100, SERVICE * 2);
    let (_release, _first) = occupy(&pool);
    let _promised = [pool.promise(of(1)).unwrap(), pool.promise(of(1)).unwrap()];
    let refusal = pool.promise(of(1)).map(drop).unwrap_err();
    assert_eq!(refusal.retry_delay(), Some(SERVICE * 3));
}
