//! What a previous version's own end is, and whether anybody was told of a version's end; and what finds the ends that are
//! due without a look at any others.

use sea_orm::{ConnectionTrait as _, DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::optional_number;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The program of before knows neither: it makes no version previous, and tells of no end.
        for column in ["own_expire_time", "notice_time"] {
            let column = optional_number(column);
            manager.alter_table(Table::alter().table("secret").add_column(column).take()).await?;
        }
        // What ends at no time and what is void stands in neither; nor do users' passwords, of which there may be millions.
        for index in [
            "CREATE INDEX secret_overdue_idx ON secret (expire_time)
             WHERE stage IN ('previous', 'pending') AND expire_time IS NOT NULL",
            "CREATE INDEX secret_ending_idx ON secret (expire_time)
             WHERE stage IN ('current', 'previous') AND material <> 'verifier' AND notice_time IS NULL
             AND expire_time IS NOT NULL",
        ] {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }
}
