//! What the nouns' changes share: one plan, one transaction; new subjects and tenants; and what stands for the database
//! where nothing is written.

use super::{
    ATTEMPTS, Call, Ops, check_etag, not_found,
    repeat::{Names, named},
};
use crate::{
    audit::{Outcome, Record, Target},
    crypto::Verifier,
    domain::{
        Attributes, Error, Password, Reason, ResourceId, Result, Secret, Slot, Subject, SubjectRef, SubjectState,
        Tenant, TenantRef, Timestamp, WrappedKey,
    },
    store::{SecretChange, SubjectChange},
};

impl Ops {
    /// Changes a subject by a plan. Without an etag, a change that was beaten by another is decided anew on what the
    /// other left; with one, it is aborted.
    pub(super) async fn change(
        &self,
        call: &Call,
        subject: Subject,
        etag: Option<&str>,
        detail: &str,
        plan: impl Fn(&Subject, Timestamp) -> Result<(Option<String>, Vec<SecretChange>)>,
    ) -> Result<Subject> {
        let plan = |subject: &Subject, time| plan(subject, time).map(Plan::from);
        Box::pin(self.change_by(call, subject, etag, detail, plan)).await
    }

    /// The same by a plan of more than login and secrets.
    pub(super) async fn change_by(
        &self,
        call: &Call,
        mut subject: Subject,
        etag: Option<&str>,
        detail: &str,
        plan: impl Fn(&Subject, Timestamp) -> Result<Plan>,
    ) -> Result<Subject> {
        check_etag(&subject, etag)?;
        if call.waits() {
            // Should another change come first, the call is decided anew from its beginning: so that is made unlikely.
            subject = self.again(subject, etag).await?;
            return self.try_change_by(call, &subject, detail, &plan).await;
        }
        for _ in 1..ATTEMPTS {
            match self.try_change_by(call, &subject, detail, &plan).await {
                Err(error) if error.reason() == Reason::ConcurrentChange => subject = self.again(subject, etag).await?,
                done => return done,
            }
        }
        self.try_change_by(call, &subject, detail, &plan).await
    }

    /// A subject as it is by now.
    pub(super) async fn again(&self, subject: Subject, etag: Option<&str>) -> Result<Subject> {
        let reference = SubjectRef::Id(subject.id);
        let again = self.store.subject(&subject.tenant_uid, subject.kind, &reference).await?;
        let again = again.filter(|again| again.uid == subject.uid).ok_or_else(|| not_found(subject.kind))?;
        check_etag(&again, etag)?;
        Ok(again)
    }

    /// Changes a subject by a plan, once: aborted where another change came first.
    pub(super) async fn try_change(
        &self,
        call: &Call,
        subject: &Subject,
        detail: &str,
        plan: impl Fn(&Subject, Timestamp) -> Result<(Option<String>, Vec<SecretChange>)>,
    ) -> Result<Subject> {
        self.try_change_by(call, subject, detail, |subject, time| plan(subject, time).map(Plan::from)).await
    }

    /// The same by a plan of more than login and secrets.
    pub(super) async fn try_change_by(
        &self,
        call: &Call,
        subject: &Subject,
        detail: &str,
        plan: impl Fn(&Subject, Timestamp) -> Result<Plan>,
    ) -> Result<Subject> {
        let plan = |subject: &Subject, _: &[Secret], time| plan(subject, time);
        Box::pin(self.try_change_with(call, subject, &[], detail, plan)).await.map(|(subject, _)| subject)
    }

    /// Changes a subject by a plan that depends on its secrets, and returns both as they are then. Where another change
    /// came first, it is decided anew on what the other left, unless there is an etag.
    pub(super) async fn change_with(
        &self,
        call: &Call,
        (mut subject, mut secrets): (Subject, Vec<Secret>),
        etag: Option<&str>,
        detail: &str,
        plan: impl Fn(&Subject, &[Secret], Timestamp) -> Result<Plan>,
    ) -> Result<(Subject, Vec<Secret>)> {
        for _ in 1..ATTEMPTS {
            check_etag(&subject, etag)?;
            match Box::pin(self.try_change_with(call, &subject, &secrets, detail, &plan)).await {
                Err(error) if error.reason() == Reason::ConcurrentChange => {}
                done => return done,
            }
            let reference = SubjectRef::Id(subject.id.clone());
            let again = self.store.subject_with_secrets(&subject.tenant_uid, subject.kind, &reference).await?;
            let again = again.filter(|(again, _)| again.uid == subject.uid);
            (subject, secrets) = again.ok_or_else(|| not_found(subject.kind))?;
        }
        check_etag(&subject, etag)?;
        Box::pin(self.try_change_with(call, &subject, &secrets, detail, &plan)).await
    }

