//! Callers' credentials: the one look-up that is not within a tenant, for it is what tells the tenant.

use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

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

    /// A caller's credential by the lookup key of one of its versions: a token's version, revoked or not; of a signing
    /// key those that are not revoked, which may be none.
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
        let secret = read_secret(secret)?;
        let versions = match &secret.slot {
            Slot::SigningKey(_) => self.versions(&secret.subject_uid, &secret.slot).await?,
            Slot::ApiToken(_) | Slot::Password | Slot::Settings => vec![secret],
        };
        Ok(Some(FoundCredential { versions, subject: read_subject(subject)?, tenant }))
    }

    /// The slot of a subject's credential, by its own name or by the lookup key of one of its versions, revoked or not.
    /// What finds a given token follows from the digest key, and moves with it; its slot keeps the name that its maker
    /// was told.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn credential_slot(&self, subject_uid: &Uid, lookup_key: &str) -> Result<Option<Slot>> {
        let slot: Option<String> = secret::Entity::find()
            .select_only()
            .column(secret::Column::Slot)
            .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
            .filter(
                Condition::any().add(secret::Column::LookupKey.eq(lookup_key)).add(secret::Column::Slot.eq(lookup_key)),
            )
            .limit(1)
            .into_tuple()
            .one(&self.reader)
            .await?;
        let Some(slot) = slot else { return Ok(None) };
        Slot::from_stored(&slot).map(Some).ok_or_else(|| unreadable("secret", subject_uid.as_str(), "slot"))
    }

    /// The versions in a slot that are not revoked, the newest first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn versions(&self, subject_uid: &Uid, slot: &Slot) -> Result<Vec<Secret>> {
        let rows = secret::Entity::find()
            .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
            .filter(secret::Column::Slot.eq(slot.to_stored()))
            .filter(secret::Column::Stage.ne(Stage::Revoked.as_str()))
            .order_by_desc(secret::Column::Version)
            .all(&self.reader)
            .await?;
        rows.into_iter().map(read_secret).collect()
    }
}
