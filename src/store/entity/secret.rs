//! Versions of secrets.

use sea_orm::entity::prelude::*;

use super::Payload;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secret")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_uid: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub slot: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    pub stage: String,
    pub material: String,
    pub payload: Payload,
    pub key_id: String,
    pub lookup_key: Option<String>,
    pub read_only: bool,
    pub must_change: bool,
    pub create_time: i64,
    pub stage_time: i64,
    pub expire_time: Option<i64>,
    pub last_used_time: Option<i64>,
    pub use_count: i64,
    pub scheme: Option<String>,
    pub own_expire_time: Option<i64>,
    pub notice_time: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {
    #[sea_orm(belongs_to = "super::subject::Entity", from = "Column::SubjectUid", to = "super::subject::Column::Uid")]
    Subject,
}

impl Related<super::subject::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Subject.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
