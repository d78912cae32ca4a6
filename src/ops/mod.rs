//! The use cases, one file per noun. Each reads as a paragraph: tenant, policy, hash or seal, then one change that
//! commits with its audit record.
//!
//! Nothing is hashed inside a transaction, and no act goes without a [`Grant`]. What changes something is written by
//! `Ops::commit` alone, which knows of repetitions and of requests that are only validated (see `repeat`).

mod attempt;
pub mod audit;
pub mod authenticate;
mod batch;
pub mod bootstrap;
pub mod caller;
mod change;
pub mod credential;
mod data_keys;
pub mod device;
pub mod expiry;
pub mod explain;
mod fetch;
pub mod import;
pub mod integration;
pub mod job;
mod journal;
pub mod keys;
mod known;
pub mod lifecycle;
mod limit;
pub mod listing;
pub mod policy;
mod reach;
mod repeat;
pub mod rotation;
mod secret;
mod soft_lock;
pub mod tenant;
pub mod token;
mod usage;
pub mod user;

use std::{
    borrow::Borrow,
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use tokio::sync::Semaphore;

use self::{
    attempt::Attempts,
    data_keys::DataKeys,
    fetch::Fetch,
    job::Jobs,
    journal::Journal,
    keys::Moves,
    known::Known,
    limit::Limits,
    repeat::{Effect, Replies},
    usage::Usage,
};
use crate::{
    access::Grant,
    audit::{Outcome, Record, Target, Wait},
    blocklist::Blocklist,
    crypto::{Hasher, Keyring, KeyringInUse, Marker, Turn},
    domain::{
        Attributes, Clock, Entropy, Error, Lockouts, Reason, ResourceId, Result, Subject, SubjectKind, SubjectState,
        Tenant, TenantRef, Timestamp, Uid, UidMaker,
    },
    metrics::{Guessing, Uses},
    store::Store,
};

use self::change::Plan;
pub use expiry::ExpiryOptions;
pub use limit::{FailureBudget, LimitOptions};
pub use reach::Gift;
pub use secret::{Settings, Source};
pub use soft_lock::SoftLock;

/// How often a change that names no etag is decided anew when another came first.
const ATTEMPTS: u32 = 8;

/// The use cases. Clones share everything.
#[derive(Clone)]
pub struct Ops {
    store: Store,
    keyring: KeyringInUse,
    hasher: Hasher,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    uids: Arc<UidMaker>,
    data_keys: Arc<DataKeys>,
    known: Arc<Known>,
    marker: Arc<Marker>,
    fetch: Fetch,
    journal: Journal,
    attempts: Attempts,
    lockouts: Lockouts,
    limits: Arc<Limits>,
    replies: Replies,
    moves: Moves,
    blocklist: Option<Arc<Blocklist>>,
    estimates: Arc<Semaphore>,
    guessing: Guessing,
    usage: Usage,
    jobs: Arc<Jobs>,
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

/// One call that was let in.
#[derive(Clone, Debug)]
pub struct Call {
    /// By whom, and that they may.
    pub grant: Grant,
    /// Which RPC: `UserService/ResetPassword`.
    pub action: &'static str,
    /// Which request, for the audit.
    pub request_id: String,
    /// When its client stops waiting, where that is known.
    pub deadline: Option<Instant>,
    /// In whose space it turned out to be.
    scope: OnceLock<Uid>,
    /// When what it changes is written.
    effect: Effect,
}

impl Call {
    /// A call that was let in.
    #[must_use]
    pub fn new(grant: Grant, action: &'static str, request_id: String) -> Self {
        Self { grant, action, request_id, deadline: None, scope: OnceLock::new(), effect: Effect::AtOnce }
    }

    /// Its turn among those who want something hashed.
    fn turn<'a>(&self, tenant: &'a Tenant) -> Turn<'a> {
        Turn { tenant: &tenant.uid, deadline: self.deadline }
    }

    fn record(&self, ops: &Ops, target: Target, outcome: Outcome, reason: Option<Reason>, detail: String) -> Record {
        let time = ops.now();
        let caller = self.grant.caller();
        Record {
            uid: ops.make_uid(time),
            tenant_uid: self.scope.get().unwrap_or(&caller.tenant_uid).clone(),
            time,
            actor: caller.name(),
            action: self.action,
            target,
            outcome,
            reason,
            request_id: self.request_id.clone(),
            detail,
            wait: Wait::begin(),
        }
    }
}