    /// The same, once: aborted where another change came first.
    pub(super) async fn try_change_with(
        &self,
        call: &Call,
        subject: &Subject,
        secrets: &[Secret],
        detail: &str,
        plan: impl Fn(&Subject, &[Secret], Timestamp) -> Result<Plan>,
    ) -> Result<(Subject, Vec<Secret>)> {
        let (time, kept) = (self.now(), secrets);
        let Plan { login, state, attributes, forgives, leaves_administrator, secrets } = plan(subject, kept, time)?;
        let target = Target::Subject(subject.kind, subject.id.to_string());
        let record = call.record(self, target, Outcome::Succeeded, None, with_versions(detail, &secrets));
        let change = SubjectChange {
            subject_uid: subject.uid.clone(),
            expected_version: subject.version,
            login,
            state,
            attributes,
            forgives,
            leaves_administrator,
            secrets,
            time,
        };
        if call.validates() {
            let keys = change.secrets.iter().filter_map(|secret| match secret {
                SecretChange::Replace(secret) | SecretChange::Succeed { secret, .. } | SecretChange::Add(secret) => {
                    secret.lookup_key.clone()
                }
                SecretChange::Revoke(_)
                | SecretChange::Move(..)
                | SecretChange::Renew(_)
                | SecretChange::Void { .. } => None,
            });
            self.check_free(subject, None, change.login.as_deref(), keys.collect()).await?;
        }
        let changed = (change.foresee(subject), change.foresee_secrets(kept));
        let written = self.commit(call, record, move |store, record| async move {
            store.change_subject(change, record).await.map(drop)
        });
        // Large, and within many futures that would move it about.
        Box::pin(written).await?;
        Ok(changed)
    }

    /// Writes a new subject with its secrets.
    pub(super) async fn insert_subject(
        &self,
        call: &Call,
        subject: Subject,
        secrets: Vec<Secret>,
        record: Record,
        names: Names<'_>,
    ) -> Result<()> {
        if call.validates() {
            let free = self.check_free(&subject, Some(&subject.id), subject.login.as_deref(), Vec::new()).await;
            return named(call, free, names);
        }
        let written = self.commit(call, record, move |store, record| async move {
            store.insert_subject(subject, secrets, record).await
        });
        named(call, written.await, names)
    }

    /// Whether names that a subject is to have are free, as far as a look tells: for where nothing is written, so that
    /// the database would not say so.
    pub(super) async fn check_free(
        &self,
        subject: &Subject,
        id: Option<&ResourceId>,
        login: Option<&str>,
        lookup_keys: Vec<String>,
    ) -> Result<()> {
        let taken = |field: &'static str| {
            Error::new(Reason::AlreadyExists, "something of this name exists already").with("field", field)
        };
        let (ids, logins) = (id.into_iter().map(ResourceId::as_str).collect(), login.into_iter().collect());
        let found = self.store.subjects_named(&subject.tenant_uid, subject.kind, ids, logins).await?;
        if found.iter().any(|other| Some(&other.id) == id) {
            return Err(taken("id"));
        }
        if found.iter().any(|other| other.uid != subject.uid && other.login.as_deref() == login) {
            return Err(taken("login"));
        }
        for lookup_key in lookup_keys {
            if self.store.credential(&lookup_key).await?.is_some() {
                return Err(taken("lookup_key"));
            }
        }
        Ok(())
    }

    /// Hashes a password that is to be kept; not where it is not.
    pub(super) async fn hash(&self, call: &Call, tenant: &Tenant, password: Password) -> Result<Verifier> {
        if call.validates() { Ok(self.hasher.of_nobody()) } else { self.hasher.hash(call.turn(tenant), password).await }
    }

    /// Writes a new tenant with its first key.
    pub(super) async fn insert_tenant(
        &self,
        call: &Call,
        tenant: Tenant,
        key: WrappedKey,
        record: Record,
    ) -> Result<()> {
        if call.validates() {
            let names = tenant.aliases.into_iter().map(|alias| (TenantRef::Alias(alias), "tenant.aliases"));
            for (name, field) in [(TenantRef::Id(tenant.id), "tenant.tenant_id")].into_iter().chain(names) {
                if self.store.tenant(&name, &tenant.uid).await?.is_some() {
                    return Err(Error::new(Reason::AlreadyExists, format!("{field} is taken")).with("field", field));
                }
            }
            return Ok(());
        }
        let written = self
            .commit(call, record, move |store, record| async move { store.insert_tenant(tenant, key, record).await });
        let names = ["tenant.tenant_id", "tenant.aliases", "tenant.token_issuer.issuer"].map(|name| (name, name));
        named(call, written.await, &names)
    }
}

/// What a change of a subject comes to; what is `None` stays.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) login: Option<String>,
    pub(super) state: Option<SubjectState>,
    pub(super) attributes: Option<Attributes>,
    pub(super) forgives: bool,
    pub(super) leaves_administrator: bool,
    pub(super) secrets: Vec<SecretChange>,
}

impl From<(Option<String>, Vec<SecretChange>)> for Plan {
    fn from((login, secrets): (Option<String>, Vec<SecretChange>)) -> Self {
        Self { login, secrets, ..Self::default() }
    }
}

/// What happened, and the version of the password that came of it: whoever issues sessions refuses older ones. Where
/// several versions are accepted, each that moved, for older ones are good as well.
fn with_versions(detail: &str, secrets: &[SecretChange]) -> String {
    let told = secrets.iter().filter_map(|change| match change {
        SecretChange::Replace(secret) | SecretChange::Succeed { secret, .. } => {
            (secret.slot == Slot::Password).then(|| format!("epoch {}", secret.version))
        }
        SecretChange::Revoke(_) | SecretChange::Renew(_) | SecretChange::Void { .. } => None,
        SecretChange::Add(secret) => Some(format!("version {} {}", secret.version, secret.stage.as_str())),
        SecretChange::Move(_, moved) => Some(format!("version {} {}", moved.version, moved.to.as_str())),
    });
    let told: Vec<_> = (!detail.is_empty()).then(|| detail.to_owned()).into_iter().chain(told).collect();
    told.join(", ")
}
