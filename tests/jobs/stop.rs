//! What goes on meanwhile: jobs are stopped, their askers go, subjects come and go.

use std::time::Duration;

use rekey::proto::{
    CancelJobRequest, CreateCallerRequest, DeleteDeviceRequest, DeleteTenantRequest, DisableCallerRequest,
    DisableTenantRequest, JobState, ResetManyRequest, Role, WatchJobRequest,
};
use tonic::Code;

use super::{
    TENANT, begin, counts, get, last, make_devices, next, plan, records, reset, texts, with_tenant, with_tenants,
};
use crate::common::rekey::reason;

fn ids(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("d{number:03}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_changes_nobody_any_more() {
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, ids(100)).await;
        let mut answers = begin(&admin, ResetManyRequest { max_per_second: 100, ..reset("") }).await.unwrap();
        let mut job = next(&mut answers).await.unwrap();
        while job.done < 5 {
            job = next(&mut answers).await.unwrap();
        }
        let cancel = |etag: &str, request_id: &str| CancelJobRequest {
            tenant_id: TENANT.to_owned(),
            job_id: job.job_id.clone(),
            etag: etag.to_owned(),
            request_id: request_id.to_owned(),
        };
        let stale = admin.jobs.clone().cancel_job(cancel("old", "")).await.unwrap_err();
        assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
        for request_id in ["c1", "c1", "c2", ""] {
            admin.jobs.clone().cancel_job(cancel("", request_id)).await.unwrap();
        }
        let ended = get(&admin, &job.job_id).await;
        assert_eq!(ended.state(), JobState::Cancelled);
        assert!((5..100).contains(&ended.done), "{}", ended.done);
        // Its stream ends with it, and nothing follows.
        assert_eq!(last(answers).await, ended);
        let changed = records(&rekey, "DeviceService/ResetMany").await;
        let changed = changed.iter().filter(|record| record.target_kind == "device").count();
        assert_eq!(i64::try_from(changed).unwrap(), ended.done);
        let told = records(&rekey, "JobService/CancelJob").await;
        let mut told: Vec<_> =
            told.iter().filter(|record| record.outcome == "succeeded").map(|told| &told.detail).collect();
        // Within a millisecond records are in no order.
        told.sort();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(*told[0], format!("cancelled: {} done, 0 skipped, 0 failed of 100", ended.done));
        assert_eq!(told[1], "has ended already");
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_no_further_than_whoever_asked_for_it_may() {
    let rekey = with_tenant().await;
    let admin = rekey.admin();
    make_devices(&admin, ids(200)).await;
    let text = str::to_owned;
    // A role that is not enough, from the beginning.
    let caller = CreateCallerRequest {
        tenant_id: text(TENANT),
        roles: vec![Role::Helpdesk.into()],
        ..CreateCallerRequest::default()
    };
    let helpdesk = rekey.clients(&rekey.make_caller_as(caller).await);
    let refused = plan(&helpdesk, reset("")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    for (step, expected) in [("disable", "CREDENTIAL_INVALID"), ("tenant", "TENANT_DISABLED")] {
        let caller = CreateCallerRequest {
            tenant_id: text(TENANT),
            caller_id: text(step),
            permissions: vec![text("devices:resetMany"), text("jobs:get")],
            ..CreateCallerRequest::default()
        };
        let clients = rekey.clients(&rekey.make_caller_as(caller).await);
        let mut answers = begin(&clients, ResetManyRequest { max_per_second: 100, ..reset("") }).await.unwrap();
        let job = next(&mut answers).await.unwrap();
        if step == "disable" {
            let request = DisableCallerRequest { tenant_id: text(TENANT), caller_id: text(step), ..Default::default() };
            admin.callers.clone().disable_caller(request).await.unwrap();
        } else {
            let request = DisableTenantRequest { tenant_id: text(TENANT), ..Default::default() };
            admin.tenants.clone().disable_tenant(request).await.unwrap();
        }
        let ended = last(answers).await;
        assert_eq!((ended.state(), ended.reason.as_str()), (JobState::Failed, expected));
        assert!(ended.done < 200, "{}", ended.done);
        assert_eq!(ended.job_id, job.job_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_or_goes_meanwhile_moves_nobody_else() {
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, ids(60)).await;
        rekey.clock.advance(Duration::from_secs(1));
        let mut answers = begin(&admin, ResetManyRequest { max_per_second: 60, ..reset("") }).await.unwrap();
        let mut job = next(&mut answers).await.unwrap();
        while job.done < 3 {
            job = next(&mut answers).await.unwrap();
        }
        // Some of those that it has been at, and some that it has not; one comes back under its id, as another.
        for id in ["d000", "d020", "d040", "d059"] {
            let request = DeleteDeviceRequest {
                tenant_id: TENANT.to_owned(),
                device_id: id.to_owned(),
                ..DeleteDeviceRequest::default()
            };
            admin.devices.clone().delete_device(request).await.unwrap();
        }
        make_devices(&admin, ["d059".to_owned()].into_iter().chain((100..120).map(|number| format!("d{number}"))))
            .await;
        let ended = last(answers).await;
        assert_eq!((ended.state(), ended.total), (JobState::Done, 60));
        assert!((56..=60).contains(&ended.done) && ended.failed == 0, "{ended:?}");
        let records = records(&rekey, "DeviceService/ResetMany").await;
        let mut ids: Vec<_> =
            records.iter().filter(|record| record.target_kind == "device").map(|record| &record.target_id).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), i64::try_from(all).unwrap()), (all, ended.done));
        assert!(!ids.iter().any(|id| id.starts_with("d1")), "who is made later is left alone");
        for number in (0..60).filter(|number| ![0, 20, 40, 59].contains(number)) {
            assert!(ids.contains(&&format!("d{number:03}")), "d{number:03} was left out");
        }
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_server_and_the_job_goes_on_elsewhere() {
    let rekey = with_tenant().await;
    let admin = rekey.admin();
    make_devices(&admin, ids(80)).await;
    let replica = rekey.replica().await;
    let mut answers = begin(&admin, ResetManyRequest { max_per_second: 100, ..reset("") }).await.unwrap();
    let job = next(&mut answers).await.unwrap();
    let theirs = replica.clients(&rekey.admin_token);
    let stopped = rekey.pause().await;
    while next(&mut answers).await.is_some() {}
    let watch = WatchJobRequest { tenant_id: TENANT.to_owned(), job_id: job.job_id };
    let mut watching = theirs.jobs.clone().watch_job(watch).await.unwrap().into_inner();
    let mut end = None;
    while let Some(told) = watching.message().await.unwrap() {
        end = told.job;
    }
    assert_eq!(counts(&end.unwrap()), (JobState::Done, 80, 0, 0));
    replica.stop().await;
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_with_its_tenant() {
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, ids(100)).await;
        let mut answers = begin(&admin, ResetManyRequest { max_per_second: 500, ..reset("") }).await.unwrap();
        while next(&mut answers).await.unwrap().done == 0 {}
        let delete = DeleteTenantRequest { tenant_id: TENANT.to_owned(), force: true, ..Default::default() };
        admin.tenants.clone().delete_tenant(delete).await.unwrap();
        while next(&mut answers).await.is_some() {}
        for table in ["job", "secret JOIN subject ON uid = subject_uid AND kind = 'device'"] {
            assert_eq!(texts(&rekey, &format!("SELECT '' || count(*) FROM {table}")).await, ["0"], "{table}");
        }
        rekey.stop().await;
    }
}
