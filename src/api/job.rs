//! `JobService`, and what begins jobs: `DeviceService.ResetMany` and `UserService.ExpirePasswords`.
//!
//! A stream only watches. The first answer is one like any other's, kept under the request's id; then a task of its own
//! tells how the job goes on, which outlasts neither the client nor the process's end.

use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::{
    answer::{answer, answer_stream, timestamp},
    error,
    listing::filter_of,
    rotation::Place,
    validate::{Fields, etag},
};
use crate::{
    domain::{
        JobState, Result, SubjectKind, TenantRef, Uid,
        job::{ExpiryMode, Task},
        rotation::{AtLimit, Beginning},
    },
    ops::{
        Call, Ops,
        job::{BeginJob, Begun, JobView, ListJobs, Plan},
    },
    proto::{
        self, Answered, Asked, CancelJobRequest, CancelJobResponse, ExpirePasswordsRequest, ExpirePasswordsResponse,
        GetJobRequest, GetJobResponse, JobPlan, ListJobsRequest, ListJobsResponse, ResetManyRequest, ResetManyResponse,
        WatchJobRequest, WatchJobResponse, job_service_server::JobService,
    },
};

/// Subjects that are changed a second, where the request does not say.
const PER_SECOND: u32 = 50;
/// The same at most: more than most databases can do.
const MAX_PER_SECOND: u32 = 1_000;
/// The most characters of a confirmation.
const MAX_CONFIRMATION: usize = 512;
/// For how long a stream tells of a job: whoever was let in may not be any more.
const WATCHED_FOR: Duration = Duration::from_mins(15);
/// Jobs on a page, where the request does not say.
const PAGE: u32 = 50;
/// Jobs on a page at most.
const MAX_PAGE: u32 = 1_000;

/// Answers that come as a job goes on.
pub(super) type Progress<A> = ReceiverStream<Result<A, Status>>;

pub(super) struct JobApi {
    ops: Ops,
}

impl JobApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl JobService for JobApi {
    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        answer(request, async |call, request| {
            let (tenant, uid) = named(&request.tenant_id, &request.job_id)?;
            let view = self.ops.get_job(call, &tenant, &uid).await?;
            Ok(GetJobResponse { job: Some(view.into()) })
        })
        .await
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        answer(request, async |call, request| {
            let page = self.ops.list_jobs(call, &decode_list(request)?).await?;
            let jobs = page.jobs.into_iter().map(Into::into).collect();
            Ok(ListJobsResponse { jobs, next_page_token: page.next_token })
        })
        .await
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> Result<Response<CancelJobResponse>, Status> {
        answer(request, async |call, request| {
            let (tenant, uid) = named(&request.tenant_id, &request.job_id)?;
            self.ops.cancel_job(call, &tenant, &uid, etag(request.etag).as_deref()).await?;
            Ok(CancelJobResponse {})
        })
        .await
    }

    type WatchJobStream = Progress<WatchJobResponse>;

    async fn watch_job(&self, request: Request<WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        answer_stream(request, async |call, request| {
            let (tenant, uid) = named(&request.tenant_id, &request.job_id)?;
            watch(&self.ops, call, tenant, uid, |job| WatchJobResponse { job: Some(job) }).await
        })
        .await
    }
}

pub(super) async fn reset_many(
    ops: &Ops,
    request: Request<ResetManyRequest>,
) -> Result<Response<Progress<ResetManyResponse>>, Status> {
    let tenant_id = request.get_ref().tenant_id.clone();
    let answered = |job, plan| ResetManyResponse { job, plan };
    let decode = |request: ResetManyRequest| {
        let mut fields = Fields::default();
        let asked = Many {
            tenant_id: request.tenant_id,
            filter: request.filter,
            max_per_second: request.max_per_second,
            validate_only: request.validate_only,
            confirmation: request.confirmation,
            tolerance: request.tolerance,
        };
        let place = Place { overlap: request.overlap, at_limit: request.at_limit, ..Place::default() };
        let task = fields.placement(&place).and_then(|placement| match placement.beginning {
            Beginning::Current { overlap } => Some(Task::ResetMany {
                overlap_s: overlap.as_secs(),
                drop_oldest: placement.at_limit == AtLimit::DropOldest,
            }),
            Beginning::Pending => None,
        });
        asked.decode(&mut fields, SubjectKind::Device, task).ok_or_else(|| fields.error())
    };
    begin(ops, request, &tenant_id, decode, answered, |answer| answer.job.as_ref()).await
}

