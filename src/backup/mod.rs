//! Backups: a whole database in one file, and back, into either engine. [`write()`] makes one while others write to the
//! database; [`check`] reads one to its end; [`restore()`] fills an empty database with one.
//!
//! What is sealed in the database is sealed in the file; everything else (names, records of acts) stands there as it does
//! in the database. The keyring is not in it.
//!
//! ```text
//! file     magic frame…
//! magic    "rekey backup\r\n\x1a\n": a transfer as text would break it
//! frame    kind (1 byte)  length (4 bytes, big-endian)  body  tag (32 bytes)
//! kinds    H  header:  JSON, first and once: format, key id, salt, time, installation and its epoch, migrations, counts
//!          T  table:   JSON: its name, and the name and kind of each column; begins a table
//!          R  rows:    of the last table; about 256 KiB of them
//!          E  trailer: JSON, last and once: how many rows each table has, and SHA-256 of all bytes before
//! row      a cell for each column
//! cell     0: null; 1 and 8 bytes: integer; 2, 3: no, yes; 4, length (4 bytes) and bytes: text or bytes
//! ```
//!
//! The tag of a frame is HMAC-SHA-256 over the tag before it and the frame, under a key that is derived of the keyring's
//! digest key that the header names, and of the header's salt. So nothing but a header is looked into before it is known
//! that this keyring's holder wrote it, in this place of this file; and a file that is cut off lacks its trailer.
//!
//! Tables and columns are those of the database, which is asked for them; the header's migrations say what they mean. A
//! file of an older program is restored with the migrations it names, and then migrated.

mod frame;
mod parts;
mod restore;
mod write;

use std::io;

use crate::domain::{Error, Installation, Reason, Timestamp};

pub use restore::{Restored, check, restore};
pub use write::write;

/// What went wrong, as a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum BackupError {
    #[error("{0}")]
    File(String),
    #[error("{0}")]
    Keyring(String),
    #[error("{0}")]
    Database(String),
    #[error("{0}")]
    Rollback(String),
}

impl BackupError {
    fn file(sentence: impl Into<String>) -> Self {
        Self::File(sentence.into())
    }
}

impl From<io::Error> for BackupError {
    fn from(cause: io::Error) -> Self {
        Self::File(cause.to_string())
    }
}

/// An operator may read the cause: it is the driver's short text.
impl From<Error> for BackupError {
    fn from(error: Error) -> Self {
        Self::Database(match error.cause() {
            // Its own sentence is for whoever asks a server.
            Some(cause) if error.reason() == Reason::Internal => cause.to_string(),
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }
}

/// What a backup is of, and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Which installation, and how far it had come; `None` where it was never started.
    pub installation: Option<Installation>,
    /// When it was begun, by the clock of whoever did.
    pub time: Timestamp,
    /// The digest key that vouches for it.
    pub key_id: String,
    /// The newest migration.
    pub schema: String,
    /// Tables, and their rows.
    pub tables: Vec<(String, u64)>,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Summary {
    /// Rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }
}

/// How far something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows that are done.
    pub rows: u64,
    /// Rows there are.
    pub of: u64,
    /// Bytes of the file that are done.
    pub bytes: u64,
}
