//! Faults at every single write and every wait for the disk, on SQLite: the ordinal is counted up until none fires.

use std::time::Instant;

use fastrand::Rng;

use crate::{
    check::settle,
    inject::{Fault, Trap, can_inject},
    load::{Worker, prepare},
    model::Act,
    parameters::{say, seed},
    recorder::{Ended, Recorder},
    server::{Server, Site},
};

/// More calls than one change makes; only so that a test that fails ends.
const MOST: u32 = 400;
/// The calls by which SQLite makes a change durable.
const CALLS: [&str; 2] = ["fsync", "pwrite64"];

/// One worker with one device, one integration and one user, and the service that it asks.
struct Bench {
    site: Site,
    server: Server,
    workers: Vec<Worker>,
    /// Whether a kill follows each fault: then the file alone says what was done.
    is_killed_after: bool,
}

/// What is changed while a fault is laid.
const VICTIMS: [usize; 2] = [0, 1];

impl Bench {
    async fn new(bug: Option<&str>, is_killed_after: bool) -> Self {
        let mut site = Site::on_sqlite();
        if let Some(bug) = bug {
            site.plant(bug);
        }
        let server = site.serve().await;
        prepare(&mut server.clients(&site.admin_token)).await;
        let mut worker = Worker::new("w".to_owned(), Rng::with_seed(seed("io")), &Recorder::new(&site.history()));
        let clients = server.clients(&site.admin_token);
        for _ in VICTIMS {
            let (place, act) = worker.make();
            let asked = worker.asked(worker.owned[place].subject.clone(), act, String::new());
            worker.ask(&clients, place, asked).await;
        }
        Self { site, server, workers: vec![worker], is_killed_after }
    }

    /// Asks for a change; how it ended.
    async fn ask(&mut self, place: usize, act: Act) -> Ended<crate::model::Answer> {
        let worker = &mut self.workers[0];
        let request_id = worker.name_of_request();
        let asked = worker.asked(worker.owned[place].subject.clone(), act, request_id);
        let clients = self.server.clients(&self.site.admin_token);
        worker.ask(&clients, place, asked).await
    }

    /// A reset of everything that the victim has: what is wrong after it met this fault, and whether it did; nothing where
    /// another call of the service may have met it in the reset's stead.
    async fn reset(&mut self, victim: usize, call: &str, ordinal: u32, fault: Fault) -> (Vec<String>, Option<bool>) {
        // So that there is something to be wiped.
        let act = match victim {
            0 => Act::Label { value: format!("{ordinal:08x}") },
            _ => Act::Configure { settings: format!("{ordinal:08x}") },
        };
        self.ask(victim, act).await;
        let act = match victim {
            0 => Act::Reset { login: Some(self.workers[0].login()), source: Some(self.workers[0].source()) },
            _ => Act::Wipe,
        };
        let trap = Trap::lay(&self.server, call, ordinal, fault);
        let ended = self.ask(victim, act).await;
        let (calls, mut fired) = trap.lift(call);
        if self.is_killed_after {
            self.server.kill();
        }
        let (mut wrong, mut is_its_own) = (Vec::new(), true);
        match (&ended, fault) {
            (Ended::Acknowledged(_), Fault::Error(_)) if fired && call == "fsync" => {
                // Of several, one may be of a record that is written behind the answer of an earlier check.
                is_its_own = calls == 1;
                if is_its_own {
                    wrong.push(format!("done, although the disk did not say so: {ended:?}"));
                }
            }
            (Ended::Refused(..), _) => wrong.push(format!("it is refused, as if it were its own fault: {ended:?}")),
            _ => {}
        }
        if !self.server.runs() {
            fired |= !self.is_killed_after;
            // Killed, or it gave up: then in order.
            let next = self.site.serve().await;
            let (status, log) = std::mem::replace(&mut self.server, next).end();
            if fault != Fault::Kill && !self.is_killed_after && !status.success() {
                wrong.push(format!("the process ended: {status}\n{log}"));
            }
        }
        wrong.extend(settle(&self.site, &self.server, &mut self.workers).await);
        (wrong, is_its_own.then_some(fired))
    }
}

