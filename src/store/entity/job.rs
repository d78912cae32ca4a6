//! What is done to many subjects.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "job")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: String,
    pub tenant_uid: String,
    pub task: String,
    pub asker: String,
    pub request_id: String,
    pub filter: String,
    pub filter_text: String,
    pub state: String,
    pub reason: Option<String>,
    pub total: i64,
    pub done: i64,
    pub skipped: i64,
    pub failed: i64,
    pub reasons: String,
    pub cursor: String,
    pub until: String,
    pub max_per_second: i64,
    pub owner: String,
    pub revision: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub end_time: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
