//! A database as of one moment, while others go on changing it.

use std::fmt;

use sea_orm::{
    AccessMode, ConnectionTrait as _, DatabaseTransaction, DbBackend, EntityTrait as _, IsolationLevel, Statement,
    TransactionTrait as _,
};
use sea_orm_migration::seaql_migrations;

use super::{Cell, Table, quoted, tables};
use crate::{
    domain::{Error, Installation, Result},
    store::{Store, entity::installation, error::Failure, installation::read},
};

/// Rows that are in memory at once.
const PAGE: usize = 500;

/// A database as of one moment: one transaction that only reads, on a connection of its own. Nobody waits for it; but
/// while it lasts SQLite's journal grows, and PostgreSQL keeps old rows.
pub struct Snapshot {
    transaction: DatabaseTransaction,
    tables: Vec<Table>,
    migrations: Vec<String>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("tables", &self.tables.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// The database as it is now. Whatever was acknowledged before is in it.
    ///
    /// # Errors
    /// Unavailable, also where there is no installation.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        Ok(begin(self).await?)
    }
}

async fn begin(store: &Store) -> Result<Snapshot, Failure> {
    let transaction = if store.reader.get_database_backend() == DbBackend::Postgres {
        let (level, mode) = (IsolationLevel::RepeatableRead, AccessMode::ReadOnly);
        let transaction = store.reader.begin_with_config(Some(level), Some(mode)).await?;
        // It takes as long as whoever reads it.
        let patient = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
        transaction.execute_unprepared(patient).await?;
        transaction
    } else {
        store.reader.begin().await?
    };
    // The first that is read is what SQLite's moment is taken by.
    let migrations = seaql_migrations::Entity::find().all(&transaction).await?;
    let mut migrations: Vec<String> = migrations.into_iter().map(|row| row.version).collect();
    migrations.sort();
    let tables = tables(&transaction).await?;
    Ok(Snapshot { transaction, tables, migrations })
}

impl Snapshot {
    /// Every table but the migrations' own, each after those that its rows refer to.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The migrations that were applied, by name.
    #[must_use]
    pub fn migrations(&self) -> &[String] {
        &self.migrations
    }

    /// Which installation it is of, where it is of one that was started.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn installation(&self) -> Result<Option<Installation>> {
        if !self.tables.iter().any(|table| table.name == "installation") {
            return Ok(None);
        }
        Ok(installation::Entity::find_by_id(installation::ONLY).one(&self.transaction).await?.map(read))
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn count(&self, table: &Table) -> Result<u64> {
        Ok(super::restoration::count(&self.transaction, &table.name).await?)
    }

    /// All rows of a table, some at a time, in no order that means anything.
    ///
    /// # Errors
    /// Unavailable; what `take` returns.
    pub async fn rows<E: From<Error>>(
        &self,
        table: &Table,
        mut take: impl FnMut(Vec<Vec<Cell>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pages = Pages::begin(&self.transaction, table).await.map_err(Error::from)?;
        loop {
            let rows = pages.next().await.map_err(Error::from)?;
            let last = rows.len() < PAGE;
            if !rows.is_empty() {
                take(rows)?;
            }
            if last {
                break;
            }
        }
        pages.end().await.map_err(Error::from)?;
        Ok(())
    }

    /// Gives the connection back.
    pub async fn end(self) {
        if let Err(error) = self.transaction.rollback().await {
            tracing::debug!(%error, "no answer to the end of a snapshot");
        }
    }
}

/// A table, page by page: by a cursor on PostgreSQL, by the rows' own numbers on SQLite.
struct Pages<'a> {
    transaction: &'a DatabaseTransaction,
    table: &'a Table,
    backend: DbBackend,
    columns: String,
    /// SQLite's number of the last row.
    last: Option<i64>,
}

impl<'a> Pages<'a> {
    async fn begin(transaction: &'a DatabaseTransaction, table: &'a Table) -> Result<Self, Failure> {
        let backend = transaction.get_database_backend();
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let columns = columns.join(", ");
        if backend == DbBackend::Postgres {
            let (cursor, name) = (cursor(table), quoted(&table.name));
            let declare = format!("DECLARE {cursor} NO SCROLL CURSOR FOR SELECT {columns} FROM {name}");
            transaction.execute_unprepared(&declare).await?;
        }
        Ok(Self { transaction, table, backend, columns, last: None })
    }

    async fn next(&mut self) -> Result<Vec<Vec<Cell>>, Failure> {
        let Self { transaction, table, backend, ref columns, last } = *self;
        let (query, first) = if backend == DbBackend::Postgres {
            let fetch = format!("FETCH FORWARD {PAGE} FROM {}", cursor(table));
            (Statement::from_string(backend, fetch), 0)
        } else {
            let after = if last.is_some() { "WHERE rowid > $1" } else { "" };
            let name = quoted(&table.name);
            let page = format!("SELECT rowid, {columns} FROM {name} {after} ORDER BY rowid LIMIT {PAGE}");
            (Statement::from_sql_and_values(backend, page, last.map(Into::into)), 1)
        };
        let found = transaction.query_all_raw(query).await?;
        if let Some(row) = found.last().filter(|_| first == 1) {
            self.last = Some(row.try_get_by_index(0)?);
        }
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            let cells = (first..).zip(&table.columns).map(|(place, column)| Cell::read(row, place, column.kind));
            rows.push(cells.collect::<Result<_, _>>()?);
        }
        Ok(rows)
    }

    async fn end(self) -> Result<(), Failure> {
        if self.backend == DbBackend::Postgres {
            self.transaction.execute_unprepared(&format!("CLOSE {}", cursor(self.table))).await?;
        }
        Ok(())
    }
}

/// A cursor of each table's own: what a connection remembers of one is of no use for another.
fn cursor(table: &Table) -> String {
    quoted(&format!("copy {}", table.name))
}
