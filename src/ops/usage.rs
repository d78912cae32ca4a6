//! Which secrets are used: counted in memory, and written behind, many secrets by one statement. To note a use is an
//! update of a map; nobody waits for the database.
//!
//! What is counted is written every [`INTERVAL`], sooner where it is much, and when the service stops. A process that is
//! killed loses what came since. Where it is not known whether a statement was done, it is done again: a count may be too
//! high by that, and a secret that is in use never looks as if it were not.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::MissedTickBehavior};

use crate::{
    domain::{Secret, Slot, Timestamp, Uid},
    metrics::{UseOf, Uses},
    store::{SecretUse, Store},
};

/// How old a use may get before it is written.
const INTERVAL: Duration = Duration::from_secs(2);
/// Secrets that are counted side by side. Uses of more are lost, and that is counted.
const CAPACITY: usize = 16_384;
/// From so many secrets on it is written without waiting for the interval.
const MANY: usize = CAPACITY / 4;
/// Secrets that are written by one statement: few enough that nobody waits long for the writer.
const BATCH: usize = 1_024;

/// The uses of a process. Clones share them.
#[derive(Clone)]
pub(super) struct Usage {
    counted: Arc<Counted>,
    /// Told when there is much to write.
    many: Arc<Notify>,
}

struct Counted {
    store: Store,
    uses: Uses,
    noted: Mutex<Noted>,
    /// What was taken out to be written, and is not yet: by one at a time.
    writing: tokio::sync::Mutex<Vec<SecretUse>>,
}

/// What was noted since it was last taken out.
#[derive(Default)]
struct Noted {
    by_secret: HashMap<(Uid, Slot, i64), Use>,
    /// When the oldest of them was.
    since: Option<Timestamp>,
    /// When the oldest was of what is being written.
    writing_since: Option<Timestamp>,
}

struct Use {
    last_time: Timestamp,
    count: u64,
}

impl Usage {
    pub(super) fn start(store: Store) -> Self {
        let (noted, writing) = (Mutex::default(), tokio::sync::Mutex::default());
        let counted = Arc::new(Counted { store, uses: Uses::default(), noted, writing });
        let many = Arc::new(Notify::new());
        tokio::spawn(write_behind(Arc::downgrade(&counted), Arc::clone(&many)));
        Self { counted, many }
    }

    /// Notes that this version of a secret was right at this time.
    pub(super) fn note(&self, of: UseOf, secret: &Secret, time: Timestamp) {
        let Self { counted, many } = self;
        counted.uses.used(of);
        let key = (secret.subject_uid.clone(), secret.slot.clone(), secret.version);
        let mut noted = counted.lock();
        let is_full = noted.by_secret.len() >= CAPACITY;
        match noted.by_secret.entry(key) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.count += 1;
                known.last_time = known.last_time.max(time);
            }
            Entry::Vacant(_) if is_full => counted.uses.dropped(1),
            Entry::Vacant(new) => {
                new.insert(Use { last_time: time, count: 1 });
            }
        }
        if noted.since.is_none() {
            noted.since = Some(time);
            counted.tell_age(&noted);
        }
        if noted.by_secret.len() >= MANY {
            many.notify_one();
        }
    }

    pub(super) fn uses(&self) -> &Uses {
        &self.counted.uses
    }

    /// Writes everything that was noted before.
    pub(super) async fn close(&self) {
        self.counted.flush().await;
    }
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_age(&self, noted: &Noted) {
        // Where there is both, what is being written was there first.
        self.uses.unwritten_since(noted.writing_since.or(noted.since).map(Timestamp::micros));
    }

    /// Writes what was noted before. What fails is kept for the next time; false then.
    async fn flush(&self) -> bool {
        let mut writing = self.writing.lock().await;
        // What failed the last time comes first, and then what came since.
        let all = self.write(&mut writing).await && {
            *writing = self.take();
            self.write(&mut writing).await
        };
        if all {
            let mut noted = self.lock();
            noted.writing_since = None;
            self.tell_age(&noted);
        }
        all
    }

    /// Takes out what was noted.
    fn take(&self) -> Vec<SecretUse> {
        let mut noted = self.lock();
        noted.writing_since = noted.since.take();
        let taken = std::mem::take(&mut noted.by_secret);
        drop(noted);
        let use_of = |((subject_uid, slot, version), Use { last_time, count })| SecretUse {
            subject_uid,
            slot,
            version,
            last_time,
            count,
        };
        taken.into_iter().map(use_of).collect()
    }

    async fn write(&self, uses: &mut Vec<SecretUse>) -> bool {
        while !uses.is_empty() {
            // From the end, so that the others need not move.
            let rest = uses.len().saturating_sub(BATCH);
            let written = self.store.add_uses(uses.get(rest..).unwrap_or_default()).await;
            self.uses.wrote(written.is_ok());
            if let Err(error) = written {
                let (count, reason, cause) = (uses.len(), error.reason(), error.cause());
                tracing::warn!(count, ?reason, ?cause, "uses of secrets are not written yet");
                return false;
            }
            uses.truncate(rest);
        }
        true
    }
}

