//! Who issues tokens for the users of which tenant, and signatures that were used.

use sea_orm::{
    DbErr, DeriveMigrationName,
    sea_query::{ForeignKeyAction, Table},
};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{index, number, reference, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        // Of all tenants one: whoever checks tokens knows a tenant by nothing else.
        let issuer = Table::create()
            .table("token_issuer")
            .col(text("issuer").primary_key())
            .col(text("tenant_uid").unique_key())
            .foreign_key(reference("token_issuer", "tenant_uid", "tenant").on_delete(ForeignKeyAction::Cascade))
            .take();
        manager.create_table(issuer).await?;

        let signature = Table::create()
            .table("used_signature")
            .col(text("digest").primary_key())
            .col(number("first_time"))
            .col(number("expire_time"))
            .take();
        manager.create_table(signature).await?;
        manager.create_index(index("used_signature_expire_time_idx", "used_signature", &["expire_time"])).await
    }
}
