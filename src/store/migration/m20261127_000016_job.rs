//! What is done to many subjects, and an index that leads through those in the order of their uids.

use sea_orm::{
    DbErr, DeriveMigrationName,
    sea_query::{ForeignKeyAction, Table},
};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{index, number, optional_number, optional_text, reference, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        // A program that does not know of jobs deletes tenants all the same.
        let job = Table::create()
            .table("job")
            .col(text("uid").primary_key())
            .col(text("tenant_uid"))
            .col(text("task"))
            .col(text("asker"))
            .col(text("request_id"))
            .col(text("filter"))
            .col(text("filter_text"))
            .col(text("state"))
            .col(optional_text(manager, "reason"))
            .col(number("total"))
            .col(number("done"))
            .col(number("skipped"))
            .col(number("failed"))
            .col(text("reasons"))
            .col(text("cursor"))
            .col(text("until"))
            .col(number("max_per_second"))
            .col(text("owner"))
            .col(number("revision"))
            .col(number("create_time"))
            .col(number("update_time"))
            .col(optional_number("end_time"))
            .foreign_key(reference("job", "tenant_uid", "tenant").on_delete(ForeignKeyAction::Cascade))
            .take();
        manager.create_table(job).await?;
        manager.create_index(index("job_state_idx", "job", &["state", "uid"])).await?;
        manager.create_index(index("job_tenant_idx", "job", &["tenant_uid", "uid"])).await?;
        manager.create_index(index("subject_uid_idx", "subject", &["tenant_uid", "kind", "uid"])).await
    }
}
