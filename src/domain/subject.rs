//! Subjects: who or what has secrets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ResourceId, Timestamp, Uid};

/// The kinds of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// A person with a password.
    User,
    /// A machine with a user name and password.
    Device,
    /// A third party.
    Integration,
    /// Who calls Rekey.
    Caller,
}

impl SubjectKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::User, Self::Device, Self::Integration, Self::Caller];

    /// Its name, in the database and in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Integration => "integration",
            Self::Caller => "caller",
        }
    }
}

/// Whether a subject is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectState {
    /// In use.
    Active,
    /// Put out of use by an administrator.
    Disabled,
    /// Blocked until it is unlocked.
    Locked,
}

impl SubjectState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Disabled, Self::Locked];

    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Locked => "locked",
        }
    }

    /// The state after an administrator's act; `None` where this state is in its way.
    #[must_use]
    pub const fn after(self, transition: Transition) -> Option<Self> {
        match (transition, self) {
            (Transition::Disable, _) => Some(Self::Disabled),
            (Transition::Enable, Self::Locked) | (Transition::Lock | Transition::Unlock, Self::Disabled) => None,
            (Transition::Lock, Self::Active | Self::Locked) => Some(Self::Locked),
            (Transition::Unlock, Self::Active | Self::Locked) | (Transition::Enable, Self::Active | Self::Disabled) => {
                Some(Self::Active)
            }
        }
    }
}

/// What an administrator does to a subject's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// Block it.
    Lock,
    /// Let it in again, and forgive its failed attempts.
    Unlock,
    /// Put it out of use.
    Disable,
    /// Put it back into use.
    Enable,
}

/// Names and values for whoever keeps a thing.
pub type Labels = BTreeMap<String, String>;

/// How a request names a subject.
#[derive(Clone, Debug)]
pub enum SubjectRef {
    /// By public id.
    Id(ResourceId),
    /// By what it signs in with.
    Login(String),
}

impl SubjectRef {
    /// Which of the two it is: `id` or `login`.
    #[must_use]
    pub const fn form(&self) -> &'static str {
        match self {
            Self::Id(_) => "id",
            Self::Login(_) => "login",
        }
    }

    /// The id or login.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Id(id) => id.as_str(),
            Self::Login(login) => login,
        }
    }
}

/// What only some kinds have; kept as JSON. Never a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// A caller's permissions, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Names and values for whoever keeps it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// How high a user or caller stands.
    #[serde(skip_serializing_if = "is_zero")]
    pub rank: u32,
    /// What a caller is there for, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A subject as it is kept.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Never used twice.
    pub uid: Uid,
    /// Whose it is.
    pub tenant_uid: Uid,
    /// What it is.
    pub kind: SubjectKind,
    /// Its public id, unique for its tenant and kind.
    pub id: ResourceId,
    /// What it signs in with, unique for its tenant and kind; callers have none.
    pub login: Option<String>,
    /// In use or not.
    pub state: SubjectState,
    /// What only some kinds have.
    pub attributes: Attributes,
    /// Grows by one with every change, also of a secret; the etag is made of it.
    pub version: i64,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

impl Subject {
    /// The etag of this state. Weak against nothing: uid and version never come again.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(&self.uid, self.version)
    }
}

/// The etag of a row in this version.
#[must_use]
pub fn etag(uid: &Uid, version: i64) -> String {
    format!("{uid}-{version:x}")
}

#[cfg(test)]
mod tests {
    use super::{SubjectState::*, Transition::*, *};

    #[test]
    fn the_states_follow_each_other_as_documented() {
        for (transition, active, locked, disabled) in [
            (Lock, Some(Locked), Some(Locked), None),
            (Unlock, Some(Active), Some(Active), None),
            (Disable, Some(Disabled), Some(Disabled), Some(Disabled)),
            (Enable, Some(Active), None, Some(Active)),
        ] {
            let after = [Active, Locked, Disabled].map(|state: SubjectState| state.after(transition));
            assert_eq!(after, [active, locked, disabled], "{transition:?}");
        }
    }

    #[test]
    fn what_was_written_before_there_were_labels_still_reads() {
        let old: Attributes = serde_json::from_str(r#"{"display_name":"x","permissions":["*"]}"#).unwrap();
        assert_eq!((old.rank, old.labels.len(), old.roles.len()), (0, 0, 0));
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"display_name":"x","permissions":["*"]}"#);
    }
}
