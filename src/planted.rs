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
