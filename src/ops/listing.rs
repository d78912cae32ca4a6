//! Pages of lists, and the tokens that lead from one to the next: sealed, bound to who asked for what, good for a day, and
//! no right to anything.

use std::{collections::HashMap, time::Duration};

use super::{Call, Ops, lifecycle::Kept};
use crate::{
    domain::{
        Error, Filter, Order, Position, Result, SubjectKind, Tenant, TenantRef, Timestamp, Violation, listing::OrderBy,
    },
    store::{SubjectListing, TenantListing},
};

/// How long a page token is good.
const GOOD_FOR: Duration = Duration::from_hours(24);

/// A page that is asked for.
#[derive(Debug)]
pub struct PageRequest {
    /// How many entries at most.
    pub size: u32,
    /// Where it begins; at the first entry where empty.
    pub token: String,
    /// Which entries.
    pub filter: Filter,
    /// The same as it was written.
    pub filter_text: String,
    /// In which order.
    pub order: Order,
    /// Whether to count all that fit.
    pub count_total: bool,
}

/// A page.
#[derive(Debug)]
pub struct Page<T> {
    /// In the order asked for.
    pub items: Vec<T>,
    /// Leads to the next page; empty on the last.
    pub next_token: String,
    /// How many fit on all pages, where that was asked for.
    pub total: Option<i64>,
}

impl Ops {
    /// A page of a tenant's subjects of one kind.
    ///
    /// # Errors
    /// Not own subject; tenant not found; fields invalid (the page token).
    pub async fn list_subjects(
        &self,
        call: &Call,
        tenant: &TenantRef,
        kind: SubjectKind,
        request: PageRequest,
    ) -> Result<Page<Kept>> {
        call.grant.about(None)?;
        let tenant = self.tenant_in_any_state(call, tenant).await?;
        let context = context(call, &[kind.as_str(), tenant.uid.as_str()], &request);
        let listing = SubjectListing {
            tenant_uid: tenant.uid,
            kind,
            after: self.open_page_token(&context, &request)?,
            filter: request.filter,
            order: request.order,
            limit: u64::from(request.size) + 1,
        };
        let subjects = self.store.list_subjects(&listing).await?;
        let total = if request.count_total { Some(self.store.count_subjects(&listing).await?) } else { None };
        let position = |subject: &crate::domain::Subject| match request.order.by {
            OrderBy::Id => Position::Text(subject.id.to_string()),
            OrderBy::Login => Position::Text(subject.login.clone().unwrap_or_default()),
            OrderBy::CreateTime => Position::Time(subject.create_time, subject.id.to_string()),
            OrderBy::UpdateTime => Position::Time(subject.update_time, subject.id.to_string()),
        };
        let (subjects, next_token) = self.cut(&context, subjects, request.size, position);
        let mut secrets = match kind {
            SubjectKind::User | SubjectKind::Device | SubjectKind::Integration => {
                self.store.live_secrets(&subjects).await?
            }
            SubjectKind::Caller => HashMap::new(),
        };
        let time = self.now();
        let items = subjects.into_iter().map(|subject| Kept {
            tenant_id: tenant.id.clone(),
            secrets: secrets.remove(&subject.uid).unwrap_or_default(),
            subject,
            time,
        });
        Ok(Page { items: items.collect(), next_token, total })
    }

    /// A page of the tenants that the caller reaches.
    ///
    /// # Errors
    /// Not own subject; fields invalid (the page token).
    pub async fn list_tenants(&self, call: &Call, request: PageRequest) -> Result<Page<Tenant>> {
        call.grant.about(None)?;
        let caller = call.grant.caller();
        let context = context(call, &["tenants"], &request);
        let listing = TenantListing {
            only: (!caller.reaches_all).then(|| caller.tenant_uid.clone()),
            after: self.open_page_token(&context, &request)?,
            filter: request.filter,
            order: request.order,
            limit: u64::from(request.size) + 1,
        };
        let tenants = self.store.list_tenants(&listing).await?;
        let total = if request.count_total { Some(self.store.count_tenants(&listing).await?) } else { None };
        let position = |tenant: &Tenant| match request.order.by {
            OrderBy::Id | OrderBy::Login => Position::Text(tenant.id.to_string()),
            OrderBy::CreateTime => Position::Time(tenant.create_time, tenant.id.to_string()),
            OrderBy::UpdateTime => Position::Time(tenant.update_time, tenant.id.to_string()),
        };
        let (items, next_token) = self.cut(&context, tenants, request.size, position);
        Ok(Page { items, next_token, total })
    }

    /// Cuts off the one entry that only tells that there are more, and seals where they begin.
    fn cut<T>(
        &self,
        context: &str,
        mut items: Vec<T>,
        size: u32,
        position: impl Fn(&T) -> Position,
    ) -> (Vec<T>, String) {
        let more = items.len() > size as usize;
        items.truncate(size as usize);
        let next = items.last().filter(|_| more).map(|last| {
            let end = self.now().plus(GOOD_FOR);
            let sealed = format!("{} {}", end.micros(), position(last).to_text());
            self.keyring().seal_page_token(context, &sealed, &*self.entropy)
        });
        (items, next.unwrap_or_default())
    }

    fn open_page_token(&self, context: &str, request: &PageRequest) -> Result<Option<Position>> {
        if request.token.is_empty() {
            return Ok(None);
        }
        let opened = self.keyring().open_page_token(context, &request.token).and_then(|content| {
            let (end, position) = content.split_once(' ')?;
            let end = Timestamp::from_micros(end.parse().ok()?);
            Position::parse(position, request.order.by).filter(|_| self.now() < end)
        });
        let rule =
            "must be the next_page_token of an answer to the same caller and the same request, not older than a day";
        opened.map(Some).ok_or_else(|| Error::fields(vec![Violation::new("page_token", rule)]))
    }
}

/// What a page token is good for: this list, for this caller, filtered and sorted so. Each part is quoted, so that no two
/// contexts read alike.
fn context(call: &Call, list: &[&str], request: &PageRequest) -> String {
    let caller = call.grant.caller();
    let Order { by, descending } = request.order;
    format!("{list:?} {:?} {:?} {by:?} {descending} {:?}", caller.tenant_uid.as_str(), caller.id, request.filter_text)
}
