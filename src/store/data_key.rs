//! Tenants' data keys, as the keyring wrapped them.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};

use super::{
    Store,
    entity::{Payload, data_key},
    error::Failure,
};
use crate::domain::{Error, Result, Timestamp, Uid, WrappedKey};

impl Store {
    /// The tenant's data key that seals now.
    ///
    /// # Errors
    /// Unavailable; internal where there is none.
    pub async fn primary_data_key(&self, tenant_uid: &Uid) -> Result<WrappedKey> {
        let row = data_key::Entity::find()
            .filter(data_key::Column::TenantUid.eq(tenant_uid.as_str()))
            .filter(data_key::Column::IsPrimary.eq(true))
            .one(&self.reader)
            .await?;
        row.map(read).ok_or_else(|| Error::internal(format!("tenant {tenant_uid} has no primary data key")))
    }

    /// A data key by its id.
    ///
    /// # Errors
    /// Unavailable; internal where there is none.
    pub async fn data_key(&self, tenant_uid: &Uid, id: &str) -> Result<WrappedKey> {
        let row = data_key::Entity::find_by_id(id)
            .filter(data_key::Column::TenantUid.eq(tenant_uid.as_str()))
            .one(&self.reader)
            .await?;
        row.map(read).ok_or_else(|| Error::internal(format!("tenant {tenant_uid} has no data key {id}")))
    }

    /// Ids of the wrapping keys that some data key hangs on.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn wrapping_keys_in_use(&self) -> Result<Vec<String>> {
        Ok(wrapping_keys_in_use(&self.reader).await?)
    }
}

/// The same in this database, or in this transaction.
pub(super) async fn wrapping_keys_in_use<C: ConnectionTrait>(database: &C) -> Result<Vec<String>, Failure> {
    let ids = data_key::Entity::find()
        .select_only()
        .column(data_key::Column::WrappingKeyId)
        .distinct()
        .order_by_asc(data_key::Column::WrappingKeyId)
        .into_tuple()
        .all(database)
        .await?;
    Ok(ids)
}

/// Adds the first data key of a tenant.
pub(super) async fn insert_primary(
    transaction: &DatabaseTransaction,
    key: &WrappedKey,
    create_time: Timestamp,
) -> Result<(), Failure> {
    insert_primary_of(transaction, key, 0, create_time).await
}

/// Adds a data key that a rotation made, where the tenant has none that seals.
pub(super) async fn insert_primary_of(
    transaction: &DatabaseTransaction,
    key: &WrappedKey,
    rotation: i64,
    create_time: Timestamp,
) -> Result<(), Failure> {
    let row = data_key::Model {
        uid: key.id.to_string(),
        tenant_uid: key.tenant_uid.to_string(),
        wrapping_key_id: key.wrapping_key_id.clone(),
        ciphertext: Payload(key.ciphertext.clone()),
        is_primary: true,
        create_time: create_time.micros(),
        rotation,
    };
    data_key::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;
    Ok(())
}

pub(super) fn read(row: data_key::Model) -> WrappedKey {
    WrappedKey {
        id: Uid::from_stored(row.uid),
        tenant_uid: Uid::from_stored(row.tenant_uid),
        wrapping_key_id: row.wrapping_key_id,
        ciphertext: row.ciphertext.0,
    }
}
