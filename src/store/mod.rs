//! The only code that knows SQL: entities, migrations, tenant-scoped look-ups, and commands.
//!
//! A command is data; it runs as one named transaction in a task of its own, to its end even when its caller goes away,
//! and writes its audit record there too. Every check-then-write is one conditional statement: isolation levels are not
//! relied on.
//!
//! To add a table: an entity, and a migration in a file of its own. To add a command: a struct in its noun's file with
//! an `impl Command`. No cleartext comes here, and no value leaves in a log or an error.

mod audit;
mod connect;
mod credential;
mod data_key;
mod entity;
mod error;
mod failure;
mod import;
mod migration;
mod secret;
mod subject;
mod tenant;
mod token;
mod transaction;

use std::{fmt, path::Path};

use sea_orm::DatabaseConnection;

use crate::{
    audit::Record,
    domain::{Secret, Slot, Subject, Tenant, Timestamp, Uid},
};

pub use failure::{AttemptAnswer, AttemptKey, AttemptStep, Lockouts};

/// Where the database is and how it is used.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// PostgreSQL connections, or SQLite's readers.
    pub max_connections: u32,
}

impl StoreOptions {
    /// The SQLite database in this file, read by so many connections at once.
    #[must_use]
    pub fn sqlite(path: &Path, max_connections: u32) -> Self {
        Self { url: format!("sqlite:{}", path.display()), max_connections }
    }
}

/// Without the URL: it may hold a password.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// A change of one subject, done whole or not at all, and only while the subject has `expected_version`.
#[derive(Clone, Debug)]
pub struct SubjectChange {
    /// Which.
    pub subject_uid: Uid,
    /// The version it was decided on.
    pub expected_version: i64,
    /// The new login; kept where `None`.
    pub login: Option<String>,
    /// What happens to secrets, in this order.
    pub secrets: Vec<SecretChange>,
    /// When.
    pub time: Timestamp,
}

/// What happens to one slot.
#[derive(Clone, Debug)]
pub enum SecretChange {
    /// Everything live in the slot is revoked and wiped, and this becomes current.
    Replace(Secret),
    /// Everything live in the slot is revoked and wiped.
    Revoke(Slot),
}

/// Subjects to be added and replaced, as one.
#[derive(Clone, Debug)]
pub struct Import {
    /// The new ones, with their passwords.
    pub created: Vec<(Subject, Option<Secret>)>,
    /// The others.
    pub replaced: Vec<Replacement>,
    /// What is recorded of it.
    pub records: Vec<Record>,
}

/// A subject that is replaced while it has `expected_version`.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// As it will be.
    pub subject: Subject,
    /// The version it was decided on.
    pub expected_version: i64,
    /// The new password; the old one stays where `None`.
    pub secret: Option<Secret>,
}

/// A credential, whose it is, and in which tenant.
#[derive(Clone, Debug)]
pub struct FoundCredential {
    /// The secret.
    pub secret: Secret,
    /// The caller.
    pub subject: Subject,
    /// The caller's tenant.
    pub tenant: Tenant,
}

/// The database. Clones share it.
///
/// On SQLite one connection writes and others read; on PostgreSQL both are the same pool.
#[derive(Clone, Debug)]
pub struct Store {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
}
