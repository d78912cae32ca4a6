//! Which subject a request is about.

use super::validate::{Fields, etag};
use crate::{
    domain::{Result, SubjectKind},
    ops::lifecycle::Named,
};

/// The subject that these fields name.
///
/// # Errors
/// Fields invalid.
pub(super) fn named(kind: SubjectKind, tenant_id: &str, id: &str, etag: String) -> Result<Named> {
    let mut fields = Fields::default();
    fields.named(kind, tenant_id, id, etag).ok_or_else(|| fields.error())
}

impl Fields {
    /// The same among other fields.
    pub(super) fn named(&mut self, kind: SubjectKind, tenant_id: &str, id: &str, given: String) -> Option<Named> {
        let tenant = self.tenant(tenant_id);
        let id = self.id(&format!("{}_id", kind.as_str()), id);
        Some(Named { tenant: tenant?, kind, id: id?, etag: etag(given) })
    }
}
