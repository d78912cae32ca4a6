//! Users and their passwords.

mod verify;

use self::verify::outcome;
use super::{
    Call, Ops, SoftLock,
    lifecycle::{Kept, Named},
    not_found,
    reach::{may_rank_user, outranks},
    secret::{Source, in_stage},
};
use crate::{
    audit::{Outcome, Target},
    crypto::{Verdict, same_password},
    domain::{
        Attributes, Error, Labels, Password, Policy, Reason, ResourceId, Result, RuleKind, Secret, Subject,
        SubjectKind, SubjectRef, SubjectState, Tenant, TenantRef, Timestamp, Violation,
    },
    store::SecretChange,
};

pub(super) const KIND: SubjectKind = SubjectKind::User;

/// A user, as answers show it.
#[derive(Debug)]
pub struct UserView {
    /// Whose.
    pub tenant_id: ResourceId,
    /// Who.
    pub subject: Subject,
    /// When the password was last set.
    pub password_change_time: Option<Timestamp>,
    /// Whether its owner must change it before it is good for anything else.
    pub password_must_change: bool,
    /// When it ends, or ended.
    pub password_expire_time: Option<Timestamp>,
    /// Failed attempts; read for an administrator alone.
    pub soft_lock: Option<SoftLock>,
}

impl From<Kept> for UserView {
    fn from(Kept { tenant_id, subject, secrets, time }: Kept) -> Self {
        Self::new(tenant_id, subject, in_stage(&secrets), time)
    }
}

impl UserView {
    /// A user with the password that was last set.
    fn new(tenant_id: ResourceId, subject: Subject, password: Option<&Secret>, now: Timestamp) -> Self {
        let live = password.filter(|password| password.is_live(now));
        Self {
            tenant_id,
            subject,
            password_change_time: live.map(|password| password.create_time),
            password_must_change: password.is_some_and(|password| password.must_change),
            password_expire_time: password.and_then(|password| password.expire_time),
            soft_lock: None,
        }
    }
}

/// A password that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose.
    pub user_id: ResourceId,
    /// Whether it is good for being changed, and for nothing else: no token, no session.
    pub must_change: bool,
}

/// A password that is right, and what is known of it here.
pub(super) struct RightPassword {
    /// Whose.
    pub(super) user: Subject,
    /// Which one of its user's.
    pub(super) version: i64,
    /// As in [`Verified`].
    pub(super) must_change: bool,
}

/// A user to be made.
#[derive(Debug)]
pub struct CreateUser {
    /// In which tenant.
    pub tenant: TenantRef,
    /// The id; made where absent.
    pub id: Option<ResourceId>,
    /// What it signs in with.
    pub username: String,
    /// In use or not.
    pub state: SubjectState,
    /// Names and values for whoever keeps it.
    pub labels: Labels,
    /// How high it stands.
    pub rank: u32,
    /// The password; none where absent.
    pub source: Option<Source>,
}

/// A password to be set by an administrator.
#[derive(Debug)]
pub struct ResetPassword {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Whose.
    pub user_id: ResourceId,
    /// The new one.
    pub source: Source,
    /// What the user must still be like.
    pub etag: Option<String>,
}

/// A password to be changed by its owner.
#[derive(Debug)]
pub struct ChangePassword {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Whose.
    pub user: SubjectRef,
    /// The one in force.
    pub current: Password,
    /// The one to be.
    pub new: Password,
    /// Where the attempt comes from, as far as the caller tells.
    pub from: Option<String>,
    /// What the user must still be like.
    pub etag: Option<String>,
}

/// A password to be checked.
#[derive(Debug)]
pub struct VerifyPassword {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Whose.
    pub user: SubjectRef,
    /// The password.
    pub password: Password,
    /// Where the attempt comes from, as far as the caller tells.
    pub from: Option<String>,
}

