//! What was read a moment ago of who calls and in which tenant, and which devices' passwords were right, so that a flood of
//! calls is not a flood of questions to the database. What is kept is at most [`LIFE`] old, which is how long a revocation
//! by another process may take to be noticed here; after a command of this process it is not used any more at all.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Call, Ops, in_use};
use crate::{
    crypto::Mark,
    domain::{Clock, ResourceId, Result, Secret, Slot, Tenant, TenantRef, Timestamp, Uid},
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

/// What is known of callers and tenants, and of devices.
pub(super) struct Known {
    credentials: Kind<String, FoundCredential>,
    issuers: Kind<String, Vec<Tenant>>,
    /// By name; `-` by the uid that it stands for.
    tenants: Kind<(TenantRef, Option<Uid>), Tenant>,
    /// By the mark of the password: only who knows it finds anything. Whoever does not is looked up in the database, be the
    /// device known here or there at all.
    proven: Kind<Mark, Proven>,
}

/// A device in use, of a password that was right.
pub(super) struct Proven {
    pub(super) id: ResourceId,
    /// Which password of it, without what it is.
    pub(super) password: Secret,
}

impl Proven {
    pub(super) fn new(id: ResourceId, password: &Secret) -> Self {
        Self { id, password: Secret { payload: Vec::new(), ..password.clone() } }
    }
}

/// A moment before something was read.
#[derive(Clone, Copy)]
pub(super) struct Before {
    time: Timestamp,
    /// The same by the stopwatch.
    begun: Instant,
    /// [`Store::changes`].
    changes: u64,
}

impl Known {
    pub(super) fn new(store: &Store, clock: &Arc<dyn Clock>) -> Self {
        Self {
            credentials: Kind::new(store, clock),
            issuers: Kind::new(store, clock),
            tenants: Kind::new(store, clock),
            proven: Kind::new(store, clock),
        }
    }
}

impl Ops {
    /// The credential in a slot, as it was at most [`LIFE`] ago.
    pub(super) async fn known_credential(&self, slot: &Slot) -> Result<Option<Arc<FoundCredential>>> {
        self.known.credentials.get(slot.to_stored(), read_credential).await
    }

    /// The same as it is now: for what does not do as it was known, and may be newer elsewhere.
    pub(super) async fn credential_anew(&self, slot: &Slot) -> Result<Option<Arc<FoundCredential>>> {
        self.known.credentials.read(slot.to_stored(), read_credential).await
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

    /// The device with this uid, where the password was right at most [`LIFE`] ago and has not ended since.
    pub(super) fn known_proven(&self, mark: &Mark, subject_uid: &str) -> Option<Arc<Proven>> {
        let (proven, _) = self.known.proven.look(mark)?;
        let now = self.now();
        let is_its = |password: &Secret| password.is_live(now) && password.subject_uid.as_str() == subject_uid;
        Some(proven).filter(|proven| is_its(&proven.password))
    }

    /// Keeps that a password is right, by what was read after `before`.
    pub(super) fn keep_proven(&self, mark: Mark, proven: Proven, before: Before) {
        self.known.proven.keep(mark, Arc::new(proven), before);
    }

    /// This moment, before something is read.
    pub(super) fn before(&self) -> Before {
        self.known.proven.before()
    }
}

async fn read_credential(store: Store, key: String) -> Result<Option<FoundCredential>> {
    store.credential(&key).await
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
    before: Before,
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
        self.read(key, read).await
    }

    /// What `read` finds now.
    async fn read<F>(&self, key: K, read: impl FnOnce(Store, K) -> F) -> Result<Option<Arc<V>>>
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        let found = read(self.store.clone(), key.clone());
        self.renew(key, found).await
    }

    /// What is known and may be used, and whether it is to be read again.
    fn look(&self, key: &K) -> Option<(Arc<V>, bool)> {
        let (now, changes) = (self.clock.now(), self.store.changes());
        let mut entries = self.lock();
        let entry = entries.get_mut(key).filter(|entry| entry.is_good(now, changes))?;
        let is_due = !entry.is_renewed && now >= entry.before.time.plus(AGEING);
        entry.is_renewed |= is_due;
        Some((Arc::clone(&entry.value), is_due))
    }

    async fn renew(&self, key: K, found: impl Future<Output = Result<Option<V>>>) -> Result<Option<Arc<V>>> {
        let before = self.before();
        let found = found.await?.map(Arc::new);
        match &found {
            Some(value) => self.keep(key, Arc::clone(value), before),
            None => drop(self.lock().remove(&key)),
        }
        Ok(found)
    }

    fn before(&self) -> Before {
        #[expect(clippy::disallowed_methods, reason = "how long ago it was, whatever is done to the clock")]
        let begun = Instant::now();
        Before { time: self.clock.now(), begun, changes: self.store.changes() }
    }

    fn keep(&self, key: K, value: Arc<V>, before: Before) {
        let mut entries = self.lock();
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| entry.is_good(before.time, before.changes));
            if entries.len() >= CAPACITY {
                entries.clear();
            }
        }
        entries.insert(key, Entry { value, before, is_renewed: false });
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
        let Before { time, begun, changes: seen } = self.before;
        seen == changes && time <= now && now < time.plus(LIFE) && begun.elapsed() < OLDEST
    }
}
