//! Jobs: added, worked on step by step, ended. Every change names the revision it was decided on, so that of two processes
//! that work on one job each step is done by one of them.

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, UpdateMany,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};

use super::{
    Store, SubjectChange,
    audit::append,
    entity::job,
    error::{Failure, concurrent_change, unreadable},
    subject::ChangeSubject,
    transaction::Command,
};
use crate::{
    audit::Record,
    domain::{Error, Job, JobState, Result, Timestamp, Uid, job::Tally},
};

/// Jobs that are looked at at once.
const RUNNING: u64 = 1_000;

/// One step of a job: a subject is changed, that is recorded, and the job goes on; or nothing of it is done.
#[derive(Clone, Debug)]
pub struct JobStep {
    /// The job after it. Before it, it has the revision before.
    pub job: Job,
    /// What happens to the subject; nothing where `None`.
    pub change: Option<SubjectChange>,
    /// What is recorded of the subject.
    pub record: Record,
    /// What is recorded besides.
    pub more: Vec<Record>,
}

/// The end of a job that is running.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// Which.
    pub uid: Uid,
    /// Only in this revision; in any where `None`.
    pub revision: Option<i64>,
    /// What it ends in.
    pub state: JobState,
    /// Why it failed: the name of a reason.
    pub reason: Option<String>,
    /// When.
    pub time: Timestamp,
}

/// A job that is running, as far as it matters to who might work on it.
#[derive(Clone, Debug)]
pub struct RunningJob {
    /// Which.
    pub uid: Uid,
    /// In which revision.
    pub revision: i64,
    /// Whether nobody works on it.
    pub is_free: bool,
}

impl Store {
    /// A job of a tenant.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn job(&self, tenant_uid: &Uid, uid: &Uid) -> Result<Option<Job>> {
        let found = job::Entity::find_by_id(uid.as_str()).filter(job::Column::TenantUid.eq(tenant_uid.as_str()));
        found.one(&self.reader).await?.map(read).transpose()
    }

    /// The jobs of a tenant, the latest first, in this state where one is named and before a uid where one is.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn list_jobs(
        &self,
        tenant_uid: &Uid,
        state: Option<JobState>,
        before: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Job>> {
        let mut query = job::Entity::find().filter(job::Column::TenantUid.eq(tenant_uid.as_str()));
        if let Some(state) = state {
            query = query.filter(job::Column::State.eq(state.as_str()));
        }
        if let Some(before) = before {
            query = query.filter(job::Column::Uid.lt(before));
        }
        let rows = query.order_by_desc(job::Column::Uid).limit(limit).all(&self.reader).await?;
        rows.into_iter().map(read).collect()
    }

    /// The jobs that are running, the oldest first; at most a thousand.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn running_jobs(&self) -> Result<Vec<RunningJob>> {
        let rows: Vec<(String, i64, String)> = job::Entity::find()
            .select_only()
            .columns([job::Column::Uid, job::Column::Revision, job::Column::Owner])
            .filter(job::Column::State.eq(JobState::Running.as_str()))
            .order_by_asc(job::Column::Uid)
            .limit(RUNNING)
            .into_tuple()
            .all(&self.reader)
            .await?;
        let running = |(uid, revision, owner): (String, i64, String)| RunningJob {
            uid: Uid::from_stored(uid),
            revision,
            is_free: owner.is_empty(),
        };
        Ok(rows.into_iter().map(running).collect())
    }

    /// Adds a job, with the record of its beginning.
    ///
    /// # Errors
    /// Concurrent change, where it is there already; unavailable; outcome unknown.
    pub async fn insert_job(&self, job: Job, record: Record) -> Result<()> {
        self.run(InsertJob { row: row(&job)?, record }).await
    }

    /// Makes a process the owner of a running job, or nobody where it names none, moves the job's cursor where one is
    /// named, and returns the job; `None` where it has another revision by now or has ended.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn own_job(&self, uid: &Uid, revision: i64, owner: &str, cursor: Option<String>) -> Result<Option<Job>> {
        self.run(OwnJob { uid: uid.clone(), revision, owner: owner.to_owned(), cursor }).await
    }

    /// Does a step of a job; false where another process was faster, or the job has ended.
    ///
    /// # Errors
    /// Concurrent change, where the subject has another version by now; unavailable; outcome unknown.
    pub async fn step_job(&self, step: JobStep) -> Result<bool> {
        let reasons = serde_json::to_string(&step.job.tally.reasons).map_err(Error::internal)?;
        let change = step.change.map(|change| ChangeSubject { change, record: step.record.clone() });
        let mut records = step.more;
        if change.is_none() {
            records.insert(0, step.record);
        }
        self.run(StepJob { job: step.job, reasons, change, records }).await
    }

    /// Ends a running job. How it fared is added to what the record tells.
    ///
    /// # Errors
    /// Concurrent change, where it has ended or has another revision by now; unavailable; outcome unknown.
    pub async fn end_job(&self, end: JobEnd, record: Record) -> Result<()> {
        self.run(EndJob { end, record }).await
    }
}

