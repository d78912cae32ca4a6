//! Filling an empty database, all of it or not at all.

use std::{
    fmt::{self, Write as _},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, Value};

use super::{Cell, Table, quoted, tables};
use crate::{
    domain::{Error, Installation, Reason, Result, Timestamp},
    store::{
        Store, StoreOptions,
        connect::{self, make_file},
        data_key,
        error::{Failure, unavailable},
        installation::Rollback,
        migration,
        transaction::{self, Command as _},
    },
};

/// Rows of one statement, the most first: of few sizes, so that each is prepared once.
const ROWS: [usize; 4] = [256, 64, 8, 1];

/// An empty database that is being filled, in one transaction. Dropped before its end it leaves nothing.
///
/// A SQLite file is made under another name beside its own, which it gets at the end.
pub struct Restoration {
    store: Store,
    transaction: DatabaseTransaction,
    tables: Vec<Table>,
    file: Option<Unfinished>,
}

impl fmt::Debug for Restoration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restoration").field("tables", &self.tables.len()).finish_non_exhaustive()
    }
}

impl Restoration {
    /// Makes the tables as these migrations, and no others, leave them.
    ///
    /// # Errors
    /// Already exists, where the database holds anything; unavailable.
    pub async fn begin(options: &StoreOptions, migrations: &[String], now: Timestamp) -> Result<Self> {
        let (store, file) = match options.sqlite_path() {
            None => (Store::connect(options).await?, None),
            Some(path) => {
                let file = Unfinished::make(path)?;
                (connect::unfinished(&file.beside).await?, Some(file))
            }
        };
        match Self::make(&store, migrations, now).await {
            Ok((transaction, tables)) => Ok(Self { store, transaction, tables, file }),
            Err(failure) => {
                store.close().await;
                Err(failure.into())
            }
        }
    }

    async fn make(
        store: &Store,
        migrations: &[String],
        now: Timestamp,
    ) -> Result<(DatabaseTransaction, Vec<Table>), Failure> {
        let transaction = transaction::begin(&store.writer).await?;
        let made = async {
            migration::lock(&transaction).await?;
            if !tables(&transaction).await?.is_empty() || migration::any_applied(&transaction).await? {
                let sentence = "the database is not empty: a backup is restored into an empty one only";
                return Err(Error::new(Reason::AlreadyExists, sentence).into());
            }
            migration::apply_only(&transaction, migrations, now).await?;
            let tables = tables(&transaction).await?;
            // A migration may have filled a table; all there is to be is in the backup.
            for table in tables.iter().rev() {
                transaction.execute_unprepared(&format!("DELETE FROM {}", quoted(&table.name))).await?;
            }
            Ok(tables)
        };
        match made.await {
            Ok(tables) => Ok((transaction, tables)),
            Err(failure) => {
                drop(transaction.rollback().await);
                Err(failure)
            }
        }
    }

    /// The tables that there are to fill, each after those that its rows refer to.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Adds rows, whose cells stand in the order of these columns.
    ///
    /// # Errors
    /// Unavailable; internal, where they do not fit.
    pub async fn insert(&self, table: &Table, rows: Vec<Vec<Cell>>) -> Result<()> {
        Ok(insert(&self.transaction, table, rows).await?)
    }

    /// How many rows a table has now.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn count(&self, table: &str) -> Result<u64> {
        Ok(count(&self.transaction, table).await?)
    }

    /// Ids of the wrapping keys that some data key hangs on.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn wrapping_keys_in_use(&self) -> Result<Vec<String>> {
        Ok(data_key::wrapping_keys_in_use(&self.transaction).await?)
    }

    /// Applies the migrations that are missing; returns how many there were.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn migrate(&self) -> Result<usize> {
        Ok(migration::Migrate.apply(&self.transaction).await?)
    }

    /// Marks what was restored as one that somebody goes on with although newer was seen; returns what it says of itself
    /// from then on. Only once it is migrated.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn accept(&self, rollback: &Rollback) -> Result<Installation> {
        Ok(rollback.apply(&self.transaction).await?)
    }

    /// Makes all of it durable and visible.
    ///
    /// # Errors
    /// Unavailable; already exists, where somebody else made the file meanwhile; outcome unknown.
    pub async fn finish(self) -> Result<()> {
        let Self { store, transaction, file, .. } = self;
        let finished = async {
            transaction.commit().await.map_err(Failure::of_commit)?;
            if store.writer.get_database_backend() == DbBackend::Postgres {
                // Or the first queries are planned as if the tables were empty.
                let analyse = store.writer.execute_unprepared("SET statement_timeout = 0; ANALYZE").await;
                if let Err(error) = analyse {
                    tracing::warn!(%error, "the restored tables were not analysed; the server will do it in time");
                }
            }
            Ok::<_, Failure>(())
        };
        let finished = finished.await;
        store.close().await;
        finished?;
        file.map_or(Ok(()), Unfinished::publish)
    }

    /// Leaves nothing.
    pub async fn abandon(self) {
        if let Err(error) = self.transaction.rollback().await {
            tracing::debug!(%error, "no answer to a rollback");
        }
        self.store.close().await;
    }
}

