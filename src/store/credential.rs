//! Callers' credentials: the one look-up that is not within a tenant, for it is what tells the tenant.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::{
    FoundCredential, Store,
    entity::{secret, subject, tenant},
    error::unreadable,
    secret::read as read_secret,
    subject::read as read_subject,
};
use crate::domain::{Result, Secret, Slot, Stage, Uid};

/// The most credentials of a caller that are shown.
const MOST: u64 = 1_000;

impl Store {
    /// A caller's credentials, the newest first: all that are not revoked, or those as well; at most 1,000.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn credentials(&self, subject_uid: &Uid, revoked: bool) -> Result<Vec<Secret>> {
        let mut query = secret::Entity::find()
            .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
            .order_by_desc(secret::Column::CreateTime)
            .order_by_asc(secret::Column::Slot)
            .limit(MOST);
        if !revoked {
            query = query.filter(secret::Column::Stage.ne(Stage::Revoked.as_str()));
        }
        query.all(&self.reader).await?.into_iter().map(read_secret).collect()
    }

    /// The last version of a subject's secret in a slot, revoked or not.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn last_in_slot(&self, subject_uid: &Uid, slot: &Slot) -> Result<Option<Secret>> {
        let row = secret::Entity::find()
            .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
            .filter(secret::Column::Slot.eq(slot.to_stored()))
            .order_by_desc(secret::Column::Version)
            .one(&self.reader)
            .await?;
        row.map(read_secret).transpose()
    }

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
