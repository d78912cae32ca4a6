//! Guesses at one account by many at once at two replicas: no more of them are checked than is documented; and owners who
//! come many at once all pass.

use std::time::{Duration, Instant};

use rekey::proto::{CreateUserRequest, VerifyPasswordRequest, create_user_request, verify_password_request};
use tokio::task::JoinSet;
use tonic::Code;

use super::fleet::{TENANT, prepare};
use crate::{
    common::rekey::Clients,
    database::Rows,
    parameters::{rounds, say, seed},
    server::{Server, Site},
};

/// Guessers at each replica.
const PARALLEL: usize = 16;
/// What is documented: so many are free to one source, and so many to all strangers together; then one after each wait.
const FREE: u64 = 5;
const FREE_TO_STRANGERS: u64 = 20;
const WAITS_S: [u64; 9] = [1, 3, 5, 10, 30, 60, 120, 300, 600];
const RIGHT: &str = "The-right-0ne-and-long-enough";

/// The most that may be checked within this time.
fn allowed(free: u64, within: Duration) -> u64 {
    let mut waited = 0;
    let waits = WAITS_S.iter().take_while(|wait| {
        waited += **wait;
        waited <= within.as_secs()
    });
    free + u64::try_from(waits.count()).unwrap()
}

async fn start(bug: Option<&str>) -> Option<(Site, Vec<Server>)> {
    let mut site = Site::on_postgres()?;
    for limit in ["CALLER_PER_SECOND", "TENANT_PER_SECOND", "TARGET_PER_SECOND", "SOURCE_FAILURES_PER_MINUTE"] {
        site.set(&format!("REKEY_LIMITS__{limit}"), "0");
    }
    if let Some(bug) = bug {
        site.plant(bug);
    }
    let servers = vec![site.serve().await, site.serve().await];
    let mut admin = servers[0].clients(&site.admin_token);
    prepare(&mut admin).await;
    for user_id in ["ada", "bob", "eve"] {
        let create = CreateUserRequest {
            tenant_id: TENANT.to_owned(),
            user_id: user_id.to_owned(),
            username: format!("{user_id}@acme.example"),
            secret_source: Some(create_user_request::SecretSource::Password(RIGHT.to_owned())),
            ..CreateUserRequest::default()
        };
        admin.users.create_user(create).await.unwrap();
    }
    Some((site, servers))
}

/// Whether it is said to be right; `None` where there is no room.
async fn verify(mut clients: Clients, user_id: &str, password: &str, source: String) -> Option<bool> {
    let subject = Some(verify_password_request::Subject::UserId(user_id.to_owned()));
    let (tenant_id, password) = (TENANT.to_owned(), password.to_owned());
    match clients.users.verify_password(VerifyPasswordRequest { tenant_id, subject, password, source }).await {
        Ok(answer) => Some(answer.into_inner().verified),
        Err(status) if [Code::ResourceExhausted, Code::DeadlineExceeded].contains(&status.code()) => None,
        Err(status) => panic!("{status:?}"),
    }
}

/// Guesses at a user from everywhere at once; how long that took.
async fn guess(
    site: &Site,
    servers: &[Server],
    user: &'static str,
    each: u64,
    source: fn(usize, u64) -> String,
) -> Duration {
    let begun = Instant::now();
    let mut guessers = JoinSet::new();
    for guesser in 0..PARALLEL * servers.len() {
        let clients = servers[guesser % servers.len()].clients(&site.admin_token);
        guessers.spawn(async move {
            for number in 0..each {
                let wrong = format!("guess {number} of the guesser {guesser}");
                let right = verify(clients.clone(), user, &wrong, source(guesser, number)).await;
                assert_ne!(right, Some(true), "{wrong}");
            }
        });
    }
    guessers.join_all().await;
    begun.elapsed()
}

/// Fifty right ones at once; how often they had to come again for want of room.
async fn own(site: &Site, servers: &[Server]) -> u32 {
    let mut owners = JoinSet::new();
    for number in 0..50 {
        let clients = servers[number % servers.len()].clients(&site.admin_token);
        owners.spawn(async move {
            let mut again = 0;
            loop {
                match verify(clients.clone(), "eve", RIGHT, "198.51.100.7".to_owned()).await {
                    Some(verified) => {
                        assert!(verified, "an owner is refused");
                        return again;
                    }
                    None => again += 1,
                }
            }
        });
    }
    owners.join_all().await.into_iter().sum()
}

/// What does not hold.
async fn run(bug: Option<&str>, each: u64, name: &str) -> Option<Vec<String>> {
    let _ = seed(name);
    let (site, servers) = start(bug).await?;
    let of_one = guess(&site, &servers, "ada", each, |_, _| "203.0.113.9".to_owned()).await;
    let of_many = guess(&site, &servers, "bob", each, |guesser, number| format!("10.{guesser}.{number}.1")).await;
    let again = own(&site, &servers).await;
    for server in servers {
        let _ = server.stop();
    }
    let rows = Rows::open(&site.url).await;
    let mut violations = Vec::new();
    for (user, free, within) in [("ada", FREE, of_one), ("bob", FREE_TO_STRANGERS, of_many)] {
        // What was not checked is recorded as such.
        let checked = format!(
            "SELECT count(*) FROM audit WHERE action = 'UserService/VerifyPassword' AND outcome = 'failed' \
             AND detail = '' AND target_id = '{user}'"
        );
        let checked = u64::try_from(rows.number(&checked).await).unwrap();
        let (most, guesses) = (allowed(free, within), each * PARALLEL as u64 * 2);
        say(format_args!(
            "{name}: {checked} of {guesses} guesses at {user} were checked in {within:.1?}, {most} may be"
        ));
        if checked > most {
            violations.push(format!("{checked} guesses at {user} were checked, {most} may be"));
        }
        if checked < free.min(guesses) {
            violations.push(format!("only {checked} guesses at {user} were checked, {free} are free"));
        }
    }
    let left = rows.number("SELECT count(*) FROM failure WHERE reserved > 0").await;
    if left > 0 {
        violations.push(format!("{left} tallies keep reservations of nobody"));
    }
    say(format_args!("{name}: 50 of 50 right ones passed, and {again} times there was no room at first"));
    Some(violations)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_guesses_are_checked_than_is_documented() {
    let Some(violations) = run(None, rounds(4), "races::guesses").await else { return };
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tally_that_is_read_and_then_written_is_found() {
    let name = "races::guesses with tally_read_then_written";
    let Some(violations) = run(Some("tally_read_then_written"), 4, name).await else { return };
    assert!(!violations.is_empty(), "the planted bug was not found");
}
