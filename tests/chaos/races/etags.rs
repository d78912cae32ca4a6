//! A hundred resets at once that all name one etag, over gRPC and REST, at two replicas: one is done.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use rekey::proto::{
    CreateDeviceRequest, CreateUserRequest, GenerateSecret, GetDeviceRequest, GetUserRequest,
    ResetAuthenticationRequest, ResetPasswordRequest, create_device_request, create_user_request,
    reset_authentication_request, reset_password_request,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::fleet::{Fleet, Refusal, TENANT, refusal};
use crate::{
    common::rekey::Clients,
    database::Rows,
    parameters::{rounds, say, seed},
    server::{PATIENCE, PAUSE},
};

/// How many name one etag.
const AT_ONCE: usize = 100;
/// Of so many rounds one is about a user, whose password is hashed.
const USERS: u64 = 10;

/// Whom a round is about.
#[derive(Clone, Copy)]
enum About {
    Device,
    User,
}

/// Where it is sent.
#[derive(Clone)]
enum Way {
    Grpc(Box<Clients>),
    Rest { client: reqwest::Client, gateway: SocketAddr, token: String },
}

/// What came of a reset.
enum Came {
    /// It led to this etag.
    Done(String),
    Refused,
    /// Nobody can tell.
    Unknown,
}

async fn reset(way: Way, about: About, etag: String) -> Result<Came, String> {
    match way {
        Way::Grpc(clients) => reset_by_grpc(*clients, about, etag).await,
        Way::Rest { client, gateway, token } => {
            let path = match about {
                About::Device => "devices/d1:resetAuthentication",
                About::User => "users/ada:resetPassword",
            };
            let url = format!("http://{gateway}/v1/tenants/{TENANT}/{path}");
            let body = json!({"generate": {}, "etag": etag}).to_string();
            let request = client.post(url).bearer_auth(token).header("content-type", "application/json").body(body);
            let answer = request.send().await.map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
            let body: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            match status {
                200 => {
                    let subject = if matches!(about, About::User) { &body["user"] } else { &body["device"] };
                    Ok(Came::Done(subject["etag"].as_str().unwrap_or_default().to_owned()))
                }
                // Another was faster, or there is no room.
                409 | 429 => Ok(Came::Refused),
                503 | 504 => Ok(Came::Unknown),
                other => Err(format!("{other}: {body}")),
            }
        }
    }
}

async fn reset_by_grpc(clients: Clients, about: About, etag: String) -> Result<Came, String> {
    let tenant_id = TENANT.to_owned();
    let done = match about {
        About::Device => {
            let secret_source = Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default()));
            let device_id = "d1".to_owned();
            let reset = ResetAuthenticationRequest { tenant_id, device_id, secret_source, etag, ..Default::default() };
            let answer = clients.clone().devices.reset_authentication(reset).await;
            answer.map(|answer| answer.into_inner().device.unwrap().etag)
        }
        About::User => {
            let secret_source = Some(reset_password_request::SecretSource::Generate(GenerateSecret::default()));
            let user_id = "ada".to_owned();
            let reset = ResetPasswordRequest { tenant_id, user_id, secret_source, etag, ..Default::default() };
            let answer = clients.clone().users.reset_password(reset).await;
            answer.map(|answer| answer.into_inner().user.unwrap().etag)
        }
    };
    match done {
        Ok(etag) => Ok(Came::Done(etag)),
        Err(status) => Ok(match refusal(&status)? {
            Refusal::Raced | Refusal::Shed => Came::Refused,
            Refusal::Unknown => Came::Unknown,
        }),
    }
}

/// The etags that they begin with.
async fn furnish(admin: &mut Clients) -> (String, String) {
    let tenant_id = TENANT.to_owned();
    let secret_source = Some(create_device_request::SecretSource::Generate(GenerateSecret::default()));
    let (device_id, user_name) = ("d1".to_owned(), "d1".to_owned());
    let device = CreateDeviceRequest { tenant_id, device_id, user_name, secret_source, ..Default::default() };
    let device = admin.devices.create_device(device).await.unwrap().into_inner().device.unwrap();
    let secret_source = Some(create_user_request::SecretSource::Generate(GenerateSecret::default()));
    let (tenant_id, user_id) = (TENANT.to_owned(), "ada".to_owned());
    let user = CreateUserRequest {
        tenant_id,
        user_id,
        username: "ada@acme.example".to_owned(),
        secret_source,
        ..Default::default()
    };
    let user = admin.users.create_user(user).await.unwrap().into_inner().user.unwrap();
    (device.etag, user.etag)
}

