//! Tenants' data keys, wrapped.

use sea_orm::entity::prelude::*;

use super::Payload;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "data_key")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: String,
    pub tenant_uid: String,
    pub wrapping_key_id: String,
    pub ciphertext: Payload,
    pub is_primary: bool,
    pub create_time: i64,
    pub rotation: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
