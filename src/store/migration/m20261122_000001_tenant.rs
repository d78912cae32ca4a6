//! Tenants, their names in the dialects, whom they believe, and their data keys.

use sea_orm::{
    DbErr, DeriveMigrationName,
    sea_query::{ConditionalStatement as _, Expr, ExprTrait as _, Table},
};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{bytes, flag, index, number, primary_key, reference, text, unique_index};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        let tenant = Table::create()
            .table("tenant")
            .col(text("uid").primary_key())
            .col(text("external_id"))
            .col(text("settings"))
            .col(number("version"))
            .col(number("create_time"))
            .col(number("update_time"))
            .take();
        manager.create_table(tenant).await?;
        manager.create_index(unique_index("tenant_external_id_key", "tenant", &["external_id"])).await?;

        let alias = Table::create()
            .table("tenant_alias")
            .col(text("dialect"))
            .col(text("name"))
            .col(text("tenant_uid"))
            .col(number("position"))
            .primary_key(&mut primary_key(&["dialect", "name"]))
            .foreign_key(&mut reference("tenant_alias", "tenant_uid", "tenant"))
            .take();
        manager.create_table(alias).await?;
        manager.create_index(index("tenant_alias_tenant_idx", "tenant_alias", &["tenant_uid"])).await?;

        let issuer = Table::create()
            .table("jwt_issuer")
            .col(text("tenant_uid"))
            .col(text("issuer"))
            .primary_key(&mut primary_key(&["tenant_uid", "issuer"]))
            .foreign_key(&mut reference("jwt_issuer", "tenant_uid", "tenant"))
            .take();
        manager.create_table(issuer).await?;
        manager.create_index(index("jwt_issuer_issuer_idx", "jwt_issuer", &["issuer"])).await?;

        let key = Table::create()
            .table("data_key")
            .col(text("uid").primary_key())
            .col(text("tenant_uid"))
            .col(text("wrapping_key_id"))
            .col(bytes("ciphertext"))
            .col(flag("is_primary"))
            .col(number("create_time"))
            .foreign_key(&mut reference("data_key", "tenant_uid", "tenant"))
            .take();
        manager.create_table(key).await?;
        manager.create_index(index("data_key_tenant_idx", "data_key", &["tenant_uid"])).await?;
        manager.create_index(index("data_key_wrapping_key_idx", "data_key", &["wrapping_key_id"])).await?;
        // One key of a tenant seals.
        let primary = unique_index("data_key_primary_key", "data_key", &["tenant_uid"])
            .and_where(Expr::col("is_primary").eq(true))
            .take();
        manager.create_index(primary).await
    }
}
