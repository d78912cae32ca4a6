//! Tallies of failed attempts, shared by all replicas. What is read is locked and written under its revision, so that of
//! two who decide on the same tally one decides anew; the tally of strangers comes first, so that nobody waits in a ring.

use sea_orm::{
    ColumnTrait as _, Condition, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};

use super::{
    Store,
    entity::failure::{Column, Entity, Model},
    error::Failure,
    transaction::Command,
};
use crate::domain::{
    Error, Lockout, Result, Subject, Timestamp, Uid,
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
    /// The key of an attempt at this subject from the same source; of the name, where it is nobody's.
    #[must_use]
    pub fn of(self, subject: Option<&Subject>) -> Self {
        match subject {
            Some(subject) => Self { subject: subject.uid.to_string(), source: self.source },
            None => self,
        }
    }
}

/// What is allowed to whom.
#[derive(Clone, Copy, Debug)]
pub struct Lockouts {
    /// To one source.
    pub source: Lockout,
    /// To all strangers together.
    pub strangers: Lockout,
}

/// What is to be done to a tally.
#[derive(Clone, Debug)]
pub enum AttemptStep {
    /// Reserve one check.
    Reserve(AttemptKey),
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
    },
}

impl AttemptStep {
    fn key(&self) -> &AttemptKey {
        match self {
            Self::Reserve(key) | Self::Settle { key, .. } => key,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptAnswer {
    /// One check is reserved.
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
    /// Settled; nothing begins or ends with it.
    Settled,
    /// Settled, and with it begins a soft lock, until then.
    Began(Timestamp),
    /// Settled, and with it a soft lock ends.
    Ended,
}

impl Store {
    /// Does all steps in one transaction; the answers are in their order.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn attempt(
        &self,
        steps: Vec<AttemptStep>,
        lockouts: Lockouts,
        now: Timestamp,
    ) -> Result<Vec<AttemptAnswer>> {
        self.run(Attempt { steps, lockouts, now }).await
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

/// Failures are of a password: with another one they are forgiven. What is under way stays reserved.
pub(super) async fn forgive(transaction: &DatabaseTransaction, subject: &Uid) -> Result<(), Failure> {
    Entity::update_many()
        .col_expr(Column::Failures, Expr::value(0_i64))
        .col_expr(Column::BlockedUntil, Expr::value(Option::<i64>::None))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::SubjectKey.eq(subject.as_str()))
        .filter(Column::Failures.gt(0))
        .exec(transaction)
        .await?;
    Ok(())
}

struct Attempt {
    steps: Vec<AttemptStep>,
    lockouts: Lockouts,
    now: Timestamp,
}

impl Command for Attempt {
    const NAME: &'static str = "attempt";
    const BOOKKEEPING: bool = true;
    type Output = Vec<AttemptAnswer>;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Vec<AttemptAnswer>, Failure> {
        // Everybody takes the subjects in one order. Settling comes first: it makes room.
        let mut order: Vec<(usize, &AttemptStep)> = self.steps.iter().enumerate().collect();
        order.sort_by_key(|(_, step)| (&step.key().subject, matches!(step, AttemptStep::Reserve(_))));
        let mut answers = Vec::with_capacity(order.len());
        for (position, step) in order {
            let answer = match step {
                AttemptStep::Reserve(key) => self.reserve(transaction, key).await?,
                AttemptStep::Settle { key, reserved, stranger, outcome } => {
                    self.settle(transaction, key, *reserved, *stranger, *outcome).await?
                }
            };
            answers.push((position, answer));
        }
        answers.sort_by_key(|(position, _)| *position);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

impl Attempt {
    async fn reserve(&self, transaction: &DatabaseTransaction, key: &AttemptKey) -> Result<AttemptAnswer, Failure> {
        for _ in 0..ATTEMPTS {
            let strangers = Kept::read(transaction, &key.subject, STRANGERS).await?;
            let own = Kept::read(transaction, &key.subject, &key.source).await?;
            let stranger = !own.tally.is_known(self.now);
            let own_next = match self.lockouts.source.decide(&own.tally, self.now) {
                Decision::Allowed(next) => next,
                Decision::Busy => return Ok(AttemptAnswer::Busy),
                Decision::Blocked(until) => return Ok(AttemptAnswer::Blocked(until)),
            };
            if stranger {
                let next = match self.lockouts.strangers.decide(&strangers.tally, self.now) {
                    Decision::Allowed(next) => next,
                    Decision::Busy => return Ok(AttemptAnswer::Busy),
                    Decision::Blocked(until) => return Ok(AttemptAnswer::Blocked(until)),
                };
                if !strangers.write(transaction, &key.subject, STRANGERS, &next).await? {
                    continue;
                }
            }
            if own.write(transaction, &key.subject, &key.source, &own_next).await? {
                let seen = self.lockouts.source.failures(&own.tally, self.now);
                return Ok(AttemptAnswer::Reserved { seen, stranger });
            }
            // Whoever writes a stranger's tally holds the one of strangers, so it was not that.
            if stranger {
                return Err(raced());
            }
        }
        Ok(AttemptAnswer::Busy)
    }

    async fn settle(
        &self,
        transaction: &DatabaseTransaction,
        key: &AttemptKey,
        reserved: u32,
        stranger: bool,
        outcome: Outcome,
    ) -> Result<AttemptAnswer, Failure> {
        if stranger {
            // What one stranger proves forgives nothing that the others did.
            let shared = if matches!(outcome, Outcome::Wrong) { outcome } else { Outcome::Void };
            change(transaction, &key.subject, STRANGERS, |tally| {
                self.lockouts.strangers.settle(tally, reserved, shared, self.now)
            })
            .await?;
        }
        let rule = self.lockouts.source;
        let (before, after) =
            change(transaction, &key.subject, &key.source, |tally| rule.settle(tally, reserved, outcome, self.now))
                .await?;
        if matches!(outcome, Outcome::Right { .. }) && !before.is_known(self.now) {
            forget_oldest(transaction, &key.subject).await?;
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

/// A tally as it was read, and under which revision; none where there was no row.
struct Kept {
    tally: Tally,
    revision: Option<i64>,
}

impl Kept {
    async fn read(transaction: &DatabaseTransaction, subject: &str, source: &str) -> Result<Self, Failure> {
        let row = Entity::find_by_id((subject.to_owned(), source.to_owned())).lock_exclusive().one(transaction).await?;
        Ok(match row {
            Some(row) => Self { tally: tally(&row), revision: Some(row.revision) },
            None => Self { tally: Tally::NEW, revision: None },
        })
    }

    /// Puts `next` in its place; false where another came first.
    async fn write(
        &self,
        transaction: &DatabaseTransaction,
        subject: &str,
        source: &str,
        next: &Tally,
    ) -> Result<bool, Failure> {
        let row = row(subject, source, next, self.revision.map_or(0, |revision| revision.wrapping_add(1)));
        let Some(revision) = self.revision else {
            let none = OnConflict::columns([Column::SubjectKey, Column::SourceClass]).do_nothing().to_owned();
            let inserted =
                Entity::insert(row.into_active_model()).on_conflict(none).exec_without_returning(transaction).await?;
            return Ok(inserted == 1);
        };
        let changed = Entity::update_many()
            .col_expr(Column::Failures, Expr::value(row.failures))
            .col_expr(Column::Reserved, Expr::value(row.reserved))
            .col_expr(Column::ReservedUntil, Expr::value(row.reserved_until))
            .col_expr(Column::BlockedUntil, Expr::value(row.blocked_until))
            .col_expr(Column::FailureTime, Expr::value(row.failure_time))
            .col_expr(Column::SuccessTime, Expr::value(row.success_time))
            .col_expr(Column::ExpireTime, Expr::value(row.expire_time))
            .col_expr(Column::Revision, Expr::value(row.revision))
            .filter(Column::SubjectKey.eq(subject))
            .filter(Column::SourceClass.eq(source))
            .filter(Column::Revision.eq(revision))
            .exec(transaction)
            .await?;
        Ok(changed.rows_affected == 1)
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
    type Output = u64;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let old = Entity::delete_many().filter(Column::ExpireTime.lte(self.now.micros()));
        Ok(old.exec(transaction).await?.rows_affected)
    }
}

fn raced() -> Failure {
    Error::internal("a tally of attempts was changed past its lock, again and again").into()
}

fn tally(row: &Model) -> Tally {
    let count = |number: i64| u32::try_from(number.clamp(0, i64::from(u32::MAX))).unwrap_or(u32::MAX);
    Tally {
        failures: count(row.failures),
        reserved: count(row.reserved),
        reserved_until: Timestamp::from_micros(row.reserved_until),
        blocked_until: row.blocked_until.map(Timestamp::from_micros),
        failure_time: row.failure_time.map(Timestamp::from_micros),
        success_time: row.success_time.map(Timestamp::from_micros),
    }
}

fn row(subject: &str, source: &str, tally: &Tally, revision: i64) -> Model {
    Model {
        subject_key: subject.to_owned(),
        source_class: source.to_owned(),
        failures: tally.failures.into(),
        reserved: tally.reserved.into(),
        reserved_until: tally.reserved_until.micros(),
        blocked_until: tally.blocked_until.map(Timestamp::micros),
        failure_time: tally.failure_time.map(Timestamp::micros),
        success_time: tally.success_time.map(Timestamp::micros),
        expire_time: tally.expire_time().micros(),
        revision,
    }
}
