//! Reading the record of acts.

use std::time::Duration;

use super::{Call, Ops};
use crate::domain::{Error, ResourceId, Result, TenantRef, Violation};

pub use crate::audit::{Filter, Kept, Outcome};

/// Records are shown when they are this old. An id is made before its transaction begins, and a later one may commit
/// first: whoever has read past a record would never see it. A record gets another id where it is written more than 3 s
/// after it was made, however that came, and a transaction in which nothing happens for 5 s is given up: what was begun is
/// there by then, or never will be, as long as replicas' clocks agree to within the rest.
const SETTLED: Duration = Duration::from_secs(10);

/// A page of records to be read.
#[derive(Debug)]
pub struct ListAuditRecords {
    /// Whose.
    pub tenant: TenantRef,
    /// At most so many.
    pub size: u32,
    /// From the page before; empty for the first.
    pub page_token: String,
    /// Which.
    pub filter: Filter,
    /// The same as it was asked for, which the page token is bound to.
    pub filter_text: String,
}

/// A page of records.
#[derive(Debug)]
pub struct AuditPage {
    /// Whose.
    pub tenant_id: ResourceId,
    /// The oldest first.
    pub records: Vec<Kept>,
    /// Where the next page begins; never empty.
    pub next_page_token: String,
    /// Whether there is more already.
    pub more: bool,
}

impl Ops {
    /// A page of a tenant's records. What follows later is found with the last page's token.
    ///
    /// # Errors
    /// Tenant not found; fields invalid (the page token).
    pub async fn list_audit_records(&self, call: &Call, request: ListAuditRecords) -> Result<AuditPage> {
        let tenant = self.tenant(call, &request.tenant).await?;
        let caller = call.grant.caller();
        // Quoted, so that no id and filter together look like others.
        let whose = (caller.tenant_uid.as_str(), &caller.id, tenant.uid.as_str());
        let context = format!("audit {whose:?} {:?}", request.filter_text);
        let after = match request.page_token.as_str() {
            "" => String::new(),
            token => {
                let rule =
                    "must be the next_page_token of an answer to the same caller about the same tenant and filter";
                let opened = self.keyring().open_page_token(&context, token);
                opened.ok_or_else(|| Error::fields(vec![Violation::new("page_token", rule)]))?.to_string()
            }
        };
        let until = self.now().minus(SETTLED);
        let read = self.store.records(&tenant.uid, &after, until, &request.filter, request.size).await?;
        let next_page_token = self.keyring().seal_page_token(&context, &read.position, &*self.entropy);
        Ok(AuditPage { tenant_id: tenant.id, records: read.records, next_page_token, more: read.more })
    }
}