pub(super) async fn expire_passwords(
    ops: &Ops,
    request: Request<ExpirePasswordsRequest>,
) -> Result<Response<Progress<ExpirePasswordsResponse>>, Status> {
    let tenant_id = request.get_ref().tenant_id.clone();
    let answered = |job, plan| ExpirePasswordsResponse { job, plan };
    let decode = |request: ExpirePasswordsRequest| {
        let mut fields = Fields::default();
        let mode = match proto::ExpiryMode::try_from(request.mode) {
            Ok(proto::ExpiryMode::MustChange) => Some(ExpiryMode::MustChange),
            Ok(proto::ExpiryMode::Void) => Some(ExpiryMode::Void),
            Ok(proto::ExpiryMode::Unspecified) | Err(_) => fields.refuse("mode", "must be MUST_CHANGE or VOID"),
        };
        let asked = Many {
            tenant_id: request.tenant_id,
            filter: request.filter,
            max_per_second: request.max_per_second,
            validate_only: request.validate_only,
            confirmation: request.confirmation,
            tolerance: request.tolerance,
        };
        let task = mode.map(|mode| Task::ExpirePasswords { mode });
        asked.decode(&mut fields, SubjectKind::User, task).ok_or_else(|| fields.error())
    };
    begin(ops, request, &tenant_id, decode, answered, |answer| answer.job.as_ref()).await
}

/// What requests that begin jobs have in common.
struct Many {
    tenant_id: String,
    filter: String,
    max_per_second: u32,
    validate_only: bool,
    confirmation: String,
    tolerance: Option<u32>,
}

impl Many {
    /// The job that is asked for; `None` after noting all that is wrong.
    fn decode(self, fields: &mut Fields, kind: SubjectKind, task: Option<Task>) -> Option<BeginJob> {
        let tenant = fields.tenant(&self.tenant_id);
        let filter = filter_of(fields, kind, &self.filter);
        let max_per_second = match self.max_per_second {
            0 => Some(PER_SECOND),
            rate if rate <= MAX_PER_SECOND => Some(rate),
            _ => fields.refuse("max_per_second", format!("must be at most {MAX_PER_SECOND}")),
        };
        let confirmed = if self.confirmation.is_empty() {
            Some(())
        } else if self.validate_only {
            fields.refuse("confirmation", "must not be given with validate_only, which answers it")
        } else {
            fields.printing("confirmation", &self.confirmation, 1, MAX_CONFIRMATION)
        };
        confirmed?;
        Some(BeginJob {
            tenant: tenant?,
            task: task?,
            filter: filter?,
            filter_text: self.filter,
            max_per_second: max_per_second?,
            confirmation: self.confirmation,
            tolerance: self.tolerance,
        })
    }
}

/// Answers a dry run, or begins a job and tells how it goes on.
async fn begin<Q, A>(
    ops: &Ops,
    request: Request<Q>,
    tenant_id: &str,
    decode: impl Fn(Q) -> Result<BeginJob>,
    answered: fn(Option<proto::Job>, Option<JobPlan>) -> A,
    job: fn(&A) -> Option<&proto::Job>,
) -> Result<Response<Progress<A>>, Status>
where
    Q: Asked + Message + Clone,
    A: Answered + Message + Default + 'static,
{
    let (mut again, decode) = (Request::new(()), &decode);
    *again.extensions_mut() = request.extensions().clone();
    let first = answer(request, async move |call, request| {
        Ok(match ops.begin_job(call, &decode(request)?).await? {
            Begun::Planned(plan) => answered(None, Some(plan.into())),
            Begun::Job(view) => answered(Some((*view).into()), None),
        })
    });
    let first = Box::pin(first).await?.into_inner();
    answer_stream(again, async |call, ()| {
        let Some(begun) = job(&first) else {
            let (answers, receiver) = mpsc::channel(1);
            let _ = answers.send(Ok(first)).await;
            return Ok(ReceiverStream::new(receiver));
        };
        // What was begun, now or by an earlier request of this id, is told of as it is by now.
        let (tenant, uid) = named(tenant_id, &begun.job_id)?;
        watch(ops, call, tenant, uid, move |job| answered(Some(job), None)).await
    })
    .await
}

/// Tells of a job until it has ended.
async fn watch<A: Send + 'static>(
    ops: &Ops,
    call: &Call,
    tenant: TenantRef,
    uid: Uid,
    encode: impl Fn(proto::Job) -> A + Send + 'static,
) -> Result<Progress<A>> {
    let place = ops.watch()?;
    let mut view = ops.get_job(call, &tenant, &uid).await?;
    let (answers, receiver) = mpsc::channel(1);
    let (ops, request_id) = (ops.clone(), call.request_id.clone());
    let telling = async move {
        let _place = place;
        loop {
            let ended = view.job.has_ended();
            if answers.send(Ok(encode((&view).into()))).await.is_err() || ended {
                return;
            }
            let after = tokio::select! {
                // Whoever has gone away needs nothing more.
                () = answers.closed() => return,
                after = ops.job_after(&view) => after,
            };
            match after {
                Ok(Some(after)) => view = after,
                Ok(None) => return,
                Err(failed) => {
                    let _ = answers.send(Err(error::status(&failed, &request_id))).await;
                    return;
                }
            }
        }
    };
    tokio::spawn(async move { drop(tokio::time::timeout(WATCHED_FOR, telling).await) }.in_current_span());
    Ok(ReceiverStream::new(receiver))
}

