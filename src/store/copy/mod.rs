//! Whole databases: read as of one moment, and put into an empty one, on either engine.
//!
//! Nothing here knows a table or a column by name: both are asked of the database, so that none that is added can be
//! forgotten. What a column may hold is one of four kinds ([`Kind`]); a migration that brings another one is found by the
//! first backup in any test.

mod restoration;
mod snapshot;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};

use super::error::Failure;
use crate::domain::Error;

pub use restoration::Restoration;
pub use snapshot::Snapshot;

/// A table, with its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in its own order.
    pub columns: Vec<Column>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// What a column holds, on both engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 64 bits with sign.
    Integer,
    /// Yes or no.
    Flag,
    /// UTF-8.
    Text,
    /// Anything.
    Bytes,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Integer, Self::Flag, Self::Text, Self::Bytes];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Flag => "flag",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }

    /// By what an engine calls it. SQLite has one kind of integer, of 64 bits; PostgreSQL has others as well.
    fn of(engine: DbBackend, name: &str) -> Option<Self> {
        match (engine, name.to_ascii_lowercase().as_str()) {
            (_, "bigint") | (DbBackend::Sqlite, "integer") => Some(Self::Integer),
            (_, "boolean") => Some(Self::Flag),
            (_, "text") => Some(Self::Text),
            (_, "blob" | "bytea") => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// What stands in a row under a column. `None` is null.
#[derive(Clone, PartialEq, Eq)]
pub enum Cell {
    /// 64 bits with sign.
    Integer(Option<i64>),
    /// Yes or no.
    Flag(Option<bool>),
    /// UTF-8.
    Text(Option<String>),
    /// Anything.
    Bytes(Option<Vec<u8>>),
}

/// Without what is in it.
impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cell([redacted])")
    }
}

impl Cell {
    fn read(row: &QueryResult, place: usize, kind: Kind) -> Result<Self, Failure> {
        Ok(match kind {
            Kind::Integer => Self::Integer(row.try_get_by_index(place)?),
            Kind::Flag => Self::Flag(row.try_get_by_index(place)?),
            Kind::Text => Self::Text(row.try_get_by_index(place)?),
            Kind::Bytes => Self::Bytes(row.try_get_by_index(place)?),
        })
    }
}

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Integer(value) => value.into(),
            Cell::Flag(value) => value.into(),
            Cell::Text(value) => value.into(),
            Cell::Bytes(value) => value.into(),
        }
    }
}

/// The table of the migrations' own, which is made and filled by applying them.
const MIGRATIONS: &str = "seaql_migrations";

/// Every table but the migrations' own, each after those that its rows refer to.
async fn tables<C: ConnectionTrait>(database: &C) -> Result<Vec<Table>, Failure> {
    let backend = database.get_database_backend();
    let columns = if backend == DbBackend::Postgres {
        "SELECT c.relname::text AS \"table\", a.attname::text AS \"column\", format_type(a.atttypid, NULL) AS kind
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
           AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY c.relname, a.attnum"
    } else {
        "SELECT t.name AS \"table\", c.name AS \"column\", c.type AS kind
         FROM sqlite_master t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY t.name, c.cid"
    };
    let mut tables: Vec<Table> = Vec::new();
    for row in database.query_all_raw(Statement::from_string(backend, columns)).await? {
        let (table, column): (String, String) = (row.try_get("", "table")?, row.try_get("", "column")?);
        if table == MIGRATIONS {
            continue;
        }
        let kind: String = row.try_get("", "kind")?;
        let kind = Kind::of(backend, &kind)
            .ok_or_else(|| Error::internal(format!("{table}.{column} is {kind}, which no backup can hold")))?;
        let column = Column { name: column, kind };
        match tables.last_mut() {
            Some(last) if last.name == table => last.columns.push(column),
            Some(_) | None => tables.push(Table { name: table, columns: vec![column] }),
        }
    }
    Ok(in_order(tables, &references(database).await?))
}

/// Which table refers to which other one.
async fn references<C: ConnectionTrait>(database: &C) -> Result<Vec<(String, String)>, Failure> {
    let backend = database.get_database_backend();
    let query = if backend == DbBackend::Postgres {
        "SELECT c.relname::text AS \"from\", t.relname::text AS \"to\"
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class t ON t.oid = k.confrelid
         WHERE k.contype = 'f' AND c.relnamespace = current_schema()::regnamespace"
    } else {
        "SELECT t.name AS \"from\", k.\"table\" AS \"to\"
         FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) k WHERE t.type = 'table'"
    };
    let rows = database.query_all_raw(Statement::from_string(backend, query)).await?;
    rows.iter().map(|row| Ok((row.try_get("", "from")?, row.try_get("", "to")?))).collect()
}

/// Each table after those it refers to; where some refer to each other in a ring, as they come.
fn in_order(mut tables: Vec<Table>, references: &[(String, String)]) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let waits = |table: &Table| {
            let needed = references.iter().filter(|(from, to)| *from == table.name && *to != table.name);
            needed.into_iter().any(|(_, to)| tables.iter().any(|other| other.name == *to))
        };
        let next = tables.iter().position(|table| !waits(table)).unwrap_or(0);
        ordered.push(tables.remove(next));
    }
    ordered
}

/// A name as SQL takes it, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_after_those_they_refer_to() {
        let table = |name: &str| Table { name: name.to_owned(), columns: Vec::new() };
        let refers = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let references = [refers("a", "c"), refers("b", "a"), refers("b", "b"), refers("c", "elsewhere")];
        let ordered = in_order(vec![table("a"), table("b"), table("c")], &references);
        let names: Vec<_> = ordered.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
        let ring = [refers("a", "b"), refers("b", "a")];
        assert_eq!(in_order(vec![table("a"), table("b")], &ring).len(), 2);
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
