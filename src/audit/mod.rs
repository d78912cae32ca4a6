//! What is recorded: who did what to whom, when, with what result, in which request.
//!
//! A record is written in the transaction of the act, by `store`. Never cleartext of any kind.

use crate::domain::{Reason, SubjectKind, Timestamp, Uid};

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
}
