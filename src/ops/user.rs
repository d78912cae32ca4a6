//! Users and their passwords.

use std::collections::BTreeMap;

use super::{
    Call, Ops, SoftLock, name_field, not_found,
    secret::{Source, in_force, place},
};
use crate::{
    audit::{Outcome, Target},
    crypto::{Turn, Verdict},
    domain::{
        Error, Password, Reason, ResourceId, Result, Secret, Slot, Subject, SubjectKind, SubjectRef, SubjectState,
        Tenant, TenantRef, Timestamp, lockout::Outcome as AttemptOutcome,
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
    /// Failed attempts; read for an administrator alone.
    pub soft_lock: Option<SoftLock>,
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
    /// Names and values for whoever keeps the user.
    pub labels: BTreeMap<String, String>,
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
    /// Tenant not found; policy violated; already exists; overloaded.
    pub async fn create_user(&self, call: &Call, request: CreateUser) -> Result<(UserView, Option<Password>)> {
        let now = self.now();
        let id = self.id_or_new(request.id, now);
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            let tenant = self.tenant(call, &request.tenant).await?;
            let mut subject = self.new_subject(&tenant, KIND, id, Some(request.username), now);
            subject.state = request.state;
            subject.attributes.labels = request.labels;
            let mut secrets = Vec::new();
            let mut generated = None;
            if let Some(source) = request.source {
                let context = context(&tenant, subject.login.as_deref());
                let (password, made) = self.decide(&tenant.settings.user_policy, source, &context)?;
                generated = made.then(|| password.clone());
                let verifier = self.hasher.hash(call.turn(&tenant), password).await?;
                let key = self.data_keys.primary(&tenant.uid).await?;
                secrets.push(self.keep_verifier(&key, &subject, 1, now, &verifier)?);
            }
            let view = UserView {
                tenant_id: tenant.id,
                subject: subject.clone(),
                password_change_time: secrets.first().map(|secret| secret.create_time),
                soft_lock: None,
            };
            let detail = if secrets.is_empty() { "without password" } else { "with password" };
            let record = call.record(self, target, Outcome::Succeeded, None, detail.to_owned());
            let stored = self.store.insert_subject(subject, secrets, record).await;
            stored.map_err(|error| name_field(error, &[("id", "user_id"), ("login", "username")]))?;
            Ok((view, generated))
        })
        .await
    }

    /// Reads a user.
    ///
    /// # Errors
    /// Tenant or user not found.
    pub async fn get_user(&self, call: &Call, tenant: &TenantRef, id: ResourceId) -> Result<UserView> {
        let tenant = self.tenant(call, tenant).await?;
        let found = self.store.subject_with_secrets(&tenant.uid, KIND, &SubjectRef::Id(id)).await?;
        let (subject, secrets) = found.ok_or_else(|| not_found(KIND))?;
        let password_change_time = in_force(&secrets, &Slot::Password, self.now()).map(|secret| secret.create_time);
        // How strangers fare is not for the user, whose own token may be in one's hands.
        let soft_lock = if call.grant.about(None).is_ok() { self.soft_lock(&subject).await? } else { None };
        Ok(UserView { tenant_id: tenant.id, subject, password_change_time, soft_lock })
    }

    /// Sets a password for an administrator. It is returned where it was made here.
    ///
    /// # Errors
    /// Not own subject; tenant or user not found; policy violated; etag mismatch; concurrent change; overloaded.
    pub async fn reset_password(&self, call: &Call, request: ResetPassword) -> Result<(UserView, Option<Password>)> {
        let target = Target::Subject(KIND, request.user_id.to_string());
        self.audited(call, target, async {
            call.grant.about(Some(request.user_id.as_str()))?;
            let tenant = self.tenant(call, &request.tenant).await?;
            self.limit_target(&tenant.uid, KIND, request.user_id.as_str())?;
            let found = self.store.subject(&tenant.uid, KIND, &SubjectRef::Id(request.user_id)).await?;
            let login = found.as_ref().and_then(|subject| subject.login.as_deref());
            let (password, made) =
                self.decide(&tenant.settings.user_policy, request.source, &context(&tenant, login))?;
            let subject = found.ok_or_else(|| not_found(KIND))?;
            super::check_etag(&subject, request.etag.as_deref())?;
            let was_locked = self.is_soft_locked(&subject).await?;

            let generated = made.then(|| password.clone());
            let verifier = self.hasher.hash(call.turn(&tenant), password).await?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, now| {
                let secret = self.keep_verifier(&key, subject, subject.version + 1, now, &verifier)?;
                Ok((None, vec![SecretChange::Replace(secret)]))
            };
            let detail = if made { "generated" } else { "given" };
            let subject = self.change(call, subject, request.etag.as_deref(), detail, plan).await?;
            if was_locked {
                self.record_soft_lock(call, KIND, &subject, "ends by a reset").await;
            }
            let password_change_time = Some(subject.update_time);
            Ok((UserView { tenant_id: tenant.id, subject, password_change_time, soft_lock: None }, generated))
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
            self.limit_target(&tenant.uid, KIND, &target)?;
            if !tenant.settings.change_password_allowed {
                let message = "the tenant does not let users change their own passwords";
                return Err(Error::new(Reason::ChangePasswordNotAllowed, message));
            }
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &request.user).await?;
            let login = found.as_ref().and_then(|(subject, _)| subject.login.as_deref());
            let source = Source::Given(request.new, "new_password");
            let (new, _) = self.decide(&tenant.settings.user_policy, source, &context(&tenant, login))?;
            if found.is_none() && asked_id.is_some() {
                return Err(not_found(KIND));
            }

            let mismatch = || Error::new(Reason::CurrentPasswordMismatch, "the current password is not right");
            let stored = self.verifier(&tenant, found.as_ref()).await?;
            let asked = found.as_ref().map(|(subject, _)| subject);
            let attempt = self.attempt(call, &tenant, (KIND, &request.user), asked, request.from.as_deref()).await?;
            let verdict = self.hasher.verify(call.turn(&tenant), request.current, attempt.admit(stored)).await?;
            self.settle(call, KIND, asked, attempt, outcome(verdict, asked)).await?;
            let Verdict::Match { .. } = verdict else { return Err(mismatch()) };
            let (subject, _) = found.ok_or_else(mismatch)?;
            match subject.state {
                SubjectState::Active => {}
                SubjectState::Disabled => return Err(Error::new(Reason::SubjectDisabled, "the user is disabled")),
                SubjectState::Locked => return Err(Error::new(Reason::SubjectLocked, "the user is locked")),
            }

            let verifier = self.hasher.hash(call.turn(&tenant), new).await?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, now| {
                let secret = self.keep_verifier(&key, subject, subject.version + 1, now, &verifier)?;
                Ok((None, vec![SecretChange::Replace(secret)]))
            };
            // Once only: the proof was of the password that was in force then.
            let subject = self.try_change(call, &subject, "by its owner", plan).await?;
            let password_change_time = Some(subject.update_time);
            Ok(UserView { tenant_id: tenant.id, subject, password_change_time, soft_lock: None })
        })
        .await
    }

    /// Checks a password: the user's id where it is right. Unknown, wrong, disabled, locked and a source that has to wait
    /// cost and look the same.
    ///
    /// # Errors
    /// Tenant not found; rate limited; overloaded.
    pub async fn verify_password(&self, call: &Call, request: VerifyPassword) -> Result<Option<ResourceId>> {
        let tenant = self.tenant(call, &request.tenant).await?;
        Ok(self.check_password(call, &tenant, request).await?.map(|(subject, _)| subject.id))
    }

    /// The same in a tenant that was found: the user, and the version of the password that was right.
    pub(super) async fn check_password(
        &self,
        call: &Call,
        tenant: &Tenant,
        request: VerifyPassword,
    ) -> Result<Option<(Subject, i64)>> {
        self.limit_target(&tenant.uid, KIND, request.user.as_str())?;
        self.hasher.check(call.turn(tenant))?;
        let found = self.store.subject_with_secrets(&tenant.uid, KIND, &request.user).await?;
        let stored = self.verifier(tenant, found.as_ref()).await?;
        let asked = found.as_ref().map(|(subject, _)| subject);
        let attempt = self.attempt(call, tenant, (KIND, &request.user), asked, request.from.as_deref()).await?;
        let detail = attempt.detail();
        let verdict = self.hasher.verify(call.turn(tenant), request.password.clone(), attempt.admit(stored)).await?;
        self.settle(call, KIND, asked, attempt, outcome(verdict, asked)).await?;
        let active = found.filter(|(subject, _)| subject.state == SubjectState::Active);
        let verified = match (verdict, active) {
            (Verdict::Match { outdated }, Some((subject, secrets))) => {
                let version = in_force(&secrets, &Slot::Password, self.now()).map(|secret| secret.version);
                if outdated {
                    self.rehash(call, tenant, subject.clone(), secrets, request.password);
                }
                version.map(|version| (subject, version))
            }
            (Verdict::Match { .. } | Verdict::Mismatch, _) => None,
        };
        self.record_check(call, KIND, &request.user, verified.is_some(), detail).await;
        Ok(verified)
    }

    /// Records a check that showed or changed nothing.
    pub(super) async fn record_check(
        &self,
        call: &Call,
        kind: SubjectKind,
        asked: &SubjectRef,
        verified: bool,
        detail: &str,
    ) {
        let target = Target::Subject(kind, asked.as_str().to_owned());
        let outcome = if verified { Outcome::Succeeded } else { Outcome::Failed };
        self.journal.write(call.record(self, target, outcome, None, detail.to_owned())).await;
    }

    /// Replaces a verifier of old parameters by one of today's, behind the answer. Whoever changes the password meanwhile
    /// wins; if the pool is busy, the next check brings the next chance.
    fn rehash(&self, call: &Call, tenant: &Tenant, subject: Subject, secrets: Vec<Secret>, password: Password) {
        let mut record = call.record(
            self,
            Target::Subject(KIND, subject.id.to_string()),
            Outcome::Succeeded,
            None,
            "verifier brought up to date".to_owned(),
        );
        record.action = "UserService/VerifyPassword#rehash";
        let (ops, tenant_uid) = (self.clone(), tenant.uid.clone());
        tokio::spawn(async move {
            let now = ops.now();
            let Some(old) = in_force(&secrets, &Slot::Password, now) else { return Ok(()) };
            let verifier = ops.hasher.hash(Turn { tenant: &tenant_uid, deadline: None }, password).await?;
            let key = ops.data_keys.primary(&tenant_uid).await?;
            let mut secret = old.clone();
            secret.payload = key.seal(place(&subject, &old.slot, old.version), verifier.as_bytes(), &*ops.entropy)?;
            secret.key_id = key.id().to_string();
            secret.scheme = Some(verifier.scheme()?);
            ops.store.rehash(secret, subject.version, record).await.map(drop)
        });
    }
}

/// What a verdict says of the password. Right, but of a user who may not sign in, it is no failure, and nothing that a
/// source should be known by.
fn outcome(verdict: Verdict, found: Option<&Subject>) -> AttemptOutcome {
    match verdict {
        Verdict::Mismatch => AttemptOutcome::Wrong,
        Verdict::Match { .. } if found.is_some_and(|subject| subject.state == SubjectState::Active) => {
            AttemptOutcome::Right { seen: 0 }
        }
        Verdict::Match { .. } => AttemptOutcome::Void,
    }
}

/// What a password must not be, whole.
fn context<'a>(tenant: &'a Tenant, login: Option<&'a str>) -> Vec<&'a str> {
    login.into_iter().chain([tenant.settings.display_name.as_str(), tenant.id.as_str()]).collect()
}