fn row(job: &Job) -> Result<job::Model> {
    Ok(job::Model {
        uid: job.uid.to_string(),
        tenant_uid: job.tenant_uid.to_string(),
        task: serde_json::to_string(&job.task).map_err(Error::internal)?,
        asker: serde_json::to_string(&job.asker).map_err(Error::internal)?,
        request_id: job.request_id.clone(),
        filter: serde_json::to_string(&job.filter).map_err(Error::internal)?,
        filter_text: job.filter_text.clone(),
        state: job.state.as_str().to_owned(),
        reason: job.reason.clone(),
        total: job.total,
        done: job.tally.done,
        skipped: job.tally.skipped,
        failed: job.tally.failed,
        reasons: serde_json::to_string(&job.tally.reasons).map_err(Error::internal)?,
        cursor: job.cursor.clone(),
        until: job.until.clone(),
        max_per_second: job.max_per_second.into(),
        owner: job.owner.clone(),
        revision: job.revision,
        create_time: job.create_time.micros(),
        update_time: job.update_time.micros(),
        end_time: job.end_time.map(Timestamp::micros),
    })
}

fn read(row: job::Model) -> Result<Job> {
    let broken = |column| unreadable("job", &row.uid, column);
    let state = JobState::ALL.into_iter().find(|state| state.as_str() == row.state).ok_or_else(|| broken("state"))?;
    let reasons = serde_json::from_str(&row.reasons).map_err(|_quotes| broken("reasons"))?;
    Ok(Job {
        // A task of a newer program is left to that.
        task: serde_json::from_str(&row.task).map_err(|_quotes| broken("task"))?,
        asker: serde_json::from_str(&row.asker).map_err(|_quotes| broken("asker"))?,
        filter: serde_json::from_str(&row.filter).map_err(|_quotes| broken("filter"))?,
        max_per_second: u32::try_from(row.max_per_second).map_err(|_range| broken("max_per_second"))?,
        uid: Uid::from_stored(row.uid),
        tenant_uid: Uid::from_stored(row.tenant_uid),
        request_id: row.request_id,
        filter_text: row.filter_text,
        state,
        reason: row.reason,
        total: row.total,
        tally: Tally { done: row.done, skipped: row.skipped, failed: row.failed, reasons },
        cursor: row.cursor,
        until: row.until,
        owner: row.owner,
        revision: row.revision,
        create_time: Timestamp::from_micros(row.create_time),
        update_time: Timestamp::from_micros(row.update_time),
        end_time: row.end_time.map(Timestamp::from_micros),
    })
}

