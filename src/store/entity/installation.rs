//! The one row that says which installation this is.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "installation")]
pub(in crate::store) struct Model {
    /// Always [`ONLY`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    pub uid: String,
    pub epoch: i64,
    pub create_time: i64,
}

/// The number of the one row.
pub(in crate::store) const ONLY: i64 = 1;

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
