//! Working on jobs. In each process one task looks for jobs that nobody works on and gives each a task of its own.
//!
//! Who works on a job is told by no clock: whoever has watched it come no further for a while takes it over, and the
//! revision lets one of them. Were it to happen too early, nothing would be wrong: every step names the revision it was
//! decided on.

use std::{collections::HashMap, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{
    super::{Call, Ops, repeat},
    Jobs,
    act::{Act, fate},
};
use crate::{
    audit::{Outcome, Record, Target, Wait},
    domain::{Error, Job, JobState, Reason, Result, Secret, Subject, SubjectKind, Tenant, Uid, job::Fate},
    store::{JobEnd, JobStep, Matches, RunningJob, SubjectChange, Window},
};

/// For how long the right of whoever asked is taken for granted; the same as elsewhere.
const VOUCHED_FOR: Duration = Duration::from_secs(1);
/// Subjects that are read at once, at most.
const PAGE: u32 = 64;
/// How often one subject is tried that somebody else changes at the same time.
const ATTEMPTS: u32 = 8;

/// What came of working on a job.
enum Progress {
    /// It goes on with what is read then.
    On,
    /// It has ended, is another process's, or was given back.
    Over,
}

impl Ops {
    /// Works on jobs until this process is told to stop.
    pub async fn work_on_jobs(self) {
        let mut seen = HashMap::<Uid, (i64, Instant)>::new();
        let (mut working, mut mine) = (JoinSet::new(), HashMap::<Id, Uid>::new());
        while !self.jobs.is_stopping() {
            match self.store.running_jobs().await {
                Ok(running) => {
                    seen.retain(|uid, _| running.iter().any(|job| job.uid == *uid));
                    for job in running {
                        let is_mine = mine.values().any(|uid| *uid == job.uid);
                        if !is_mine && is_free(&job, &mut seen, &self.jobs) {
                            let uid = job.uid.clone();
                            mine.insert(working.spawn(self.clone().work_on(job)).id(), uid);
                        }
                    }
                }
                Err(error) => tracing::debug!(reason = ?error.reason(), "jobs were not looked at"),
            }
            tokio::select! {
                () = self.jobs.stopped() => {}
                () = self.jobs.begun.notified() => {}
                () = tokio::time::sleep(self.jobs.options.poll) => {}
                Some(ended) = working.join_next_with_id() => {
                    let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
                    mine.remove(&id);
                    if let Err(error) = ended {
                        tracing::error!(%error, "a job's task did not end");
                    }
                }
            }
        }
        // Each ends after its step, and gives its job back.
        while working.join_next().await.is_some() {}
    }

    /// Tells whoever works on jobs and whoever watches them that this process stops.
    pub fn stop_jobs(&self) {
        self.jobs.stopping.send_replace(true);
    }

    /// Works on one job for as long as it is this process's.
    async fn work_on(self, RunningJob { uid, revision, .. }: RunningJob) {
        let owned = self.store.own_job(&uid, revision, self.jobs.owner.as_str(), None).await;
        let mut job = match owned {
            Ok(Some(job)) => job,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(job = %uid, reason = ?error.reason(), cause = ?error.cause(), "a job was not taken over");
                return;
            }
        };
        tracing::info!(job = %uid, action = job.task.action(), done = job.tally.done, total = job.total, "works on a job");
        let mut pace = tokio::time::interval(Duration::from_secs(1) / job.max_per_second.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tried = 0;
        loop {
            match self.go_on(&mut job, &mut pace, &mut tried).await {
                Ok(Progress::On) => continue,
                Ok(Progress::Over) => return,
                Err(error) => {
                    tracing::warn!(job = %uid, reason = ?error.reason(), cause = ?error.cause(), "a job waits");
                }
            }
            // What was done of the last step is in the database, and nowhere else.
            loop {
                tokio::select! {
                    () = self.jobs.stopped() => return,
                    () = tokio::time::sleep(self.jobs.options.poll) => {}
                }
                match self.store.job(&job.tenant_uid, &uid).await {
                    Ok(Some(found)) if found.owner == self.jobs.owner.as_str() && !found.has_ended() => {
                        job = found;
                        break;
                    }
                    Ok(_) => return,
                    Err(error) => tracing::debug!(reason = ?error.reason(), "a job waits on"),
                }
            }
        }
    }

    /// Goes on with a job for as long as the right of whoever asked is taken for granted.
    async fn go_on(&self, job: &mut Job, pace: &mut Interval, tried: &mut u32) -> Result<Progress> {
        if self.jobs.is_stopping() {
            self.store.own_job(&job.uid, job.revision, "", None).await?;
            return Ok(Progress::Over);
        }
        let (tenant, call) = match self.vouch(job).await {
            Ok(vouched) => vouched,
            Err(error) if is_passing(&error) => return Err(error),
            Err(error) => return self.fail(job, &error).await,
        };
        let until = Instant::now() + VOUCHED_FOR;
        let matches = Matches { tenant_uid: tenant.uid.clone(), kind: job.task.subjects(), filter: job.filter.clone() };
        let size = job.max_per_second.clamp(1, PAGE).into();
        let Window { subjects, end } = self.store.next_matches(&matches, &job.cursor, &job.until, size).await?;
        if subjects.is_empty() {
            let Some(end) = end else { return self.end(&call, job).await };
            // Nobody in a long stretch: that is told, so that nobody takes the job for left.
            let moved = self.store.own_job(&job.uid, job.revision, self.jobs.owner.as_str(), Some(end)).await?;
            let Some(moved) = moved else { return Ok(Progress::Over) };
            *job = moved;
            return Ok(Progress::On);
        }
        // Should they be of another version of their subject than was read, the step is not done.
        let mut secrets = self.store.live_secrets(&subjects).await?;
        for subject in subjects {
            tokio::select! {
                () = self.jobs.stopped() => return Ok(Progress::On),
                _tick = pace.tick() => {}
            }
            let secrets = secrets.remove(&subject.uid).unwrap_or_default();
            match self.step(&call, &tenant, job, &subject, &secrets, *tried).await {
                Ok(Some(after)) => *job = after,
                Ok(None) => return Ok(Progress::Over),
                Err(error) if error.reason() == Reason::ConcurrentChange => {
                    *tried += 1;
                    return Ok(Progress::On);
                }
                Err(error) => return Err(error),
            }
            *tried = 0;
            if Instant::now() >= until {
                break;
            }
        }
        Ok(Progress::On)
    }

    /// Does to one subject what the job does, and returns the job after it; `None` where it is not this process's any more.
    async fn step(
        &self,
        call: &Call,
        tenant: &Tenant,
        job: &Job,
        subject: &Subject,
        secrets: &[Secret],
        tried: u32,
    ) -> Result<Option<Job>> {
        let _turn = self.jobs.turn.acquire().await.map_err(Error::internal)?;
        let act = if tried < ATTEMPTS {
            self.act(call, tenant, &job.task, subject, secrets).await
        } else {
            Err(Error::new(Reason::ConcurrentChange, "somebody else changes it all the time"))
        };
        let target = Target::Subject(subject.kind, subject.id.to_string());
        let now = self.now();
        let (fate, change, record) = match act {
            Ok(Act { secrets, detail }) => {
                let version = subject.version + 1;
                // Where those of before are accepted too, they are no reason to end what they began.
                let name = if job.task.ends_those_before() { "epoch" } else { "version" };
                let detail = format!("{detail}, job {}, {name} {version}", job.uid);
                let record = call.record(self, target, Outcome::Succeeded, None, detail);
                let change = SubjectChange {
                    subject_uid: subject.uid.clone(),
                    expected_version: subject.version,
                    login: None,
                    state: None,
                    attributes: None,
                    forgives: false,
                    leaves_administrator: false,
                    secrets,
                    time: now,
                };
                (Fate::Done, Some(change), record)
            }
            Err(error) if is_passing(&error) => return Err(error),
            Err(error) => {
                let (outcome, reason) = (repeat::outcome(&error), Some(error.reason()));
                if error.reason() == Reason::Internal {
                    tracing::error!(job = %job.uid, cause = ?error.cause(), "a subject was passed over");
                }
                (fate(&error), None, call.record(self, target, outcome, reason, format!("job {}", job.uid)))
            }
        };
        let more = match (&change, subject.kind) {
            // As with a reset that is asked for alone.
            (Some(_), SubjectKind::Device) if self.is_soft_locked(tenant, subject).await? => {
                vec![self.soft_lock_record(call, subject.kind, subject, "ends by a reset")]
            }
            _ => Vec::new(),
        };
        let after = job.after(&subject.uid, fate, now);
        let step = JobStep { job: after.clone(), change, record, more };
        Ok(self.store.step_job(step).await?.then_some(after))
    }

    /// Ends a job that may not go on. It is recorded as an act of whoever asked for it.
    async fn fail(&self, job: &Job, error: &Error) -> Result<Progress> {
        let time = self.now();
        let record = Record {
            uid: self.make_uid(time),
            tenant_uid: job.tenant_uid.clone(),
            time,
            actor: job.asker.name.clone(),
            action: job.task.action(),
            target: Target::Job(job.uid.clone()),
            outcome: repeat::outcome(error),
            reason: Some(error.reason()),
            request_id: job.request_id.clone(),
            detail: "ends early".to_owned(),
            wait: Wait::begin(),
        };
        let end = JobEnd {
            uid: job.uid.clone(),
            revision: Some(job.revision),
            state: JobState::Failed,
            reason: Some(error.reason().name()),
            time,
        };
        over(self.store.end_job(end, record).await)
    }

    /// Ends a job that came to its end.
    async fn end(&self, call: &Call, job: &Job) -> Result<Progress> {
        let record = call.record(self, Target::Job(job.uid.clone()), Outcome::Succeeded, None, "ends".to_owned());
        let end = JobEnd {
            uid: job.uid.clone(),
            revision: Some(job.revision),
            state: JobState::Done,
            reason: None,
            time: self.now(),
        };
        over(self.store.end_job(end, record).await)
    }
}

/// Whether nobody works on a job: it was given back, or has come no further for as long as this process has looked.
fn is_free(job: &RunningJob, seen: &mut HashMap<Uid, (i64, Instant)>, jobs: &Jobs) -> bool {
    let now = Instant::now();
    let (revision, since) = seen.entry(job.uid.clone()).or_insert((job.revision, now));
    if *revision != job.revision {
        (*revision, *since) = (job.revision, now);
    }
    job.is_free || now.duration_since(*since) >= jobs.options.lease
}

/// Whoever was faster ended it.
fn over(ended: Result<()>) -> Result<Progress> {
    match ended {
        Err(error) if error.reason() == Reason::ConcurrentChange => Ok(Progress::Over),
        ended => ended.map(|()| Progress::Over),
    }
}

/// Whether a failure says nothing of the subject or the job, so that it is tried again.
fn is_passing(error: &Error) -> bool {
    matches!(error.reason(), Reason::StoreUnavailable | Reason::OutcomeUnknown | Reason::Overloaded)
}
