//! What requests for pages of lists have in common: size, token, filter, order.

use super::validate::Fields;
use crate::{
    domain::{
        Filter, Order, Result, SubjectKind, SubjectState, TenantRef,
        filter::{TextField, Vocabulary},
        listing::OrderBy,
    },
    ops::listing::PageRequest,
    proto,
};

/// Entries on a page, where the request does not say.
const PAGE: u32 = 50;
/// Entries on a page at most.
const MAX_PAGE: u32 = 1_000;

/// What a list can be filtered and sorted by.
#[derive(Debug)]
pub(super) struct List {
    vocabulary: Vocabulary,
    orders: &'static [(&'static str, OrderBy)],
}

/// The list of tenants.
pub(super) const TENANTS: List = List {
    vocabulary: Vocabulary { texts: &[], states: &[SubjectState::Active, SubjectState::Disabled] },
    orders: &[("tenant_id", OrderBy::Id), ("create_time", OrderBy::CreateTime), ("update_time", OrderBy::UpdateTime)],
};

/// A request for a page, of whatever.
#[derive(Debug)]
pub(super) struct Asked {
    tenant_id: String,
    size: i32,
    token: String,
    filter: String,
    order_by: String,
    count_total: bool,
}

macro_rules! asked {
    ($($request:ident, $tenant_id:expr;)*) => {
        $(impl From<proto::$request> for Asked {
            fn from(request: proto::$request) -> Self {
                let tenant_id: fn(&proto::$request) -> String = $tenant_id;
                Self {
                    tenant_id: tenant_id(&request),
                    size: request.page_size,
                    token: request.page_token,
                    filter: request.filter,
                    order_by: request.order_by,
                    count_total: request.count_total,
                }
            }
        })*
    };
}

asked! {
    ListUsersRequest, |request| request.tenant_id.clone();
    ListDevicesRequest, |request| request.tenant_id.clone();
    ListIntegrationsRequest, |request| request.tenant_id.clone();
    ListCallersRequest, |request| request.tenant_id.clone();
    ListTenantsRequest, |_| String::new();
}

/// A filter as lists of this kind have it; `None` after noting what is wrong.
pub(super) fn filter_of(fields: &mut Fields, kind: SubjectKind, text: &str) -> Option<Filter> {
    match Filter::parse(text, list_of(kind).vocabulary) {
        Ok(filter) => Some(filter),
        Err(fault) => fields.refuse("filter", fault.to_string()),
    }
}

/// What lists of subjects of this kind can be filtered and sorted by.
fn list_of(kind: SubjectKind) -> &'static List {
    macro_rules! list {
        ($id:expr, $($login:expr)?, $($text:expr)?) => {
            List {
                vocabulary: Vocabulary { texts: &[$(($login, TextField::Login),)? $($text)?], states: &SubjectState::ALL },
                orders: &[
                    ($id, OrderBy::Id),
                    $(($login, OrderBy::Login),)?
                    ("create_time", OrderBy::CreateTime),
                    ("update_time", OrderBy::UpdateTime),
                ],
            }
        };
    }
    const USERS: List = list!("user_id", "username",);
    const DEVICES: List = list!("device_id", "user_name",);
    const INTEGRATIONS: List = list!("integration_id", "username",);
    const CALLERS: List = list!("caller_id", , ("display_name", TextField::DisplayName));
    match kind {
        SubjectKind::User => &USERS,
        SubjectKind::Device => &DEVICES,
        SubjectKind::Integration => &INTEGRATIONS,
        SubjectKind::Caller => &CALLERS,
    }
}

/// A page of a tenant's subjects of one kind.
///
/// # Errors
/// Fields invalid.
pub(super) fn page_of(kind: SubjectKind, asked: Asked) -> Result<(TenantRef, PageRequest)> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(&asked.tenant_id);
    let page = page(&mut fields, list_of(kind), asked)?;
    tenant.map(|tenant| (tenant, page)).ok_or_else(|| fields.error())
}

/// A page of a list.
///
/// # Errors
/// Fields invalid: these, and those that were noted before.
pub(super) fn page(fields: &mut Fields, list: &List, asked: Asked) -> Result<PageRequest> {
    let size = match u32::try_from(asked.size) {
        Ok(0) => Some(PAGE),
        Ok(size) => Some(size.min(MAX_PAGE)),
        Err(_) => fields.refuse("page_size", "must not be negative"),
    };
    let filter = match Filter::parse(&asked.filter, list.vocabulary) {
        Ok(filter) => Some(filter),
        Err(fault) => fields.refuse("filter", fault.to_string()),
    };
    let order = Order::parse(&asked.order_by, list.orders).or_else(|| {
        let names = list.orders.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        fields.refuse("order_by", format!("must be one of {names}, with \" desc\" after it or not"))
    });
    let (Some(size), Some(filter), Some(order)) = (size, filter, order) else {
        return Err(std::mem::take(fields).error());
    };
    let Asked { token, filter: filter_text, count_total, .. } = asked;
    Ok(PageRequest { size, token, filter, filter_text, order, count_total })
}
