//! The life of a secret's versions: PENDING → CURRENT → PREVIOUS → REVOKED.
//!
//! What an act comes to is planned here, over the versions of one slot that are kept and the time; the store then does it
//! step by step, each only while its version is in the stage that it was planned on, and all of them or none.
//!
//! Of a slot there is never more than one CURRENT, one PREVIOUS and one PENDING, and never more than two that live. A
//! PREVIOUS one ends with its deadline, which is its `expire_time`: so whether it is accepted is told by the row and
//! the time alone, whether or not anybody has swept it away since.

use std::time::Duration;

use super::{Error, Reason, Secret, Stage, Timestamp};

/// Versions of a slot that may live at once.
pub const MOST_LIVE: usize = 2;

/// A version that is not revoked, as far as its life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which.
    pub version: i64,
    /// Where in its life.
    pub stage: Stage,
    /// When it ends; see [`Secret::expire_time`].
    pub expire_time: Option<Timestamp>,
    /// When it would have ended; see [`Secret::own_expire_time`].
    pub own_expire_time: Option<Timestamp>,
}

/// How a new version begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// In force at once. What was in force is accepted for so long besides; where that is nothing, all else is void.
    Current {
        /// How long.
        overlap: Duration,
    },
    /// Accepted nowhere until it is promoted.
    Pending,
}

/// What is done about a new version where [`MOST_LIVE`] live already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLimit {
    /// It is refused.
    #[default]
    Refuse,
    /// The PENDING one goes, or where there is none the PREVIOUS one.
    DropOldest,
}

/// What is done to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A new version is added.
    Reset {
        /// How it begins.
        beginning: Beginning,
        /// What if it is one too many.
        at_limit: AtLimit,
    },
    /// The PENDING one comes into force; what was in force is accepted for so long besides.
    Promote {
        /// How long.
        overlap: Duration,
    },
    /// The PREVIOUS one comes into force again, and what was in force is void.
    RollBack,
    /// CURRENT and PREVIOUS change places; the deadline stays.
    Swap,
    /// One version is void.
    Revoke {
        /// Which.
        version: i64,
        /// Whether it may be the last that is accepted.
        allow_last: bool,
    },
}

/// One step of what an act comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A version changes its stage.
    Move(Move),
    /// The new version is added in this stage.
    Add(Stage),
}

/// A version's change of stage, which is done only while it is in the stage it comes from. Revoked, it is wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub version: i64,
    /// From where.
    pub from: Stage,
    /// To where.
    pub to: Stage,
    /// When it then ends.
    pub expire_time: Option<Timestamp>,
    /// When it would have ended, where it is PREVIOUS then.
    pub own_expire_time: Option<Timestamp>,
}

/// Why an act is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many as may live already.
    AtLimit,
    /// Nothing to promote.
    NoPending,
    /// Nothing to go back to.
    NoPrevious,
    /// Nothing in force to change places with.
    NoCurrent,
    /// It is in force, and there is one to go back to.
    HasPrevious,
    /// Nothing else is accepted.
    Last,
    /// There is no such version, or it is void.
    UnknownVersion,
}

impl Version {
    /// Whether it is, or by a promotion would be, accepted at this time.
    fn is_live(&self, now: Timestamp) -> bool {
        self.stage != Stage::Revoked && self.expire_time.is_none_or(|end| now < end)
    }

    fn is_accepted(&self, now: Timestamp) -> bool {
        self.stage.is_accepted() && self.is_live(now)
    }

    fn step(&self, to: Stage, expire_time: Option<Timestamp>, own_expire_time: Option<Timestamp>) -> Step {
        Step::Move(Move { version: self.version, from: self.stage, to, expire_time, own_expire_time })
    }

    fn revoked(&self) -> Step {
        self.step(Stage::Revoked, self.expire_time, self.own_expire_time)
    }

    /// In force, until its own end.
    fn current(&self) -> Step {
        let end = if self.stage == Stage::Previous { self.own_expire_time } else { self.expire_time };
        self.step(Stage::Current, end, None)
    }

    /// Accepted until the deadline, or its own end if that comes first.
    fn previous(&self, deadline: Option<Timestamp>) -> Step {
        let sooner = [self.expire_time, deadline].into_iter().flatten().min();
        self.step(Stage::Previous, sooner, self.expire_time)
    }
}

impl From<&Secret> for Version {
    fn from(secret: &Secret) -> Self {
        let Secret { version, stage, expire_time, own_expire_time, .. } = *secret;
        Self { version, stage, expire_time, own_expire_time }
    }
}

