//! More than can be done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use rekey::proto::ImportUsersRequest;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::world::{
    TENANT, USER_PASSWORD, eventually, get_user, named, populate, retry_delay, user, verifies, verify_password,
};
use crate::common::rekey::{Clients, Rekey, connect, reason};

/// Refused for want of room, and told when to come again.
fn is_overload(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && reason(status) == "OVERLOADED" && retry_delay(status).is_some()
}

fn verify() -> rekey::proto::VerifyPasswordRequest {
    verify_password("ada@acme.example", USER_PASSWORD)
}

async fn with_queue(queue: usize) -> Rekey {
    Rekey::start_with(|options| {
        options.hasher.threads = 1;
        options.hasher.queue = queue;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_checks_is_served_in_part_and_refused_in_part_and_starves_nobody() {
    let rekey = with_queue(4).await;
    let clients = populate(&rekey).await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut flood = JoinSet::new();
    for _ in 0..40 {
        let (mut users, enough) = (clients.users.clone(), Arc::clone(&enough));
        flood.spawn(async move {
            let (mut served, mut refused) = (0, 0);
            while !enough.load(Ordering::Relaxed) {
                match users.verify_password(verify()).await {
                    Ok(answer) => {
                        assert!(answer.into_inner().verified);
                        served += 1;
                    }
                    Err(status) => {
                        assert!(is_overload(&status), "{status:?}");
                        refused += 1;
                    }
                }
            }
            (served, refused)
        });
    }
    let mut health = HealthClient::new(rekey.channel());
    for _ in 0..25 {
        clients.clone().users.get_user(get_user("ada")).await.unwrap();
        let status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving);
    }
    enough.store(true, Ordering::Relaxed);
    let counts = flood.join_all().await;
    let (served, refused) = counts.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
    assert!(verifies(&clients, "ada", USER_PASSWORD).await, "well afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_are_given_up_give_their_places_back() {
    let rekey = with_queue(4).await;
    let clients = populate(&rekey).await;
    for _ in 0..10 {
        // Until one is refused: then all places are taken.
        let mut taken = JoinSet::new();
        for source in 0..10 {
            let mut users = clients.users.clone();
            let check = rekey::proto::VerifyPasswordRequest { source: source.to_string(), ..verify() };
            taken.spawn(async move { users.verify_password(check).await });
        }
        let full = loop {
            if let Err(status) = taken.join_next().await.expect("one too many").unwrap() {
                break status;
            }
        };
        assert!(is_overload(&full), "{full:?}");
        taken.abort_all();
        while taken.join_next().await.is_some() {}
    }
    let accepted = async || clients.clone().users.verify_password(verify()).await.is_ok();
    eventually("a check is accepted", accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_a_connection_or_the_server_takes_are_refused_with_a_time_to_retry() {
    let rekey = with_queue(1_000).await;
    let clients = populate(&rekey).await;
    let offer = async |channels: usize, each: usize| {
        let mut calls = JoinSet::new();
        for _ in 0..channels {
            let clients = Clients::on(&connect(rekey.grpc).await, &rekey.admin_token);
            for _ in 0..each {
                let mut users = clients.users.clone();
                calls.spawn(async move { users.verify_password(verify()).await });
            }
        }
        calls
    };
    // One connection may not take all there is.
    let mut calls = offer(1, 150).await;
    for _ in 0..20 {
        if let Err(status) = calls.join_next().await.unwrap().unwrap() {
            assert!(is_overload(&status), "{status:?}");
        }
    }
    user(&clients, "ada").await;
    drop(calls);

    // More than `api::MAX_CALLS` at once.
    let mut calls = offer(5, 60).await;
    let refused = loop {
        let ended = calls.join_next().await.expect("one too many is refused").unwrap();
        if let Err(status) = ended {
            break status;
        }
    };
    assert!(is_overload(&refused), "{refused:?}");
    let mut health = HealthClient::new(rekey.channel());
    health.check(HealthCheckRequest::default()).await.unwrap();
    drop(calls);
    eventually("calls are let in again", async || clients.clone().users.get_user(get_user("ada")).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_at_once_where_the_wait_would_be_too_long() {
    let rekey = Rekey::start_with(|options| {
        options.hasher.threads = 1;
        options.hasher.max_wait = Duration::ZERO;
    })
    .await;
    let clients = populate(&rekey).await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let mut users = clients.users.clone();
        calls.spawn(async move { users.verify_password(verify()).await });
    }
    let outcomes = calls.join_all().await;
    assert!(outcomes.iter().any(Result::is_ok));
    assert!(outcomes.iter().any(Result::is_err), "nobody waits");
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(is_overload));
}

#[tokio::test]
async fn unknown_wrong_disabled_and_bare_get_the_same_answer() {
    let rekey = Rekey::start().await;
    let clients = populate(&rekey).await;
    let mut disabled = super::world::create_user("off", Some(USER_PASSWORD));
    disabled.set_state(rekey::proto::SubjectState::Disabled);
    clients.clone().users.create_user(disabled).await.unwrap();
    clients.clone().users.create_user(super::world::create_user("bare", None)).await.unwrap();
    let mut answers = Vec::new();
    for (name, password) in [("ada", "not the password of ada"), ("off", USER_PASSWORD), ("bare", ""), ("eve", "")] {
        let password = if password.is_empty() { "whatever it may be" } else { password };
        let request = verify_password(&format!("{name}@{TENANT}.example"), password);
        let answer = clients.clone().users.verify_password(request).await.unwrap();
        let mut metadata = answer.metadata().clone();
        metadata.remove("date");
        answers.push((format!("{metadata:?}"), answer.into_inner().encode_to_vec()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(answers[0].1.is_empty());
}

/// The first message never comes, so that the call never gets to its answer.
#[tokio::test]
async fn a_call_that_takes_too_long_is_ended_and_told_why() {
    let rekey = with_queue(4).await;
    let clients = populate(&rekey).await;
    let mut users = clients.users.clone();
    let silence = named("slow", tokio_stream::pending::<ImportUsersRequest>());
    let call = tokio::spawn(async move { users.import_users(silence).await });
    // Calls that were sent later are answered, so this one is being worked on.
    for _ in 0..3 {
        user(&clients, "ada").await;
    }
    assert!(!call.is_finished());
    tokio::time::pause();
    tokio::time::advance(rekey::api::TIMEOUT).await;
    tokio::time::resume();
    let status = call.await.unwrap().map(drop).unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "TOOK_TOO_LONG"), "{status:?}");
    assert_eq!(status.get_details_request_info().unwrap().request_id, "slow");
    user(&clients, "ada").await;
}
