//! Failures in a row, and when they became too many; and what makes the census of all passwords cheap.

use sea_orm::{ConnectionTrait as _, DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{number, optional_number};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One at a time: SQLite takes no more. The program of before knows neither, and goes on beside them.
        let streak = number("streak").default(0).take();
        manager.alter_table(Table::alter().table("failure").add_column(streak).take()).await?;
        let stop_time = optional_number("stop_time");
        manager.alter_table(Table::alter().table("failure").add_column(stop_time).take()).await?;
        // Of as many rows as there are passwords, and read without a look at any of them.
        let census =
            "CREATE INDEX secret_census_idx ON secret (scheme) WHERE material = 'verifier' AND stage = 'current'";
        manager.get_connection().execute_unprepared(census).await.map(drop)
    }
}