/// The etag that follows this one, once it is there.
async fn next_etag(fleet: &Fleet, about: About, etag: &str) -> String {
    let mut admin = fleet.admin(0);
    let begun = Instant::now();
    loop {
        let tenant_id = TENANT.to_owned();
        let now = match about {
            About::Device => {
                let get = GetDeviceRequest { tenant_id, device_id: "d1".to_owned() };
                admin.devices.get_device(get).await.unwrap().into_inner().device.unwrap().etag
            }
            About::User => {
                let get = GetUserRequest { tenant_id, user_id: "ada".to_owned() };
                admin.users.get_user(get).await.unwrap().into_inner().user.unwrap().etag
            }
        };
        if now != etag {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "of many resets none was done");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What does not hold, until the first of it.
async fn race(fleet: &Fleet, rounds: u64) -> Vec<String> {
    let gateways: Vec<_> = fleet.servers.iter().map(|server| fleet.site.gateway(server.address())).collect();
    let token = &fleet.site.admin_token;
    let client = reqwest::Client::new();
    let mut ways: Vec<Way> = fleet.admins().into_iter().map(|clients| Way::Grpc(Box::new(clients))).collect();
    ways.extend(gateways.iter().map(|gateway| Way::Rest {
        client: client.clone(),
        gateway: gateway.address(),
        token: token.clone(),
    }));

    let (mut device, mut user) = furnish(&mut fleet.admin(0)).await;
    let mut by_way = BTreeMap::<usize, u32>::new();
    for round in 1..=rounds {
        let about = if round.is_multiple_of(USERS) { About::User } else { About::Device };
        let etag = if matches!(about, About::User) { &mut user } else { &mut device };
        let mut calls = JoinSet::new();
        for (number, way) in ways.iter().enumerate().cycle().take(AT_ONCE) {
            let (way, etag) = (way.clone(), etag.clone());
            calls.spawn(async move { (number, reset(way, about, etag).await) });
        }
        let (mut winners, mut unknown) = (Vec::new(), 0);
        for (number, outcome) in calls.join_all().await {
            match outcome {
                Ok(Came::Done(next)) => winners.push((number, next)),
                Ok(Came::Refused) => {}
                Ok(Came::Unknown) => unknown += 1,
                Err(fault) => return [vec![format!("round {round}: {fault}")], fleet.errors()].concat(),
            }
        }
        match winners.as_slice() {
            [(number, next)] => {
                *by_way.entry(*number).or_default() += 1;
                next.clone_into(etag);
            }
            // Its winner's answer did not come in time; it is there, or will be.
            [] if unknown > 0 => *etag = next_etag(fleet, about, etag).await,
            many => return vec![format!("round {round}: of {AT_ONCE} with the etag {etag}, {} were done", many.len())],
        }
    }
    say(format_args!("races::etags: winners by replica over gRPC, then over REST: {by_way:?}"));
    Vec::new()
}

async fn run(bug: Option<&str>, rounds: u64, name: &str) -> Option<Vec<String>> {
    let _ = seed(name);
    let fleet = Fleet::on_postgres(2, bug).await?;
    let begun = Instant::now();
    let mut violations = race(&fleet, rounds).await;
    let (site, faults) = fleet.stop();
    violations.extend(faults);
    violations.extend(Rows::open(&site.url).await.miscounted(TENANT).await);
    say(format_args!("{name}: {rounds} rounds of {AT_ONCE}, {:.1} s", begun.elapsed().as_secs_f64()));
    Some(violations)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_with_one_etag_one_is_done_over_grpc_and_rest() {
    let Some(violations) = run(None, rounds(12), "races::etags").await else { return };
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_that_only_a_process_looks_at_is_found() {
    let Some(violations) = run(Some("etag_in_memory"), 20, "races::etags with etag_in_memory").await else { return };
    assert!(!violations.is_empty(), "the planted bug was not found");
}
