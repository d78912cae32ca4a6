//! A tally's row: read under its lock, written under its revision.

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};

use super::AttemptKey;
use crate::{
    domain::{Timestamp, lockout::Tally},
    planted::{Bug, is_planted},
    store::{
        entity::failure::{Column, Entity, Model},
        error::Failure,
    },
};

/// A tally as it was read, and under which revision; none where there was no row.
pub(super) struct Kept {
    pub(super) tally: Tally,
    revision: Option<i64>,
}

impl Kept {
    pub(super) async fn read(transaction: &DatabaseTransaction, subject: &str, source: &str) -> Result<Self, Failure> {
        let row = Entity::find_by_id((subject.to_owned(), source.to_owned()));
        let row = if is_planted(Bug::TallyReadThenWritten) { row } else { row.lock_exclusive() };
        let row = row.one(transaction).await?;
        Ok(match row {
            Some(row) => Self { tally: tally(&row), revision: Some(row.revision) },
            None => Self { tally: Tally::NEW, revision: None },
        })
    }

    /// What is kept once `next` is in its place.
    pub(super) const fn followed_by(&self, next: Tally) -> Self {
        Self { tally: next, revision: Some(self.next_revision()) }
    }

    const fn next_revision(&self) -> i64 {
        match self.revision {
            Some(revision) => revision.wrapping_add(1),
            None => 0,
        }
    }

    /// Puts `next` in its place; false where another came first.
    pub(super) async fn write(
        &self,
        transaction: &DatabaseTransaction,
        subject: &str,
        source: &str,
        next: &Tally,
    ) -> Result<bool, Failure> {
        let row = row(subject, source, next, self.next_revision());
        let Some(revision) = self.revision else {
            let none = OnConflict::columns([Column::SubjectKey, Column::SourceClass]).do_nothing().to_owned();
            let inserted =
                Entity::insert(row.into_active_model()).on_conflict(none).exec_without_returning(transaction).await?;
            return Ok(inserted == 1);
        };
        let mut update = Entity::update_many();
        if !is_planted(Bug::TallyReadThenWritten) {
            update = update.filter(Column::Revision.eq(revision));
        }
        let changed = update
            .col_expr(Column::Failures, Expr::value(row.failures))
            .col_expr(Column::Reserved, Expr::value(row.reserved))
            .col_expr(Column::ReservedUntil, Expr::value(row.reserved_until))
            .col_expr(Column::BlockedUntil, Expr::value(row.blocked_until))
            .col_expr(Column::FailureTime, Expr::value(row.failure_time))
            .col_expr(Column::SuccessTime, Expr::value(row.success_time))
            .col_expr(Column::ExpireTime, Expr::value(row.expire_time))
            .col_expr(Column::Revision, Expr::value(row.revision))
            .col_expr(Column::Streak, Expr::value(row.streak))
            .col_expr(Column::StopTime, Expr::value(row.stop_time))
            .filter(Column::SubjectKey.eq(subject))
            .filter(Column::SourceClass.eq(source))
            .exec(transaction)
            .await?;
        Ok(changed.rows_affected == 1)
    }
}

pub(super) fn tally(row: &Model) -> Tally {
    let count = |number: i64| u32::try_from(number.clamp(0, i64::from(u32::MAX))).unwrap_or(u32::MAX);
    Tally {
        failures: count(row.failures),
        reserved: count(row.reserved),
        reserved_until: Timestamp::from_micros(row.reserved_until),
        blocked_until: row.blocked_until.map(Timestamp::from_micros),
        failure_time: row.failure_time.map(Timestamp::from_micros),
        success_time: row.success_time.map(Timestamp::from_micros),
        streak: count(row.streak),
        stop_time: row.stop_time.map(Timestamp::from_micros),
    }
}

fn row(subject: &str, source: &str, tally: &Tally, revision: i64) -> Model {
    let is_nobody = subject.starts_with(AttemptKey::NOBODY);
    let expire_time = if is_nobody { tally.expire_time_of_nobody() } else { tally.expire_time() };
    Model {
        subject_key: subject.to_owned(),
        source_class: source.to_owned(),
        failures: tally.failures.into(),
        reserved: tally.reserved.into(),
        reserved_until: tally.reserved_until.micros(),
        blocked_until: tally.blocked_until.map(Timestamp::micros),
        failure_time: tally.failure_time.map(Timestamp::micros),
        success_time: tally.success_time.map(Timestamp::micros),
        expire_time: expire_time.micros(),
        revision,
        streak: tally.streak.into(),
        stop_time: tally.stop_time.map(Timestamp::micros),
    }
}