impl Move {
    /// What becomes of the version itself.
    pub fn apply(&self, secret: &mut Secret, time: Timestamp) {
        secret.stage = self.to;
        secret.stage_time = time;
        secret.expire_time = self.expire_time;
        secret.own_expire_time = self.own_expire_time;
        if self.to == Stage::Revoked {
            secret.payload.clear();
        }
    }
}

/// What an act on these versions of a slot comes to at this time. What has ended before it, and is neither in force nor
/// would come into force again, is swept away on the way.
///
/// # Errors
/// Why it is refused; then nothing is done.
pub fn plan(versions: &[Version], act: Act, now: Timestamp) -> Result<Vec<Step>, Refusal> {
    let live = |stage| versions.iter().find(|version| version.stage == stage && version.is_live(now));
    let (pending, current, previous) = (live(Stage::Pending), live(Stage::Current), live(Stage::Previous));
    let mut gone: Vec<&Version> =
        versions.iter().filter(|version| version.stage != Stage::Revoked && !version.is_live(now)).collect();
    let mut steps = Vec::new();
    match act {
        Act::Reset { beginning: Beginning::Current { overlap }, .. } if overlap.is_zero() => {
            gone = versions.iter().filter(|version| version.stage != Stage::Revoked).collect();
            steps.push(Step::Add(Stage::Current));
        }
        Act::Reset { beginning, at_limit } => {
            let lives = [pending, current, previous].into_iter().flatten().count();
            let is_second = beginning == Beginning::Pending && pending.is_some();
            if lives >= MOST_LIVE || is_second {
                match at_limit {
                    AtLimit::Refuse => return Err(Refusal::AtLimit),
                    AtLimit::DropOldest => gone.extend(pending.or(previous)),
                }
            }
            match beginning {
                Beginning::Current { overlap } => {
                    steps.extend(current.map(|current| current.previous(Some(now.plus(overlap)))));
                    steps.push(Step::Add(Stage::Current));
                }
                Beginning::Pending => {
                    // Whatever it is, it stays in its place until another comes there.
                    gone.retain(|version| version.stage != Stage::Current);
                    steps.push(Step::Add(Stage::Pending));
                }
            }
        }
        Act::Promote { overlap } => {
            let pending = pending.ok_or(Refusal::NoPending)?;
            if overlap.is_zero() {
                gone.extend(current);
                gone.extend(previous);
            } else if let Some(current) = current {
                gone.extend(previous);
                steps.push(current.previous(Some(now.plus(overlap))));
            }
            steps.push(pending.current());
        }
        Act::RollBack => {
            let previous = previous.ok_or(Refusal::NoPrevious)?;
            gone.extend(current);
            steps.push(previous.current());
        }
        Act::Swap => {
            let previous = previous.ok_or(Refusal::NoPrevious)?;
            let current = current.ok_or(Refusal::NoCurrent)?;
            steps.extend([current.previous(previous.expire_time), previous.current()]);
        }
        Act::Revoke { version, allow_last } => {
            let target = versions.iter().find(|other| other.version == version && other.stage != Stage::Revoked);
            let target = target.ok_or(Refusal::UnknownVersion)?;
            if target.stage == Stage::Current && previous.is_some() {
                return Err(Refusal::HasPrevious);
            }
            let others = versions.iter().any(|other| other.version != version && other.is_accepted(now));
            if target.is_accepted(now) && !others && !allow_last {
                return Err(Refusal::Last);
            }
            gone.retain(|other| other.stage != Stage::Current && other.version != version);
            gone.push(target);
        }
    }
    // First what goes, so that no two are ever in one place.
    Ok(gone.into_iter().map(Version::revoked).chain(steps).collect())
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AtLimit => {
                let message =
                    "two versions of the secret live already; revoke one of them, or let the older one be dropped";
                Self::new(Reason::TwoSecretsLive, message)
            }
            Refusal::NoPending => Self::new(Reason::NoPendingSecret, "no version of the secret is pending"),
            Refusal::NoPrevious => {
                Self::new(Reason::NoPreviousSecret, "no version of the secret is previous and still accepted")
            }
            Refusal::NoCurrent => Self::new(Reason::SecretNotSet, "no version of the secret is in force"),
            Refusal::HasPrevious => {
                let message = "this version is in force and the previous one lives: roll back, which revokes it";
                Self::new(Reason::PreviousSecretLive, message)
            }
            Refusal::Last => {
                Self::new(Reason::LastSecret, "this is the last version that is accepted; reset it, or allow that")
            }
            Refusal::UnknownVersion => {
                Self::new(Reason::SecretVersionNotFound, "the secret has no such version, or it is revoked")
            }
        }
    }
}

#[cfg(test)]
mod tests;
