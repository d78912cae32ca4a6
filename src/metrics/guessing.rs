//! Failed attempts at passwords, and what came of them: what tells an operator that somebody guesses.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Kind, Text};

/// Subjects that are told apart in a minute: past it, more are not counted, and the figure is alarming enough.
const SUBJECTS: usize = 65_536;

/// Failed attempts since the start. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Guessing(Arc<Counts>);

/// Why an attempt was not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its source has to wait.
    Delay,
    /// Strangers are stopped.
    Stop,
    /// Its source has failed at too many subjects.
    Source,
}

#[derive(Debug, Default)]
struct Counts {
    known: AtomicU64,
    strangers: AtomicU64,
    delayed: AtomicU64,
    stopped: AtomicU64,
    throttled: AtomicU64,
    delays: AtomicU64,
    stops: AtomicU64,
    subjects: AtomicU64,
    minute: Mutex<Minute>,
}

/// Who was failed at in a minute.
#[derive(Debug, Default)]
struct Minute {
    number: i64,
    /// With keys of this process, so that nobody can make them meet.
    keys: RandomState,
    subjects: HashSet<u64>,
}

impl Guessing {
    /// A wrong password for a subject, or for a name that is nobody's; `now` in seconds.
    pub fn failed(&self, is_stranger: bool, subject: &str, now: i64) {
        let lane = if is_stranger { &self.0.strangers } else { &self.0.known };
        lane.fetch_add(1, Ordering::Relaxed);
        let mut minute = self.0.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.number != now.div_euclid(60) {
            minute.number = now.div_euclid(60);
            minute.subjects.clear();
        }
        let subject = minute.keys.hash_one(subject);
        if minute.subjects.len() < SUBJECTS && minute.subjects.insert(subject) {
            self.0.subjects.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An attempt was not checked.
    pub fn refused(&self, why: Refusal) {
        let count = match why {
            Refusal::Delay => &self.0.delayed,
            Refusal::Stop => &self.0.stopped,
            Refusal::Source => &self.0.throttled,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A source begins to wait.
    pub fn delay_began(&self) {
        self.0.delays.fetch_add(1, Ordering::Relaxed);
    }

    /// Strangers are stopped at a subject.
    pub fn stop_began(&self) {
        self.0.stops.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes them down.
    pub fn write(&self, text: &mut Text) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &*self.0;
        let name = "rekey_attempts_failed_total";
        text.family(name, Kind::Counter, "Wrong passwords, by whether the source was right for the subject lately.");
        text.value(name, &[("lane", "known")], read(&counts.known));
        text.value(name, &[("lane", "stranger")], read(&counts.strangers));
        let name = "rekey_attempts_refused_total";
        text.family(name, Kind::Counter, "Attempts that were not checked, by what was in the way.");
        text.value(name, &[("cause", "delay")], read(&counts.delayed));
        text.value(name, &[("cause", "stop")], read(&counts.stopped));
        text.value(name, &[("cause", "source")], read(&counts.throttled));
        let help = "Subjects with a wrong password, each once a minute: many at once are sprayed.";
        text.single("rekey_attempts_failed_subjects_total", Kind::Counter, help, read(&counts.subjects));
        let help = "Times that a source began to wait.";
        text.single("rekey_soft_locks_total", Kind::Counter, help, read(&counts.delays));
        let help = "Times that strangers were stopped at a subject.";
        text.single("rekey_hard_stops_total", Kind::Counter, help, read(&counts.stops));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(guessing: &Guessing) -> u64 {
        guessing.0.subjects.load(Ordering::Relaxed)
    }

    #[test]
    fn a_subject_counts_once_a_minute_and_the_memory_for_it_is_bounded() {
        let guessing = Guessing::default();
        for second in 0..60 {
            guessing.failed(true, "ada", second);
            guessing.failed(false, "bob", second);
        }
        assert_eq!(subjects(&guessing), 2);
        guessing.failed(true, "ada", 60);
        assert_eq!(subjects(&guessing), 3);
        for number in 0..100_000 {
            guessing.failed(true, &number.to_string(), -1);
        }
        assert_eq!(subjects(&guessing), 3 + 65_536);
        let mut text = Text::default();
        guessing.write(&mut text);
        let text = text.finish();
        assert!(text.contains("rekey_attempts_failed_total{lane=\"stranger\"} 100061\n"), "{text}");
        assert!(text.contains("rekey_attempts_failed_total{lane=\"known\"} 60\n"), "{text}");
    }
}
