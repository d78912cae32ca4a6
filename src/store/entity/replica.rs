//! Processes that use a keyring, and which keys they know: ids, joined by spaces.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "replica")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: String,
    pub name: String,
    pub version: String,
    pub knows: String,
    pub makes_with: String,
    pub seen_time: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
