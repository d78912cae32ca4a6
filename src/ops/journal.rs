//! Records of what changed nothing: refusals, failures, checks of passwords. Written behind, in order, by one task, so
//! that a check costs the same however it ends and waits for no disk. What changes or shows a secret is not recorded
//! here but in its own transaction.

use std::{sync::Arc, time::Duration};

use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{audit::Record, store::Store};

/// Records that may wait; past it, whoever brings one waits too.
const WAITING: usize = 4_096;
/// Records that are written as one.
const BATCH: usize = 1_024;
/// How long the first of them waits for others: a transaction each would cost more than the checks that they tell of, and
/// every transaction writes the same pages again.
const GATHERING: Duration = Duration::from_millis(100);

enum Entry {
    Record(Box<Record>),
    Flush(oneshot::Sender<()>),
}

#[derive(Clone)]
pub(super) struct Journal {
    entries: mpsc::Sender<Entry>,
    /// That somebody waits for what was brought.
    hurry: Arc<Notify>,
}

impl Journal {
    pub(super) fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let hurry = Arc::new(Notify::new());
        tokio::spawn(write(store, receiver, Arc::clone(&hurry)));
        Self { entries: sender, hurry }
    }

    /// Brings a record; where too many wait, what it returns waits too. Done at once, so that no call carries its record
    /// about.
    pub(super) fn write(&self, record: Record) -> impl Future<Output = ()> {
        let brought = self.entries.try_send(Entry::Record(Box::new(record)));
        async move {
            if let Err(TrySendError::Full(entry)) = brought {
                // Fails only when the task has ended, with the runtime itself.
                let _ = Box::pin(self.entries.send(entry)).await;
            }
        }
    }

    /// Returns when everything that was brought before is written.
    pub(super) async fn flush(&self) {
        let (done, waiting) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            self.hurry.notify_one();
            let _ = waiting.await;
        }
    }
}

async fn write(store: Store, mut entries: mpsc::Receiver<Entry>, hurry: Arc<Notify>) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        // Nobody who brings one wakes this meanwhile.
        if batch.len() < BATCH && batch.iter().all(|entry| matches!(entry, Entry::Record(_))) {
            let _ = tokio::time::timeout(GATHERING, hurry.notified()).await;
        }
        while batch.len() < BATCH
            && let Ok(entry) = entries.try_recv()
        {
            batch.push(entry);
        }
        let mut records = Vec::with_capacity(batch.len());
        let mut waiting = Vec::new();
        for entry in batch.drain(..) {
            match entry {
                Entry::Record(record) => records.push(*record),
                Entry::Flush(done) => waiting.push(done),
            }
        }
        let count = records.len();
        if count > 0
            && let Err(error) = store.append_records(records).await
        {
            tracing::error!(count, reason = ?error.reason(), cause = ?error.cause(), "audit records of failures and checks were lost");
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}