impl Ops {
    /// The use cases over these parts.
    #[must_use]
    pub fn new(
        store: Store,
        keyring: KeyringInUse,
        hasher: Hasher,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        limits: &LimitOptions,
    ) -> Self {
        let data_keys = Arc::new(DataKeys::new(store.clone(), keyring.clone()));
        let known = Arc::new(Known::new(&store, &clock));
        let marker = Arc::new(Marker::make(&*entropy));
        let fetch = Fetch::start(store.clone());
        let journal = Journal::start(store.clone());
        let lockouts = limits.lockouts();
        let attempts = Attempts::start(store.clone(), Arc::clone(&clock));
        let limits = Arc::new(Limits::new(limits, &clock));
        let replies = Replies::start(store.clone(), Arc::clone(&clock));
        let moves = Moves::start(store.clone());
        let estimates = Arc::new(Semaphore::new(hasher.threads()));
        let usage = Usage::start(store.clone());
        let jobs = Arc::new(Jobs::new(Uid::make(clock.now(), &*entropy)));
        Self {
            store,
            keyring,
            hasher,
            clock,
            entropy,
            uids: Arc::default(),
            data_keys,
            known,
            marker,
            fetch,
            journal,
            attempts,
            lockouts,
            limits,
            replies,
            moves,
            blocklist: None,
            estimates,
            guessing: Guessing::default(),
            usage,
            jobs,
        }
    }

    /// What is counted of failed attempts.
    #[must_use]
    pub fn guessing(&self) -> &Guessing {
        &self.guessing
    }

    /// What is counted of uses of secrets.
    #[must_use]
    pub fn uses(&self) -> &Uses {
        self.usage.uses()
    }

    /// Gives back what attempts keep reserved, and writes what is still to be recorded.
    pub async fn close(&self) {
        self.attempts.flush().await;
        self.usage.close().await;
        self.journal.flush().await;
    }

    /// Whether the database answers; and takes the time from it, where replicas share it.
    ///
    /// # Errors
    /// Store unavailable.
    pub async fn check(&self) -> Result<()> {
        if let Some(shared) = self.store.check().await? {
            shared.tell(&*self.clock);
        }
        Ok(())
    }