async fn insert(transaction: &DatabaseTransaction, table: &Table, rows: Vec<Vec<Cell>>) -> Result<(), Failure> {
    let backend = transaction.get_database_backend();
    let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let (name, columns) = (quoted(&table.name), columns.join(", "));
    let mut rest = rows.len();
    let mut rows = rows.into_iter();
    for size in ROWS {
        while rest >= size {
            let mut text = format!("INSERT INTO {name} ({columns}) VALUES ");
            let mut values: Vec<Value> = Vec::with_capacity(size * table.columns.len());
            for (number, row) in rows.by_ref().take(size).enumerate() {
                text.push_str(if number == 0 { "(" } else { ", (" });
                for (place, cell) in row.into_iter().enumerate() {
                    values.push(cell.into());
                    let comma = if place == 0 { "" } else { ", " };
                    // Writing into a text fails never.
                    let _ = write!(text, "{comma}${}", values.len());
                }
                text.push(')');
            }
            transaction.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
            rest -= size;
        }
    }
    Ok(())
}

/// How many rows a table has.
pub(super) async fn count<C: ConnectionTrait>(database: &C, table: &str) -> Result<u64, Failure> {
    let query = format!("SELECT count(*) AS number FROM {}", quoted(table));
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), query)).await?;
    let number: i64 = row.map(|row| row.try_get("", "number")).transpose()?.unwrap_or_default();
    Ok(number.unsigned_abs())
}

/// A SQLite file under another name than it is to have; gone when dropped unless it got that.
struct Unfinished {
    path: PathBuf,
    beside: PathBuf,
    published: bool,
    /// Locked, so that of two that restore at once one gives up.
    _lock: File,
}

impl Unfinished {
    fn make(path: &Path) -> Result<Self> {
        if let Some(found) = taken(path) {
            let sentence = "the database is not empty: a backup is restored into an empty one only";
            return Err(Error::new(Reason::AlreadyExists, sentence).caused_by(format!("{} is there", found.display())));
        }
        let beside = path.with_added_extension("restoring");
        let unmade = |cause: io::Error| unavailable(format!("{}: {cause}", beside.display()));
        make_file(&beside).map_err(unmade)?;
        let file = File::options().write(true).open(&beside).map_err(unmade)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(unavailable("another restore is filling it".to_owned())),
            Err(TryLockError::Error(cause)) => return Err(unmade(cause)),
        }
        // What an interrupted one left.
        file.set_len(0).map_err(unmade)?;
        Ok(Self { path: path.to_owned(), beside, published: false, _lock: file })
    }

    /// Gives the file its name, where nobody else has taken that.
    fn publish(mut self) -> Result<()> {
        let published = (|| {
            File::open(&self.beside)?.sync_all()?;
            if taken(&self.path).is_none() {
                match fs::remove_file(&self.path) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                    Ok(()) | Err(_) => {}
                }
            }
            fs::hard_link(&self.beside, &self.path)?;
            fs::remove_file(&self.beside)?;
            self.published = true;
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        })();
        published.map_err(|cause| {
            if cause.kind() == io::ErrorKind::AlreadyExists {
                Error::new(Reason::AlreadyExists, "somebody else made the database meanwhile")
            } else {
                unavailable(format!("{}: {cause}", self.path.display()))
            }
        })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// What is there of a database, if anything. Journals count: SQLite would take an old one for that of a new file.
fn taken(path: &Path) -> Option<PathBuf> {
    let holds = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0);
    let named = |journal: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(journal);
        PathBuf::from(name)
    };
    ["", "-wal", "-journal"].map(named).into_iter().find(holds)
}
