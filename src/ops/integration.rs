//! Integrations: a third party's user name and password, and the settings it hands over.

use super::{
    Call, Ops, Plan, SoftLock,
    lifecycle::{Kept, Named},
    not_found,
    repeat::named,
    rotation::{Placement, check, shown},
    secret::{Settings, Source, in_force},
};
use crate::{
    audit::{Outcome, Target},
    domain::{
        Attributes, Error, Labels, Password, Permission, Reason, ResourceId, Result, Secret, Slot, Subject,
        SubjectKind, SubjectRef, TenantRef, Timestamp, rotation::Beginning,
    },
    store::SecretChange,
};

const KIND: SubjectKind = SubjectKind::Integration;

/// An integration, as answers show it.
#[derive(Debug)]
pub struct IntegrationView {
    /// Whose.
    pub tenant_id: ResourceId,
    /// What.
    pub subject: Subject,
    /// Whether it has settings.
    pub configured: bool,
    /// The versions of its password that are not void, the newest first.
    pub secrets: Vec<Secret>,
    /// Failed attempts; read where the integration was asked for.
    pub soft_lock: Option<SoftLock>,
}

/// All of an integration's secrets.
#[derive(Debug)]
pub struct Credentials {
    /// What the third party signs in with.
    pub username: String,
    /// And its password.
    pub password: Password,
    /// What it handed over.
    pub settings: Settings,
}

/// An integration to be made.
#[derive(Debug)]
pub struct CreateIntegration {
    /// In which tenant.
    pub tenant: TenantRef,
    /// The id; made where absent.
    pub id: Option<ResourceId>,
    /// What the third party signs in with; made where absent.
    pub username: Option<String>,
    /// Names and values for whoever keeps it.
    pub labels: Labels,
    /// The password.
    pub source: Source,
    /// When that ends by itself.
    pub expire_time: Option<Timestamp>,
    /// What it hands over.
    pub settings: Settings,
}

impl From<Kept> for IntegrationView {
    fn from(Kept { tenant_id, subject, secrets, time }: Kept) -> Self {
        let configured = in_force(&secrets, &Slot::Settings, time).is_some();
        Self { tenant_id, subject, configured, secrets: shown(secrets, time), soft_lock: None }
    }
}

/// Settings, user name and labels to be replaced; what is `None` stays.
#[derive(Debug)]
pub struct UpdateIntegration {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Which.
    pub id: ResourceId,
    /// All the settings there will be.
    pub settings: Option<Settings>,
    /// What the third party signs in with.
    pub username: Option<String>,
    /// All the labels there will be.
    pub labels: Option<Labels>,
    /// Whether user name and password are shown.
    pub return_credentials: bool,
    /// What the integration must still be like.
    pub etag: Option<String>,
}