/// Lays the fault at the first, second, … call of each name during a reset, until none fires. What is wrong, and where.
async fn at_every_call(faults: &[Fault], is_killed_after: bool, bug: Option<&str>) -> Vec<String> {
    let (mut bench, begun) = (Bench::new(bug, is_killed_after).await, Instant::now());
    for fault in faults {
        for (call, victim) in CALLS.into_iter().flat_map(|call| VICTIMS.map(|victim| (call, victim))) {
            let (mut ordinal, mut resets) = (1, 0);
            loop {
                let (wrong, fired) = bench.reset(victim, call, ordinal, *fault).await;
                if !wrong.is_empty() {
                    return wrong.into_iter().map(|wrong| format!("{fault:?} at {call} {ordinal}: {wrong}")).collect();
                }
                match fired {
                    // The first wait is looked at until it was the reset's own. It has no second one of its own.
                    None if ordinal == 1 => {}
                    Some(false) => break,
                    None | Some(true) => ordinal += 1,
                }
                resets += 1;
                assert!(resets < MOST, "{fault:?} at {call} fires without end, or never at the reset's own");
            }
            let kind = bench.workers[0].owned[victim].subject.kind.name();
            say(format_args!("{fault:?} at each of {} {call} of a reset of a {kind}", ordinal - 1));
            assert!(ordinal > 1, "{call} is not what makes a change durable any more");
        }
    }
    say(format_args!("in {:.0?}", begun.elapsed()));
    Vec::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_write_leaves_all_or_nothing() {
    if can_inject() {
        assert_eq!(at_every_call(&[Fault::Kill], false, None).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_at_any_write_is_no_answer_and_no_half() {
    if can_inject() {
        let faults = [Fault::Error("EIO"), Fault::Error("ENOSPC")];
        assert_eq!(at_every_call(&faults, false, None).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_an_error_at_any_write_leaves_what_was_answered() {
    if can_inject() {
        assert_eq!(at_every_call(&[Fault::Error("EIO")], true, None).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_acknowledged_change_waits_for_the_disk() {
    /// Changes that are counted.
    const CHANGES: usize = 20;
    if !can_inject() {
        return;
    }
    let mut counts = Vec::new();
    for bug in [None, Some("synchronous_off")] {
        let mut bench = Bench::new(bug, false).await;
        let trap = Trap::count(&bench.server, "fsync,fdatasync");
        for _ in 0..CHANGES {
            let ended = bench.ask(1, Act::Wipe).await;
            assert!(matches!(ended, Ended::Acknowledged(_)), "{ended:?}");
        }
        counts.push(trap.lift("sync").0);
    }
    say(format_args!("{CHANGES} changes: {} fsync; with the planted bug {}", counts[0], counts[1]));
    assert!(counts[0] >= CHANGES, "{} fsync for {CHANGES} changes", counts[0]);
    assert!(counts[1] < CHANGES, "the planted bug was not caught");
}

#[tokio::test(flavor = "multi_thread")]
async fn bugs_at_single_writes_are_caught() {
    if !can_inject() {
        return;
    }
    let (kill, error) = ([Fault::Kill], [Fault::Error("EIO")]);
    for (bug, faults, is_killed_after) in [
        ("settings_apart", &kill, false),
        ("commit_error_ignored", &error, false),
        ("commit_error_refused", &error, true),
    ] {
        let wrong = at_every_call(faults, is_killed_after, Some(bug)).await;
        let first = wrong.first().unwrap_or_else(|| panic!("the bug {bug} was not caught"));
        say(format_args!("{bug} was caught as: {}", first.lines().next().unwrap_or_default()));
    }
}
