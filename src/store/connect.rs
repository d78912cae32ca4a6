//! Opening the database, asking whether it is well, and closing it.

use std::{
    fs::OpenOptions,
    io,
    path::Path,
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    sqlx::{
        self, ConnectOptions as _, Connection as _,
        pool::PoolOptions,
        postgres::{PgConnectOptions, PgConnection},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use super::{
    SharedTime, Store, StoreOptions,
    doubt::Doubt,
    error::{Failure, unavailable},
    transaction::Command,
};
use crate::{
    domain::{Error, Reason, Result, Timestamp},
    planted::{Bug, is_planted},
};

/// How long a request waits for a connection; a good deal less than clients wait for an answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long SQLite waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pages of SQLite's log, of 4 KiB, from which on it is copied into the file: what is written often is copied once.
const CHECKPOINT_PAGES: &str = "2000";
/// How long a connection may take to show that it is alive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that were idle for longer are tried before they are used.
const TRUSTED_IDLE: Duration = Duration::from_secs(30);

impl Store {
    /// Opens the database; a SQLite file is made where there is none.
    ///
    /// # Errors
    /// Unavailable, with the driver's words as the cause.
    pub async fn connect(options: &StoreOptions) -> Result<Self> {
        if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
            return postgres(options).await;
        }
        match options.sqlite_path() {
            Some(path) => sqlite(path, options.max_connections).await,
            None => Err(unopened("the URL must begin with sqlite: or postgres://")),
        }
    }

    /// Whether the database answers, and can be written to: tried where it failed of late. And its time, where it is not
    /// this machine's own.
    ///
    /// # Errors
    /// Unavailable; outcome unknown, where it does not answer within three seconds.
    pub async fn check(&self) -> Result<Option<SharedTime>> {
        if is_planted(Bug::AlwaysReady) {
            return Ok(None);
        }
        self.run(Check { writes: self.doubt.lasts() }).await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        for pool in [&self.reader, &self.writer] {
            if let Err(error) = pool.close_by_ref().await {
                tracing::debug!(%error, "a connection was not closed in order");
            }
        }
    }
}

/// Beginning is most of it: SQLite refuses where the file is read-only. A disk that is full it only meets when it writes.
struct Check {
    writes: bool,
}

impl Command for Check {
    const NAME: &'static str = "check";
    const BOOKKEEPING: bool = true;
    const TIMEOUT: Duration = Duration::from_secs(3);
    const COUNTS: bool = false;
    type Output = Option<SharedTime>;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Option<SharedTime>, Failure> {
        if transaction.get_database_backend() != DbBackend::Postgres {
            if self.writes {
                // A number in the file's header that nobody uses: to set it as it is writes one page.
                let question = Statement::from_string(DbBackend::Sqlite, "PRAGMA user_version");
                let row = transaction.query_one_raw(question).await?;
                let version: i32 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default();
                transaction.execute_unprepared(&format!("PRAGMA user_version = {version}")).await?;
            }
            return Ok(None);
        }
        let question = "SELECT current_setting('transaction_read_only') = 'off' AS writable,
                               (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros";
        #[expect(clippy::disallowed_methods, reason = "how long the answer was under way")]
        let asked = Instant::now();
        let row = transaction.query_one_raw(Statement::from_string(DbBackend::Postgres, question)).await?;
        let within = asked.elapsed();
        let row = row.ok_or_else(|| unavailable("the server answered nothing".to_owned()))?;
        if !row.try_get::<bool>("", "writable")? {
            return Err(unavailable("the server is read-only".to_owned()).into());
        }
        Ok(Some(SharedTime { time: Timestamp::from_micros(row.try_get("", "micros")?), within }))
    }
}

async fn sqlite(path: &Path, max_connections: u32) -> Result<Store> {
    let file = sqlite_file(path)?;
    let durable = if is_planted(Bug::SynchronousOff) { SqliteSynchronous::Off } else { SqliteSynchronous::Full };
    let writing = file
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(durable)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
    let writer = open_sqlite(writing, 1).await?;
    // Made after the writer, which is what turns the file to WAL.
    let reader = open_sqlite(file.read_only(true), max_connections).await?;
    Ok(Store::new(writer, reader, Doubt::default()))
}

/// A SQLite file that nobody else knows of, and that is of no use unless it is finished: so nothing is done to keep it from
/// being half written.
pub(super) async fn unfinished(path: &Path) -> Result<Store> {
    let file = sqlite_file(path)?.pragma("cache_size", "-65536");
    let file = file.journal_mode(SqliteJournalMode::Off).synchronous(SqliteSynchronous::Off);
    let connection = open_sqlite(file, 1).await?;
    Ok(Store::new(connection.clone(), connection, Doubt::default()))
}

/// The file, made where it is missing, and what holds for every connection to it.
fn sqlite_file(path: &Path) -> Result<SqliteConnectOptions> {
    let name = path.to_string_lossy();
    if name.is_empty() || name.starts_with(":memory:") || name.contains('?') {
        return Err(unopened("sqlite: must be followed by the path of a file, without options"));
    }
    make_file(path).map_err(|error| unopened(format!("{name}: {error}")))?;
    Ok(SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("secure_delete", "ON")
        .disable_statement_logging())
}

async fn open_sqlite(file: SqliteConnectOptions, max_connections: u32) -> Result<DatabaseConnection> {
    // The URL only chooses the driver; what is opened is `file`.
    let mut options = pool("sqlite::memory:", max_connections);
    options.test_before_acquire(false).map_sqlx_sqlite_opts(move |_| file.clone()).map_sqlx_sqlite_pool_opts(
        |options| quiet(options).after_release(|connection, _| Box::pin(has_ended(connection))),
    );
    Database::connect(options).await.map_err(unopened_because)
}

/// Makes the file that SQLite opens, for its owner alone: its journals get the same mode from it.
pub(super) fn make_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn postgres(options: &StoreOptions) -> Result<Store> {
    let server: PgConnectOptions =
        options.url.parse().map_err(|_unsaid| unopened("the postgres:// URL cannot be read"))?;
    let server = server
        .options([("statement_timeout", "5s"), ("lock_timeout", "2s"), ("idle_in_transaction_session_timeout", "5s")])
        .disable_statement_logging();

    // A pool takes a refused connection for a server that starts, tries until its time is up, and forgets why.
    match tokio::time::timeout(ACQUIRE_TIMEOUT, server.connect()).await {
        Err(_elapsed) => return Err(unopened("the server did not answer in time")),
        Ok(Err(error)) => return Err(unopened(error.to_string())),
        Ok(Ok(connection)) => connection.close().await.map_err(|error| unopened(error.to_string()))?,
    }

    // The driver traces the URL it is given; so it gets none of ours, which may hold a password.
    let mut pool = pool("postgres://localhost", options.max_connections);
    // While the database is in doubt, so is every connection; else those that nobody has used for a while.
    let doubt = Doubt::default();
    let (before, after) = (doubt.clone(), doubt.clone());
    pool.test_before_acquire(false)
        .map_sqlx_postgres_opts(move |_| server.clone())
        .map_sqlx_postgres_before_acquire(move |connection, about| {
            let trusted = about.idle_for < TRUSTED_IDLE && !before.lasts();
            Box::pin(async move { if trusted { Ok(true) } else { answers(connection).await } })
        })
        .map_sqlx_postgres_pool_opts(move |options| {
            let after = after.clone();
            quiet(options).after_release(move |connection, _| {
                let trusted = !after.lasts();
                Box::pin(async move { if trusted { has_ended(connection).await } else { answers(connection).await } })
            })
        });
    let pool = Database::connect(pool).await.map_err(unopened_because)?;
    Ok(Store::new(pool.clone(), pool, doubt))
}

/// Under load the driver would warn of every longer wait: a line for each call, when there is least time for it. Who waits
/// too long is told so by its own error.
fn quiet<D: sqlx::Database>(options: PoolOptions<D>) -> PoolOptions<D> {
    options.acquire_slow_threshold(ACQUIRE_TIMEOUT)
}

/// Whether a connection has left its transaction. Where a commit or a rollback fails on SQLite, the driver goes on counting
/// itself within (sqlx 0.9.0), and the next transaction would be a savepoint in one that nobody ever commits: answered for,
/// and lost. Such a connection is closed.
async fn has_ended(connection: &mut impl sqlx::Connection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // Its rollback may be on its way.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Whether a connection still has somebody at its other end. The driver waits for as long as the kernel goes on sending,
/// a quarter of an hour; so long the pool would have one connection less.
async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| !connection.is_in_transaction()),
        Err(_elapsed) => Err(sqlx::Error::PoolTimedOut),
    }
}

fn pool(url: &str, max_connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(max_connections.max(1))
        // What looks after them counts past zero when one is given back at that moment, and goes round for ever (sqlx
        // 0.9.0, issue 3645). Connections need not end by their age: each is looked at where it may be broken.
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(if is_planted(Bug::EndlessPatience) { Duration::from_hours(1) } else { ACQUIRE_TIMEOUT })
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    options
}

fn unopened(cause: impl Into<String>) -> Error {
    Error::new(Reason::StoreUnavailable, "the database cannot be opened").caused_by(cause.into())
}

fn unopened_because(error: impl std::error::Error) -> Error {
    unopened(error.to_string())
}
