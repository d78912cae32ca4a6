//! Bugs that tests plant, so that it is seen that they would be found: `PLANTED_BUG=record_apart rekey serve`.
//!
//! A release has none of them: without debug assertions the question is answered at compile time, and what hangs on it
//! is left out. `.ci/run` looks for the variable's name in the release binary, `tests/architecture` for who asks.

#[cfg(debug_assertions)]
use std::{env, sync::LazyLock};

/// A bug, and the test that must catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A change is answered for before it is committed: lost by a kill.
    AnswerBeforeCommit,
    /// A record is written after its change, in a transaction of its own: left out by a kill.
    RecordApart,
    /// A kept answer is written after its change: a repetition does it twice.
    ReplyApart,
    /// Settings are wiped after the password was set: halves of a reset.
    SettingsApart,
    /// An error at a commit counts as done.
    CommitErrorIgnored,
    /// An error at a commit is answered as if nothing was done.
    CommitErrorRefused,
    /// SQLite does not wait for the disk: lost when the power is.
    SynchronousOff,
    /// A connection whose transaction failed never comes back to the pool.
    ConnectionLeaked,
    /// Whoever wants a connection waits as long as it takes.
    EndlessPatience,
    /// The service says that it is ready, whatever the database says.
    AlwaysReady,
    /// A backup reads each table as of another moment: changes by half in it.
    TornBackup,
    /// The anchor is written before the database has the mark: a false alarm after a crash.
    AnchorAhead,
    /// An etag is compared by the process alone, not where it is written: two of one etag are done.
    EtagInMemory,
    /// What a process has read of a subject once it believes for ever.
    SubjectInMemory,
    /// A request id that another process works on is not known: the same is done twice.
    RequestIdInMemory,
    /// Failed attempts are read, added up and written, whoever does so meanwhile.
    TallyReadThenWritten,
    /// Migrations are applied by whoever starts, at the same time.
    MigrationUnlocked,
    /// Credentials that were read once are believed for ever: a revoked token is taken.
    KnownForEver,
    /// Each process goes by its machine's clock.
    OwnClock,
    /// A stage has another name than the version before knows.
    StageRenamed,
    /// What moves to another data key is written in two transactions: which key seals it, and the ciphertext.
    ResealApart,
    /// A change ends with its call, and its answer is kept after it.
    TransactionInCall,
}

/// Whether this process has the bug.
#[cfg(debug_assertions)]
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    static PLANTED: LazyLock<Option<String>> = LazyLock::new(|| env::var("PLANTED_BUG").ok());
    let name = match bug {
        Bug::AnswerBeforeCommit => "answer_before_commit",
        Bug::RecordApart => "record_apart",
        Bug::ReplyApart => "reply_apart",
        Bug::SettingsApart => "settings_apart",
        Bug::CommitErrorIgnored => "commit_error_ignored",
        Bug::CommitErrorRefused => "commit_error_refused",
        Bug::SynchronousOff => "synchronous_off",
        Bug::ConnectionLeaked => "connection_leaked",
        Bug::EndlessPatience => "endless_patience",
        Bug::AlwaysReady => "always_ready",
        Bug::TornBackup => "torn_backup",
        Bug::AnchorAhead => "anchor_ahead",
        Bug::EtagInMemory => "etag_in_memory",
        Bug::SubjectInMemory => "subject_in_memory",
        Bug::RequestIdInMemory => "request_id_in_memory",
        Bug::TallyReadThenWritten => "tally_read_then_written",
        Bug::MigrationUnlocked => "migration_unlocked",
        Bug::KnownForEver => "known_for_ever",
        Bug::OwnClock => "own_clock",
        Bug::StageRenamed => "stage_renamed",
        Bug::ResealApart => "reseal_apart",
        Bug::TransactionInCall => "transaction_in_call",
    };
    PLANTED.as_deref() == Some(name)
}

/// No release has a bug that was planted.
#[cfg(not(debug_assertions))]
#[must_use]
#[inline]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
