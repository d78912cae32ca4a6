//! Tallies of failed attempts, shared by all replicas. What is read is locked and written under its revision, so that of
//! two who decide on the same tally one decides anew; the tally of strangers comes first, so that nobody waits in a ring.

mod kept;

use sea_orm::{
    ColumnTrait as _, Condition, DatabaseTransaction, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Expr, ExprTrait as _},
};

use self::kept::{Kept, tally};
use super::{
    Store,
    entity::failure::{Column, Entity},
    error::Failure,
    transaction::Command,
};
use crate::domain::{
    Error, Lockouts, Result, Subject, Timestamp, Uid,
    lockout::{Decision, Outcome, Tally},
};

/// The class of sources that strangers share. Sorts before every other, which are hex digits.
const STRANGERS: &str = "*";
/// Known sources that are kept of a subject; the one that was right the longest ago is forgotten first.
const KNOWN_SOURCES: u64 = 32;
/// How often a decision is made anew because another came first.
const ATTEMPTS: u32 = 8;

/// Whose attempt it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptKey {
    /// The subject's uid, or a digest of a name that is nobody's.
    pub subject: String,
    /// A digest of where the attempt comes from.
    pub source: String,
}

impl AttemptKey {
    /// Begins the digest of a name that is nobody's; no uid does.
    pub const NOBODY: &str = "?";

    /// The key of an attempt at this subject from the same source; of the name, where it is nobody's.
    #[must_use]
    pub fn of(self, subject: Option<&Subject>) -> Self {
        match subject {
            Some(subject) => Self { subject: subject.uid.to_string(), source: self.source },
            None => self,
        }
    }
}

/// What is to be done to a tally, by the rules of its tenant.
#[derive(Clone, Debug)]
pub enum AttemptStep {
    /// Reserve one check.
    Reserve {
        /// Whose.
        key: AttemptKey,
        /// The rules.
        lockouts: Lockouts,
    },
    /// Leave checks reserved that were, as long as others find as much room beside them: [`AttemptAnswer::Busy`] where they
    /// do not.
    Keep {
        /// Whose: of a source that is known.
        key: AttemptKey,
        /// How many.
        reserved: u32,
        /// The rules.
        lockouts: Lockouts,
    },
    /// Settle checks that were reserved.
    Settle {
        /// Whose.
        key: AttemptKey,
        /// How many.
        reserved: u32,
        /// Whether they were a stranger's.
        stranger: bool,
        /// How they ended.
        outcome: Outcome,
        /// The rules.
        lockouts: Lockouts,
    },
}

impl AttemptStep {
    fn key(&self) -> &AttemptKey {
        match self {
            Self::Reserve { key, .. } | Self::Keep { key, .. } | Self::Settle { key, .. } => key,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptAnswer {
    /// One check is reserved, or all that were still are.
    Reserved {
        /// Failures of this source until then.
        seen: u32,
        /// Whether it is a stranger's.
        stranger: bool,
    },
    /// As many as may be are under way.
    Busy,
    /// Not before then.
    Blocked(Timestamp),
    /// Not before somebody ends it.
    Stopped,
    /// Settled; nothing begins or ends with it.
    Settled,
    /// Settled, and with it begins a soft lock, until then.
    Began(Timestamp),
    /// Settled, and with it strangers are stopped.
    Stops,
    /// Settled, and with it a soft lock ends.
    Ended,
}

impl Store {
    /// Does all steps in one transaction; the answers are in their order.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn attempt(&self, steps: Vec<AttemptStep>, now: Timestamp) -> Result<Vec<AttemptAnswer>> {
        self.run(Attempt { steps, now }).await
    }

    /// Every tally of a subject, and whether it is the one of strangers.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tallies(&self, subject: &Uid) -> Result<Vec<(Tally, bool)>> {
        let rows = Entity::find().filter(Column::SubjectKey.eq(subject.as_str())).all(&self.reader).await?;
        Ok(rows.iter().map(|row| (tally(row), row.source_class == STRANGERS)).collect())
    }

    /// Removes tallies that say nothing any more; returns how many.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn forget_attempts(&self, now: Timestamp) -> Result<u64> {
        self.run(Forget { now }).await
    }
}