/// Ends with the last of those who count.
async fn write_behind(counted: Weak<Counted>, many: Arc<Notify>) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // Where it failed, more of it is no reason to hurry.
            () = many.notified(), if !failed => {}
        }
        let Some(counted) = counted.upgrade() else { return };
        failed = !counted.flush().await;
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        domain::{Material, Stage},
        metrics::Text,
        store::StoreOptions,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

    fn device(number: usize) -> Secret {
        Secret {
            subject_uid: Uid::from_stored(format!("{number:024x}")),
            slot: Slot::Password,
            version: 1,
            stage: Stage::Current,
            material: Material::Sealed,
            payload: Vec::new(),
            scheme: None,
            key_id: String::new(),
            read_only: false,
            must_change: false,
            create_time: NOW,
            stage_time: NOW,
            expire_time: None,
            own_expire_time: None,
            lookup_key: None,
            last_used_time: None,
            use_count: 0,
        }
    }

    fn has(usage: &Usage, line: &str) -> bool {
        let mut text = Text::default();
        usage.uses().write(&mut text, NOW.plus(Duration::from_secs(3)).micros());
        text.finish().lines().any(|have| have == line)
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::connect(&StoreOptions::sqlite(&directory.path().join("rekey.db"), 1)).await.unwrap();
        store.migrate().await.unwrap();
        (directory, store)
    }

    #[tokio::test]
    async fn ten_thousand_uses_of_a_hundred_secrets_are_one_statement() {
        let (_directory, store) = store().await;
        let usage = Usage::start(store);
        let devices: Vec<_> = (0..100).map(device).collect();
        for _ in 0..100 {
            for device in &devices {
                usage.note(UseOf::Device, device, NOW);
            }
        }
        assert!(has(&usage, "rekey_secret_uses_unwritten_seconds 3"));
        usage.close().await;
        assert!(has(&usage, "rekey_secret_uses_total{kind=\"device\"} 10000"));
        assert!(has(&usage, "rekey_secret_uses_writes_total{outcome=\"done\"} 1"));
        assert!(has(&usage, "rekey_secret_uses_dropped_total 0"));
        assert!(has(&usage, "rekey_secret_uses_unwritten_seconds 0"));
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted() {
        let (_directory, store) = store().await;
        let usage = Usage::start(store);
        // Nothing else runs until the first await, so nothing is written meanwhile.
        for number in 0..CAPACITY + 100 {
            usage.note(UseOf::Device, &device(number), NOW);
        }
        for _ in 0..3 {
            usage.note(UseOf::Device, &device(0), NOW);
            usage.note(UseOf::Device, &device(CAPACITY), NOW);
        }
        assert!(has(&usage, "rekey_secret_uses_dropped_total 103"));
        usage.close().await;
        assert!(has(&usage, "rekey_secret_uses_writes_total{outcome=\"done\"} 16"));
        usage.note(UseOf::Device, &device(CAPACITY), NOW);
        assert!(has(&usage, "rekey_secret_uses_dropped_total 103"), "there is room again");
    }
}
