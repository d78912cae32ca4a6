//! Tenants.

use super::{Call, Ops, name_field};
use crate::{
    audit::{Outcome, Target},
    crypto::DataKey,
    domain::{
        Error, Reason, ResourceId, Result, Tenant, TenantRef, Violation,
        tenant::{Alias, Settings},
    },
};

/// What a page token of tenants is good for.
const PAGE: &str = "tenants";

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
        self.audited(call, target.clone(), async {
            if !call.grant.caller().reaches_all {
                let message = "only callers of the tenant system make tenants";
                return Err(Error::new(Reason::PermissionMissing, message).with("permission", "tenants:create"));
            }
            let tenant = Tenant {
                uid: self.make_uid(now),
                id,
                aliases: request.aliases,
                settings: request.settings,
                version: 1,
                create_time: now,
                update_time: now,
            };
            let key = DataKey::make(self.make_uid(now), &*self.entropy);
            let key = self.keyring.wrap(&key, &tenant.uid, &*self.entropy)?;
            let record = call.record(self, target, Outcome::Succeeded, None, String::new());
            let stored = self.store.insert_tenant(tenant.clone(), key, record).await;
            stored.map_err(|error| {
                let names = ["tenant.tenant_id", "tenant.aliases", "tenant.token_issuer.issuer"];
                name_field(error, &names.map(|name| (name, name)))
            })?;
            Ok(tenant)
        })
        .await
    }

    /// Reads a tenant.
    ///
    /// # Errors
    /// Tenant not found.
    pub async fn get_tenant(&self, call: &Call, tenant: &TenantRef) -> Result<Tenant> {
        self.tenant(call, tenant).await
    }

    /// A page of tenants, and where the next one begins.
    ///
    /// # Errors
    /// Fields invalid (the page token).
    pub async fn list_tenants(&self, call: &Call, size: u32, page_token: &str) -> Result<(Vec<Tenant>, String)> {
        let caller = call.grant.caller();
        if !caller.reaches_all {
            return Ok((vec![self.tenant(call, &TenantRef::Own).await?], String::new()));
        }
        let context = format!("{PAGE} {}/{}", caller.tenant_uid, caller.id);
        let after = match page_token {
            "" => None,
            token => {
                let opened = self.keyring.open_page_token(&context, token).and_then(|after| ResourceId::parse(&after));
                let rule = "must be the next_page_token of an answer to the same caller";
                Some(opened.ok_or_else(|| Error::fields(vec![Violation::new("page_token", rule)]))?)
            }
        };
        // One more than asked for tells whether there is more.
        let mut tenants = self.store.list_tenants(after.as_ref(), u64::from(size) + 1).await?;
        let more = tenants.len() > size as usize;
        tenants.truncate(size as usize);
        let next = match tenants.last() {
            Some(last) if more => self.keyring.seal_page_token(&context, last.id.as_str(), &*self.entropy),
            Some(_) | None => String::new(),
        };
        Ok((tenants, next))
    }
}
