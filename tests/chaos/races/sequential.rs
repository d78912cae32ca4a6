//! What one subject is like, as if one process did one thing after the other: the model that histories are held against.

/// An etag, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Etag {
    uid: u128,
    version: u32,
}

impl Etag {
    /// `<uid>-<version>`, both in hex.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (uid, version) = text.rsplit_once('-')?;
        Some(Self { uid: u128::from_str_radix(uid, 16).ok()?, version: u32::from_str_radix(version, 16).ok()? })
    }

    /// As it is sent.
    pub(super) fn text(self) -> String {
        format!("{:024x}-{:x}", self.uid, self.version)
    }

    #[cfg(test)]
    pub(super) const fn of(uid: u128, version: u32) -> Self {
        Self { uid, version }
    }
}

/// Whether a subject is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Active,
    Locked,
    Disabled,
}

/// What an administrator does to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Lock,
    Unlock,
    Disable,
    Enable,
}

impl Move {
    /// As documented; `None` where the mode is in its way.
    const fn from(self, mode: Mode) -> Option<Mode> {
        match (self, mode) {
            (Self::Disable, _) => Some(Mode::Disabled),
            (Self::Enable, Mode::Locked) | (Self::Lock | Self::Unlock, Mode::Disabled) => None,
            (Self::Lock, Mode::Active | Mode::Locked) => Some(Mode::Locked),
            (Self::Unlock, Mode::Active | Mode::Locked) | (Self::Enable, Mode::Active | Mode::Disabled) => {
                Some(Mode::Active)
            }
        }
    }
}

/// What is asked. Passwords are numbers here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Create {
        password: u32,
    },
    Delete {
        etag: Option<Etag>,
    },
    Reset {
        password: u32,
        etag: Option<Etag>,
    },
    /// By its owner; of users alone.
    Change {
        current: u32,
        new: u32,
    },
    Moved {
        to: Move,
        etag: Option<Etag>,
    },
    Verify {
        password: u32,
    },
    Get,
}

impl Act {
    /// Whether it may change something.
    pub(super) const fn changes(self) -> bool {
        !matches!(self, Self::Verify { .. } | Self::Get)
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Done; with the etag that it has then, unless it is gone.
    Done(Option<Etag>),
    Verified(bool),
    Shown(Etag, Mode),
    NotThere,
    /// Something of this id is there already.
    Taken,
    /// It has another etag.
    Stale,
    /// Another change came first. Which one, nobody says.
    Beaten,
    /// Its mode is in the way.
    InTheWay,
    /// The current password is another one.
    Mismatch,
    /// There was none: it may be done at any time, or never.
    Unknown,
}

/// A subject that is there. Its uid may be known to nobody yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    uid: Option<u128>,
    version: u32,
    mode: Mode,
    password: u32,
}

/// A subject, or none.
pub(super) type State = Option<Subject>;

impl Subject {
    /// With what an etag tells; `None` where it is another one's.
    fn told(self, etag: Etag) -> Option<Self> {
        let fits = etag.version == self.version && self.uid.is_none_or(|uid| uid == etag.uid);
        fits.then_some(Self { uid: Some(etag.uid), ..self })
    }

    /// As the etag says that was asked for, where one was.
    fn asked_for(self, etag: Option<Etag>) -> Option<Self> {
        etag.map_or(Some(self), |etag| self.told(etag))
    }

    const fn next(self) -> Self {
        Self { version: self.version + 1, ..self }
    }
}

/// What the state is after this was asked and so answered; `None` where that cannot have been the answer.
pub(super) fn step(state: State, act: Act, answer: Answer) -> Option<State> {
    match answer {
        Answer::Unknown => effect(state, act),
        Answer::Done(etag) => match (effect(state, act)?, etag) {
            (Some(after), Some(etag)) => after.told(etag).map(Some),
            (None, None) => Some(None),
            (Some(_), None) | (None, Some(_)) => None,
        },
        Answer::Verified(right) => {
            let Act::Verify { password } = act else { return None };
            let is_right = state.is_some_and(|subject| subject.mode == Mode::Active && subject.password == password);
            (is_right == right).then_some(state)
        }
        Answer::Shown(etag, mode) => {
            let subject = state?.told(etag)?;
            (subject.mode == mode).then_some(Some(subject))
        }
        Answer::NotThere => state.is_none().then_some(None),
        Answer::Taken => (matches!(act, Act::Create { .. }) && state.is_some()).then_some(state),
        Answer::Stale => {
            let subject = state?;
            let (Act::Delete { etag } | Act::Reset { etag, .. } | Act::Moved { etag, .. }) = act else { return None };
            // Where nobody knows its uid, it may be another one.
            let may_differ = |etag| subject.uid.is_none() || subject.told(etag).is_none();
            etag.is_some_and(may_differ).then_some(state)
        }
        Answer::Beaten => Some(state),
        Answer::InTheWay => {
            let subject = state?;
            match act {
                Act::Moved { to, .. } => to.from(subject.mode).is_none().then_some(state),
                Act::Change { current, .. } => {
                    (subject.mode != Mode::Active && subject.password == current).then_some(state)
                }
                Act::Create { .. } | Act::Delete { .. } | Act::Reset { .. } | Act::Verify { .. } | Act::Get => None,
            }
        }
        Answer::Mismatch => {
            let Act::Change { current, .. } = act else { return None };
            (state?.password != current).then_some(state)
        }
    }
}

/// What an act that is done makes of the state; `None` where it cannot be done.
fn effect(state: State, act: Act) -> Option<State> {
    match (act, state) {
        (Act::Create { password }, None) => Some(Some(Subject { uid: None, version: 1, mode: Mode::Active, password })),
        (Act::Delete { etag }, Some(subject)) => subject.asked_for(etag).map(|_| None),
        (Act::Reset { password, etag }, Some(subject)) => {
            Some(Some(Subject { password, ..subject.asked_for(etag)?.next() }))
        }
        (Act::Change { current, new }, Some(subject)) => {
            let right = subject.mode == Mode::Active && subject.password == current;
            right.then_some(Some(Subject { password: new, ..subject.next() }))
        }
        (Act::Moved { to, etag }, Some(subject)) => {
            let subject = subject.asked_for(etag)?;
            let mode = to.from(subject.mode)?;
            Some(Some(if mode == subject.mode { subject } else { Subject { mode, ..subject.next() } }))
        }
        (Act::Verify { .. } | Act::Get, state) => Some(state),
        (Act::Create { .. }, Some(_))
        | (Act::Delete { .. } | Act::Reset { .. } | Act::Change { .. } | Act::Moved { .. }, None) => None,
    }
}
