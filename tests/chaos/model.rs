//! What a subject can be like after what was asked and answered: one state where everything is known, several where the
//! outcome of a call is not.

use std::{collections::BTreeMap, fmt};

/// A subject of the load.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) id: String,
}

/// Which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Device,
    Integration,
    User,
    Caller,
}

impl Kind {
    /// As the database and the record of acts spell it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Integration => "integration",
            Self::User => "user",
            Self::Caller => "caller",
        }
    }
}

/// Where a new secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Given(String),
    Generated,
}

/// What is asked to be done to a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Makes it: what it signs in with, its password where it has one, its settings.
    Create {
        login: String,
        source: Option<Source>,
        settings: Option<String>,
    },
    /// A device: user name, password, or both.
    Reset {
        login: Option<String>,
        source: Option<Source>,
    },
    /// A device: a new password, and the one that was in force is accepted besides it for a while.
    Rotate {
        source: Source,
    },
    /// A device: the password before is in force again, alone.
    RollBack,
    /// An integration: a new password, and all settings wiped, together.
    Wipe,
    /// An integration's settings.
    Configure {
        settings: String,
    },
    /// A user's password, by its owner.
    Change {
        current: String,
        new: String,
    },
    /// Its labels.
    Label {
        value: String,
    },
    Lock,
    Unlock,
    /// A caller's API token.
    AddToken,
    RevokeToken {
        token_id: String,
    },
    /// A check of the password; changes nothing.
    Verify {
        password: String,
    },
}

impl Act {
    /// Whether it changes something.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Verify { .. })
    }
}

/// One request: of an act at a subject.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) subject: Subject,
    pub(crate) act: Act,
    /// What makes a repetition harmless; none where empty.
    pub(crate) request_id: String,
    /// Under which it is recorded: unique to each sending.
    pub(crate) trace: String,
}

/// What an answer says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The subject's version, where an etag tells it.
    pub(crate) version: Option<i64>,
    pub(crate) login: String,
    /// The password, where it is shown.
    pub(crate) password: Option<String>,
    /// A token's id and itself.
    pub(crate) token: Option<(String, String)>,
    /// Of a check.
    pub(crate) verified: bool,
    /// The whole message, as it came.
    pub(crate) bytes: Vec<u8>,
}

/// Without its bytes, and with its secrets: they are a test's own.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, login, password, token, verified, bytes: _ } = self;
        write!(f, "{version:?} {login} {password:?} {token:?} {verified}")
    }
}

/// A secret that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What it is; absent where it was made and its answer never came.
    pub(crate) value: Option<String>,
    /// Its version: that of the subject when it was set.
    pub(crate) version: i64,
}

/// A state that a subject may be in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// 0 where it is not there.
    pub(crate) version: i64,
    pub(crate) login: String,
    pub(crate) password: Option<Kept>,
    /// The one before, where it is accepted as well.
    pub(crate) previous: Option<Kept>,
    /// The last password before this one that is known and void.
    pub(crate) replaced: Option<String>,
    pub(crate) settings: Option<Kept>,
    pub(crate) label: String,
    pub(crate) locked: bool,
    /// Live tokens by their version: id and token, where its answer came.
    pub(crate) tokens: BTreeMap<i64, Option<(String, String)>>,
    /// The last token that was revoked.
    pub(crate) revoked: Option<String>,
    /// The calls that made it what it is, by their numbers, since it was last settled.
    pub(crate) applied: Vec<u64>,
}

impl State {
    /// What an act makes of it; the answer where there is one.
    pub(crate) fn after(&self, number: u64, act: &Act, answer: Option<&Answer>) -> Self {
        let mut state = self.clone();
        if !act.changes() {
            return state;
        }
        let version = self.version + 1;
        state.version = version;
        state.applied.push(number);
        let shown = answer.and_then(|answer| answer.password.clone());
        let set = |state: &mut Self, value: Option<String>| {
            let before = state.password.take().and_then(|kept| kept.value);
            state.replaced = before.or(state.replaced.take());
            state.previous = None;
            state.password = Some(Kept { value, version });
        };
        match act {
            Act::Create { login, source, settings } => {
                state.login.clone_from(login);
                if let Some(source) = source {
                    set(&mut state, value(source, shown));
                }
                state.settings = settings.clone().map(|value| Kept { value: Some(value), version });
            }
            Act::Reset { login, source } => {
                if let Some(login) = login {
                    state.login.clone_from(login);
                }
                if let Some(source) = source {
                    set(&mut state, value(source, shown));
                }
            }
            Act::Rotate { source } => {
                let dropped = state.previous.take().and_then(|kept| kept.value);
                state.replaced = dropped.or(state.replaced.take());
                state.previous = state.password.replace(Kept { value: value(source, shown), version });
            }
            Act::RollBack => {
                let dropped = state.password.take().and_then(|kept| kept.value);
                state.replaced = dropped.or(state.replaced.take());
                state.password = state.previous.take();
            }
            Act::Wipe => {
                set(&mut state, shown);
                state.settings = None;
            }
            Act::Configure { settings } => state.settings = Some(Kept { value: Some(settings.clone()), version }),
            Act::Change { new, .. } => set(&mut state, Some(new.clone())),
            Act::Label { value } => state.label.clone_from(value),
            Act::Lock => state.locked = true,
            Act::Unlock => state.locked = false,
            Act::AddToken => {
                state.tokens.insert(version, answer.and_then(|answer| answer.token.clone()));
            }
            Act::RevokeToken { token_id } => {
                let named = |token: &Option<(String, String)>| token.as_ref().is_some_and(|(id, _)| id == token_id);
                state.revoked =
                    state.tokens.values().find(|token| named(token)).cloned().flatten().map(|(_, token)| token);
                state.tokens.retain(|_, token| !named(token));
            }
            Act::Verify { .. } => {}
        }
        state
    }
}

impl State {
    /// Takes over what an answer that was given late, to a repetition, shows of what was made.
    pub(crate) fn learn(&mut self, answer: &Answer) {
        if let (Some(kept), Some(_)) = (&mut self.password, &answer.password)
            && kept.value.is_none()
            && Some(kept.version) == answer.version
        {
            kept.value.clone_from(&answer.password);
        }
        let mut unseen = self.tokens.values_mut().filter(|token| token.is_none());
        if let (Some(token), None) = (unseen.next(), unseen.next()) {
            token.clone_from(&answer.token);
        }
    }
}

fn value(source: &Source, shown: Option<String>) -> Option<String> {
    match source {
        Source::Given(value) => Some(value.clone()),
        Source::Generated => shown,
    }
}