/// A change of a running job, which is another one from then on.
fn change(uid: &Uid) -> UpdateMany<job::Entity> {
    job::Entity::update_many()
        .col_expr(job::Column::Revision, Expr::col(job::Column::Revision).add(1))
        .filter(job::Column::Uid.eq(uid.as_str()))
        .filter(job::Column::State.eq(JobState::Running.as_str()))
}

struct InsertJob {
    row: job::Model,
    record: Record,
}

impl Command for InsertJob {
    const NAME: &'static str = "insert_job";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let there = OnConflict::column(job::Column::Uid).do_nothing().to_owned();
        let row = self.row.clone().into_active_model();
        let added = job::Entity::insert(row).on_conflict(there).exec_without_returning(transaction).await?;
        if added == 0 {
            return Err(concurrent_change().into());
        }
        append(transaction, &self.record).await
    }
}

struct OwnJob {
    uid: Uid,
    revision: i64,
    owner: String,
    cursor: Option<String>,
}

impl Command for OwnJob {
    const NAME: &'static str = "own_job";
    const BOOKKEEPING: bool = true;
    type Output = Option<Job>;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Option<Job>, Failure> {
        let mut update = change(&self.uid)
            .col_expr(job::Column::Owner, Expr::value(self.owner.as_str()))
            .filter(job::Column::Revision.eq(self.revision));
        if let Some(cursor) = &self.cursor {
            update = update.col_expr(job::Column::Cursor, Expr::value(cursor.as_str()));
        }
        if update.exec(transaction).await?.rows_affected == 0 {
            return Ok(None);
        }
        let row = job::Entity::find_by_id(self.uid.as_str()).one(transaction).await?;
        Ok(row.map(read).transpose()?)
    }
}

struct StepJob {
    job: Job,
    reasons: String,
    change: Option<ChangeSubject>,
    records: Vec<Record>,
}

impl Command for StepJob {
    const NAME: &'static str = "step_job";
    type Output = bool;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        let Job { uid, tally, cursor, revision, update_time, .. } = &self.job;
        let stepped = change(uid)
            .col_expr(job::Column::Cursor, Expr::value(cursor.as_str()))
            .col_expr(job::Column::Done, Expr::value(tally.done))
            .col_expr(job::Column::Skipped, Expr::value(tally.skipped))
            .col_expr(job::Column::Failed, Expr::value(tally.failed))
            .col_expr(job::Column::Reasons, Expr::value(self.reasons.as_str()))
            .col_expr(job::Column::UpdateTime, Expr::value(update_time.micros()))
            .filter(job::Column::Revision.eq(*revision - 1))
            .exec(transaction)
            .await?;
        if stepped.rows_affected == 0 {
            return Ok(false);
        }
        if let Some(change) = &self.change {
            change.apply(transaction).await?;
        }
        for record in &self.records {
            append(transaction, record).await?;
        }
        Ok(true)
    }
}

struct EndJob {
    end: JobEnd,
    record: Record,
}

impl Command for EndJob {
    const NAME: &'static str = "end_job";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let JobEnd { uid, revision, state, reason, time } = &self.end;
        let mut update = change(uid)
            .col_expr(job::Column::State, Expr::value(state.as_str()))
            .col_expr(job::Column::Reason, Expr::value(reason.clone()))
            .col_expr(job::Column::UpdateTime, Expr::value(time.micros()))
            .col_expr(job::Column::EndTime, Expr::value(time.micros()));
        if let Some(revision) = revision {
            update = update.filter(job::Column::Revision.eq(*revision));
        }
        if update.exec(transaction).await?.rows_affected == 0 {
            return Err(concurrent_change().into());
        }
        // Nobody steps on from here, so that these are the last counts.
        let row = job::Entity::find_by_id(uid.as_str()).one(transaction).await?;
        let ended = row.map(read).transpose()?.ok_or_else(concurrent_change)?;
        let mut record = self.record.clone();
        record.detail = format!("{}: {} of {}", record.detail, ended.tally.sentence(), ended.total);
        append(transaction, &record).await
    }
}
