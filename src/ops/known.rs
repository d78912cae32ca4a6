//! What was read a moment ago of who calls and in which tenant, so that a flood of calls is not a flood of questions to
//! the database. What is kept is at most [`LIFE`] old, which is how long a revocation by another process may take to be
//! noticed here; after a command of this process it is not used any more at all.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Call, Ops, in_use};
use crate::{
    domain::{Clock, Result, Slot, Tenant, TenantRef, Timestamp, Uid},
    planted::{Bug, is_planted},
    store::{FoundCredential, Store},
};

/// How old may be what is used.
pub(super) const LIFE: Duration = Duration::from_secs(1);
/// From this age on it is read again behind an answer, so that under load nobody has to wait for it.
const AGEING: Duration = Duration::from_millis(500);
/// How old it may be by the machine's own stopwatch: a clock that was set back comes to the same time again.
const OLDEST: Duration = Duration::from_secs(3);
/// Entries of a kind. Only what is there is kept, so that nobody fills it with names of nothing.
const CAPACITY: usize = 4_096;

/// What is known of callers and tenants.
pub(super) struct Known {
    credentials: Kind<String, FoundCredential>,
    issuers: Kind<String, Vec<Tenant>>,
    /// By name; `-` by the uid that it stands for.
    tenants: Kind<(TenantRef, Option<Uid>), Tenant>,
}

impl Known {
    pub(super) fn new(store: &Store, clock: &Arc<dyn Clock>) -> Self {
        Self {
            credentials: Kind::new(store, clock),
            issuers: Kind::new(store, clock),
            tenants: Kind::new(store, clock),
        }
    }
}

impl Ops {
    /// The credential in a slot, as it was at most [`LIFE`] ago.
    pub(super) async fn known_credential(&self, slot: &Slot) -> Result<Option<Arc<FoundCredential>>> {
        let read = |store: Store, key: String| async move { store.credential(&key).await };
        self.known.credentials.get(slot.to_stored(), read).await
    }

    /// The tenants that believe this `iss`, as they were at most [`LIFE`] ago; `None` for none.
    pub(super) async fn known_issuer(&self, issuer: &str) -> Result<Option<Arc<Vec<Tenant>>>> {
        let read = |store: Store, issuer: String| async move {
            let tenants = store.tenants_of_issuer(&issuer).await?;
            Ok(Some(tenants).filter(|tenants| !tenants.is_empty()))
        };
        self.known.issuers.get(issuer.to_owned(), read).await
    }

    /// The tenant that a request names, as it was at most [`LIFE`] ago: for what only checks. It must be in use.
    pub(super) async fn known_tenant(&self, call: &Call, reference: &TenantRef) -> Result<Arc<Tenant>> {
        in_use(self.known_tenant_in_any_state(call, reference).await?)
    }

    /// The same, in use or not: for what only reads.
    pub(super) async fn known_tenant_in_any_state(&self, call: &Call, reference: &TenantRef) -> Result<Arc<Tenant>> {
        let own = &call.grant.caller().tenant_uid;
        let key = (reference.clone(), (*reference == TenantRef::Own).then(|| own.clone()));
        let any = Uid::from_stored("");
        let read = |store: Store, (reference, own): (TenantRef, Option<Uid>)| async move {
            store.tenant(&reference, own.as_ref().unwrap_or(&any)).await
        };
        let found = self.known.tenants.get(key, read).await?;
        self.reach(call, found)
    }
}

/// What is known of one kind of thing. Clones share it.
struct Kind<K, V> {
    store: Store,
    clock: Arc<dyn Clock>,
    entries: Arc<Mutex<HashMap<K, Entry<V>>>>,
}

impl<K, V> Clone for Kind<K, V> {
    fn clone(&self) -> Self {
        let (store, clock, entries) = (self.store.clone(), Arc::clone(&self.clock), Arc::clone(&self.entries));
        Self { store, clock, entries }
    }
}

struct Entry<V> {
    value: Arc<V>,
    /// From before it was read: it may be younger than it says, and never older.
    read: Timestamp,
    /// The same by the stopwatch.
    begun: Instant,
    /// [`Store::changes`] from before it was read.
    changes: u64,
    /// Whether somebody reads it again already.
    is_renewed: bool,
}

impl<K: Clone + Eq + Hash + Send + 'static, V: Send + Sync + 'static> Kind<K, V> {
    fn new(store: &Store, clock: &Arc<dyn Clock>) -> Self {
        Self { store: store.clone(), clock: Arc::clone(clock), entries: Arc::default() }
    }

    /// What `read` finds, or found lately.
    async fn get<F>(&self, key: K, read: impl FnOnce(Store, K) -> F) -> Result<Option<Arc<V>>>
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        let known = self.look(&key);
        if let Some((value, is_due)) = known {
            if is_due {
                let found = read(self.store.clone(), key.clone());
                let kind = self.clone();
                // Where it fails, the next one who needs it will hear of it.
                tokio::spawn(async move { kind.renew(key, found).await.map(drop) });
            }
            return Ok(Some(value));
        }
        let found = read(self.store.clone(), key.clone());
        self.renew(key, found).await
    }

    /// What is known and may be used, and whether it is to be read again.
    fn look(&self, key: &K) -> Option<(Arc<V>, bool)> {
        let (now, changes) = (self.clock.now(), self.store.changes());
        let mut entries = self.lock();
        let entry = entries.get_mut(key).filter(|entry| entry.is_good(now, changes))?;
        let is_due = !entry.is_renewed && now >= entry.read.plus(AGEING);
        entry.is_renewed |= is_due;
        Some((Arc::clone(&entry.value), is_due))
    }

    async fn renew(&self, key: K, found: impl Future<Output = Result<Option<V>>>) -> Result<Option<Arc<V>>> {
        #[expect(clippy::disallowed_methods, reason = "how long ago it was, whatever is done to the clock")]
        let begun = Instant::now();
        let (read, changes) = (self.clock.now(), self.store.changes());
        let found = found.await?.map(Arc::new);
        let mut entries = self.lock();
        let Some(value) = &found else {
            entries.remove(&key);
            return Ok(None);
        };
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| entry.is_good(read, changes));
            if entries.len() >= CAPACITY {
                entries.clear();
            }
        }
        entries.insert(key, Entry { value: Arc::clone(value), read, begun, changes, is_renewed: false });
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Entry<V> {
    /// Where the clock was set back, nobody knows how old it is.
    fn is_good(&self, now: Timestamp, changes: u64) -> bool {
        if is_planted(Bug::KnownForEver) {
            return true;
        }
        self.changes == changes && self.read <= now && now < self.read.plus(LIFE) && self.begun.elapsed() < OLDEST
    }
}
