//! The only code that knows SQL: entities, migrations, tenant-scoped look-ups, and commands.
//!
//! A command is data; it runs as one named transaction in a task of its own, to its end even when its caller goes away,
//! and writes its audit record there too. Every check-then-write is one conditional statement: isolation levels are not
//! relied on.
//!
//! To add a table: an entity, and a migration in a file of its own; backups find it by themselves (`copy`). To add a
//! command: a struct in its noun's file with an `impl Command`; and a line for each operation that needs it in
//! `tests/store/statements/mod.rs`. No cleartext comes here, and no value leaves in a log or an error.

mod apart;
mod audit;
mod connect;
mod copy;
mod credential;
mod data_key;
mod doubt;
mod entity;
mod error;
mod expiry;
mod failure;
mod import;
mod installation;
mod job;
mod key_census;
mod key_rotation;
mod lifecycle;
mod listing;
mod matches;
mod migration;
mod replica;
mod reply;
mod secret;
mod subject;
mod tenant;
mod token;
mod token_move;
mod transaction;
mod usage;

use std::{
    cmp::Reverse,
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::DatabaseConnection;

use crate::{
    audit::Record,
    domain::{Attributes, Clock, Secret, Slot, Stage, Subject, SubjectState, Tenant, Timestamp, Uid, rotation::Move},
};

use doubt::Doubt;

pub use copy::{Cell, Column, Kind, Restoration, Snapshot, Table};
pub use expiry::Ending;
pub use failure::{AttemptAnswer, AttemptKey, AttemptStep};
pub use installation::Rollback;
pub use job::{JobEnd, JobStep, RunningJob};
pub use key_census::KeyCensus;
pub use key_rotation::{KeyRotation, Renewed, ReplyKey, Resealed, Rewrapped, Sealed, SecretPlace};
pub use lifecycle::{SubjectDeletion, TenantDeletion};
pub use listing::{SubjectListing, TenantListing};
pub use matches::{Matches, Window};
pub use migration::known as known_migrations;
pub use token_move::TokenMove;

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

    /// The file, where it is SQLite's.
    #[must_use]
    pub fn sqlite_path(&self) -> Option<&Path> {
        let path = self.url.strip_prefix("sqlite:")?;
        Some(Path::new(path.strip_prefix("//").unwrap_or(path)))
    }
}

/// Without the URL: it may hold a password.
impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// What a database server says the time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedTime {
    /// What it was there, at some moment between question and answer.
    pub time: Timestamp,
    /// How long question and answer took: so much later it may be by now, at most.
    pub within: Duration,
}

impl SharedTime {
    /// Lets a clock hear it.
    pub fn tell(self, clock: &dyn Clock) {
        clock.agree(self.time, self.time.plus(self.within));
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
    /// The new state; kept where `None`.
    pub state: Option<SubjectState>,
    /// All the attributes there will be, labels among them; kept where `None`.
    pub attributes: Option<Attributes>,
    /// Whether failed attempts are forgiven. With another password in force they always are.
    pub forgives: bool,
    /// Whether another caller in use must be left in the tenant that holds `*`.
    pub leaves_administrator: bool,
    /// What happens to secrets, in this order.
    pub secrets: Vec<SecretChange>,
    /// When.
    pub time: Timestamp,
}

impl SubjectChange {
    /// What becomes of the subject it was decided on: known before it is done, for it is done to that version alone.
    #[must_use]
    pub fn foresee(&self, subject: &Subject) -> Subject {
        let mut changed = subject.clone();
        changed.version = self.expected_version + 1;
        changed.update_time = self.time;
        if let Some(login) = &self.login {
            changed.login = Some(login.clone());
        }
        if let Some(state) = self.state {
            changed.state = state;
        }
        if let Some(attributes) = &self.attributes {
            changed.attributes.clone_from(attributes);
        }
        changed
    }

