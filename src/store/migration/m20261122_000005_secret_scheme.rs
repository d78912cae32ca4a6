//! By which algorithm and parameters a verifier was made: sealed with it, it could not be counted.

use sea_orm::{DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::optional_text;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let scheme = optional_text(manager, "scheme");
        manager.alter_table(Table::alter().table("secret").add_column(scheme).take()).await
    }
}
