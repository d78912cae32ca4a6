//! Which process knows which key, when a key made something, and rotations of the data keys.

use sea_orm::{
    DbErr, DeriveMigrationName,
    sea_query::{ColumnDef, Table},
};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{flag, number, optional_number, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        let replica = Table::create()
            .table("replica")
            .col(text("uid").primary_key())
            .col(text("name"))
            .col(text("version"))
            .col(text("knows"))
            .col(text("makes_with"))
            .col(number("seen_time"))
            .take();
        manager.create_table(replica).await?;

        let key = Table::create().table("keyring_key").col(text("id").primary_key()).col(number("primary_time")).take();
        manager.create_table(key).await?;

        let rotation = Table::create()
            .table("key_rotation")
            .col(ColumnDef::new("number").big_integer().not_null().primary_key())
            .col(flag("wraps"))
            .col(flag("renews"))
            .col(number("begin_time"))
            .col(optional_number("end_time"))
            .take();
        manager.create_table(rotation).await?;

        // A program that does not know of rotations makes keys that the next one replaces.
        let rotation = number("rotation").default(0).take();
        manager.alter_table(Table::alter().table("data_key").add_column(rotation).take()).await
    }
}
