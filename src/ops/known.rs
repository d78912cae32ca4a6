//! What was read a moment ago of who calls and in which tenant, which tokens were theirs and which devices' passwords
//! were right, so that a flood of calls is not a flood of questions to the database. What is kept is at most [`LIFE`]
//! old, which is how long a revocation by another process may take to be noticed here; after a command of this process
//! it is not used any more at all.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Call, Ops, in_use};
use crate::{
    access::Caller,
    crypto::Mark,
    domain::{Clock, ResourceId, Result, Secret, Slot, Tenant, TenantRef, Timestamp, Uid},
    planted::{Bug, is_planted},
    store::{AttemptKey, FoundCredential, Store},
};

/// How old may be what is used.
pub(super) const LIFE: Duration = Duration::from_secs(1);
/// From this age on it is read again behind an answer, so that under load nobody has to wait for it.
const AGEING: Duration = Duration::from_millis(750);
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
    /// By the mark of the token. As old as the credential that it was found as.
    bearers: Kind<Mark, Bearer>,
    /// By the mark of the password, and of where it comes from: only who knows it finds anything. Whoever does not is
    /// looked up in the database, be the device known here or there at all.
    proven: Kind<Mark, Proven>,
}

/// A caller, of an API token that was its.
pub(super) struct Bearer {
    pub(super) caller: Arc<Caller>,
    /// Which token, without its digest.
    pub(super) token: Secret,
}

impl Bearer {
    pub(super) fn new(caller: &Arc<Caller>, token: &Secret) -> Self {
        Self { caller: Arc::clone(caller), token: without_payload(token) }
    }
}

/// A device in use, of a password that was right.
pub(super) struct Proven {
    pub(super) id: ResourceId,
    /// Which password of it, without what it is.
    pub(super) password: Secret,
    /// By what name its attempts take turns.
    pub(super) name: Arc<AttemptKey>,
}

impl Proven {
    pub(super) fn new(id: ResourceId, password: &Secret, name: Arc<AttemptKey>) -> Self {
        Self { id, password: without_payload(password), name }
    }
}

fn without_payload(secret: &Secret) -> Secret {
    Secret { payload: Vec::new(), ..secret.clone() }
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
            bearers: Kind::new(store, clock),
            proven: Kind::new(store, clock),
        }
    }
}

impl Ops {
    /// The credential in a slot, as it was at most [`LIFE`] ago, and since when it is known so.
    pub(super) async fn known_credential(&self, slot: &Slot) -> Result<Option<(Arc<FoundCredential>, Before)>> {
        self.known.credentials.get(slot.to_stored(), read_credential).await
    }

    /// The same as it is now: for what does not do as it was known, and may be newer elsewhere.
    pub(super) async fn credential_anew(&self, slot: &Slot) -> Result<Option<(Arc<FoundCredential>, Before)>> {
        self.known.credentials.read(slot.to_stored(), read_credential).await
    }

    /// The tenants that believe this `iss`, as they were at most [`LIFE`] ago; `None` for none.
    pub(super) async fn known_issuer(&self, issuer: &str) -> Result<Option<Arc<Vec<Tenant>>>> {
        let read = |store: Store, issuer: String| async move {
            let tenants = store.tenants_of_issuer(&issuer).await?;
            Ok(Some(tenants).filter(|tenants| !tenants.is_empty()))
        };
        Ok(self.known.issuers.get(issuer.to_owned(), read).await?.map(|(tenants, _)| tenants))
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
        self.reach(call, found.map(|(tenant, _)| tenant))
    }

    /// The caller whose token this was at most [`LIFE`] ago, where it has not ended since. One asks anew now and then.
    pub(super) fn known_bearer(&self, mark: &Mark, now: Timestamp) -> Option<Arc<Bearer>> {
        let Found { value, is_due, .. } = self.known.bearers.look(mark)?;
        (!is_due && value.token.is_live(now)).then_some(value)
    }

    /// Keeps whose a token is, by what was read after `before`.
    pub(super) fn keep_bearer(&self, mark: Mark, bearer: Bearer, before: Before) {
        self.known.bearers.keep(mark, Arc::new(bearer), before);
    }

    /// The device whose password was right at most [`LIFE`] ago and has not ended since; and whether it is time to look
    /// again, which one is told.
    pub(super) fn known_proven(&self, mark: &Mark) -> Option<(Arc<Proven>, bool)> {
        let Found { value, is_due, .. } = self.known.proven.look(mark)?;
        value.password.is_live(self.now()).then_some((value, is_due))
    }

    /// Keeps that a password is right, by what was read after `before`; or no longer, where it is not.
    pub(super) fn keep_proven(&self, mark: Mark, proven: Option<Proven>, before: Before) {
        match proven {
            Some(proven) => self.known.proven.keep(mark, Arc::new(proven), before),
            None => self.known.proven.forget(&mark),
        }
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

/// What is known.
struct Found<V> {
    value: Arc<V>,
    before: Before,
    /// Whether whoever is told so is to read it again.
    is_due: bool,
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
    async fn get<F>(&self, key: K, read: impl FnOnce(Store, K) -> F) -> Result<Option<(Arc<V>, Before)>>
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        let Some(Found { value, before, is_due }) = self.look(&key) else {
            // Where it is known, which is what counts, the way to the database is not to be carried about.
            return Box::pin(self.read(key, read)).await;
        };
        if is_due {
            let found = read(self.store.clone(), key.clone());
            let kind = self.clone();
            // Where it fails, the next one who needs it will hear of it.
            tokio::spawn(async move { kind.renew(key, found).await.map(drop) });
        }
        Ok(Some((value, before)))
    }

    /// What `read` finds now.
    async fn read<F>(&self, key: K, read: impl FnOnce(Store, K) -> F) -> Result<Option<(Arc<V>, Before)>>
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        let found = read(self.store.clone(), key.clone());
        self.renew(key, found).await
    }

    /// What is known and may be used.
    fn look(&self, key: &K) -> Option<Found<V>> {
        let (now, changes) = (self.clock.now(), self.store.changes());
        let mut entries = self.lock();
        let entry = entries.get_mut(key).filter(|entry| entry.is_good(now, changes))?;
        let is_due = !entry.is_renewed && now >= entry.before.time.plus(AGEING);
        entry.is_renewed |= is_due;
        Some(Found { value: Arc::clone(&entry.value), before: entry.before, is_due })
    }

    async fn renew(&self, key: K, found: impl Future<Output = Result<Option<V>>>) -> Result<Option<(Arc<V>, Before)>> {
        let before = self.before();
        let Some(value) = found.await?.map(Arc::new) else {
            self.forget(&key);
            return Ok(None);
        };
        self.keep(key, Arc::clone(&value), before);
        Ok(Some((value, before)))
    }

    fn forget(&self, key: &K) {
        self.lock().remove(key);
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
