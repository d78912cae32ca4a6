//! Jobs: what is done to many subjects is planned, confirmed, begun, watched and stopped here; `work` does it, and
//! `act` says what is done to one.
//!
//! A dry run answers how many there are and a confirmation: sealed, for this caller and this request, with that number
//! and the uid of the job that it would be. So a job is begun by whoever has seen what it comes to, and once, however
//! often that is asked for.

mod act;
mod work;

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{Notify, Semaphore, watch};

use super::{Call, Ops, rotation::check, secret::Source};
use crate::{
    access::ProofKind,
    audit::{Outcome, Target},
    domain::{
        Error, Filter, Job, JobState, Order, Reason, ResourceId, Result, SubjectKind, SubjectRef, Tenant, TenantRef,
        Timestamp, Uid, Violation,
        job::{Asker, Tally, Task, default_tolerance},
        listing::OrderBy,
    },
    store::{JobEnd, Matches, Store, SubjectListing},
};

/// How long a confirmation is good. Long enough for replicas' clocks to differ by minutes.
const CONFIRMED_FOR: Duration = Duration::from_mins(30);
/// Ids that a dry run shows.
const SAMPLE: u64 = 20;
/// Streams of progress that one process serves at once.
const WATCHERS: usize = 128;
/// How often another's change between a look and a write is put up with.
const ATTEMPTS: u32 = 3;
/// How long a page token is good.
const PAGE_FOR: Duration = Duration::from_hours(24);

/// How processes share jobs. What it is changes how soon something happens, and never what.
#[derive(Clone, Copy, Debug)]
pub struct JobOptions {
    /// How long a job must not have come further before another process takes it over, by that process's own time.
    pub lease: Duration,
    /// How often jobs are looked at, by whoever might work on them and by whoever watches.
    pub poll: Duration,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), poll: Duration::from_millis(500) }
    }
}

/// What a process knows of jobs: nothing that is not in the database, but how to hurry.
pub(super) struct Jobs {
    options: JobOptions,
    /// What this process is called by those it shares jobs with.
    owner: Uid,
    /// Somebody began a job here.
    begun: Notify,
    /// Steps of all jobs take turns, so that others who write wait for one step at most.
    turn: Semaphore,
    watchers: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

impl Jobs {
    pub(super) fn new(owner: Uid) -> Self {
        Self {
            options: JobOptions::default(),
            owner,
            begun: Notify::new(),
            turn: Semaphore::new(1),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            stopping: watch::Sender::new(false),
        }
    }