/// Failures are of a password: with another one they are forgiven, and where an administrator says so. What is under
/// way stays reserved.
pub(super) async fn forgive(transaction: &DatabaseTransaction, subject: &Uid) -> Result<(), Failure> {
    let of_subject = || Column::SubjectKey.eq(subject.as_str());
    let counts =
        Condition::any().add(Column::Failures.gt(0)).add(Column::Streak.gt(0)).add(Column::StopTime.is_not_null());
    Entity::update_many()
        .col_expr(Column::Failures, Expr::value(0_i64))
        .col_expr(Column::BlockedUntil, Expr::value(Option::<i64>::None))
        .col_expr(Column::Streak, Expr::value(0_i64))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(of_subject())
        .filter(counts)
        .exec(transaction)
        .await?;
    // A stop was kept for ever; what is left of it says nothing once nothing is under way.
    Entity::update_many()
        .col_expr(Column::StopTime, Expr::value(Option::<i64>::None))
        .col_expr(Column::ExpireTime, Expr::col(Column::ReservedUntil))
        .filter(of_subject())
        .filter(Column::StopTime.is_not_null())
        .exec(transaction)
        .await?;
    Ok(())
}

struct Attempt {
    steps: Vec<AttemptStep>,
    now: Timestamp,
}

impl Command for Attempt {
    const NAME: &'static str = "attempt";
    const BOOKKEEPING: bool = true;
    type Output = Vec<AttemptAnswer>;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Vec<AttemptAnswer>, Failure> {
        // Everybody takes the subjects in one order. Settling comes first: it makes room.
        let mut order: Vec<(usize, &AttemptStep)> = self.steps.iter().enumerate().collect();
        order.sort_by_key(|(_, step)| (&step.key().subject, matches!(step, AttemptStep::Reserve { .. })));
        let mut answers = Vec::with_capacity(order.len());
        for (position, step) in order {
            let answer = match step {
                AttemptStep::Reserve { key, lockouts } => self.reserve(transaction, key, *lockouts).await?,
                AttemptStep::Keep { key, reserved, lockouts } => {
                    self.keep(transaction, key, *reserved, *lockouts).await?
                }
                AttemptStep::Settle { key, reserved, stranger, outcome, lockouts } => {
                    self.settle(transaction, key, (*reserved, *stranger), *outcome, *lockouts).await?
                }
            };
            answers.push((position, answer));
        }
        answers.sort_by_key(|(position, _)| *position);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

impl Attempt {
    async fn reserve(
        &self,
        transaction: &DatabaseTransaction,
        key: &AttemptKey,
        lockouts: Lockouts,
    ) -> Result<AttemptAnswer, Failure> {
        for _ in 0..ATTEMPTS {
            let strangers = Kept::read(transaction, &key.subject, STRANGERS).await?;
            let own = Kept::read(transaction, &key.subject, &key.source).await?;
            let stranger = !own.tally.is_known(self.now);
            let own_next = match admitted(lockouts.source.decide(&own.tally, self.now)) {
                Ok(next) => next,
                Err(answer) => return Ok(answer),
            };
            let mut taken = None;
            if stranger {
                let next = match admitted(lockouts.strangers.decide(&strangers.tally, self.now)) {
                    Ok(next) => next,
                    Err(answer) => return Ok(answer),
                };
                if !strangers.write(transaction, &key.subject, STRANGERS, &next).await? {
                    continue;
                }
                taken = Some(strangers.followed_by(next));
            }
            if own.write(transaction, &key.subject, &key.source, &own_next).await? {
                let seen = lockouts.source.failures(&own.tally, self.now);
                return Ok(AttemptAnswer::Reserved { seen, stranger });
            }
            // Whoever writes a stranger's tally holds the one of strangers. But of a subject that was deleted meanwhile,
            // somebody who was known may leave a tally anew: then nothing is taken of the strangers' yet.
            if let Some(taken) = taken {
                taken.write(transaction, &key.subject, STRANGERS, &strangers.tally).await?;
            }
        }
        Ok(AttemptAnswer::Busy)
    }

    async fn keep(
        &self,
        transaction: &DatabaseTransaction,
        key: &AttemptKey,
        reserved: u32,
        lockouts: Lockouts,
    ) -> Result<AttemptAnswer, Failure> {
        let own = Kept::read(transaction, &key.subject, &key.source).await?;
        // Where another came first, it may have been for want of room.
        if let Some(next) = lockouts.source.keep(&own.tally, reserved, self.now)
            && (next == own.tally || own.write(transaction, &key.subject, &key.source, &next).await?)
        {
            return Ok(AttemptAnswer::Reserved { seen: 0, stranger: false });
        }
        Ok(AttemptAnswer::Busy)
    }

    async fn settle(
        &self,
        transaction: &DatabaseTransaction,
        key: &AttemptKey,
        (reserved, stranger): (u32, bool),
        outcome: Outcome,
        Lockouts { source: rule, strangers }: Lockouts,
    ) -> Result<AttemptAnswer, Failure> {
        let mut stops = false;
        if stranger {
            let shared = |tally: &Tally| strangers.settle_shared(tally, reserved, outcome, self.now);
            let (before, after) = change(transaction, &key.subject, STRANGERS, shared).await?;
            stops = before.stop_time.is_none() && after.stop_time.is_some();
        }
        let own = |tally: &Tally| rule.settle(tally, reserved, outcome, self.now);
        let (before, after) = change(transaction, &key.subject, &key.source, own).await?;
        if matches!(outcome, Outcome::Right { .. }) && !before.is_known(self.now) {
            forget_oldest(transaction, &key.subject).await?;
        }
        if stops {
            return Ok(AttemptAnswer::Stops);
        }
        let was = rule.failures(&before, self.now) >= rule.free;
        let is = after.failures >= rule.free;
        Ok(match (was, is, after.blocked_until) {
            (false, true, Some(until)) => AttemptAnswer::Began(until),
            (true, false, _) => AttemptAnswer::Ended,
            _ => AttemptAnswer::Settled,
        })
    }
}

/// The tally of an attempt that may be made, or why it may not.
fn admitted(decision: Decision) -> Result<Tally, AttemptAnswer> {
    match decision {
        Decision::Allowed(next) => Ok(next),
        Decision::Busy => Err(AttemptAnswer::Busy),
        Decision::Blocked(until) => Err(AttemptAnswer::Blocked(until)),
        Decision::Stopped => Err(AttemptAnswer::Stopped),
    }
}

/// Changes a tally to what `next` makes of it, and returns it before and after.
async fn change(
    transaction: &DatabaseTransaction,
    subject: &str,
    source: &str,
    next: impl Fn(&Tally) -> Tally,
) -> Result<(Tally, Tally), Failure> {
    for _ in 0..ATTEMPTS {
        let kept = Kept::read(transaction, subject, source).await?;
        let after = next(&kept.tally);
        if kept.write(transaction, subject, source, &after).await? {
            return Ok((kept.tally, after));
        }
    }
    Err(raced())
}

/// Keeps the number of known sources of a subject within its bound.
async fn forget_oldest(transaction: &DatabaseTransaction, subject: &str) -> Result<(), Failure> {
    let known = Condition::all().add(Column::SubjectKey.eq(subject)).add(Column::SuccessTime.is_not_null());
    let oldest = Entity::find()
        .filter(known.clone())
        .order_by_desc(Column::SuccessTime)
        .offset(KNOWN_SOURCES)
        .limit(1)
        .one(transaction)
        .await?;
    if let Some(oldest) = oldest {
        Entity::delete_many()
            .filter(known)
            .filter(Column::SuccessTime.lte(oldest.success_time))
            .exec(transaction)
            .await?;
    }
    Ok(())
}

struct Forget {
    now: Timestamp,
}

impl Command for Forget {
    const NAME: &'static str = "forget_attempts";
    const BOOKKEEPING: bool = true;
    // Done every minute; what it forgets says nothing any more.
    const COUNTS: bool = false;
    type Output = u64;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let old = Entity::delete_many().filter(Column::ExpireTime.lte(self.now.micros()));
        Ok(old.exec(transaction).await?.rows_affected)
    }
}

fn raced() -> Failure {
    Error::internal("a tally of attempts was changed past its lock, again and again").into()
}
