//! Callers' credentials: the one look-up that is not within a tenant, for it is what tells the tenant.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::{
    FoundCredential, Store,
    entity::{secret, subject, tenant},
    error::unreadable,
    secret::read as read_secret,
    subject::read as read_subject,
};
use crate::domain::Result;

impl Store {
    /// A caller's credential by its slot's lookup key, revoked or not.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn credential(&self, lookup_key: &str) -> Result<Option<FoundCredential>> {
        let found = secret::Entity::find()
            .filter(secret::Column::LookupKey.eq(lookup_key))
            .find_also_related(subject::Entity)
            .find_also(subject::Entity, tenant::Entity)
            .one(&self.reader)
            .await?;
        let Some((secret, subject, tenant)) = found else { return Ok(None) };
        let (Some(subject), Some(tenant)) = (subject, tenant) else {
            return Err(unreadable("secret", &secret.subject_uid, "subject or tenant"));
        };
        let Some(tenant) = self.with_aliases(vec![tenant]).await?.pop() else { return Ok(None) };
        Ok(Some(FoundCredential { secret: read_secret(secret)?, subject: read_subject(subject)?, tenant }))
    }
}
