//! Failed attempts anew, before anything was written there: also of names that are nobody's, with what is under way,
//! with what makes a source known, and with an end.

use sea_orm::{DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{index, number, optional_number, primary_key, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        manager.drop_table(Table::drop().table("failure").take()).await?;
        // No reference to the subject: a name that is nobody's is kept the same way.
        let failure = Table::create()
            .table("failure")
            .col(text("subject_key"))
            .col(text("source_class"))
            .col(number("failures"))
            .col(number("reserved"))
            .col(number("reserved_until"))
            .col(optional_number("blocked_until"))
            .col(optional_number("failure_time"))
            .col(optional_number("success_time"))
            .col(number("expire_time"))
            .col(number("revision"))
            .primary_key(&mut primary_key(&["subject_key", "source_class"]))
            .take();
        manager.create_table(failure).await?;
        manager.create_index(index("failure_expire_time_idx", "failure", &["expire_time"])).await
    }
}
