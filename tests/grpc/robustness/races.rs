//! Many at once.

use rekey::proto::{ResetPasswordRequest, User};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{
    database::Raw,
    world::{
        credentials, populate, reset_device, reset_integration, reset_password, revealed, update_integration, user,
        verifies,
    },
};
use crate::common::rekey::{Clients, Rekey, reason};

/// Fifty resets of ada's password, on all of these clients in turn: each one's password and outcome.
async fn race(clients: &[Clients], etag: &str) -> Vec<(String, Result<User, Status>)> {
    let mut calls = JoinSet::new();
    for (number, clients) in (0..50).zip(clients.iter().cycle()) {
        let password = format!("phrase of the racer with number {number}");
        let request = ResetPasswordRequest { etag: etag.to_owned(), ..reset_password("ada", &password) };
        let mut users = clients.users.clone();
        calls.spawn(async move {
            let outcome = users.reset_password(request).await;
            (password, outcome.map(|answer| answer.into_inner().user.unwrap()))
        });
    }
    calls.join_all().await
}

/// As many versions and records as were acknowledged, one password in force, and it is one that was acknowledged.
async fn check(rekey: &Rekey, clients: &Clients, outcomes: &[(String, Result<User, Status>)], before: &User) {
    let done: Vec<_> =
        outcomes.iter().filter_map(|(password, outcome)| Some((password, outcome.as_ref().ok()?))).collect();
    for status in outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()) {
        assert_eq!(status.code(), Code::Aborted, "{status:?}");
        assert!(["ETAG_MISMATCH", "CONCURRENT_CHANGE"].contains(&reason(status).as_str()), "{status:?}");
    }
    let after = user(clients, "ada").await;
    assert_ne!(after.etag, before.etag);
    let (last, _) = done.iter().find(|(_, user)| user.etag == after.etag).expect("the last one was acknowledged");
    assert!(verifies(clients, "ada", last).await);

    let raw = Raw::open(&rekey.options).await;
    let acknowledged = i64::try_from(done.len()).unwrap();
    let ada = "(SELECT uid FROM subject WHERE external_id = 'ada')";
    assert_eq!(raw.number("SELECT version FROM subject WHERE external_id = 'ada'").await, 1 + acknowledged);
    assert_eq!(
        raw.number(&format!("SELECT count(*) FROM secret WHERE subject_uid = {ada}")).await,
        1 + acknowledged,
        "a version for each"
    );
    let current = format!("SELECT version FROM secret WHERE subject_uid = {ada} AND stage = 'current'");
    let current: Vec<i64> = raw.rows(&current).await.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert_eq!(current, [1 + acknowledged]);
    let records = "SELECT count(*) FROM audit WHERE action = 'UserService/ResetPassword' AND outcome = 'succeeded'";
    assert_eq!(raw.number(records).await, acknowledged);
}

pub(super) async fn of_fifty_resets_with_one_etag_one_is_done(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let before = user(&clients, "ada").await;
    let outcomes = race(std::slice::from_ref(&clients), &before.etag).await;
    assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 1);
    check(&rekey, &clients, &outcomes, &before).await;

    // The same of a device, whose resets wait for no hash.
    let device = clients.clone().devices.reset_authentication(reset_device("d1")).await.unwrap();
    let etag = device.into_inner().device.unwrap().etag;
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let mut request = reset_device("d1");
        request.etag.clone_from(&etag);
        let mut devices = clients.devices.clone();
        calls.spawn(async move { devices.reset_authentication(request).await });
    }
    let outcomes = calls.join_all().await;
    let mut done = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(answer) => done.push(answer.into_inner().authentication.unwrap()),
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
        }
    }
    assert_eq!(done, [revealed(&clients, "d1").await]);
}

pub(super) async fn fifty_resets_without_an_etag_are_done_or_aborted(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let before = user(&clients, "ada").await;
    let outcomes = race(std::slice::from_ref(&clients), "").await;
    check(&rekey, &clients, &outcomes, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_race_as_one_does() {
    let Some(rekey) = Rekey::start_on_postgres().await else { return };
    let replica = rekey.replica().await;
    let clients = [populate(&rekey).await, replica.clients(&rekey.admin_token)];
    let before = user(&clients[1], "ada").await;
    let outcomes = race(&clients, &before.etag).await;
    assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 1);
    check(&rekey, &clients[1], &outcomes, &before).await;

    clients[0].clone().devices.reset_authentication(reset_device("d1")).await.unwrap();
    assert_eq!(revealed(&clients[0], "d1").await, revealed(&clients[1], "d1").await);
    replica.stop().await;
}

/// Whoever looks sees a password with the settings that belong to it: none after a reset, until some are set again.
pub(super) async fn an_integration_is_reset_as_one_act(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let first = credentials(&clients).await;
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let (clients, first) = (clients.clone(), first.clone());
        calls.spawn(async move {
            for _ in 0..1_000 {
                let seen = credentials(&clients).await;
                assert_eq!(seen.password == first.password, !seen.settings.is_empty(), "an act was seen in half");
                if seen.password != first.password {
                    return;
                }
            }
            panic!("the reset was never seen");
        });
    }
    let mut integrations = clients.integrations.clone();
    let reset = integrations.reset_integration(reset_integration()).await.unwrap().into_inner();
    let shown = reset.credentials.unwrap();
    assert!(shown.settings.is_empty() && shown.password != first.password);
    assert!(!reset.integration.unwrap().configured);
    calls.join_all().await;
    assert_eq!(credentials(&clients).await, shown);

    // With updates in between, each of which names what it was decided on.
    let mut calls = JoinSet::new();
    for number in 0..12 {
        let mut integrations = clients.integrations.clone();
        calls.spawn(async move {
            if number % 2 == 0 {
                let reset = integrations.reset_integration(reset_integration()).await?.into_inner();
                Ok((reset.integration.unwrap(), reset.credentials))
            } else {
                let update = update_integration(&format!("setting {number}"));
                let update = integrations.update_integration(update).await?.into_inner();
                Ok::<_, Status>((update.integration.unwrap(), None))
            }
        });
    }
    let mut done = Vec::new();
    for outcome in calls.join_all().await {
        match outcome {
            Ok(done_one) => done.push(done_one),
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
        }
    }
    let last = credentials(&clients).await;
    let version = |etag: &str| i64::from_str_radix(etag.rsplit('-').next().unwrap(), 16).unwrap();
    done.sort_by_key(|(integration, _)| version(&integration.etag));
    let (latest, _) = done.last().unwrap();
    assert_eq!(latest.configured, !last.settings.is_empty());
    let reset = done.iter().rev().find_map(|(_, credentials)| credentials.as_ref());
    assert_eq!(last.password, reset.map_or(&shown.password, |reset| &reset.password).as_str());
}
