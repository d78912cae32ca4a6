//! Failed attempts.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "failure")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub source_class: String,
    pub failures: i64,
    pub reserved: i64,
    pub reserved_until: i64,
    pub blocked_until: Option<i64>,
    pub failure_time: Option<i64>,
    pub success_time: Option<i64>,
    pub expire_time: i64,
    pub revision: i64,
    pub streak: i64,
    pub stop_time: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
