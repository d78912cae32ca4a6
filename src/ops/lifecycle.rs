//! What all kinds of subject go through alike: they are read, changed, locked, disabled and deleted.

use std::sync::Arc;

use super::{
    ATTEMPTS, Call, Gift, Ops, Plan, check_etag, not_found,
    reach::{may_rank_user, outranks},
    repeat::named,
};
use crate::{
    audit::{Outcome, Target},
    domain::{
        Attributes, Error, Labels, Permission, Reach, Reason, ResourceId, Result, Role, Secret, Subject, SubjectKind,
        SubjectRef, SubjectState, Tenant, TenantRef, Timestamp, Transition,
    },
    store::{Store, SubjectDeletion},
};

/// Which subject a call is about.
#[derive(Clone, Debug)]
pub struct Named {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Of which kind.
    pub kind: SubjectKind,
    /// Which.
    pub id: ResourceId,
    /// What it must still be like.
    pub etag: Option<String>,
}

impl Named {
    /// A subject in any state of itself.
    #[must_use]
    pub fn of(tenant: &TenantRef, kind: SubjectKind, id: ResourceId) -> Self {
        Self { tenant: tenant.clone(), kind, id, etag: None }
    }

    pub(super) fn target(&self) -> Target {
        Target::Subject(self.kind, self.id.to_string())
    }

    /// Who may act on itself alone is a user, and may act on that user.
    fn check_about(&self, call: &Call) -> Result<()> {
        call.grant.about((self.kind == SubjectKind::User).then_some(self.id.as_str()))
    }
}

/// A subject with its live secrets, of which each kind shows something else.
#[derive(Debug)]
pub struct Kept {
    /// Whose.
    pub tenant_id: ResourceId,
    /// Who or what.
    pub subject: Subject,
    /// Password and settings, newest first.
    pub secrets: Vec<Secret>,
    /// When it was so.
    pub time: Timestamp,
}

/// What is to become of a subject; what is `None` stays.
#[derive(Debug, Default)]
pub struct Changes {
    /// What it signs in with, and under which field of the request.
    pub login: Option<(String, &'static str)>,
    /// What people call it.
    pub display_name: Option<String>,
    /// All the labels there will be.
    pub labels: Option<Labels>,
    /// What a caller may do, by names of permissions or of the tenant's aliases.
    pub permissions: Option<Vec<String>>,
    /// What a caller is there for.
    pub roles: Option<Vec<Role>>,
    /// How high a user or caller stands.
    pub rank: Option<u32>,
}

impl Changes {
    /// Whether a caller would be able to do something else than before.
    fn gives(&self) -> bool {
        self.permissions.is_some() || self.roles.is_some() || self.rank.is_some()
    }

    /// What a caller would be able to do.
    fn gift(&self, subject: &Subject) -> Gift {
        let before = Reach::of(&subject.attributes);
        Gift {
            permissions: self.permissions.clone().unwrap_or_else(|| subject.attributes.permissions.clone()),
            roles: self.roles.clone().unwrap_or(before.roles),
            rank: self.rank.unwrap_or(subject.attributes.rank),
        }
    }
}

impl Ops {
    /// Reads a subject.
    ///
    /// # Errors
    /// Not own subject; tenant or subject not found.
    pub async fn get_subject(&self, call: &Call, named: &Named) -> Result<Kept> {
        self.get_kept(call, named).await.map(|(_, kept)| kept)
    }

    /// The same, with its tenant.
    pub(super) async fn get_kept(&self, call: &Call, named: &Named) -> Result<(Arc<Tenant>, Kept)> {
        named.check_about(call)?;
        let tenant = self.known_tenant_in_any_state(call, &named.tenant).await?;
        let (subject, secrets) = self.find_named(&tenant, named).await?;
        let kept = Kept { tenant_id: tenant.id.clone(), subject, secrets, time: self.now() };
        Ok((tenant, kept))
    }

