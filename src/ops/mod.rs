//! The use cases, one file per noun. Each reads as a paragraph: tenant, policy, hash or seal, then one change that
//! commits with its audit record.
//!
//! Nothing is hashed inside a transaction, and no act goes without a [`Grant`].

mod attempt;
pub mod authenticate;
mod batch;
pub mod bootstrap;
pub mod caller;
mod data_keys;
pub mod device;
pub mod import;
pub mod integration;
mod journal;
mod limit;
mod secret;
mod soft_lock;
pub mod tenant;
pub mod token;
pub mod user;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use self::{attempt::Attempts, data_keys::DataKeys, journal::Journal, limit::Limits};
use crate::{
    access::Grant,
    audit::{Outcome, Record, Target},
    crypto::{Hasher, Keyring, Turn},
    domain::{
        Attributes, Clock, Entropy, Error, Reason, ResourceId, Result, Subject, SubjectKind, SubjectRef, SubjectState,
        Tenant, TenantRef, Timestamp, Uid,
    },
    store::{Lockouts, SecretChange, Store, SubjectChange},
};

pub use limit::{LimitOptions, Rate};
pub use secret::{Settings, Source};
pub use soft_lock::SoftLock;

/// How often a change that names no etag is decided anew when another came first.
const ATTEMPTS: u32 = 8;

/// The use cases. Clones share everything.
#[derive(Clone)]
pub struct Ops {
    store: Store,
    keyring: Arc<Keyring>,
    hasher: Hasher,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    data_keys: Arc<DataKeys>,
    journal: Journal,
    attempts: Attempts,
    lockouts: Lockouts,
    limits: Arc<Limits>,
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

/// One call that was let in.
#[derive(Debug)]
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
}

impl Call {
    /// A call that was let in.
    #[must_use]
    pub fn new(grant: Grant, action: &'static str, request_id: String) -> Self {
        Self { grant, action, request_id, deadline: None, scope: OnceLock::new() }
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
        }
    }
}

impl Ops {
    /// The use cases over these parts.
    #[must_use]
    pub fn new(
        store: Store,
        keyring: Arc<Keyring>,
        hasher: Hasher,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        limits: &LimitOptions,
    ) -> Self {
        let data_keys = Arc::new(DataKeys::new(store.clone(), Arc::clone(&keyring)));
        let journal = Journal::start(store.clone());
        let lockouts = limits.lockouts();
        let attempts = Attempts::start(store.clone(), Arc::clone(&clock), lockouts);
        let limits = Arc::new(Limits::new(limits, &clock));
        Self { store, keyring, hasher, clock, entropy, data_keys, journal, attempts, lockouts, limits }
    }

    /// Gives back what attempts keep reserved, and writes what is still to be recorded.
    pub async fn close(&self) {
        self.attempts.flush().await;
        self.journal.flush().await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Store unavailable.
    pub async fn check(&self) -> Result<()> {
        self.store.check().await
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn make_uid(&self, now: Timestamp) -> Uid {
        Uid::make(now, &*self.entropy)
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

    /// The tenant that a request names, where the caller reaches it. To others it looks as if it were not there.
    async fn tenant(&self, call: &Call, reference: &TenantRef) -> Result<Tenant> {
        let caller = call.grant.caller();
        let tenant = self.store.tenant(reference, &caller.tenant_uid).await?;
        let tenant = tenant.filter(|tenant| caller.reaches_all || tenant.uid == caller.tenant_uid);
        let tenant = tenant.ok_or_else(|| Error::new(Reason::TenantNotFound, "there is no such tenant"))?;
        let _ = call.scope.set(tenant.uid.clone());
        self.limit_tenant(&tenant.uid)?;
        Ok(tenant)
    }

    /// The tenant that somebody unknown names, for what is for anybody.
    async fn tenant_for_anybody(&self, call: &Call, reference: &TenantRef) -> Result<Option<Tenant>> {
        if *reference == TenantRef::Own {
            return Ok(None);
        }
        let Some(tenant) = self.store.tenant(reference, &call.grant.caller().tenant_uid).await? else {
            return Ok(None);
        };
        let _ = call.scope.set(tenant.uid.clone());
        self.limit_tenant(&tenant.uid)?;
        Ok(Some(tenant))
    }

    /// Runs an act; where it fails, that is recorded as well.
    async fn audited<T>(&self, call: &Call, target: Target, act: impl Future<Output = Result<T>>) -> Result<T> {
        let result = act.await;
        if let Err(error) = &result {
            let outcome = if error.reason().is_denial() { Outcome::Denied } else { Outcome::Failed };
            self.journal.write(call.record(self, target, outcome, Some(error.reason()), String::new())).await;
        }
        result
    }

    /// Changes a subject by a plan. Without an etag, a change that was beaten by another is decided anew on what the
    /// other left; with one, it is aborted.
    async fn change(
        &self,
        call: &Call,
        mut subject: Subject,
        etag: Option<&str>,
        detail: &str,
        plan: impl Fn(&Subject, Timestamp) -> Result<(Option<String>, Vec<SecretChange>)>,
    ) -> Result<Subject> {
        check_etag(&subject, etag)?;
        for _ in 1..ATTEMPTS {
            match self.try_change(call, &subject, detail, &plan).await {
                Err(error) if error.reason() == Reason::ConcurrentChange => {
                    let reference = SubjectRef::Id(subject.id.clone());
                    let again = self.store.subject(&subject.tenant_uid, subject.kind, &reference).await?;
                    subject = again.filter(|again| again.uid == subject.uid).ok_or_else(|| not_found(subject.kind))?;
                    check_etag(&subject, etag)?;
                }
                done => return done,
            }
        }
        self.try_change(call, &subject, detail, &plan).await
    }

    /// Changes a subject by a plan, once: aborted where another change came first.
    async fn try_change(
        &self,
        call: &Call,
        subject: &Subject,
        detail: &str,
        plan: impl Fn(&Subject, Timestamp) -> Result<(Option<String>, Vec<SecretChange>)>,
    ) -> Result<Subject> {
        let time = self.now();
        let (login, secrets) = plan(subject, time)?;
        let target = Target::Subject(subject.kind, subject.id.to_string());
        let record = call.record(self, target, Outcome::Succeeded, None, detail.to_owned());
        let change =
            SubjectChange { subject_uid: subject.uid.clone(), expected_version: subject.version, login, secrets, time };
        self.store.change_subject(change, record).await
    }
}

fn check_etag(subject: &Subject, etag: Option<&str>) -> Result<()> {
    match etag {
        Some(etag) if etag != subject.etag() => {
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
