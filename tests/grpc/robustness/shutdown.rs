//! Stopping.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tonic::{Code, Status};

use super::{
    database::Raw,
    world::{create_user, populate, reset_password, verifies},
};
use crate::common::rekey::{Clients, Rekey};

const USERS: usize = 6;
/// Against a test that hangs; never reached.
const NEVER: Duration = Duration::from_mins(1);

fn password(number: usize) -> String {
    format!("the new phrase of user number {number}")
}

/// Resets of several users' passwords, which wait for one thread; returns when the first is done.
async fn busy(clients: &mut Clients) -> JoinSet<(usize, Result<(), Status>)> {
    for number in 0..USERS {
        clients.users.create_user(create_user(&format!("u{number}"), None)).await.unwrap();
    }
    let mut calls = JoinSet::new();
    for number in 0..USERS {
        let mut users = clients.users.clone();
        calls.spawn(async move {
            let reset = reset_password(&format!("u{number}"), &password(number));
            (number, users.reset_password(reset).await.map(drop))
        });
    }
    let (number, first) = calls.join_next().await.unwrap().unwrap();
    first.unwrap();
    calls.spawn(async move { (number, Ok(())) });
    calls
}

async fn start(drain: Duration) -> Rekey {
    Rekey::start_with(|options| {
        options.drain = drain;
        options.hasher.threads = 1;
    })
    .await
}

/// What was acknowledged is there, and what is there is recorded.
async fn check(rekey: Rekey, outcomes: &[(usize, Result<(), Status>)]) {
    let clients = rekey.admin();
    let raw = Raw::open(&rekey.options).await;
    for (number, outcome) in outcomes {
        let records = format!(
            "SELECT count(*) FROM audit WHERE target_id = 'u{number}' AND outcome = 'succeeded'
                 AND action = 'UserService/ResetPassword'"
        );
        let there = verifies(&clients, &format!("u{number}"), &password(*number)).await;
        assert_eq!(raw.number(&records).await, i64::from(there), "u{number}");
        assert!(there || outcome.is_err(), "u{number} was acknowledged");
    }
    rekey.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_calls_end_though_other_connections_say_nothing() {
    let rekey = start(Duration::from_secs(2)).await;
    let mut silent = TcpStream::connect(rekey.grpc).await.unwrap();
    let mut half = TcpStream::connect(rekey.grpc).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0").await.unwrap();
    // One that has shaken hands and then answers nothing, not even a ping.
    let mut deaf = TcpStream::connect(rekey.grpc).await.unwrap();
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    deaf.read_exact(&mut [0; 9]).await.unwrap();

    let mut clients = populate(&rekey).await;
    let calls = busy(&mut clients).await;
    let address = rekey.grpc;
    let stopped = timeout(NEVER, rekey.pause()).await.expect("silence does not hold the stop up");
    let outcomes = calls.join_all().await;
    for (number, outcome) in &outcomes {
        outcome.as_ref().unwrap_or_else(|status| panic!("u{number} was running: {status:?}"));
    }
    TcpStream::connect(address).await.unwrap_err();
    let late = clients.users.get_user(super::world::get_user("ada")).await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable);
    check(stopped.start().await, &outcomes).await;
    // Held open to here.
    let _ = (silent.shutdown().await, half.shutdown().await, deaf.shutdown().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_outlast_the_drain_are_done_whole_or_not_at_all() {
    let rekey = start(Duration::ZERO).await;
    let mut clients = populate(&rekey).await;
    let calls = busy(&mut clients).await;
    let stopped = timeout(NEVER, rekey.pause()).await.expect("the drain is over at once");
    drop(clients);
    let outcomes = timeout(NEVER, calls.join_all()).await.expect("every call is answered");
    check(stopped.start().await, &outcomes).await;
}