    /// Changes what people set of a subject: all of it or nothing. Where all is so already, nothing changes.
    ///
    /// # Errors
    /// Not own subject; tenant not found or disabled; subject not found; permission missing, where a caller would get one
    /// that the asker does not hold; already exists; indispensable; etag mismatch; concurrent change.
    pub async fn update_subject(&self, call: &Call, named: &Named, changes: &Changes) -> Result<Kept> {
        self.audited(call, named.target(), async {
            named.check_about(call)?;
            let tenant = self.tenant(call, &named.tenant).await?;
            let mut attempt = 1;
            loop {
                let (subject, secrets) = self.find_named(&tenant, named).await?;
                match self.try_update(call, &tenant, subject, changes).await {
                    Err(error) if error.reason() == Reason::ConcurrentChange && attempt < ATTEMPTS => attempt += 1,
                    done => return Ok(Kept { tenant_id: tenant.id, subject: done?, secrets, time: self.now() }),
                }
            }
        })
        .await
    }

    /// Locks, unlocks, disables or enables a subject. Where it is so already, its version stays.
    ///
    /// # Errors
    /// Not own subject; tenant not found or disabled; subject not found; subject disabled (to be locked or unlocked) or
    /// locked (to be enabled); indispensable; etag mismatch; concurrent change.
    pub async fn set_state(&self, call: &Call, named: &Named, transition: Transition) -> Result<Kept> {
        self.audited(call, named.target(), async {
            named.check_about(call)?;
            let tenant = self.tenant(call, &named.tenant).await?;
            let mut attempt = 1;
            loop {
                let (subject, secrets) = self.find_named(&tenant, named).await?;
                match self.try_set_state(call, &tenant, subject, transition).await {
                    Err(error) if error.reason() == Reason::ConcurrentChange && attempt < ATTEMPTS => attempt += 1,
                    done => return Ok(Kept { tenant_id: tenant.id, subject: done?, secrets, time: self.now() }),
                }
            }
        })
        .await
    }

    /// Deletes a subject with all that hangs on it. Whoever is made under its id later is somebody else.
    ///
    /// # Errors
    /// Not own subject; tenant not found or disabled; subject not found, unless that is fine; indispensable; etag mismatch; concurrent
    /// change.
    pub async fn delete_subject(&self, call: &Call, named: &Named, allow_missing: bool) -> Result<()> {
        self.audited(call, named.target(), async {
            named.check_about(call)?;
            let tenant = self.tenant(call, &named.tenant).await?;
            let mut attempt = 1;
            loop {
                let subject = match self.find_named(&tenant, named).await {
                    Err(error) if allow_missing && error.reason() == not_found(named.kind).reason() => {
                        return self.record_unchanged(call, named.target(), "there was none").await;
                    }
                    found => found?.0,
                };
                outranks(call, &subject)?;
                let deletion = SubjectDeletion {
                    leaves_administrator: is_administrator(&tenant, &subject),
                    subject_uid: subject.uid,
                    expected_version: subject.version,
                };
                let record = call.record(self, named.target(), Outcome::Succeeded, None, String::new());
                let deleted = self.commit(call, record, move |store, record| async move {
                    store.delete_subject(deletion, record).await
                });
                match deleted.await {
                    Err(error) if error.reason() == Reason::ConcurrentChange && attempt < ATTEMPTS => attempt += 1,
                    done => return done,
                }
            }
        })
        .await
    }

    /// The subject of this id, as whoever sent the etag saw it.
    async fn find_named(&self, tenant: &Tenant, named: &Named) -> Result<(Subject, Vec<Secret>)> {
        let reference = SubjectRef::Id(named.id.clone());
        let found = self.store.subject_with_secrets(&tenant.uid, named.kind, &reference).await?;
        let found = found.ok_or_else(|| not_found(named.kind))?;
        check_etag(&found.0, named.etag.as_deref())?;
        Ok(found)
    }