    /// Returns when this process is told to stop.
    async fn stopped(&self) {
        // Fails only where nobody could tell, and then nobody waits.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Something to be done to many subjects.
#[derive(Debug)]
pub struct BeginJob {
    /// In which tenant.
    pub tenant: TenantRef,
    /// What is done to each.
    pub task: Task,
    /// To whom.
    pub filter: Filter,
    /// The same as it was written.
    pub filter_text: String,
    /// How many a second, at most.
    pub max_per_second: u32,
    /// What the dry run answered; empty where there was none.
    pub confirmation: String,
    /// By how many the number of subjects may have changed since.
    pub tolerance: Option<u32>,
}

/// A page of jobs to be read.
#[derive(Debug)]
pub struct ListJobs {
    /// Whose.
    pub tenant: TenantRef,
    /// At most so many.
    pub size: u32,
    /// From the page before; empty for the first.
    pub page_token: String,
    /// In this state, where one is named.
    pub state: Option<JobState>,
}

/// What a job would do.
#[derive(Debug)]
pub struct Plan {
    /// How many there are.
    pub total: i64,
    /// The first of them.
    pub sample: Vec<ResourceId>,
    /// What begins it.
    pub confirmation: String,
    /// Until when that is good.
    pub expire_time: Timestamp,
}

/// A job, as answers show it.
#[derive(Debug)]
pub struct JobView {
    /// Whose.
    pub tenant_id: ResourceId,
    /// What, and how far.
    pub job: Job,
}

/// What came of asking for a job.
#[derive(Debug)]
pub enum Begun {
    /// It was a dry run.
    Planned(Plan),
    /// It runs.
    Job(Box<JobView>),
}

/// A page of jobs.
#[derive(Debug)]
pub struct JobPage {
    /// The latest first.
    pub jobs: Vec<JobView>,
    /// Leads to the next page; empty on the last.
    pub next_token: String,
}

impl Ops {
    /// The same, but sharing jobs with other processes so.
    #[must_use]
    pub fn with_jobs(self, options: JobOptions) -> Self {
        let jobs = Jobs { options, ..Jobs::new(self.jobs.owner.clone()) };
        Self { jobs: Arc::new(jobs), ..self }
    }

    /// Says what would be done, where the call only validates; else begins to do it.
    ///
    /// # Errors
    /// Not own subject; tenant not found or disabled; policy violated; confirmation needed; matches changed.
    pub async fn begin_job(&self, call: &Call, request: &BeginJob) -> Result<Begun> {
        self.audited(call, Target::None, async {
            call.grant.about(None)?;
            let tenant = self.tenant(call, &request.tenant).await?;
            if let Task::ResetMany { overlap_s, drop_oldest } = request.task {
                let placement = act::placement(overlap_s, drop_oldest);
                check(placement.violations(&tenant.settings.device_policy, self.now()))?;
                // Whether the policy can be met is not found out device by device.
                drop(self.decide(&tenant.settings.device_policy, Source::Generate(None), &[]).await?);
            }
            if call.validates() {
                return self.plan_job(call, &tenant, request).await.map(Begun::Planned);
            }
            for _ in 1..ATTEMPTS {
                match self.try_begin(call, &tenant, request).await {
                    // By this very confirmation, a moment ago.
                    Err(error) if error.reason() == Reason::ConcurrentChange => {}
                    begun => return begun.map(Begun::Job),
                }
            }
            self.try_begin(call, &tenant, request).await.map(Begun::Job)
        })
        .await
    }

    /// Reads a job.
    ///
    /// # Errors
    /// Tenant or job not found.
    pub async fn get_job(&self, call: &Call, tenant: &TenantRef, uid: &Uid) -> Result<JobView> {
        let tenant = self.tenant_in_any_state(call, tenant).await?;
        let job = self.store.job(&tenant.uid, uid).await?.ok_or_else(job_not_found)?;
        Ok(JobView { tenant_id: tenant.id, job })
    }

    /// A page of a tenant's jobs.
    ///
    /// # Errors
    /// Tenant not found; fields invalid (the page token).
    pub async fn list_jobs(&self, call: &Call, request: &ListJobs) -> Result<JobPage> {
        let tenant = self.tenant_in_any_state(call, &request.tenant).await?;
        let caller = call.grant.caller();
        let state = request.state.map(JobState::as_str);
        let context = format!("jobs {:?} {state:?}", [caller.tenant_uid.as_str(), &caller.id, tenant.uid.as_str()]);
        let before = if request.page_token.is_empty() {
            None
        } else {
            let opened = self.keyring().open_page_token(&context, &request.page_token).and_then(|content| {
                let (end, before) = content.split_once(' ')?;
                let end = Timestamp::from_micros(end.parse().ok()?);
                (self.now() < end).then(|| before.to_owned())
            });
            let rule = "must be the next_page_token of an answer to the same caller and the same request, not older than a day";
            Some(opened.ok_or_else(|| Error::fields(vec![Violation::new("page_token", rule)]))?)
        };
        let limit = u64::from(request.size) + 1;
        let mut jobs = self.store.list_jobs(&tenant.uid, request.state, before.as_deref(), limit).await?;
        let more = jobs.len() > request.size as usize;
        jobs.truncate(request.size as usize);
        let next = jobs.last().filter(|_| more).map(|last| {
            let position = format!("{} {}", self.now().plus(PAGE_FOR).micros(), last.uid);
            self.keyring().seal_page_token(&context, &position, &*self.entropy)
        });
        let view = |job| JobView { tenant_id: tenant.id.clone(), job };
        Ok(JobPage { jobs: jobs.into_iter().map(view).collect(), next_token: next.unwrap_or_default() })
    }

    /// Stops a job; one that has ended stays as it is.
    ///
    /// # Errors
    /// Tenant or job not found; etag mismatch; concurrent change, where an etag was named.
    pub async fn cancel_job(&self, call: &Call, tenant: &TenantRef, uid: &Uid, etag: Option<&str>) -> Result<()> {
        let target = Target::Job(uid.clone());
        self.audited(call, target.clone(), async {
            for _ in 1..ATTEMPTS {
                match self.try_cancel(call, tenant, uid, etag).await {
                    // It has just ended by itself.
                    Err(error) if error.reason() == Reason::ConcurrentChange => {}
                    done => return done,
                }
            }
            self.try_cancel(call, tenant, uid, etag).await
        })
        .await
    }

    /// A place among those who watch a job; given back when it is dropped.
    ///
    /// # Errors
    /// Overloaded.
    pub fn watch(&self) -> Result<tokio::sync::OwnedSemaphorePermit> {
        let place = Arc::clone(&self.jobs.watchers).try_acquire_owned();
        place.map_err(|_none| Error::new(Reason::Overloaded, "too many watch jobs here; ask again later, or by GetJob"))
    }

    /// A job once it is in another revision than this one; `None` where this process stops first, or it is no more.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn job_after(&self, view: &JobView) -> Result<Option<JobView>> {
        loop {
            tokio::select! {
                () = self.jobs.stopped() => return Ok(None),
                () = tokio::time::sleep(self.jobs.options.poll) => {}
            }
            match self.store.job(&view.job.tenant_uid, &view.job.uid).await? {
                Some(job) if job.revision == view.job.revision => {}
                found => return Ok(found.map(|job| JobView { tenant_id: view.tenant_id.clone(), job })),
            }
        }
    }

    async fn plan_job(&self, call: &Call, tenant: &Tenant, request: &BeginJob) -> Result<Plan> {
        let matches = request.matches(tenant);
        let (total, _) = self.store.count_matches(&matches).await?;
        let first = SubjectListing {
            tenant_uid: matches.tenant_uid,
            kind: matches.kind,
            filter: matches.filter,
            order: Order { by: OrderBy::Id, descending: false },
            after: None,
            limit: SAMPLE,
        };
        let sample = self.store.list_subjects(&first).await?;
        let now = self.now();
        let (uid, expire_time) = (self.make_uid(now), now.plus(CONFIRMED_FOR));
        let content = format!("{} {total} {uid}", expire_time.micros());
        let confirmation = self.keyring().seal_page_token(&request.context(call, tenant), &content, &*self.entropy);
        Ok(Plan { total, sample: sample.into_iter().map(|subject| subject.id).collect(), confirmation, expire_time })
    }

    async fn try_begin(&self, call: &Call, tenant: &Tenant, request: &BeginJob) -> Result<Box<JobView>> {
        let needed = |message: &'static str| Error::new(Reason::ConfirmationNeeded, message);
        if request.confirmation.is_empty() {
            return Err(needed("ask with validate_only first, and send the confirmation that it answers"));
        }
        let opened = self.keyring().open_page_token(&request.context(call, tenant), &request.confirmation);
        let confirmed = opened.and_then(|content| {
            let mut parts = content.split(' ');
            let end = Timestamp::from_micros(parts.next()?.parse().ok()?);
            let total: i64 = parts.next()?.parse().ok()?;
            Some((end, total, Uid::from_stored(parts.next()?)))
        });
        let message = "the confirmation is not that of a dry run of the same request by the same caller";
        let (end, planned, uid) = confirmed.ok_or_else(|| needed(message))?;
        if let Some(job) = self.store.job(&tenant.uid, &uid).await? {
            return Ok(Box::new(JobView { tenant_id: tenant.id.clone(), job }));
        }
        let now = self.now();
        if end <= now {
            return Err(needed("the confirmation is older than half an hour: look again by a dry run"));
        }
        let (total, until) = self.store.count_matches(&request.matches(tenant)).await?;
        let tolerance = request.tolerance.map_or_else(|| default_tolerance(planned), i64::from);
        if total.abs_diff(planned) > tolerance.unsigned_abs() {
            let message = format!("{total} fit by now, {planned} did in the dry run: look again, or tolerate more");
            let changed = Error::new(Reason::MatchesChanged, message);
            return Err(changed.with("confirmed", planned.to_string()).with("total", total.to_string()));
        }
        let job = Job {
            uid: uid.clone(),
            tenant_uid: tenant.uid.clone(),
            task: request.task.clone(),
            asker: self.asker(call).await?,
            request_id: call.request_id.clone(),
            filter: request.filter.clone(),
            filter_text: request.filter_text.clone(),
            state: JobState::Running,
            reason: None,
            total,
            tally: Tally::default(),
            cursor: String::new(),
            until,
            max_per_second: request.max_per_second,
            owner: String::new(),
            revision: 1,
            create_time: now,
            update_time: now,
            end_time: None,
        };
        let filter = if job.filter_text.is_empty() { "all" } else { &job.filter_text };
        let detail = format!("begins: {total}, {filter}");
        let record = call.record(self, Target::Job(uid), Outcome::Succeeded, None, detail);
        let (view, jobs) = (JobView { tenant_id: tenant.id.clone(), job: job.clone() }, Arc::clone(&self.jobs));
        let begun = self.commit(call, record, move |store, record| async move {
            store.insert_job(job, record).await?;
            jobs.begun.notify_one();
            Ok(())
        });
        Box::pin(begun).await?;
        Ok(Box::new(view))
    }

    /// Who asks, as it is kept.
    async fn asker(&self, call: &Call) -> Result<Asker> {
        let caller = call.grant.caller();
        let kept = match caller.proof.kind {
            ProofKind::ApiToken | ProofKind::SignedDate | ProofKind::AccessToken => {
                let id = ResourceId::parse(&caller.id).ok_or_else(|| Error::internal("a caller with no id"))?;
                self.store.subject(&caller.tenant_uid, SubjectKind::Caller, &SubjectRef::Id(id)).await?
            }
            ProofKind::Jwt | ProofKind::Nothing => None,
        };
        Ok(Asker {
            tenant_uid: caller.tenant_uid.clone(),
            id: caller.id.clone(),
            caller_uid: kept.map(|kept| kept.uid),
            proof: act::proof_name(caller.proof.kind).to_owned(),
            proof_name: caller.proof.name.clone(),
            permissions: caller.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
            name: caller.name(),
        })
    }

    async fn try_cancel(&self, call: &Call, tenant: &TenantRef, uid: &Uid, etag: Option<&str>) -> Result<()> {
        let job = self.get_job(call, tenant, uid).await?.job;
        super::same_etag(&job.etag(), etag)?;
        let target = Target::Job(uid.clone());
        if job.has_ended() {
            return self.record_unchanged(call, target, "has ended already").await;
        }
        let end = JobEnd {
            uid: uid.clone(),
            revision: etag.map(|_| job.revision),
            state: JobState::Cancelled,
            reason: None,
            time: self.now(),
        };
        let record = call.record(self, target, Outcome::Succeeded, None, "cancelled".to_owned());
        self.commit(call, record, move |store: Store, record| async move { store.end_job(end, record).await }).await
    }
}

impl BeginJob {
    fn matches(&self, tenant: &Tenant) -> Matches {
        Matches { tenant_uid: tenant.uid.clone(), kind: self.task.subjects(), filter: self.filter.clone() }
    }

    /// What a confirmation is good for: this, to these, by this caller. Each part is quoted, so that no two read alike.
    fn context(&self, call: &Call, tenant: &Tenant) -> String {
        let caller = call.grant.caller();
        let whose = [caller.tenant_uid.as_str(), &caller.id, tenant.uid.as_str(), &self.filter_text];
        format!("job {whose:?} {:?} {:?}", caller.proof.kind, self.task)
    }
}

fn job_not_found() -> Error {
    Error::new(Reason::JobNotFound, "there is no such job in this tenant")
}
