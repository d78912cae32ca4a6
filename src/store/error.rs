//! From what the driver says to what the layers above may know. Nothing of SQL is in a public sentence, and nothing of
//! a value in a cause: the driver's own Debug shows whole rows, so only its short text is kept.

#![expect(clippy::disallowed_types, reason = "the one place that maps it")]

use std::time::Duration;

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, error::DatabaseError, postgres::PgDatabaseError},
};

use crate::{
    domain::{Error, Reason},
    planted::{Bug, is_planted},
};

/// When to try again where the database is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a statement or a command failed with.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database's failure, before it is known whether trying again would do.
    Database(DbErr),
    /// What the caller gets.
    Known(Error),
}

impl Failure {
    /// A commit that failed. Only where the server itself says that it gave the transaction up is it known to be
    /// undone; otherwise it may well be done.
    pub(super) fn of_commit(error: DbErr) -> Self {
        let given_up = database_error(&error).is_some_and(is_transient) || is_planted(Bug::CommitErrorRefused);
        if given_up { Self::Database(error) } else { Self::Known(outcome_unknown(error.to_string())) }
    }

    /// Whether it is the database that could not do it, rather than what was asked for.
    pub(super) fn is_of_the_database(&self) -> bool {
        match self {
            Self::Database(_) => true,
            Self::Known(error) => matches!(error.reason(), Reason::StoreUnavailable | Reason::OutcomeUnknown),
        }
    }

    /// Whether the same transaction may do better a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => database_error(error).is_some_and(is_transient),
            Self::Known(_) => false,
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => error.into(),
            Failure::Known(error) => error,
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        let cause = error.to_string();
        if let Some(database) = database_error(&error) {
            return of_database(database, cause);
        }
        if matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) || driver_error(&error).is_some_and(is_lost) {
            unavailable(cause)
        } else {
            Self::internal(cause)
        }
    }
}

/// Whether it was done cannot be told; the request id tells later.
pub(super) fn outcome_unknown(cause: String) -> Error {
    Error::new(Reason::OutcomeUnknown, "it is not known whether this was done").caused_by(cause)
}

/// The server did not answer within the bound; it may have done it or do it yet.
pub(super) fn no_answer() -> Failure {
    outcome_unknown("the database did not answer in time".to_owned()).into()
}

/// What was decided on is no longer so.
pub(super) fn concurrent_change() -> Error {
    Error::new(Reason::ConcurrentChange, "somebody else changed this at the same time; read it again and decide anew")
}

/// A row that this program did not write so.
pub(super) fn unreadable(table: &str, uid: &str, column: &str) -> Error {
    Error::internal(format!("{table} {uid} is unreadable: {column}"))
}

/// Nothing was done; later it may be.
pub(super) fn unavailable(cause: String) -> Error {
    Error::new(Reason::StoreUnavailable, "the database is not available").caused_by(cause).retry_after(RETRY_AFTER)
}

fn of_database(error: &dyn DatabaseError, cause: String) -> Error {
    if error.is_unique_violation() {
        return match taken_field(error) {
            Some(field) => {
                Error::new(Reason::AlreadyExists, "something of this name exists already").with("field", field)
            }
            None => Error::internal(cause),
        };
    }
    if error.is_foreign_key_violation() {
        // What a new row hangs on was deleted meanwhile.
        return concurrent_change().caused_by(cause);
    }
    if is_transient(error) || is_unavailable(error) { unavailable(cause) } else { Error::internal(cause) }
}

/// The unique rules that a request can break: the index on PostgreSQL, the columns on SQLite, the field.
const FIELDS: [(&str, &str, &str); 6] = [
    ("tenant_external_id_key", "tenant.external_id", "tenant.tenant_id"),
    ("tenant_alias_pkey", "tenant_alias.dialect, tenant_alias.name", "tenant.aliases"),
    ("token_issuer_pkey", "token_issuer.issuer", "tenant.token_issuer.issuer"),
    ("subject_external_id_key", "subject.tenant_uid, subject.kind, subject.external_id", "id"),
    ("subject_login_key", "subject.tenant_uid, subject.kind, subject.login", "login"),
    ("secret_lookup_key_key", "secret.lookup_key", "lookup_key"),
];

fn taken_field(error: &dyn DatabaseError) -> Option<&'static str> {
    let columns = error.message().strip_prefix("UNIQUE constraint failed: ");
    FIELDS
        .into_iter()
        .find(|(index, sqlite, _)| error.constraint() == Some(index) || columns == Some(sqlite))
        .map(|(_, _, field)| field)
}

fn database_error(error: &DbErr) -> Option<&dyn DatabaseError> {
    driver_error(error)?.as_database_error()
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    let (DbErr::Exec(RuntimeErr::SqlxError(driver))
    | DbErr::Query(RuntimeErr::SqlxError(driver))
    | DbErr::Conn(RuntimeErr::SqlxError(driver))) = error
    else {
        return None;
    };
    Some(driver)
}

/// Whether it was the connection that failed.
fn is_lost(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::BeginFailed
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

fn is_postgres(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<PgDatabaseError>().is_some()
}

/// Serialisation failure and deadlock. SQLite has neither, and where it is busy it has waited already.
fn is_transient(error: &dyn DatabaseError) -> bool {
    is_postgres(error) && ["40001", "40P01"].contains(&&*error.code().unwrap_or_default())
}

/// Nothing is wrong with the statement: the database is not there, full, read-only, too busy, or not migrated.
fn is_unavailable(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    if is_postgres(error) {
        // Classes: connection, authorisation, resources, operator, system. Then: no such database, lock not available,
        // read-only, idle in transaction, no such table, no such column.
        ["08", "28", "53", "57", "58"].iter().any(|class| code.starts_with(class))
            || ["3D000", "55P03", "25006", "25P03", "42P01", "42703"].contains(&&*code)
    } else {
        // Busy, locked, no memory, read-only, I/O, corrupt, full, cannot open, not a database; 1 if it is not migrated.
        matches!(sqlite_code(&code), Some(5 | 6 | 7 | 8 | 10 | 11 | 13 | 14 | 26))
            || error.message().starts_with("no such ")
    }
}

/// The primary result code: the low byte of the extended one.
fn sqlite_code(code: &str) -> Option<i32> {
    code.parse::<i32>().ok().map(|code| code & 0xff)
}
