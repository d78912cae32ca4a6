//! Earlier answers, so that a repeated request gets the same one.

use sea_orm::{DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{bytes, index, number, primary_key, reference, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        let reply = Table::create()
            .table("reply")
            .col(text("tenant_uid"))
            .col(text("caller"))
            .col(text("request_id"))
            .col(bytes("request_digest"))
            .col(bytes("answer"))
            .col(text("key_id"))
            .col(number("expire_time"))
            .primary_key(&mut primary_key(&["tenant_uid", "caller", "request_id"]))
            .foreign_key(&mut reference("reply", "tenant_uid", "tenant"))
            .take();
        manager.create_table(reply).await?;
        manager.create_index(index("reply_expire_time_idx", "reply", &["expire_time"])).await
    }
}
