//! Devices and what they sign in with.

use std::sync::Arc;

use super::{
    Call, Ops, Plan, SoftLock,
    attempt::{Attempt, Entered},
    fetch::{Found, Looked},
    known::Proven,
    lifecycle::{Kept, Named},
    not_found,
    repeat::named,
    rotation::{Placement, check, shown},
    secret::{Accepted, Source, which},
};
use crate::{
    audit::{Outcome as Ending, Target},
    crypto::Mark,
    domain::{
        Error, Labels, Password, Permission, Reason, ResourceId, Result, Secret, Slot, Subject, SubjectKind,
        SubjectRef, SubjectState, Tenant, TenantRef, Timestamp, Uid, lockout::Outcome, rotation::Beginning,
    },
    metrics::UseOf,
    store::AttemptKey,
};

const KIND: SubjectKind = SubjectKind::Device;

/// A device, as answers show it.
#[derive(Debug)]
pub struct DeviceView {
    /// Whose.
    pub tenant_id: ResourceId,
    /// What.
    pub subject: Subject,
    /// The versions of its password that are not void, the newest first.
    pub secrets: Vec<Secret>,
    /// Failed attempts; read where the device was asked for.
    pub soft_lock: Option<SoftLock>,
}

impl From<Kept> for DeviceView {
    fn from(Kept { tenant_id, subject, secrets, time }: Kept) -> Self {
        Self { tenant_id, subject, secrets: shown(secrets, time), soft_lock: None }
    }
}

/// A device to be made.
#[derive(Debug)]
pub struct CreateDevice {
    /// In which tenant.
    pub tenant: TenantRef,
    /// The id; made where absent.
    pub id: Option<ResourceId>,
    /// What it signs in with.
    pub user_name: String,
    /// Names and values for whoever keeps it.
    pub labels: Labels,
    /// The password.
    pub source: Source,
    /// When that ends by itself.
    pub expire_time: Option<Timestamp>,
}

/// A device's user name, password or both to be set.
#[derive(Debug)]
pub struct ResetAuthentication {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Which.
    pub device_id: ResourceId,
    /// The new user name; kept where absent.
    pub user_name: Option<String>,
    /// The new password; kept where absent.
    pub source: Option<Source>,
    /// How that begins and when it ends.
    pub placement: Placement,
    /// Whether a password that is kept is shown.
    pub return_current: bool,
    /// What the device must still be like.
    pub etag: Option<String>,
}

/// A device's or integration's password to be checked.
#[derive(Debug)]
pub struct VerifyAuthentication {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Whose: a device's, or an integration's.
    pub kind: SubjectKind,
    /// Which.
    pub subject: SubjectRef,
    /// The password.
    pub password: Password,
    /// Where the attempt comes from, as far as the caller tells.
    pub from: Option<String>,
}

/// A password that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightSecret {
    /// Whose.
    pub id: ResourceId,
    /// Which version of it.
    pub version: i64,
}