/// The job that these fields name.
fn named(tenant_id: &str, job_id: &str) -> Result<(TenantRef, Uid)> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(tenant_id);
    // Those that there are were made here; others are nobody's.
    let id = fields.id("job_id", job_id);
    let (Some(tenant), Some(id)) = (tenant, id) else { return Err(fields.error()) };
    Ok((tenant, Uid::from_stored(id.as_str())))
}

fn decode_list(request: ListJobsRequest) -> Result<ListJobs> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(&request.tenant_id);
    let size = match u32::try_from(request.page_size) {
        Ok(0) => Some(PAGE),
        Ok(size) => Some(size.min(MAX_PAGE)),
        Err(_) => fields.refuse("page_size", "must not be negative"),
    };
    let state = match state_of(&request.filter) {
        Some(state) => Some(state),
        None => fields.refuse("filter", "must be such as state = RUNNING, or DONE, CANCELLED, FAILED"),
    };
    let (Some(tenant), Some(size), Some(state)) = (tenant, size, state) else { return Err(fields.error()) };
    Ok(ListJobs { tenant, size, page_token: request.page_token, state })
}

/// The state that a filter names; none where it is empty.
#[expect(clippy::option_option, reason = "not valid, or valid and absent")]
fn state_of(filter: &str) -> Option<Option<JobState>> {
    let filter = filter.trim();
    if filter.is_empty() {
        return Some(None);
    }
    let value = filter.strip_prefix("state")?.trim_start().strip_prefix('=')?.trim_start();
    let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    JobState::ALL.into_iter().find(|state| state.as_str().to_ascii_uppercase() == value).map(Some)
}

impl From<Plan> for JobPlan {
    fn from(plan: Plan) -> Self {
        Self {
            total: plan.total,
            sample_ids: plan.sample.iter().map(ToString::to_string).collect(),
            confirmation: plan.confirmation,
            expire_time: Some(timestamp(plan.expire_time)),
        }
    }
}

impl From<JobView> for proto::Job {
    fn from(view: JobView) -> Self {
        Self::from(&view)
    }
}

impl From<&JobView> for proto::Job {
    fn from(JobView { tenant_id, job }: &JobView) -> Self {
        let mut overlap_s = 0;
        let (kind, mode) = match job.task {
            Task::ResetMany { overlap_s: seconds, .. } => {
                overlap_s = seconds;
                (proto::JobKind::ResetMany, proto::ExpiryMode::Unspecified)
            }
            Task::ExpirePasswords { mode } => {
                let mode = match mode {
                    ExpiryMode::MustChange => proto::ExpiryMode::MustChange,
                    ExpiryMode::Void => proto::ExpiryMode::Void,
                };
                (proto::JobKind::ExpirePasswords, mode)
            }
        };
        let state = match job.state {
            JobState::Running => proto::JobState::Running,
            JobState::Done => proto::JobState::Done,
            JobState::Cancelled => proto::JobState::Cancelled,
            JobState::Failed => proto::JobState::Failed,
        };
        Self {
            tenant_id: tenant_id.to_string(),
            job_id: job.uid.to_string(),
            kind: kind.into(),
            state: state.into(),
            reason: job.reason.clone().unwrap_or_default(),
            filter: job.filter_text.clone(),
            total: job.total,
            done: job.tally.done,
            skipped: job.tally.skipped,
            failed: job.tally.failed,
            reasons: job.tally.reasons.clone(),
            max_per_second: job.max_per_second,
            actor: job.asker.name.clone(),
            etag: job.etag(),
            create_time: Some(timestamp(job.create_time)),
            update_time: Some(timestamp(job.update_time)),
            end_time: job.end_time.map(timestamp),
            overlap: i64::try_from(overlap_s)
                .ok()
                .filter(|seconds| *seconds > 0)
                .map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            mode: mode.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_jobs_names_a_state_or_nothing() {
        for (filter, state) in [
            ("", None),
            ("  ", None),
            ("state = RUNNING", Some(JobState::Running)),
            ("state=DONE", Some(JobState::Done)),
            (r#" state = "CANCELLED" "#, Some(JobState::Cancelled)),
        ] {
            assert_eq!(state_of(filter), Some(state), "{filter}");
        }
        for filter in ["state", "state =", "state = running", "kind = RESET_MANY", "state = RUNNING AND state = DONE"] {
            assert_eq!(state_of(filter), None, "{filter}");
        }
    }
}
