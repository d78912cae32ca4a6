//! The ends of versions: those that are due are swept away, and those that are near are told of, each once.
//!
//! Whoever looks finds the same, in the same order; what is done about it is conditional on what was found. So any
//! number of processes may do this side by side, and each end is dealt with by one of them.

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbBackend, EntityTrait as _, QueryFilter as _,
    QueryResult, Statement, UpdateMany, sea_query::Expr,
};

use super::{
    Store,
    audit::append,
    entity::secret,
    error::{Failure, unreadable},
    transaction::Command,
};
use crate::{
    audit::Record,
    domain::{Result, Slot, Stage, SubjectKind, Timestamp, Uid},
};

/// A version whose end is due, or near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// In whose space.
    pub tenant_uid: Uid,
    /// Whose.
    pub subject_uid: Uid,
    /// Of which kind that is.
    pub kind: SubjectKind,
    /// Its public id.
    pub id: String,
    /// Which of its secrets.
    pub slot: Slot,
    /// Which version of that.
    pub version: i64,
    /// Where in its life.
    pub stage: Stage,
    /// When it ends.
    pub expire_time: Timestamp,
}

/// What both look-ups read. Every secret has its subject; so it is joined from the left, or SQLite would begin with the
/// subjects where they are few.
const COLUMNS: &str = "SELECT subject.tenant_uid, subject.uid, subject.kind, subject.external_id, \
                       secret.slot, secret.version, secret.stage, secret.expire_time \
                       FROM secret LEFT JOIN subject ON subject.uid = secret.subject_uid";
/// The order of time; of what ends at once, always the same, so that two who lock rows never wait for each other.
const ORDER: &str = "ORDER BY secret.expire_time, secret.subject_uid, secret.slot, secret.version";

impl Store {
    /// At most `most` versions that are previous or pending and ended before this time, the oldest end first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn overdue(&self, before: Timestamp, most: u64) -> Result<Vec<Ending>> {
        self.endings(overdue(self.reader.get_database_backend(), before, most)).await
    }

    /// At most `most` versions in force or previous, but for users' passwords, whose end is near at this time and was not
    /// told of; the soonest first. An end is near within the horizon, and of what lives less than twice as long in its
    /// stage, in the second half of that.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn ending(&self, now: Timestamp, horizon: Duration, most: u64) -> Result<Vec<Ending>> {
        self.endings(ending(self.reader.get_database_backend(), now, horizon, most)).await
    }

    /// How the database would look for both, in its own words: to see that an index answers.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn explain_endings(&self, now: Timestamp, horizon: Duration) -> Result<[String; 2]> {
        let backend = self.reader.get_database_backend();
        let overdue = self.explain(overdue(backend, now, 1)).await?;
        Ok([overdue, self.explain(ending(backend, now, horizon, 1)).await?])
    }

    /// Revokes and wipes versions that are as they were found, each with its record; returns how many were.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn sweep(&self, endings: Vec<(Ending, Record)>, time: Timestamp) -> Result<usize> {
        self.run(Sweep { endings, time }).await
    }

    /// Notes that the ends of versions that are as they were found are told of, each with its record; returns how many
    /// were.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn tell(&self, endings: Vec<(Ending, Record)>, time: Timestamp) -> Result<usize> {
        self.run(Tell { endings, time }).await
    }

    async fn endings(&self, statement: Statement) -> Result<Vec<Ending>> {
        let rows = self.reader.query_all_raw(statement).await?;
        rows.iter().map(read).collect()
    }
}

/// The stages as values, not parameters: by those no engine would know that the index is meant.
fn overdue(backend: DbBackend, before: Timestamp, most: u64) -> Statement {
    let sql = format!(
        "{COLUMNS} WHERE secret.stage IN ('previous', 'pending') AND secret.expire_time <= {} {ORDER} LIMIT {most}",
        before.micros()
    );
    Statement::from_string(backend, sql)
}

fn ending(backend: DbBackend, now: Timestamp, horizon: Duration, most: u64) -> Statement {
    let (now, until) = (now.micros(), now.plus(horizon).micros());
    let sql = format!(
        "{COLUMNS} WHERE secret.stage IN ('current', 'previous') AND secret.material <> 'verifier' \
         AND secret.notice_time IS NULL AND secret.expire_time > {now} AND secret.expire_time <= {until} \
         AND secret.expire_time - {now} <= ({now} - secret.stage_time) {ORDER} LIMIT {most}"
    );
    Statement::from_string(backend, sql)
}

fn read(row: &QueryResult) -> Result<Ending> {
    let text = |column: &str| row.try_get::<String>("", column);
    let number = |column: &str| row.try_get::<i64>("", column);
    let uid = text("uid")?;
    let broken = |column| unreadable("secret", &uid, column);
    let (kind, slot, stage) = (text("kind")?, text("slot")?, text("stage")?);
    Ok(Ending {
        tenant_uid: Uid::from_stored(text("tenant_uid")?),
        kind: SubjectKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| broken("kind"))?,
        id: text("external_id")?,
        slot: Slot::from_stored(&slot).ok_or_else(|| broken("slot"))?,
        version: number("version")?,
        stage: Stage::ALL.into_iter().find(|known| known.as_str() == stage).ok_or_else(|| broken("stage"))?,
        expire_time: Timestamp::from_micros(number("expire_time")?),
        subject_uid: Uid::from_stored(uid.clone()),
    })
}

/// Only while it is as it was found.
fn of(ending: &Ending) -> UpdateMany<secret::Entity> {
    secret::Entity::update_many()
        .filter(secret::Column::SubjectUid.eq(ending.subject_uid.as_str()))
        .filter(secret::Column::Slot.eq(ending.slot.to_stored()))
        .filter(secret::Column::Version.eq(ending.version))
        .filter(secret::Column::Stage.eq(ending.stage.as_str()))
        .filter(secret::Column::ExpireTime.eq(ending.expire_time.micros()))
}

struct Sweep {
    endings: Vec<(Ending, Record)>,
    time: Timestamp,
}

impl Command for Sweep {
    const NAME: &'static str = "sweep";
    // What is swept has ended, whoever remembers it.
    const BOOKKEEPING: bool = true;
    type Output = usize;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<usize, Failure> {
        let mut swept = 0;
        for (ending, record) in &self.endings {
            let update = of(ending)
                .col_expr(secret::Column::Stage, Expr::value(Stage::Revoked.as_str()))
                .col_expr(secret::Column::StageTime, Expr::value(self.time.micros()))
                .col_expr(secret::Column::Payload, Expr::value(Vec::<u8>::new()));
            if update.exec(transaction).await?.rows_affected == 1 {
                append(transaction, record).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

struct Tell {
    endings: Vec<(Ending, Record)>,
    time: Timestamp,
}

impl Command for Tell {
    const NAME: &'static str = "tell_of_ends";
    const BOOKKEEPING: bool = true;
    type Output = usize;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<usize, Failure> {
        let mut told = 0;
        for (ending, record) in &self.endings {
            let update = of(ending)
                .col_expr(secret::Column::NoticeTime, Expr::value(self.time.micros()))
                .filter(secret::Column::NoticeTime.is_null());
            if update.exec(transaction).await?.rows_affected == 1 {
                append(transaction, record).await?;
                told += 1;
            }
        }
        Ok(told)
    }
}
