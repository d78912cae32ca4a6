//! Which installation a database holds, and how far it has come. The row is made at the first start, which has random
//! numbers.

use sea_orm::{DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{number, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let installation = Table::create()
            .table("installation")
            .col(number("number").primary_key())
            .col(text(manager, "uid"))
            .col(number("epoch"))
            .col(number("create_time"))
            .take();
        manager.create_table(installation).await
    }
}
