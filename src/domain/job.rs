//! Jobs: what is done to many subjects, one after the other, however often it is interrupted.
//!
//! A job goes through the subjects in the order of their uids, from its cursor to the last one there was when it began.
//! Each step changes one of them and moves the cursor, or does neither: so whoever goes on from the cursor changes
//! nobody twice and leaves nobody out, and what is added or deleted meanwhile moves nobody else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Filter, Permission, Reason, SubjectKind, Timestamp, Uid, subject::etag};

/// What is done to each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Devices get new passwords.
    ResetMany {
        /// For how many seconds those of before are accepted besides.
        #[serde(default)]
        overlap_s: u64,
        /// Whether the older one goes where two live already; else the device is passed over.
        #[serde(default)]
        drop_oldest: bool,
    },
    /// Users' passwords expire.
    ExpirePasswords {
        /// What becomes of them.
        mode: ExpiryMode,
    },
}

/// What becomes of a password that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryMode {
    /// It is good for being changed, and for nothing else.
    MustChange,
    /// It is void.
    Void,
}

impl Task {
    /// To which kind of subject.
    #[must_use]
    pub const fn subjects(&self) -> SubjectKind {
        match self {
            Self::ResetMany { .. } => SubjectKind::Device,
            Self::ExpirePasswords { .. } => SubjectKind::User,
        }
    }

    /// What whoever asks for it must hold, then and for as long as it is done.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        match self {
            Self::ResetMany { .. } => Permission::RESET_MANY,
            Self::ExpirePasswords { .. } => Permission::EXPIRE_PASSWORDS,
        }
    }

    /// Whether the passwords of before are good for nothing any more.
    #[must_use]
    pub const fn ends_those_before(&self) -> bool {
        match self {
            Self::ResetMany { overlap_s, .. } => *overlap_s == 0,
            Self::ExpirePasswords { .. } => true,
        }
    }

    /// The RPC that begins it, as it is recorded.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::ResetMany { .. } => "DeviceService/ResetMany",
            Self::ExpirePasswords { .. } => "UserService/ExpirePasswords",
        }
    }
}

/// Who asked: enough to look up whether they still may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The tenant it belongs to.
    pub tenant_uid: Uid,
    /// Its public id; for a JWT its `sub`.
    pub id: String,
    /// Where it is kept as a caller: which, for its id may be another's by then.
    pub caller_uid: Option<Uid>,
    /// Of what kind its proof was.
    pub proof: String,
    /// What names the proof.
    pub proof_name: String,
    /// What it may do by its JWT, whose issuer is not asked again.
    pub permissions: Vec<String>,
    /// As the record of acts names it.
    pub name: String,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It goes on.
    Running,
    /// It came to its end.
    Done,
    /// It was stopped by somebody.
    Cancelled,
    /// It was stopped because it may not go on.
    Failed,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];

    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// How one subject fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was changed.
    Done,
    /// It was passed over.
    Skipped(Reason),
    /// It should have been changed, and was not.
    Failed(Reason),
}

/// How many fared how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that were changed.
    pub done: i64,
    /// Those that were passed over.
    pub skipped: i64,
    /// Those that should have been changed.
    pub failed: i64,
    /// Why the last two were not, by the names of reasons.
    pub reasons: BTreeMap<String, i64>,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, fate: Fate) {
        let reason = match fate {
            Fate::Done => {
                self.done += 1;
                return;
            }
            Fate::Skipped(reason) => {
                self.skipped += 1;
                reason
            }
            Fate::Failed(reason) => {
                self.failed += 1;
                reason
            }
        };
        *self.reasons.entry(reason.name()).or_default() += 1;
    }

    /// The counts, for the record of acts.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { done, skipped, failed, reasons } = self;
        let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        format!("{done} done, {skipped} skipped, {failed} failed{reasons}")
    }
}

/// A job as it is kept.
#[derive(Clone, Debug)]
pub struct Job {
    /// Never used twice. It is made by the dry run, so that a confirmation begins one job.
    pub uid: Uid,
    /// In whose space.
    pub tenant_uid: Uid,
    /// What is done to each.
    pub task: Task,
    /// Who asked.
    pub asker: Asker,
    /// In which request, for the record of acts.
    pub request_id: String,
    /// To whom.
    pub filter: Filter,
    /// The same as it was written.
    pub filter_text: String,
    /// How far it is.
    pub state: JobState,
    /// Why it failed: the name of a reason.
    pub reason: Option<String>,
    /// How many there were when it began.
    pub total: i64,
    /// How they fared so far.
    pub tally: Tally,
    /// The uid of the last one that was looked at; empty at first.
    pub cursor: String,
    /// The uid of the last one there was when it began; empty where there was none.
    pub until: String,
    /// How many are looked at a second, at most.
    pub max_per_second: u32,
    /// The process that works on it, or did; empty where it gave it back.
    pub owner: String,
    /// Grows with every change of it. Whoever changes it names the one it knows.
    pub revision: i64,
    /// When it began.
    pub create_time: Timestamp,
    /// When it last came further.
    pub update_time: Timestamp,
    /// When it ended.
    pub end_time: Option<Timestamp>,
}

impl Job {
    /// The etag of this state.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(&self.uid, self.revision)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state != JobState::Running
    }

    /// The same job after one more subject.
    #[must_use]
    pub fn after(&self, subject: &Uid, fate: Fate, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.tally.count(fate);
        subject.as_str().clone_into(&mut after.cursor);
        after.revision += 1;
        after.update_time = now;
        after
    }
}

/// By how many the number of subjects may have changed since the dry run, where the request does not say.
#[must_use]
pub fn default_tolerance(planned: i64) -> i64 {
    planned / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_says_what_it_counted() {
        let mut tally = Tally::default();
        assert_eq!(tally.sentence(), "0 done, 0 skipped, 0 failed");
        for fate in [
            Fate::Done,
            Fate::Skipped(Reason::RankTooLow),
            Fate::Done,
            Fate::Skipped(Reason::SecretNotSet),
            Fate::Failed(Reason::Internal),
            Fate::Skipped(Reason::RankTooLow),
        ] {
            tally.count(fate);
        }
        let sentence = "2 done, 3 skipped, 1 failed (INTERNAL 1, RANK_TOO_LOW 2, SECRET_NOT_SET 1)";
        assert_eq!(tally.sentence(), sentence);
    }

    #[test]
    fn what_is_kept_of_a_task_stays_readable() {
        for (task, json) in [
            (
                Task::ResetMany { overlap_s: 60, drop_oldest: true },
                r#"{"reset_many":{"overlap_s":60,"drop_oldest":true}}"#,
            ),
            (Task::ExpirePasswords { mode: ExpiryMode::MustChange }, r#"{"expire_passwords":{"mode":"must_change"}}"#),
            (Task::ExpirePasswords { mode: ExpiryMode::Void }, r#"{"expire_passwords":{"mode":"void"}}"#),
        ] {
            assert_eq!(serde_json::to_string(&task).unwrap(), json);
            assert_eq!(serde_json::from_str::<Task>(json).unwrap(), task);
        }
    }

    #[test]
    fn one_in_a_hundred_may_come_or_go() {
        for (planned, tolerance) in [(0, 0), (1, 0), (99, 0), (100, 1), (500, 5), (1_000_000, 10_000)] {
            assert_eq!(default_tolerance(planned), tolerance);
        }
    }
}