impl Ops {
    /// Makes a user. The password is returned where it was made here.
    ///
    /// # Errors
    /// Rank too low; tenant not found; policy violated; already exists; overloaded.
    pub async fn create_user(&self, call: &Call, request: CreateUser) -> Result<(UserView, Option<Password>)> {
        let now = self.now();
        let id = self.id_or_new(request.id, now);
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            may_rank_user(call, request.rank)?;
            let tenant = self.tenant(call, &request.tenant).await?;
            let mut subject = self.new_subject(&tenant, KIND, id, Some(request.username), now);
            subject.state = request.state;
            subject.attributes = Attributes { labels: request.labels, rank: request.rank, ..Attributes::default() };
            let mut secrets = Vec::new();
            let mut generated = None;
            if let Some(source) = request.source {
                let context = context(&tenant, subject.login.as_deref());
                let (password, made) = self.decide(&tenant.settings.user_policy, source, &context).await?;
                generated = made.then(|| password.clone());
                let verifier = self.hash(call, &tenant, password).await?;
                let key = self.data_keys.primary(&tenant.uid).await?;
                let secret = self.keep_verifier(&key, &subject, 1, now, &verifier)?;
                secrets.push(set_by_administrator(secret, &tenant));
            }
            let view = UserView::new(tenant.id, subject.clone(), secrets.first(), now);
            let detail = if secrets.is_empty() { "without password" } else { "with password, epoch 1" };
            let record = call.record(self, target, Outcome::Succeeded, None, detail.to_owned());
            self.insert_subject(call, subject, secrets, record, &[("id", "user_id"), ("login", "username")]).await?;
            Ok((view, generated))
        })
        .await
    }

    /// Reads a user.
    ///
    /// # Errors
    /// Tenant or user not found.
    pub async fn get_user(&self, call: &Call, tenant: &TenantRef, id: ResourceId) -> Result<UserView> {
        let (tenant, kept) = self.get_kept(call, &Named::of(tenant, KIND, id)).await?;
        // How strangers fare is not for the user, whose own token may be in one's hands.
        let soft_lock =
            if call.grant.about(None).is_ok() { self.soft_lock(&tenant, &kept.subject).await? } else { None };
        Ok(UserView { soft_lock, ..kept.into() })
    }

    /// Sets a password for an administrator. It is returned where it was made here. Where the policy says so, its owner
    /// has to change it, and it ends by itself.
    ///
    /// # Errors
    /// Not own subject; tenant or user not found; rank too low; policy violated; etag mismatch; concurrent change;
    /// overloaded.
    pub async fn reset_password(&self, call: &Call, request: ResetPassword) -> Result<(UserView, Option<Password>)> {
        let target = Target::Subject(KIND, request.user_id.to_string());
        self.audited(call, target, async {
            call.grant.about(Some(request.user_id.as_str()))?;
            let tenant = self.tenant(call, &request.tenant).await?;
            self.limit_target(&tenant, KIND, request.user_id.as_str())?;
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &SubjectRef::Id(request.user_id)).await?;
            found.as_ref().map_or(Ok(()), |(subject, _)| outranks(call, subject))?;
            let login = found.as_ref().and_then(|(subject, _)| subject.login.as_deref());
            let policy = &tenant.settings.user_policy;
            let (password, made) = self.decide(policy, request.source, &context(&tenant, login)).await?;
            let found = found.ok_or_else(|| not_found(KIND))?;
            super::check_etag(&found.0, request.etag.as_deref())?;
            if !made && self.had_before(call, &tenant, &found, &password).await? {
                return Err(had(policy));
            }
            let (subject, _) = found;
            let was_locked = self.is_soft_locked(&tenant, &subject).await?;
            // Who may do this to itself only chose its own.
            let by_owner = call.grant.about(None).is_err();

            let generated = made.then(|| password.clone());
            let verifier = self.hash(call, &tenant, password).await?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, now| {
                outranks(call, subject)?;
                let mut secret = self.keep_verifier(&key, subject, subject.version + 1, now, &verifier)?;
                if !by_owner {
                    secret = set_by_administrator(secret, &tenant);
                }
                Ok((None, vec![succeed(secret, policy)]))
            };
            let detail = if made { "generated" } else { "given" };
            let subject = self.change(call, subject, request.etag.as_deref(), detail, plan).await?;
            if was_locked {
                self.follow(call, self.soft_lock_record(call, KIND, &subject, "ends by a reset")).await;
            }
            let must_change = policy.reset_must_change && !by_owner;
            let set = subject.update_time;
            let view = UserView {
                password_change_time: Some(set),
                password_must_change: must_change,
                password_expire_time: must_change.then(|| policy.temporary_until(set)).flatten(),
                ..UserView::new(tenant.id, subject, None, set)
            };
            Ok((view, generated))
        })
        .await
    }

    /// Changes a password for its owner. Asked by name, an unknown user is answered like a wrong password, and costs the
    /// same, and so is a source that has to wait; a disabled or locked user is told so only when the password was right.
    ///
    /// # Errors
    /// Not own subject; tenant not found; change password not allowed; policy violated; user not found (asked by id);
    /// current password mismatch; subject disabled or locked; concurrent change; overloaded.
    pub async fn change_password(&self, call: &Call, request: ChangePassword) -> Result<UserView> {
        let (target, asked_id) = match &request.user {
            SubjectRef::Id(id) => (id.to_string(), Some(id.to_string())),
            SubjectRef::Login(login) => (login.clone(), None),
        };
        self.audited(call, Target::Subject(KIND, target.clone()), async {
            call.grant.about(asked_id.as_deref())?;
            let tenant = self.tenant(call, &request.tenant).await?;
            self.limit_target(&tenant, KIND, &target)?;
            if !tenant.settings.change_password_allowed {
                let message = "the tenant does not let users change their own passwords";
                return Err(Error::new(Reason::ChangePasswordNotAllowed, message));
            }
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &request.user).await?;
            let login = found.as_ref().and_then(|(subject, _)| subject.login.as_deref());
            let source = Source::Given(request.new, "new_password");
            let policy = &tenant.settings.user_policy;
            let (new, _) = self.decide(policy, source, &context(&tenant, login)).await?;
            if found.is_none() && asked_id.is_some() {
                return Err(not_found(KIND));
            }

            let mismatch = || Error::new(Reason::CurrentPasswordMismatch, "the current password is not right");
            let stored = self.verifier(found.as_ref()).await?;
            let asked = found.as_ref().map(|(subject, _)| subject);
            let attempt = self.attempt(call, &tenant, (KIND, &request.user), asked, request.from.as_deref()).await?;
            let current = request.current.clone();
            let verdict = self.hasher.verify(call.turn(&tenant), current, attempt.admit(stored)).await?;
            self.settle(call, KIND, asked, attempt, outcome(verdict, asked)).await?;
            let Verdict::Match { .. } = verdict else { return Err(mismatch()) };
            let found = found.ok_or_else(mismatch)?;
            let subject = &found.0;
            match subject.state {
                SubjectState::Active => {}
                SubjectState::Disabled => return Err(Error::new(Reason::SubjectDisabled, "the user is disabled")),
                SubjectState::Locked => return Err(Error::new(Reason::SubjectLocked, "the user is locked")),
            }
            // Not before: it tells something of the user.
            super::check_etag(subject, request.etag.as_deref())?;
            // What somebody else chose does not become its owner's by being set again.
            let must_differ = policy.history > 0 || in_stage(&found.1).is_some_and(|secret| secret.must_change);
            if (must_differ && same_password(Some(&request.current), &new))
                || self.had_before(call, &tenant, &found, &new).await?
            {
                return Err(had(policy));
            }

            let verifier = self.hash(call, &tenant, new).await?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, now| {
                let secret = self.keep_verifier(&key, subject, subject.version + 1, now, &verifier)?;
                Ok((None, vec![succeed(secret, policy)]))
            };
            // Once only: the proof was of the password that was in force then.
            call.once();
            let subject = self.try_change(call, subject, "by its owner", plan).await?;
            let set = subject.update_time;
            Ok(UserView { password_change_time: Some(set), ..UserView::new(tenant.id, subject, None, set) })
        })
        .await
    }
}

/// A password that somebody else knows than its owner, by the tenant's policy.
fn set_by_administrator(secret: Secret, tenant: &Tenant) -> Secret {
    let policy = &tenant.settings.user_policy;
    if !policy.reset_must_change {
        return secret;
    }
    Secret { must_change: true, expire_time: policy.temporary_until(secret.create_time), ..secret }
}

/// The change to a new password, of whose predecessors some are kept: the one in force is the last of them.
fn succeed(secret: Secret, policy: &Policy) -> SecretChange {
    SecretChange::Succeed { secret, kept: u64::from(policy.history.saturating_sub(1)) }
}

fn had(policy: &Policy) -> Error {
    Error::policy(vec![Violation::of_rule("new_password", policy.rule(RuleKind::History))])
}

/// What a password must not be, whole.
pub(super) fn context<'a>(tenant: &'a Tenant, login: Option<&'a str>) -> Vec<&'a str> {
    let local_part = login.and_then(|login| login.split_once('@')).map(|(local_part, _)| local_part);
    let names = [tenant.settings.display_name.as_str(), tenant.id.as_str()];
    login.into_iter().chain(local_part).chain(names).collect()
}
