//! `JobService`, `DeviceService.ResetMany` and `UserService.ExpirePasswords`: what is done to many is looked at first,
//! confirmed, and done to each of them once, whatever happens meanwhile.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod begin;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod expire;
mod stop;

use std::{collections::BTreeMap, time::Duration};

use rekey::{
    app::ServiceOptions,
    ops::job::JobOptions,
    proto::{
        AuditRecord, CreateDeviceRequest, GetJobRequest, Job, JobPlan, JobState, ListAuditRecordsRequest,
        ResetManyRequest, ResetManyResponse, Tenant,
    },
    store::StoreOptions,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tonic::{Status, Streaming};

use crate::common::{
    postgres,
    rekey::{Clients, Rekey},
};

const TENANT: &str = "plant";

/// Nobody has to wait long.
const FAST: JobOptions = JobOptions { lease: Duration::from_millis(250), poll: Duration::from_millis(20) };

async fn start() -> Rekey {
    Rekey::start_with(|options| options.jobs = FAST).await
}

async fn start_on_postgres() -> Option<Rekey> {
    let store = StoreOptions { url: postgres::url()?, max_connections: 8 };
    let adjust = |options: &mut ServiceOptions| {
        options.store = store;
        options.jobs = FAST;
    };
    Some(Rekey::start_with(adjust).await)
}

async fn with_tenant() -> Rekey {
    let rekey = start().await;
    rekey.make_tenant(Tenant { tenant_id: TENANT.to_owned(), ..Tenant::default() }).await;
    rekey
}

/// The same on both engines; PostgreSQL where there is one.
async fn with_tenants() -> Vec<Rekey> {
    let mut all = vec![with_tenant().await];
    if let Some(rekey) = start_on_postgres().await {
        rekey.make_tenant(Tenant { tenant_id: TENANT.to_owned(), ..Tenant::default() }).await;
        all.push(rekey);
    }
    all
}

async fn make_devices(clients: &Clients, ids: impl Iterator<Item = String>) {
    let ids: Vec<_> = ids.collect();
    // No more at once than a database has connections.
    for some in ids.chunks(8) {
        let making: Vec<_> = some.iter().map(|id| tokio::spawn(make_device(clients.clone(), id.clone()))).collect();
        for made in making {
            made.await.unwrap();
        }
    }
}

async fn make_device(mut clients: Clients, id: String) {
    let labels = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
    let request = CreateDeviceRequest {
        tenant_id: TENANT.to_owned(),
        user_name: format!("name-{id}"),
        device_id: id,
        labels,
        ..CreateDeviceRequest::default()
    };
    clients.devices.create_device(request).await.unwrap();
}

fn reset(filter: &str) -> ResetManyRequest {
    ResetManyRequest {
        tenant_id: TENANT.to_owned(),
        filter: filter.to_owned(),
        max_per_second: 1_000,
        ..ResetManyRequest::default()
    }
}

async fn plan(clients: &Clients, request: ResetManyRequest) -> Result<JobPlan, Status> {
    let request = ResetManyRequest { validate_only: true, ..request };
    let mut answers = clients.devices.clone().reset_many(request).await?.into_inner();
    let answer = answers.message().await?.unwrap();
    assert!(answer.job.is_none() && answers.message().await?.is_none(), "a dry run answers once");
    Ok(answer.plan.unwrap())
}

/// Begins a job by what its dry run answered.
async fn begin(clients: &Clients, request: ResetManyRequest) -> Result<Streaming<ResetManyResponse>, Status> {
    let confirmation = plan(clients, request.clone()).await?.confirmation;
    let request = ResetManyRequest { confirmation, ..request };
    clients.devices.clone().reset_many(request).await.map(tonic::Response::into_inner)
}

/// The next that a stream tells; `None` at its end.
async fn next(answers: &mut Streaming<ResetManyResponse>) -> Option<Job> {
    answers.message().await.unwrap().map(|answer| answer.job.unwrap())
}

/// The last that a stream tells.
async fn last(mut answers: Streaming<ResetManyResponse>) -> Job {
    let mut last = None;
    while let Some(job) = next(&mut answers).await {
        last = Some(job);
    }
    last.unwrap()
}

async fn get(clients: &Clients, job_id: &str) -> Job {
    let request = GetJobRequest { tenant_id: TENANT.to_owned(), job_id: job_id.to_owned() };
    clients.jobs.clone().get_job(request).await.unwrap().into_inner().job.unwrap()
}

/// How a job fared: done, skipped, failed.
fn counts(job: &Job) -> (JobState, i64, i64, i64) {
    (job.state(), job.done, job.skipped, job.failed)
}

/// Text past the service: the first column.
async fn texts(rekey: &Rekey, sql: &str) -> Vec<String> {
    let database: DatabaseConnection = common::sql::connect(&rekey.options.store.url).await;
    let statement = Statement::from_string(database.get_database_backend(), sql);
    let rows = database.query_all_raw(statement).await.unwrap();
    let texts = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    database.close().await.unwrap();
    texts
}

/// The tenant's records of this act.
async fn records(rekey: &Rekey, action: &str) -> Vec<AuditRecord> {
    rekey.clock.advance(Duration::from_secs(11));
    let mut request = ListAuditRecordsRequest {
        tenant_id: TENANT.to_owned(),
        page_size: 1_000,
        filter: format!("action = \"{action}\""),
        ..ListAuditRecordsRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let page = rekey.admin().audit.list_audit_records(request.clone()).await.unwrap().into_inner();
        all.extend(page.records);
        if !page.more {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// Everybody was changed once: they have their second version, one live secret of it, and one record each; and the
/// whole has its beginning and its end.
async fn assert_each_once(rekey: &Rekey, action: &str, kind: &str, job: &Job) {
    let versions = format!("SELECT version || ' ' || count(*) FROM subject WHERE kind = '{kind}' GROUP BY version");
    assert_eq!(texts(rekey, &versions).await, [format!("2 {}", job.total)]);
    let live = format!(
        "SELECT '' || count(*) FROM secret JOIN subject ON subject.uid = subject_uid
         WHERE kind = '{kind}' AND stage = 'current' AND secret.version = 2"
    );
    assert_eq!(texts(rekey, &live).await, [job.total.to_string()]);

    let records = records(rekey, action).await;
    let (of_job, of_subjects): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.target_kind == "job");
    let mut changed = BTreeMap::<&str, usize>::new();
    for record in of_subjects {
        assert_eq!((record.outcome.as_str(), record.target_kind.as_str()), ("succeeded", kind), "{record:?}");
        assert!(record.detail.contains(&job.job_id) && record.detail.ends_with("epoch 2"), "{record:?}");
        *changed.entry(&record.target_id).or_default() += 1;
    }
    assert_eq!(i64::try_from(changed.len()).unwrap(), job.total, "each has a record");
    assert!(changed.values().all(|count| *count == 1), "nobody has two");
    let mut details: Vec<_> = of_job.iter().map(|record| record.detail.as_str()).collect();
    details.sort_unstable();
    let total = job.total;
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details[0].starts_with(&format!("begins: {total}, ")), "{details:?}");
    assert_eq!(details[1], format!("ends: {total} done, 0 skipped, 0 failed of {total}"));
    assert!(of_job.iter().all(|record| record.target_id == job.job_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_devices_get_a_new_password_each_and_a_record_each() {
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, (0..500).map(|number| format!("d{number}"))).await;
        let mut answers = begin(&admin, reset("labels.site = \"north\"")).await.unwrap();
        let (mut told, mut before) = (0, -1);
        let mut job = next(&mut answers).await.unwrap();
        assert_eq!((job.total, job.state()), (500, JobState::Running));
        assert!(job.actor.starts_with("system/admin token:"), "{}", job.actor);
        while let Some(after) = next(&mut answers).await {
            assert!(after.done >= before, "it only grows");
            (before, told, job) = (after.done, told + 1, after);
        }
        assert_eq!(counts(&job), (JobState::Done, 500, 0, 0));
        assert!(told >= 2 && job.end_time.is_some(), "told {told} times");
        assert_each_once(&rekey, "DeviceService/ResetMany", "device", &job).await;
        rekey.stop().await;
    }
}
