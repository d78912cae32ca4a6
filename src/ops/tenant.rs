//! Tenants.

use std::sync::Arc;

use super::{ATTEMPTS, Call, Ops, reach::may_trust, repeat::named, same_etag};
use crate::{
    audit::{Outcome, Target},
    crypto::DataKey,
    domain::{
        Error, Reason, ResourceId, Result, SubjectState, Tenant, TenantRef, Violation,
        tenant::{Alias, Settings},
    },
    store::TenantDeletion,
};

/// A tenant to be made.
#[derive(Debug)]
pub struct CreateTenant {
    /// The id; made where absent.
    pub id: Option<ResourceId>,
    /// Its names in the dialects.
    pub aliases: Vec<Alias>,
    /// What it is set to.
    pub settings: Settings,
}

impl Ops {
    /// Makes a tenant with a data key of its own.
    ///
    /// # Errors
    /// Permission missing (not a platform caller); already exists.
    pub async fn create_tenant(&self, call: &Call, request: CreateTenant) -> Result<Tenant> {
        let now = self.now();
        let id = self.id_or_new(request.id, now);
        let target = Target::Tenant(id.to_string());
        let about = target.clone();
        // A tenant is large, and so is a future that moves it about.
        let act = Box::pin(async {
            if !call.grant.caller().reaches_all {
                let message = "only callers of the tenant system make tenants";
                return Err(Error::new(Reason::PermissionMissing, message).with("permission", "tenants:create"));
            }
            may_trust(call, None, &request.settings)?;
            let tenant = Tenant {
                uid: self.make_uid(now),
                id,
                aliases: request.aliases,
                settings: request.settings,
                state: SubjectState::Active,
                version: 1,
                create_time: now,
                update_time: now,
            };
            let key = DataKey::make(self.make_uid(now), &*self.entropy);
            let key = self.keyring().wrap(&key, &tenant.uid, &*self.entropy)?;
            let record = call.record(self, about, Outcome::Succeeded, None, String::new());
            Box::pin(self.insert_tenant(call, tenant.clone(), key, record)).await?;
            Ok(tenant)
        });
        self.audited(call, target, act).await
    }

    /// Reads a tenant.
    ///
    /// # Errors
    /// Tenant not found.
    pub async fn get_tenant(&self, call: &Call, tenant: &TenantRef) -> Result<Tenant> {
        self.tenant_in_any_state(call, tenant).await
    }

    /// Changes what a tenant is set to: all of it or nothing. Where all is so already, nothing changes.
    ///
    /// # Errors
    /// Tenant not found or disabled; permission missing, where an issuer's tokens would give what the asker does not hold;
    /// already exists; etag mismatch; concurrent change.
    pub async fn update_tenant(
        &self,
        call: &Call,
        tenant: &TenantRef,
        etag: Option<&str>,
        update: impl Fn(&mut Tenant),
    ) -> Result<Tenant> {
        self.audited(call, target_of(tenant), async {
            call.grant.about(None)?;
            let mut attempt = 1;
            loop {
                let before = self.tenant(call, tenant).await?;
                same_etag(&before.etag(), etag)?;
                let mut after = before.clone();
                update(&mut after);
                let defects = after.settings.defects();
                if !defects.is_empty() {
                    let below =
                        |defect: Violation| Violation::new(format!("tenant.{}", defect.field), defect.description);
                    return Err(Error::fields(defects.into_iter().map(below).collect()));
                }
                // Nobody gives what they do not hold, neither by what a token's scopes allow.
                may_trust(call, Some(&before.settings), &after.settings)?;
                if after.settings.limits != before.settings.limits && !call.grant.caller().reaches_all {
                    let message = "only callers of the tenant system change a tenant's limits";
                    return Err(Error::new(Reason::PermissionMissing, message).with("permission", "tenants:update"));
                }
                match Box::pin(self.change_tenant(call, before, after, "")).await {
                    Err(error) if error.reason() == Reason::ConcurrentChange && attempt < ATTEMPTS => attempt += 1,
                    done => {
                        let names = ["tenant.aliases", "tenant.token_issuer.issuer"].map(|name| (name, name));
                        return named(call, done, &names);
                    }
                }
            }
        })
        .await
    }

