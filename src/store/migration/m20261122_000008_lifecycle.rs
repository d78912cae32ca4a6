//! What lists are filtered and sorted by: labels in tables of their own, callers' display names, tenants' states, and an
//! index for each order.

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, DeriveMigrationName, sea_query::Table};
use sea_orm_migration::{MigrationTrait, SchemaManager, async_trait};

use super::{index, optional_text, primary_key, reference, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = |name| text(manager, name);

        let label = Table::create()
            .table("subject_label")
            .col(text("subject_uid"))
            .col(text("name"))
            .col(text("tenant_uid"))
            .col(text("kind"))
            .col(text("value"))
            .primary_key(&mut primary_key(&["subject_uid", "name"]))
            .foreign_key(&mut reference("subject_label", "subject_uid", "subject"))
            .take();
        manager.create_table(label).await?;
        let columns = ["tenant_uid", "kind", "name", "value", "subject_uid"];
        manager.create_index(index("subject_label_value_idx", "subject_label", &columns)).await?;

        let label = Table::create()
            .table("tenant_label")
            .col(text("tenant_uid"))
            .col(text("name"))
            .col(text("value"))
            .primary_key(&mut primary_key(&["tenant_uid", "name"]))
            .foreign_key(&mut reference("tenant_label", "tenant_uid", "tenant"))
            .take();
        manager.create_table(label).await?;
        manager.create_index(index("tenant_label_value_idx", "tenant_label", &["name", "value", "tenant_uid"])).await?;

        // A program that does not know of states makes active tenants.
        let state = text("state").default("active").take();
        manager.alter_table(Table::alter().table("tenant").add_column(state).take()).await?;
        for (name, column) in [
            ("tenant_state_idx", "state"),
            ("tenant_create_time_idx", "create_time"),
            ("tenant_update_time_idx", "update_time"),
        ] {
            manager.create_index(index(name, "tenant", &[column, "external_id"])).await?;
        }

        let display_name = optional_text(manager, "display_name");
        manager.alter_table(Table::alter().table("subject").add_column(display_name).take()).await?;
        let name = if manager.get_database_backend() == DbBackend::Sqlite {
            "json_extract(attributes, '$.display_name')"
        } else {
            "attributes::json ->> 'display_name'"
        };
        let fill = format!("UPDATE subject SET display_name = {name} WHERE attributes <> '{{}}'");
        manager.get_connection().execute_unprepared(&fill).await?;
        for (name, column) in [
            ("subject_state_idx", "state"),
            ("subject_create_time_idx", "create_time"),
            ("subject_update_time_idx", "update_time"),
            ("subject_display_name_idx", "display_name"),
        ] {
            manager.create_index(index(name, "subject", &["tenant_uid", "kind", column, "external_id"])).await?;
        }
        Ok(())
    }
}
