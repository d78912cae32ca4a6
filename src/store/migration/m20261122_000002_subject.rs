//! Subjects, their secrets, and their failed attempts.

use sea_orm::{DbBackend, DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{bytes, flag, number, optional_number, optional_text, primary_key, reference, text, unique_index};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        let subject = Table::create()
            .table("subject")
            .col(text("uid").primary_key())
            .col(text("tenant_uid"))
            .col(text("kind"))
            .col(text("external_id"))
            .col(optional_text(manager, "login"))
            .col(text("state"))
            .col(text("attributes"))
            .col(number("version"))
            .col(number("create_time"))
            .col(number("update_time"))
            .foreign_key(&mut reference("subject", "tenant_uid", "tenant"))
            .take();
        manager.create_table(subject).await?;
        let by_id = unique_index("subject_external_id_key", "subject", &["tenant_uid", "kind", "external_id"]);
        let by_login = unique_index("subject_login_key", "subject", &["tenant_uid", "kind", "login"]);
        // Where both are taken the id is to be named: PostgreSQL looks at the older index first, SQLite at the younger.
        let in_order =
            if manager.get_database_backend() == DbBackend::Sqlite { [by_login, by_id] } else { [by_id, by_login] };
        for index in in_order {
            manager.create_index(index).await?;
        }

        let secret = Table::create()
            .table("secret")
            .col(text("subject_uid"))
            .col(text("slot"))
            .col(number("version"))
            .col(text("stage"))
            .col(text("material"))
            .col(bytes("payload"))
            .col(text("key_id"))
            .col(optional_text(manager, "lookup_key"))
            .col(flag("read_only"))
            .col(flag("must_change"))
            .col(number("create_time"))
            .col(number("stage_time"))
            .col(optional_number("expire_time"))
            .col(optional_number("last_used_time"))
            .col(number("use_count"))
            .primary_key(&mut primary_key(&["subject_uid", "slot", "version"]))
            .foreign_key(&mut reference("secret", "subject_uid", "subject"))
            .take();
        manager.create_table(secret).await?;
        // Over all tenants and for ever: a revoked token's id never finds another.
        manager.create_index(unique_index("secret_lookup_key_key", "secret", &["lookup_key"])).await?;

        let failure = Table::create()
            .table("failure")
            .col(text("subject_uid"))
            .col(text("source_class"))
            .col(number("count"))
            .col(optional_number("blocked_until"))
            .col(number("last_time"))
            .primary_key(&mut primary_key(&["subject_uid", "source_class"]))
            .foreign_key(&mut reference("failure", "subject_uid", "subject"))
            .take();
        manager.create_table(failure).await
    }
}
