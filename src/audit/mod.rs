//! What is recorded: who did what to whom, when, with what result, in which request.
//!
//! A record is written in the transaction of the act, by `store`. Never cleartext of any kind.

use std::time::{Duration, Instant};

use crate::domain::{Reason, SubjectKind, Timestamp, Uid};

/// How long something waits, by the machine's own stopwatch, which nobody sets.
#[derive(Clone, Copy, Debug)]
pub struct Wait(Instant);

impl Wait {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a stopwatch")]
        Self::since(Instant::now())
    }

    /// Since then.
    #[must_use]
    pub const fn since(then: Instant) -> Self {
        Self(then)
    }

    /// Until now.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Succeeded,
    /// The caller may not.
    Denied,
    /// It was allowed, and not done: a wrong password, a conflict.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::Denied, Self::Failed];

    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Whom an act was about.
#[derive(Clone, Debug)]
pub enum Target {
    /// A tenant, by its id.
    Tenant(String),
    /// A subject, by the id (or login) that was asked for.
    Subject(SubjectKind, String),
    /// A job.
    Job(Uid),
    /// Nothing in particular.
    None,
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Time-ordered.
    pub uid: Uid,
    /// In whose space.
    pub tenant_uid: Uid,
    /// When.
    pub time: Timestamp,
    /// Who: `tenant/caller`, and how it was proved: `jwt:`, `token:` or `key:` with what names it.
    pub actor: String,
    /// What: the RPC, `UserService/ResetPassword`, or an act within it: `UserService/VerifyPassword#rehash`.
    pub action: &'static str,
    /// To whom.
    pub target: Target,
    /// With what result.
    pub outcome: Outcome,
    /// Why not, where it was not.
    pub reason: Option<Reason>,
    /// In which request.
    pub request_id: String,
    /// What else, in words: a purpose, which parts were set. No value of a secret.
    pub detail: String,
    /// Since when it waits to be written.
    pub wait: Wait,
}

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of Record, as the database has it")]
pub struct Kept {
    pub uid: Uid,
    pub time: Timestamp,
    pub actor: String,
    pub action: String,
    pub target_kind: Option<String>,
    pub target_id: Option<String>,
    pub outcome: String,
    pub reason: Option<String>,
    pub request_id: String,
    pub detail: String,
}

/// Which records are asked for: those that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The act.
    pub action: Option<String>,
    /// The result.
    pub outcome: Option<Outcome>,
    /// The kind of thing it was about: `tenant`, or a kind of subject's name.
    pub target_kind: Option<String>,
    /// Which of them.
    pub target_id: Option<String>,
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
}

/// A page of records, read from the oldest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The records, the oldest first.
    pub records: Vec<Kept>,
    /// What everything before has been looked at.
    pub position: String,
    /// Whether there is more to look at already.
    pub more: bool,
}