    /// The keyring in use now.
    fn keyring(&self) -> Arc<Keyring> {
        self.keyring.get()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn make_uid(&self, now: Timestamp) -> Uid {
        self.uids.make(now, &*self.entropy)
    }

    fn id_or_new(&self, id: Option<ResourceId>, now: Timestamp) -> ResourceId {
        id.unwrap_or_else(|| self.make_uid(now).into())
    }

    /// A subject that is about to be: active, in its first version.
    fn new_subject(
        &self,
        tenant: &Tenant,
        kind: SubjectKind,
        id: ResourceId,
        login: Option<String>,
        now: Timestamp,
    ) -> Subject {
        Subject {
            uid: self.make_uid(now),
            tenant_uid: tenant.uid.clone(),
            kind,
            id,
            login,
            state: SubjectState::Active,
            attributes: Attributes::default(),
            version: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// The tenant that a request names, for whatever changes or shows or checks something in it: it must be in use.
    async fn tenant(&self, call: &Call, reference: &TenantRef) -> Result<Tenant> {
        in_use(self.tenant_in_any_state(call, reference).await?)
    }

    /// The tenant that a request names as it is now, in use or not, where the caller reaches it. To others it looks as if
    /// it were not there.
    async fn tenant_in_any_state(&self, call: &Call, reference: &TenantRef) -> Result<Tenant> {
        let found = self.store.tenant(reference, &call.grant.caller().tenant_uid).await?;
        self.reach(call, found)
    }

    /// A tenant that was found, where the caller reaches it.
    fn reach<T: Borrow<Tenant>>(&self, call: &Call, found: Option<T>) -> Result<T> {
        let caller = call.grant.caller();
        let found = found.filter(|tenant| caller.reaches(&tenant.borrow().uid).passed());
        let found = found.ok_or_else(|| Error::new(Reason::TenantNotFound, "there is no such tenant"))?;
        let tenant: &Tenant = found.borrow();
        let _ = call.scope.set(tenant.uid.clone());
        self.limit_tenant(tenant)?;
        Ok(found)
    }

    /// The tenant that somebody unknown names, for what is for anybody.
    async fn tenant_for_anybody(&self, call: &Call, reference: &TenantRef) -> Result<Option<Tenant>> {
        if *reference == TenantRef::Own {
            return Ok(None);
        }
        let found = self.store.tenant(reference, &call.grant.caller().tenant_uid).await?;
        let Some(tenant) = found.filter(|tenant| tenant.state == SubjectState::Active) else { return Ok(None) };
        let _ = call.scope.set(tenant.uid.clone());
        self.limit_tenant(&tenant)?;
        Ok(Some(tenant))
    }

    /// Runs an act; where it fails, that is recorded as well.
    async fn audited<T>(&self, call: &Call, target: Target, act: impl Future<Output = Result<T>>) -> Result<T> {
        let result = act.await;
        if let Err(error) = &result {
            let detail = if call.validates() { "only validated" } else { "" };
            let (outcome, reason) = (repeat::outcome(error), Some(error.reason()));
            self.journal.write(call.record(self, target, outcome, reason, detail.to_owned())).await;
        }
        result
    }
}

/// A tenant that is in use.
fn in_use<T: Borrow<Tenant>>(tenant: T) -> Result<T> {
    if tenant.borrow().state != SubjectState::Active {
        return Err(Error::new(Reason::TenantDisabled, "the tenant is disabled"));
    }
    Ok(tenant)
}

fn check_etag(subject: &Subject, etag: Option<&str>) -> Result<()> {
    same_etag(&subject.etag(), etag)
}

/// Whether a resource is still as whoever sent the etag saw it.
fn same_etag(current: &str, given: Option<&str>) -> Result<()> {
    match given {
        Some(given) if given != current => {
            Err(Error::new(Reason::EtagMismatch, "the resource has changed since the etag was read"))
        }
        Some(_) | None => Ok(()),
    }
}

fn not_found(kind: SubjectKind) -> Error {
    match kind {
        SubjectKind::User => Error::new(Reason::UserNotFound, "there is no such user in this tenant"),
        SubjectKind::Device => Error::new(Reason::DeviceNotFound, "there is no such device in this tenant"),
        SubjectKind::Integration => {
            Error::new(Reason::IntegrationNotFound, "there is no such integration in this tenant")
        }
        SubjectKind::Caller => Error::new(Reason::CallerNotFound, "there is no such caller in this tenant"),
    }
}

/// Names a field of the request in an error that the store could only name by its column.
fn name_field(error: Error, names: &[(&str, &'static str)]) -> Error {
    if error.reason() != Reason::AlreadyExists {
        return error;
    }
    let column = error.metadata().iter().find(|(name, _)| *name == "field").map(|(_, column)| column.clone());
    let field = names.iter().find(|(from, _)| Some(*from) == column.as_deref()).map_or("", |(_, to)| *to);
    Error::new(Reason::AlreadyExists, format!("{field} is taken")).with("field", field)
}
