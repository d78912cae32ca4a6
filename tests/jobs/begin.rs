//! Looking first, and confirming.

use std::time::Duration;

use rekey::proto::{
    AtLimit, CancelJobRequest, DeleteDeviceRequest, GetJobRequest, JobState, ListJobsRequest, ResetManyRequest,
    RevealAuthenticationRequest, Tenant, VerifyAuthenticationRequest, WatchJobRequest,
    verify_authentication_request::Subject,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{TENANT, begin, counts, get, last, make_devices, next, plan, reset, with_tenant, with_tenants};
use crate::common::rekey::{Clients, fields, reason};

fn ids(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("d{number:03}"))
}

async fn refused(clients: &Clients, request: ResetManyRequest) -> Status {
    clients.devices.clone().reset_many(request).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_begins_by_what_its_dry_run_answered_and_by_nothing_else() {
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, ids(30)).await;
        let request = reset("user_name = \"name-d00*\"");
        let planned = plan(&admin, request.clone()).await.unwrap();
        assert_eq!((planned.total, planned.sample_ids.len()), (10, 10));
        assert!(planned.sample_ids.iter().all(|id| id.starts_with("d00")));
        let all = plan(&admin, reset("")).await.unwrap();
        assert_eq!((all.total, all.sample_ids.len()), (30, 20));

        // Without it, with another request's, or with another caller's.
        let confirmed = ResetManyRequest { confirmation: planned.confirmation.clone(), ..request.clone() };
        let other_filter = ResetManyRequest { filter: String::new(), ..confirmed.clone() };
        let altered = ResetManyRequest { confirmation: format!("{}x", planned.confirmation), ..request.clone() };
        for request in [request.clone(), other_filter, altered] {
            let refused = refused(&admin, request).await;
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CONFIRMATION_NEEDED"));
        }
        let other = rekey.clients(&rekey.make_caller(TENANT, &["devices:resetMany"]).await);
        assert_eq!(reason(&refused(&other, confirmed.clone()).await), "CONFIRMATION_NEEDED");

        let job = last(admin.devices.clone().reset_many(confirmed.clone()).await.unwrap().into_inner()).await;
        assert_eq!(counts(&job), (JobState::Done, 10, 0, 0));
        // It begins one job, also when it is old by then.
        rekey.clock.advance(Duration::from_mins(31));
        let again = last(admin.devices.clone().reset_many(confirmed).await.unwrap().into_inner()).await;
        assert_eq!(again, job);
        let old = ResetManyRequest { confirmation: all.confirmation, ..reset("") };
        let refused = refused(&admin, old).await;
        assert_eq!(reason(&refused), "CONFIRMATION_NEEDED");
        assert!(refused.message().contains("half an hour"));
        rekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_or_fewer_than_were_looked_at_are_refused_beyond_what_is_tolerated() {
    let rekey = with_tenant().await;
    let admin = rekey.admin();
    make_devices(&admin, ids(12)).await;
    let planned = plan(&admin, reset("")).await.unwrap();
    let delete = DeleteDeviceRequest {
        tenant_id: TENANT.to_owned(),
        device_id: "d003".to_owned(),
        ..DeleteDeviceRequest::default()
    };
    admin.devices.clone().delete_device(delete).await.unwrap();
    let confirmed = ResetManyRequest { confirmation: planned.confirmation, ..reset("") };
    for tolerance in [None, Some(0)] {
        let refused = refused(&admin, ResetManyRequest { tolerance, ..confirmed.clone() }).await;
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "MATCHES_CHANGED"));
        let metadata = refused.get_details_error_info().unwrap().metadata;
        assert_eq!((metadata["confirmed"].as_str(), metadata["total"].as_str()), ("12", "11"));
    }
    let tolerant = ResetManyRequest { tolerance: Some(1), ..confirmed };
    let job = last(admin.devices.clone().reset_many(tolerant).await.unwrap().into_inner()).await;
    assert_eq!((job.total, counts(&job)), (11, (JobState::Done, 11, 0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_watches_the_same_job() {
    let rekey = with_tenant().await;
    let admin = rekey.admin();
    make_devices(&admin, ids(40)).await;
    let confirmation = plan(&admin, reset("")).await.unwrap().confirmation;
    let request = ResetManyRequest { confirmation, request_id: "r1".to_owned(), max_per_second: 200, ..reset("") };
    // The one that begins it goes away.
    let mut first = admin.devices.clone().reset_many(request.clone()).await.unwrap().into_inner();
    let job_id = next(&mut first).await.unwrap().job_id;
    drop(first);
    let replica = rekey.replica().await;
    for clients in [admin.clone(), replica.clients(&rekey.admin_token)] {
        let job = last(clients.devices.clone().reset_many(request.clone()).await.unwrap().into_inner()).await;
        assert_eq!((job.job_id.as_str(), counts(&job)), (job_id.as_str(), (JobState::Done, 40, 0, 0)));
    }
    let other = ResetManyRequest { max_per_second: 100, ..request.clone() };
    assert_eq!(reason(&refused(&admin, other).await), "REQUEST_ID_REUSED");
    // Many at once begin one.
    let confirmation = plan(&admin, reset("")).await.unwrap().confirmation;
    let request = ResetManyRequest { confirmation, ..reset("") };
    let begun: Vec<_> = (0..8)
        .map(|number| {
            let request = ResetManyRequest { request_id: format!("s{number}"), ..request.clone() };
            let mut devices = admin.devices.clone();
            tokio::spawn(async move { last(devices.reset_many(request).await.unwrap().into_inner()).await })
        })
        .collect();
    let mut jobs = Vec::new();
    for job in begun {
        jobs.push(job.await.unwrap());
    }
    assert!(jobs.iter().all(|job| *job == jobs[0] && job.done == 40), "{jobs:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_told_at_once_and_all_of_it() {
    let rekey = with_tenant().await;
    let admin = rekey.admin();
    let bad = ResetManyRequest {
        tenant_id: "!".to_owned(),
        filter: "colour = \"red\"".to_owned(),
        max_per_second: 1_001,
        confirmation: "with a space".to_owned(),
        ..ResetManyRequest::default()
    };
    let refused_all = refused(&admin, bad).await;
    assert_eq!(refused_all.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused_all), ["tenant_id", "filter", "max_per_second", "confirmation"]);
    let both = ResetManyRequest { confirmation: "x".to_owned(), validate_only: true, ..reset("") };
    assert_eq!(fields(&refused(&admin, both).await), ["confirmation"]);
    // Nobody fits: that is no mistake, and soon done.
    let job = last(begin(&admin, reset("state = LOCKED")).await.unwrap()).await;
    assert_eq!((job.total, counts(&job)), (0, (JobState::Done, 0, 0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_s_job_is_not_found_and_a_list_has_one_s_own() {
    let rekey = with_tenant().await;
    rekey.make_tenant(Tenant { tenant_id: "other".to_owned(), ..Tenant::default() }).await;
    let admin = rekey.admin();
    make_devices(&admin, ids(3)).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(last(begin(&admin, reset("")).await.unwrap()).await.job_id);
        rekey.clock.advance(Duration::from_millis(1));
    }
    let token = rekey.make_caller("other", &["jobs:*", "devices:resetMany"]).await;
    let stranger = rekey.clients(&token);
    let job_id = made[0].clone();
    let text = |tenant: &str| tenant.to_owned();
    for (tenant, expected) in [(TENANT, "TENANT_NOT_FOUND"), ("other", "JOB_NOT_FOUND")] {
        let mut jobs = stranger.jobs.clone();
        let get = GetJobRequest { tenant_id: text(tenant), job_id: job_id.clone() };
        let cancel = CancelJobRequest { tenant_id: text(tenant), job_id: job_id.clone(), ..Default::default() };
        let watch = WatchJobRequest { tenant_id: text(tenant), job_id: job_id.clone() };
        for refused in [
            jobs.get_job(get).await.unwrap_err(),
            jobs.cancel_job(cancel).await.unwrap_err(),
            jobs.watch_job(watch).await.unwrap_err(),
        ] {
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, expected));
        }
    }
    let list = |page_size, page_token: &str, filter: &str| ListJobsRequest {
        tenant_id: text(TENANT),
        page_size,
        page_token: page_token.to_owned(),
        filter: filter.to_owned(),
    };
    let mut jobs = admin.jobs.clone();
    let first = jobs.list_jobs(list(2, "", "state = DONE")).await.unwrap().into_inner();
    let second = jobs.list_jobs(list(2, &first.next_page_token, "state = DONE")).await.unwrap().into_inner();
    let listed: Vec<_> = first.jobs.iter().chain(&second.jobs).map(|job| job.job_id.clone()).collect();
    made.reverse();
    assert_eq!((listed, second.next_page_token.as_str()), (made, ""), "the latest first");
    assert!(jobs.list_jobs(list(0, "", "state = RUNNING")).await.unwrap().into_inner().jobs.is_empty());
    let wrong = jobs.list_jobs(list(-1, "x", "state = x")).await.unwrap_err();
    assert_eq!(fields(&wrong), ["page_size", "filter"]);
    let wrong = jobs.list_jobs(list(1, &first.next_page_token, "")).await.unwrap_err();
    assert_eq!(fields(&wrong), ["page_token"]);
    assert_eq!(get(&admin, &job_id).await.state(), JobState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_passwords_of_before_stay_good_for_the_overlap() {
    for rekey in with_tenants().await {
        let admin = rekey.admin();
        make_devices(&admin, ids(3)).await;
        let reveal = async || -> String {
            let request = RevealAuthenticationRequest {
                tenant_id: TENANT.to_owned(),
                device_id: "d001".to_owned(),
                ..RevealAuthenticationRequest::default()
            };
            let shown = admin.devices.clone().reveal_authentication(request).await.unwrap().into_inner();
            shown.authentication.unwrap().password
        };
        let verifies = async |password: &str| -> bool {
            let request = VerifyAuthenticationRequest {
                tenant_id: TENANT.to_owned(),
                subject: Some(Subject::DeviceId("d001".to_owned())),
                password: password.to_owned(),
                ..VerifyAuthenticationRequest::default()
            };
            admin.devices.clone().verify_authentication(request).await.unwrap().into_inner().verified
        };
        let overlap =
            |seconds| ResetManyRequest { overlap: Some(prost_types::Duration { seconds, nanos: 0 }), ..reset("") };
        let first = reveal().await;
        let job = last(begin(&admin, overlap(3_600)).await.unwrap()).await;
        assert_eq!((counts(&job), job.overlap.unwrap().seconds), ((JobState::Done, 3, 0, 0), 3_600));
        let second = reveal().await;
        assert!(first != second && verifies(&first).await && verifies(&second).await);
        // Two live: a third is one too many, unless the older one may go.
        let job = last(begin(&admin, overlap(60)).await.unwrap()).await;
        assert_eq!((counts(&job), job.reasons.get("TWO_SECRETS_LIVE")), ((JobState::Done, 0, 3, 0), Some(&3)));
        let drop_oldest = ResetManyRequest { at_limit: AtLimit::DropOldest.into(), ..overlap(60) };
        let job = last(begin(&admin, drop_oldest).await.unwrap()).await;
        assert_eq!(counts(&job), (JobState::Done, 3, 0, 0));
        let answers = [verifies(&first).await, verifies(&second).await, verifies(&reveal().await).await];
        assert_eq!(answers, [false, true, true], "the oldest is dropped");
        rekey.clock.advance(Duration::from_secs(61));
        assert!(!verifies(&second).await && verifies(&reveal().await).await);
        // Without it, all of before is void at once.
        let third = reveal().await;
        last(begin(&admin, reset("")).await.unwrap()).await;
        assert!(!verifies(&third).await && verifies(&reveal().await).await);
        let negative = plan(&admin, overlap(-1)).await.unwrap_err();
        assert_eq!(fields(&negative), ["overlap"]);
        let too_long = plan(&admin, overlap(100 * 365 * 86_400)).await.unwrap_err();
        assert_eq!(fields(&too_long), ["overlap"]);
        rekey.stop().await;
    }
}
