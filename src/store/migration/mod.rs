//! The schema, in steps that both engines take. A step that was released is never changed; the next is a file of its own.

#![expect(clippy::disallowed_types, reason = "the migrations' trait returns it")]

mod m20261122_000001_tenant;
mod m20261122_000002_subject;
mod m20261122_000003_audit;
mod m20261122_000004_reply;
mod m20261122_000005_secret_scheme;
mod m20261122_000006_failure;
mod m20261122_000007_stop;
mod m20261122_000008_lifecycle;
mod m20261122_000011_audit_target;
mod m20261122_000012_token;
mod m20261127_000013_rotation;
mod m20261127_000015_keys;
mod m20261127_000016_job;
mod m20261127_000017_installation;

use std::collections::HashSet;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait as _, IntoActiveModel as _, Statement,
};
use sea_orm_migration::{
    MigrationTrait, MigratorTrait, SchemaManager, async_trait,
    sea_query::{ColumnDef, ForeignKey, ForeignKeyCreateStatement, Index, IndexCreateStatement},
    seaql_migrations,
};

use super::{Store, error::Failure, transaction::Command};
use crate::{
    domain::{Result, Timestamp},
    planted::{Bug, is_planted},
};

/// Which of PostgreSQL's advisory locks is ours: "rekey" in ASCII.
const LOCK: i64 = 0x72_656b_6579;

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_tenant::Migration),
            Box::new(m20261122_000002_subject::Migration),
            Box::new(m20261122_000003_audit::Migration),
            Box::new(m20261122_000004_reply::Migration),
            Box::new(m20261122_000005_secret_scheme::Migration),
            Box::new(m20261122_000006_failure::Migration),
            Box::new(m20261122_000007_stop::Migration),
            Box::new(m20261122_000008_lifecycle::Migration),
            Box::new(m20261122_000011_audit_target::Migration),
            Box::new(m20261122_000012_token::Migration),
            Box::new(m20261127_000013_rotation::Migration),
            Box::new(m20261127_000015_keys::Migration),
            Box::new(m20261127_000016_job::Migration),
            Box::new(m20261127_000017_installation::Migration),
        ]
    }
}

impl Store {
    /// Applies what migrations are missing, one process at a time (PostgreSQL: advisory lock); returns how many.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn migrate(&self) -> Result<usize> {
        self.run(Migrate).await
    }

    /// How many migrations are missing.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn pending_migrations(&self) -> Result<usize> {
        Ok(missing(&self.reader).await?)
    }
}

/// All steps, in one transaction. The lock is that transaction's own, so whoever waited for it sees what was done
/// meanwhile; on SQLite the transaction is the lock.
pub(super) struct Migrate;

impl Command for Migrate {
    const NAME: &'static str = "migrate";
    type Output = usize;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<usize, Failure> {
        lock(transaction).await?;
        let missing = missing(transaction).await?;
        if missing > 0 {
            Migrator::up(transaction, None).await?;
        }
        Ok(missing)
    }
}

/// The names of all steps that this program knows.
#[must_use]
pub fn known() -> Vec<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

/// Until the end of the transaction nobody else makes tables, and none of its statements is too slow.
pub(super) async fn lock(transaction: &DatabaseTransaction) -> Result<(), Failure> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        let patient = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                       SET LOCAL idle_in_transaction_session_timeout = 0";
        transaction.execute_unprepared(patient).await?;
        if !is_planted(Bug::MigrationUnlocked) {
            transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
        }
    }
    Ok(())
}

/// Whether any step was applied.
pub(super) async fn any_applied(transaction: &DatabaseTransaction) -> Result<bool, Failure> {
    Ok(!applied(transaction).await?.is_empty())
}

/// Applies these steps and no others, where none was applied yet: the tables as another database has them.
pub(super) async fn apply_only(
    transaction: &DatabaseTransaction,
    names: &[String],
    now: Timestamp,
) -> Result<(), Failure> {
    Migrator::install(transaction).await?;
    let manager = SchemaManager::new(transaction);
    for step in Migrator::migrations().iter().filter(|step| names.iter().any(|name| name == step.name())) {
        step.up(&manager).await?;
        let row = seaql_migrations::Model { version: step.name().to_owned(), applied_at: now.seconds() };
        seaql_migrations::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// Counts what is not applied, writing nothing. What a newer program applied does not disturb: two versions of the
/// program run side by side while one replaces the other.
async fn missing<C: ConnectionTrait>(database: &C) -> Result<usize, DbErr> {
    let applied = applied(database).await?;
    Ok(Migrator::migrations().iter().filter(|step| !applied.contains(step.name())).count())
}

/// The names of the steps that were applied.
async fn applied<C: ConnectionTrait>(database: &C) -> Result<HashSet<String>, DbErr> {
    let backend = database.get_database_backend();
    let has_table = if backend == DbBackend::Postgres {
        "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'seaql_migrations'"
    } else {
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'"
    };
    Ok(match database.query_one_raw(Statement::from_string(backend, has_table)).await? {
        None => HashSet::new(),
        Some(_) => seaql_migrations::Entity::find().all(database).await?.into_iter().map(|row| row.version).collect(),
    })
}

/// A column of text that must not be null, compared and sorted by bytes on both engines.
fn text(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = optional_text(manager, name);
    column.not_null();
    column
}

/// The same, where it may be null.
fn optional_text(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.text();
    if manager.get_database_backend() == DbBackend::Postgres {
        column.extra("COLLATE \"C\"");
    }
    column
}

/// A number or a time in microseconds that must not be null.
fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

/// The same, where it may be null.
fn optional_number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().take()
}

/// Yes or no.
fn flag(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().take()
}

/// Bytes that must not be null.
fn bytes(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).blob().not_null().take()
}

fn primary_key(columns: &[&'static str]) -> IndexCreateStatement {
    let mut key = Index::create().primary().take();
    for column in columns {
        key.col(*column);
    }
    key
}

fn index(name: &'static str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(table).take();
    for column in columns {
        index.col(*column);
    }
    index
}

fn unique_index(name: &'static str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    index(name, table, columns).unique().take()
}

/// `table.column` names the `uid` of a row of `target`.
fn reference(table: &'static str, column: &'static str, target: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().name(format!("{table}_{column}_fkey")).from(table, column).to(target, "uid").take()
}