    /// Puts a tenant out of use, or back into it. Where it is so already, its version stays.
    ///
    /// # Errors
    /// Tenant not found; permission missing (not a platform caller); indispensable (the tenant `system`); etag mismatch;
    /// concurrent change.
    pub async fn set_tenant_state(
        &self,
        call: &Call,
        tenant: &TenantRef,
        etag: Option<&str>,
        state: SubjectState,
    ) -> Result<Tenant> {
        self.audited(call, target_of(tenant), async {
            let mut attempt = 1;
            loop {
                let before = self.tenant_in_any_state(call, tenant).await?;
                for_the_platform(call, &before)?;
                same_etag(&before.etag(), etag)?;
                let after = Tenant { state, ..before.clone() };
                match Box::pin(self.change_tenant(call, before, after, state.as_str())).await {
                    Err(error) if error.reason() == Reason::ConcurrentChange && attempt < ATTEMPTS => attempt += 1,
                    done => return done,
                }
            }
        })
        .await
    }

    /// Deletes a tenant with its data keys, and with `force` everything in it. Its audit records stay.
    ///
    /// # Errors
    /// Tenant not found, unless that is fine; permission missing (not a platform caller); indispensable (the tenant
    /// `system`); tenant not empty; etag mismatch; concurrent change.
    pub async fn delete_tenant(&self, call: &Call, request: DeleteTenant) -> Result<()> {
        let target = target_of(&request.tenant);
        self.audited(call, target.clone(), async {
            let mut attempt = 1;
            loop {
                let tenant = match self.tenant_in_any_state(call, &request.tenant).await {
                    Err(error) if request.allow_missing && error.reason() == Reason::TenantNotFound => {
                        return self.record_unchanged(call, target, "there was none").await;
                    }
                    found => found?,
                };
                for_the_platform(call, &tenant)?;
                same_etag(&tenant.etag(), request.etag.as_deref())?;
                let deletion = TenantDeletion {
                    tenant_uid: tenant.uid.clone(),
                    expected_version: tenant.version,
                    with_subjects: request.force,
                };
                let detail = if request.force { "with everything in it" } else { "" };
                let target = Target::Tenant(tenant.id.to_string());
                let record = call.record(self, target, Outcome::Succeeded, None, detail.to_owned());
                let (data_keys, uid) = (Arc::clone(&self.data_keys), tenant.uid);
                let deleted = self.commit(call, record, move |store, record| async move {
                    store.delete_tenant(deletion, record).await.map(|()| data_keys.forget(&uid))
                });
                match deleted.await {
                    Err(error) if error.reason() == Reason::ConcurrentChange && attempt < ATTEMPTS => attempt += 1,
                    done => return done,
                }
            }
        })
        .await
    }

    async fn change_tenant(&self, call: &Call, before: Tenant, mut after: Tenant, detail: &str) -> Result<Tenant> {
        let target = Target::Tenant(before.id.to_string());
        if (&after.settings, &after.aliases, after.state) == (&before.settings, &before.aliases, before.state) {
            self.record_unchanged(call, target, "is so already").await?;
            return Ok(before);
        }
        after.version = before.version + 1;
        after.update_time = self.now();
        let record = call.record(self, target, Outcome::Succeeded, None, detail.to_owned());
        let changed = after.clone();
        let written =
            self.commit(call, record, move |store, record| async move { store.change_tenant(changed, record).await });
        Box::pin(written).await?;
        Ok(after)
    }
}

/// A tenant to be deleted.
#[derive(Debug)]
pub struct DeleteTenant {
    /// Which.
    pub tenant: TenantRef,
    /// What it must still be like.
    pub etag: Option<String>,
    /// Whether everything in it goes too.
    pub force: bool,
    /// Whether it is fine where there is none.
    pub allow_missing: bool,
}

/// As it was asked for: who must not know it is not to be told its id, not even by a record.
fn target_of(tenant: &TenantRef) -> Target {
    match tenant {
        TenantRef::Id(id) => Target::Tenant(id.to_string()),
        TenantRef::Alias(alias) => Target::Tenant(format!("{}:{}", alias.dialect.as_str(), alias.name)),
        TenantRef::Own => Target::Tenant("-".to_owned()),
    }
}

/// What only callers of the tenant `system` do, and not to it.
fn for_the_platform(call: &Call, tenant: &Tenant) -> Result<()> {
    if !call.grant.caller().reaches_all {
        let message = "only callers of the tenant system delete, disable and enable tenants";
        return Err(Error::new(Reason::PermissionMissing, message));
    }
    if tenant.is_system() {
        let message = "the tenant system is where the platform's own callers are: it stays";
        return Err(Error::new(Reason::Indispensable, message));
    }
    Ok(())
}
