//! What is recorded, and the chain over it.

use sea_orm::{DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{bytes, index, number, optional_text, primary_key, reference, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);
        let optional_text = |name| optional_text(manager, name);

        // No reference to the tenant: a record outlives what it speaks of.
        let audit = Table::create()
            .table("audit")
            .col(text("uid").primary_key())
            .col(text("tenant_uid"))
            .col(number("time"))
            .col(text("actor"))
            .col(text("action"))
            .col(optional_text("target_kind"))
            .col(optional_text("target_id"))
            .col(text("outcome"))
            .col(optional_text("reason"))
            .col(text("request_id"))
            .col(text("detail"))
            .take();
        manager.create_table(audit).await?;
        manager.create_index(index("audit_tenant_idx", "audit", &["tenant_uid", "uid"])).await?;

        let link = Table::create()
            .table("audit_link")
            .col(text("tenant_uid"))
            .col(number("sequence"))
            .col(text("record_uid").unique_key())
            .col(bytes("hash"))
            .primary_key(&mut primary_key(&["tenant_uid", "sequence"]))
            .foreign_key(&mut reference("audit_link", "record_uid", "audit"))
            .take();
        manager.create_table(link).await
    }
}