impl Ops {
    /// Makes an integration, and shows its secrets.
    ///
    /// # Errors
    /// Tenant not found; fields invalid (an end that is past); policy violated; already exists.
    pub async fn create_integration(
        &self,
        call: &Call,
        request: CreateIntegration,
    ) -> Result<(IntegrationView, Credentials)> {
        let now = self.now();
        let id = self.id_or_new(request.id, now);
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            let tenant = self.tenant(call, &request.tenant).await?;
            let username = request.username.unwrap_or_else(|| format!("rk-{}", self.make_uid(now)));
            let mut subject = self.new_subject(&tenant, KIND, id, Some(username.clone()), now);
            subject.attributes.labels = request.labels;
            let (policy, expire_time) = (&tenant.settings.integration_policy, request.expire_time);
            check(Placement { expire_time, ..Placement::ALONE }.violations(policy, now))?;
            let (password, _) = self.decide(policy, request.source, &[&username]).await?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let mut secrets = vec![Secret { expire_time, ..self.keep_password(&key, &subject, 1, now, &password)? }];
            if !request.settings.0.is_empty() {
                secrets.push(self.keep_settings(&key, &subject, 1, now, &request.settings)?);
            }
            let record = call.record(self, target, Outcome::Succeeded, None, String::new());
            let names = &[("id", "integration_id"), ("login", "username")];
            self.insert_subject(call, subject.clone(), secrets.clone(), record, names).await?;
            let kept = Kept { tenant_id: tenant.id, subject, secrets, time: now };
            Ok((kept.into(), Credentials { username, password, settings: request.settings }))
        })
        .await
    }

    /// Reads an integration.
    ///
    /// # Errors
    /// Tenant or integration not found.
    pub async fn get_integration(&self, call: &Call, tenant: &TenantRef, id: ResourceId) -> Result<IntegrationView> {
        let (tenant, kept) = self.get_kept(call, &Named::of(tenant, KIND, id)).await?;
        let soft_lock = self.soft_lock(&tenant, &kept.subject).await?;
        Ok(IntegrationView { soft_lock, ..kept.into() })
    }

    /// Replaces settings, user name and labels.
    ///
    /// # Errors
    /// Not own subject; permission missing (to see the credentials); tenant or integration not found; secret not set;
    /// already exists; etag mismatch; concurrent change.
    pub async fn update_integration(
        &self,
        call: &Call,
        request: UpdateIntegration,
    ) -> Result<(IntegrationView, Option<Credentials>)> {
        let target = Target::Subject(KIND, request.id.to_string());
        self.audited(call, target, async {
            if request.return_credentials {
                call.grant.also(Permission::REVEAL_INTEGRATION)?;
            }
            let tenant = self.tenant(call, &request.tenant).await?;
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &SubjectRef::Id(request.id)).await?;
            let (subject, secrets) = found.ok_or_else(|| not_found(KIND))?;
            super::check_etag(&subject, request.etag.as_deref())?;
            let shown = if request.return_credentials {
                Some(self.open_password(&subject, &secrets).await?.ok_or_else(no_password)?)
            } else {
                None
            };
            let kept_settings = match (&request.settings, &shown) {
                (None, Some(_)) => Some(self.open_settings(&subject, &secrets).await?),
                _ => None,
            };
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, _: &[Secret], now| {
                let mut secrets = Vec::new();
                if let Some(settings) = &request.settings {
                    secrets.push(if settings.0.is_empty() {
                        SecretChange::Revoke(Slot::Settings)
                    } else {
                        let secret = self.keep_settings(&key, subject, subject.version + 1, now, settings)?;
                        SecretChange::Replace(secret)
                    });
                }
                let labels = request.labels.clone();
                let attributes = labels.map(|labels| Attributes { labels, ..subject.attributes.clone() });
                Ok(Plan { login: request.username.clone(), attributes, secrets, ..Plan::default() })
            };
            let parts = [
                ("settings", request.settings.is_some()),
                ("username", request.username.is_some()),
                ("labels", request.labels.is_some()),
            ];
            let parts: Vec<_> = parts.into_iter().filter(|(_, given)| *given).map(|(part, _)| part).collect();
            let detail = format!("{} replaced", parts.join(", "));
            let changed = match &shown {
                // What is shown must be what is in force: once only.
                Some(_) => {
                    let detail = format!("{detail}, credentials shown");
                    self.try_change_with(call, &subject, &secrets, &detail, plan).await
                }
                None => self.change_with(call, (subject, secrets), request.etag.as_deref(), &detail, plan).await,
            };
            let (subject, secrets) = named(call, changed, &[("login", "username")])?;
            let username = subject.login.clone().unwrap_or_default();
            let settings = request.settings.or(kept_settings).unwrap_or_default();
            let credentials = shown.map(|password| Credentials { username, password, settings });
            let kept = Kept { tenant_id: tenant.id, subject, secrets, time: self.now() };
            Ok((kept.into(), credentials))
        })
        .await
    }

    /// Sets a new password and wipes every setting, as one act; one that is only prepared leaves the settings alone.
    ///
    /// # Errors
    /// Tenant or integration not found; fields invalid (an overlap beyond the policy's, an end that is past); two secrets
    /// live; etag mismatch; concurrent change.
    pub async fn reset_integration(
        &self,
        call: &Call,
        of: &Named,
        placement: Placement,
    ) -> Result<(IntegrationView, Credentials)> {
        self.audited(call, of.target(), async {
            let tenant = self.tenant(call, &of.tenant).await?;
            let reference = SubjectRef::Id(of.id.clone());
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &reference).await?;
            let found = found.ok_or_else(|| not_found(KIND))?;
            let policy = &tenant.settings.integration_policy;
            check(placement.violations(policy, self.now()))?;
            let (password, _) = self.decide(policy, Source::Generate(None), &[]).await?;
            let comes_into_force = placement.beginning != Beginning::Pending;
            let was_locked = comes_into_force && self.is_soft_locked(&tenant, &found.0).await?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, secrets: &[Secret], now| {
                let mut secrets = self.placed(&key, subject, secrets, now, &password, placement)?;
                // Where the new one is only prepared, the third party goes on as it is.
                secrets.extend(comes_into_force.then_some(SecretChange::Revoke(Slot::Settings)));
                Ok(Plan { secrets, ..Plan::default() })
            };
            let wiped = if comes_into_force { ", settings wiped" } else { "" };
            let (etag, detail) = (of.etag.as_deref(), format!("password generated{wiped}"));
            let (subject, secrets) = self.change_with(call, found, etag, &detail, plan).await?;
            if was_locked {
                self.follow(call, self.soft_lock_record(call, KIND, &subject, "ends by a reset")).await;
            }
            let username = subject.login.clone().unwrap_or_default();
            let kept = Kept { tenant_id: tenant.id, subject, secrets, time: self.now() };
            Ok((kept.into(), Credentials { username, password, settings: Settings::default() }))
        })
        .await
    }

    /// Shows an integration's secrets: the password in force, or one version of it. Nothing is shown that could not be
    /// recorded first.
    ///
    /// # Errors
    /// Tenant or integration not found; secret not set; secret version not found.
    pub async fn reveal_integration(
        &self,
        call: &Call,
        tenant: &TenantRef,
        id: ResourceId,
        version: Option<i64>,
        purpose: String,
    ) -> Result<Credentials> {
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            let tenant = self.tenant(call, tenant).await?;
            let found = self.store.subject_with_secrets(&tenant.uid, KIND, &SubjectRef::Id(id)).await?;
            let (subject, secrets) = found.ok_or_else(|| not_found(KIND))?;
            let password = match version {
                Some(version) => self.open_version(&subject, &secrets, version).await?,
                None => self.open_password(&subject, &secrets).await?.ok_or_else(no_password)?,
            };
            let settings = self.open_settings(&subject, &secrets).await?;
            self.store.append_records(vec![call.record(self, target, Outcome::Succeeded, None, purpose)]).await?;
            Ok(Credentials { username: subject.login.unwrap_or_default(), password, settings })
        })
        .await
    }
}

fn no_password() -> Error {
    Error::new(Reason::SecretNotSet, "the integration has no password")
}