impl Ops {
    /// Makes a device, and shows its password.
    ///
    /// # Errors
    /// Tenant not found; fields invalid (an end that is past); policy violated; already exists.
    pub async fn create_device(&self, call: &Call, request: CreateDevice) -> Result<(DeviceView, Password)> {
        let now = self.now();
        let id = self.id_or_new(request.id, now);
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            let tenant = self.tenant(call, &request.tenant).await?;
            let mut subject = self.new_subject(&tenant, KIND, id, Some(request.user_name), now);
            subject.attributes.labels = request.labels;
            let context: Vec<&str> = subject.login.as_deref().into_iter().collect();
            let policy = &tenant.settings.device_policy;
            let expire_time = request.expire_time;
            check(Placement { expire_time, ..Placement::ALONE }.violations(policy, now))?;
            let (password, _) = self.decide(policy, request.source, &context).await?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let secret = Secret { expire_time, ..self.keep_password(&key, &subject, 1, now, &password)? };
            let record = call.record(self, target, Ending::Succeeded, None, String::new());
            let names = &[("id", "device_id"), ("login", "user_name")];
            self.insert_subject(call, subject.clone(), vec![secret.clone()], record, names).await?;
            Ok((DeviceView { tenant_id: tenant.id, subject, secrets: vec![secret], soft_lock: None }, password))
        })
        .await
    }

    /// Reads a device.
    ///
    /// # Errors
    /// Tenant or device not found.
    pub async fn get_device(&self, call: &Call, tenant: &TenantRef, id: ResourceId) -> Result<DeviceView> {
        let (tenant, kept) = self.get_kept(call, &Named::of(tenant, KIND, id)).await?;
        let soft_lock = self.soft_lock(&tenant, &kept.subject).await?;
        Ok(DeviceView { soft_lock, ..kept.into() })
    }

    /// Sets user name, password or both. The password is returned where it is new, or was asked for.
    ///
    /// # Errors
    /// Permission missing (to see a password that is kept); tenant or device not found; fields invalid (an overlap beyond
    /// the policy's, an end that is past); policy violated; two secrets live; secret not set; already exists; etag mismatch;
    /// concurrent change.
    pub async fn reset_authentication(
        &self,
        call: &Call,
        request: ResetAuthentication,
    ) -> Result<(DeviceView, Option<Password>)> {
        let target = Target::Subject(KIND, request.device_id.to_string());
        self.audited(call, target, async {
            let reveals = request.source.is_none() && request.return_current;
            if reveals {
                call.grant.also(Permission::REVEAL_DEVICE)?;
            }
            let tenant = self.tenant(call, &request.tenant).await?;
            self.limit_target(&tenant, KIND, request.device_id.as_str())?;
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &SubjectRef::Id(request.device_id)).await?;
            let login = found.as_ref().and_then(|(subject, _)| subject.login.as_deref());
            let context: Vec<&str> = request.user_name.as_deref().or(login).into_iter().collect();
            let policy = &tenant.settings.device_policy;
            check(request.placement.violations(policy, self.now()))?;
            let new = match request.source {
                Some(source) => Some(self.decide(policy, source, &context).await?),
                None => None,
            };
            let (subject, secrets) = found.ok_or_else(|| not_found(KIND))?;
            let placement = request.placement;
            let comes_into_force = new.is_some() && placement.beginning != Beginning::Pending;
            let was_locked = comes_into_force && self.is_soft_locked(&tenant, &subject).await?;

            let revealed = match &new {
                Some((password, _)) => Some(password.clone()),
                None if reveals => self.open_password(&subject, &secrets).await?,
                None => None,
            };
            let detail = match (&request.user_name, &new, reveals) {
                (None, Some((_, true)), _) => "password generated",
                (None, Some((_, false)), _) => "password given",
                (Some(_), Some((_, true)), _) => "user name set, password generated",
                (Some(_), Some((_, false)), _) => "user name set, password given",
                (_, None, true) => "user name set, password shown",
                (_, None, false) => "user name set",
            };
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, secrets: &[Secret], now| {
                let secrets = match &new {
                    Some((password, _)) => self.placed(&key, subject, secrets, now, password, placement)?,
                    None => Vec::new(),
                };
                Ok(Plan { login: request.user_name.clone(), secrets, ..Plan::default() })
            };
            // What is shown must be what is in force when the user name changes: then only once.
            let changed = if reveals {
                super::check_etag(&subject, request.etag.as_deref())?;
                self.try_change_with(call, &subject, &secrets, detail, plan).await
            } else {
                self.change_with(call, (subject, secrets), request.etag.as_deref(), detail, plan).await
            };
            let (subject, secrets) = named(call, changed, &[("login", "user_name")])?;
            if was_locked {
                self.follow(call, self.soft_lock_record(call, KIND, &subject, "ends by a reset")).await;
            }
            let kept = Kept { tenant_id: tenant.id, subject, secrets, time: self.now() };
            Ok((kept.into(), revealed))
        })
        .await
    }

    /// Shows a device's user name and password: the one in force, or one version of it. Nothing is shown that could not be
    /// recorded first.
    ///
    /// # Errors
    /// Tenant or device not found; secret not set; secret version not found.
    pub async fn reveal_authentication(
        &self,
        call: &Call,
        tenant: &TenantRef,
        id: ResourceId,
        version: Option<i64>,
        purpose: String,
    ) -> Result<(Subject, Password)> {
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            let tenant = self.tenant(call, tenant).await?;
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &SubjectRef::Id(id)).await?;
            let (subject, secrets) = found.ok_or_else(|| not_found(KIND))?;
            let password = match version {
                Some(version) => Some(self.open_version(&subject, &secrets, version).await?),
                None => self.open_password(&subject, &secrets).await?,
            };
            let password = password.ok_or_else(|| Error::new(Reason::SecretNotSet, "the device has no password"))?;
            self.store.append_records(vec![call.record(self, target, Ending::Succeeded, None, purpose)]).await?;
            Ok((subject, password))
        })
        .await
    }

    /// Checks a device's or integration's password: whose it is where it is right, and which version. Unknown, wrong and a
    /// source that has to wait look the same.
    ///
    /// # Errors
    /// Tenant not found; rate limited; overloaded.
    pub async fn verify_authentication(
        &self,
        call: &Call,
        request: &VerifyAuthentication,
    ) -> Result<Option<RightSecret>> {
        let VerifyAuthentication { kind, subject: reference, from, .. } = request;
        let tenant = self.known_tenant(call, &request.tenant).await?;
        self.limit_target(&tenant, *kind, reference.as_str())?;
        let caller = call.grant.caller();
        let (of_tenant, source) = from.as_deref().map_or((caller.tenant_uid.as_str(), &*caller.id), |from| ("", from));
        let whose = [tenant.uid.as_str(), kind.as_str(), reference.form(), reference.as_str(), of_tenant, source];
        let mark = self.marker.mark(&whose, &request.password);
        let Some((proven, is_due)) = self.known_proven(&mark) else {
            let (name, place) = self.enter(call, &tenant, (*kind, reference), from.as_deref()).await?;
            let turn = self.attempts.kept(place);
            return Box::pin(self.look_up(call, &tenant, request, mark, (Arc::new(name), turn))).await;
        };
        // Where a check is kept, what was right a moment ago is right still. All else is looked up, be it known or not.
        let place = self.enter_as(&proven.name, &tenant, from.is_some()).await?;
        let mut kept = match self.attempts.kept(place) {
            Entered::Kept(kept) if kept.key.subject == proven.password.subject_uid.as_str() => kept,
            turn @ (Entered::Kept(_) | Entered::Place(_)) => {
                let name = Arc::clone(&proven.name);
                return Box::pin(self.look_up(call, &tenant, request, mark, (name, turn))).await;
            }
        };
        if is_due {
            self.prove_anew(&tenant, request, mark, &proven.name);
        }
        if !kept.keep() {
            let right = Outcome::Right { seen: 0 };
            Box::pin(self.settle(call, *kind, None, Attempt::Reserved(kept), right)).await?;
        }
        self.usage.note(use_of(*kind), &proven.password, self.now());
        self.record_check(call, *kind, reference, true, "").await;
        Ok(Some(RightSecret { id: proven.id.clone(), version: proven.password.version }))
    }

    /// The same, by what the database has.
    async fn look_up(
        &self,
        call: &Call,
        tenant: &Tenant,
        request: &VerifyAuthentication,
        mark: Mark,
        (name, turn): (Arc<AttemptKey>, Entered),
    ) -> Result<Option<RightSecret>> {
        let VerifyAuthentication { kind, subject: reference, .. } = request;
        let before = self.before();
        let (found, accepted) = self.accepted(&tenant.uid, *kind, reference).await?;
        let asked = found.as_ref().map(|(subject, _)| subject);
        let key = AttemptKey::clone(&name).of(asked);
        let attempt = match turn {
            Entered::Place(place) => self.reserve(place, key, &mut None).await?,
            Entered::Kept(kept) if *kept.key == key => Attempt::Reserved(kept),
            Entered::Kept(kept) => {
                // The name has become another's.
                drop(kept);
                let place = self.enter_as(&name, tenant, request.from.is_some()).await?;
                self.reserve(place, key, &mut None).await?
            }
        };
        let detail = attempt.detail();
        let right = which(&attempt.admit(Some(accepted)).unwrap_or_default(), &request.password);
        let outcome = match asked {
            Some(subject) if right.is_some() && subject.state == SubjectState::Active => Outcome::Right { seen: 0 },
            Some(_) if right.is_some() => Outcome::Void,
            Some(_) | None => Outcome::Wrong,
        };
        self.settle(call, *kind, asked, attempt, outcome).await?;
        let active = found.filter(|(subject, _)| subject.state == SubjectState::Active);
        let verified = active.zip(right).map(|((subject, secrets), version)| {
            if let Some(password) = version_of(&secrets, version) {
                self.usage.note(use_of(*kind), password, self.now());
                self.keep_proven(mark, Some(Proven::new(subject.id.clone(), password, name)), before);
            }
            RightSecret { id: subject.id, version }
        });
        self.record_check(call, *kind, reference, verified.is_some(), detail).await;
        Ok(verified)
    }

    /// Who has this name, and which passwords of theirs are accepted now.
    async fn accepted(
        &self,
        tenant: &Uid,
        kind: SubjectKind,
        reference: &SubjectRef,
    ) -> Result<(Option<Found>, Accepted)> {
        let Looked { found, other } = self.fetch.subject_with_secrets(tenant, kind, reference).await?;
        let open = async |found: &Option<Found>| match found {
            Some((subject, secrets)) => self.open_accepted(subject, secrets).await,
            None => Ok(Accepted::default()),
        };
        let accepted = open(&found).await?;
        // For a name that is nobody's, so that it takes as long.
        drop(open(&other).await);
        Ok((found, accepted))
    }

    /// Looks behind an answer whether the password that was right still is, so that under load nobody has to wait for it.
    fn prove_anew(&self, tenant: &Tenant, request: &VerifyAuthentication, mark: Mark, name: &Arc<AttemptKey>) {
        let (ops, tenant, kind, name) = (self.clone(), tenant.uid.clone(), request.kind, Arc::clone(name));
        let (reference, password) = (request.subject.clone(), request.password.clone());
        tokio::spawn(async move {
            let before = ops.before();
            // Where it cannot be read, what is known ends by its age.
            let Ok((found, accepted)) = ops.accepted(&tenant, kind, &reference).await else { return };
            let active = found.filter(|(subject, _)| subject.state == SubjectState::Active);
            let proven = active.zip(which(&accepted, &password)).and_then(|((subject, secrets), version)| {
                Some(Proven::new(subject.id, version_of(&secrets, version)?, name))
            });
            ops.keep_proven(mark, proven, before);
        });
    }
}

fn use_of(kind: SubjectKind) -> UseOf {
    if kind == SubjectKind::Integration { UseOf::Integration } else { UseOf::Device }
}

/// A version of a device's password.
fn version_of(secrets: &[Secret], version: i64) -> Option<&Secret> {
    secrets.iter().find(|secret| secret.slot == Slot::Password && secret.version == version)
}
