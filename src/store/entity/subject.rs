//! Subjects.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "subject")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: String,
    pub tenant_uid: String,
    pub kind: String,
    pub external_id: String,
    pub login: Option<String>,
    pub state: String,
    pub attributes: String,
    pub version: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub display_name: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {
    #[sea_orm(has_many = "super::secret::Entity")]
    Secret,
    #[sea_orm(belongs_to = "super::tenant::Entity", from = "Column::TenantUid", to = "super::tenant::Column::Uid")]
    Tenant,
}

impl Related<super::tenant::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Tenant.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