    async fn try_update(&self, call: &Call, tenant: &Tenant, subject: Subject, changes: &Changes) -> Result<Subject> {
        let mut attributes = subject.attributes.clone();
        let mut parts = Vec::new();
        outranks(call, &subject)?;
        if subject.kind == SubjectKind::Caller && changes.gives() {
            changes.gift(&subject).put(call, tenant, "caller.", &mut attributes)?;
            let Attributes { permissions, roles, rank, .. } = &attributes;
            parts.push(format!("permissions {}, roles {}, rank {rank}", permissions.join(" "), roles.join(" ")));
        } else if let Some(rank) = changes.rank {
            may_rank_user(call, rank)?;
            attributes.rank = rank;
            parts.push(format!("rank {rank}"));
        }
        if let Some(name) = &changes.display_name {
            attributes.display_name.clone_from(name);
            parts.push("display_name".to_owned());
        }
        if let Some(labels) = &changes.labels {
            attributes.labels.clone_from(labels);
            parts.push("labels".to_owned());
        }
        let login = changes.login.as_ref().filter(|(login, _)| subject.login.as_ref() != Some(login));
        if changes.login.is_some() {
            parts.push("login".to_owned());
        }
        if login.is_none() && attributes == subject.attributes {
            let target = Target::Subject(subject.kind, subject.id.to_string());
            self.record_unchanged(call, target, "is so already").await?;
            return Ok(subject);
        }
        let mut after = subject.clone();
        after.attributes = attributes.clone();
        let plan = |_: &Subject, _| {
            Ok(Plan {
                login: login.map(|(login, _)| login.clone()),
                attributes: (attributes != subject.attributes).then(|| attributes.clone()),
                leaves_administrator: is_administrator(tenant, &subject) && !is_administrator(tenant, &after),
                ..Plan::default()
            })
        };
        let outcome = self.try_change_by(call, &subject, &parts.join(", "), plan).await;
        let field = changes.login.as_ref().map_or("", |(_, field)| field);
        named(call, outcome, &[("login", field)])
    }

    async fn try_set_state(
        &self,
        call: &Call,
        tenant: &Tenant,
        subject: Subject,
        transition: Transition,
    ) -> Result<Subject> {
        outranks(call, &subject)?;
        let Some(state) = subject.state.after(transition) else { return Err(in_the_way(&subject)) };
        let target = Target::Subject(subject.kind, subject.id.to_string());
        let forgives = transition == Transition::Unlock;
        let was_locked = forgives && self.is_soft_locked(tenant, &subject).await?;
        let changed = if state != subject.state {
            let plan = |_: &Subject, _| {
                Ok(Plan {
                    state: Some(state),
                    forgives,
                    leaves_administrator: state != SubjectState::Active && is_administrator(tenant, &subject),
                    ..Plan::default()
                })
            };
            self.try_change_by(call, &subject, state.as_str(), plan).await?
        } else if forgives {
            let detail = "failed attempts forgiven".to_owned();
            let record = call.record(self, target, Outcome::Succeeded, None, detail);
            let uid = subject.uid.clone();
            self.commit(call, record, move |store, record| async move { store.forgive(uid, record).await }).await?;
            subject
        } else {
            self.record_unchanged(call, target, "is so already").await?;
            subject
        };
        if was_locked {
            self.follow(call, self.soft_lock_record(call, changed.kind, &changed, "ends by an unlock")).await;
        }
        Ok(changed)
    }

    /// Records that what was asked for is so without a change.
    pub(super) async fn record_unchanged(&self, call: &Call, target: Target, detail: &str) -> Result<()> {
        let record = call.record(self, target, Outcome::Succeeded, None, detail.to_owned());
        let written = |store: Store, record| async move { store.append_records(vec![record]).await };
        self.commit(call, record, written).await
    }
}

/// Whether this is a platform caller in use that may do everything.
fn is_administrator(tenant: &Tenant, subject: &Subject) -> bool {
    tenant.is_system()
        && subject.kind == SubjectKind::Caller
        && subject.state == SubjectState::Active
        && subject.attributes.permissions.iter().any(|held| held == Permission::EVERYTHING.as_str())
}

fn in_the_way(subject: &Subject) -> Error {
    let kind = subject.kind.as_str();
    match subject.state {
        SubjectState::Locked => Error::new(Reason::SubjectLocked, format!("the {kind} is locked; unlock it first")),
        SubjectState::Disabled | SubjectState::Active => {
            Error::new(Reason::SubjectDisabled, format!("the {kind} is disabled; enable it first"))
        }
    }
}