    /// What becomes of its secrets, of those that are not void; the newest first.
    #[must_use]
    pub fn foresee_secrets(&self, secrets: &[Secret]) -> Vec<Secret> {
        let mut kept = secrets.to_vec();
        for change in &self.secrets {
            match change {
                SecretChange::Replace(secret) | SecretChange::Succeed { secret, .. } | SecretChange::Renew(secret) => {
                    kept.retain(|old| old.slot != secret.slot);
                    kept.push(secret.clone());
                }
                SecretChange::Revoke(slot) | SecretChange::Void { slot, .. } => kept.retain(|old| old.slot != *slot),
                SecretChange::Add(secret) => kept.push(secret.clone()),
                SecretChange::Move(slot, moved) => {
                    let it = kept.iter_mut().filter(|old| old.slot == *slot && old.version == moved.version);
                    it.for_each(|secret| moved.apply(secret, self.time));
                }
            }
        }
        kept.retain(|secret| secret.stage != Stage::Revoked);
        kept.sort_by_key(|secret| Reverse(secret.version));
        kept
    }
}

/// What happens to one slot.
#[derive(Clone, Debug)]
pub enum SecretChange {
    /// Everything live in the slot is revoked and wiped, and this becomes current.
    Replace(Secret),
    /// The same, but of the verifiers in the slot the last so many stay sealed, so that none of them is chosen again.
    Succeed {
        /// What becomes current.
        secret: Secret,
        /// How many stay.
        kept: u64,
    },
    /// Everything live in the slot is revoked and wiped.
    Revoke(Slot),
    /// This is added, in its stage, and nothing else becomes of the slot.
    Add(Secret),
    /// One version goes from one stage to another, while it is in the one; revoked, it is wiped.
    Move(Slot, Move),
    /// The same secret goes on as another version: the one before is wiped, and failed attempts still count.
    Renew(Secret),
    /// Everything live in the slot is void, and nothing takes its place; of the verifiers the last so many stay sealed.
    Void {
        /// Which slot.
        slot: Slot,
        /// How many stay.
        kept: u64,
    },
}

impl SecretChange {
    fn slot(&self) -> &Slot {
        match self {
            Self::Replace(secret) | Self::Succeed { secret, .. } | Self::Add(secret) | Self::Renew(secret) => {
                &secret.slot
            }
            Self::Revoke(slot) | Self::Move(slot, _) | Self::Void { slot, .. } => slot,
        }
    }

    /// Whether what is in force in the slot is another one then, or none.
    fn is_in_force(&self) -> bool {
        match self {
            Self::Replace(_) | Self::Succeed { .. } | Self::Revoke(_) | Self::Void { .. } => true,
            Self::Add(secret) => secret.stage == Stage::Current,
            Self::Move(_, moved) => moved.to == Stage::Current,
            // It is what it was.
            Self::Renew(_) => false,
        }
    }
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
    /// Of a token the version that was asked for; of a signing key all that are not revoked, the newest first, for they
    /// have one name: only what is shown tells which one is meant.
    pub versions: Vec<Secret>,
    /// The caller.
    pub subject: Subject,
    /// The caller's tenant.
    pub tenant: Tenant,
}

/// How often one version of a secret was right, and when the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// Whose.
    pub subject_uid: Uid,
    /// Which.
    pub slot: Slot,
    /// Which version of it.
    pub version: i64,
    /// The last time.
    pub last_time: Timestamp,
    /// How often.
    pub count: u64,
}

/// An answer that was given, to be given again where its request comes again.
#[derive(Clone)]
pub struct Reply {
    /// The tenant of whom it was given to.
    pub tenant_uid: Uid,
    /// Whom it was given to.
    pub caller: String,
    /// The id of the request.
    pub request_id: String,
    /// The keyed digest of the request.
    pub digest: Vec<u8>,
    /// The answer, sealed.
    pub answer: Vec<u8>,
    /// The data key that seals it.
    pub key_id: String,
    /// Until when it is given again.
    pub expire_time: Timestamp,
}

/// Without digest and answer.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// The database. Clones share it.
///
/// On SQLite one connection writes and others read; on PostgreSQL both are the same pool.
#[derive(Clone, Debug)]
pub struct Store {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    /// What is kept together with the next change, and when.
    reply: Option<Arc<(Reply, Timestamp)>>,
    changes: Arc<AtomicU64>,
    acts: Arc<AtomicU64>,
    doubt: Doubt,
}

impl Store {
    fn new(writer: DatabaseConnection, reader: DatabaseConnection, doubt: Doubt) -> Self {
        Self { writer, reader, reply: None, changes: Arc::default(), acts: Arc::default(), doubt }
    }

    /// Tells of every statement that clones made from now on run, once with its places and once with its values. For tests:
    /// `tests/store/statements.rs` holds the list of what each operation runs.
    #[doc(hidden)]
    #[must_use]
    pub fn observed(mut self, tell: impl Fn(&str, String) + Clone + Send + Sync + 'static) -> Self {
        for pool in [&mut self.writer, &mut self.reader] {
            let tell = tell.clone();
            pool.set_metric_callback(move |info| tell(&info.statement.sql, info.statement.to_string()));
        }
        self
    }

    /// Grows with every command of this process that may have changed who may call and what for, before its caller hears
    /// of it. What was read under another number is out of date.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Grows with every command of this process that may have changed the database, before its caller hears of it.
    #[must_use]
    pub fn acts(&self) -> u64 {
        self.acts.load(Ordering::SeqCst)
    }
}
