//! Clients that go away in the middle.

use std::{
    collections::BTreeSet,
    env,
    future::poll_fn,
    pin::{Pin, pin},
    sync::LazyLock,
    task::Poll,
    time::Duration,
};

use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::{Message as _, bytes::Bytes};
use rekey::proto::{CreateTenantRequest, Tenant};
use tokio::{
    net::TcpStream,
    task::{JoinSet, yield_now},
};
use tonic::{Code, Request, Status};

use super::{
    database::Raw,
    world::{
        create_device, create_token, create_user, credentials, eventually, named, populate, reset_device,
        reset_integration, reset_password, revealed, update_integration, user,
    },
};
use crate::common::rekey::{Clients, Rekey, reason};

/// Calls; more where `REKEY_CHAOS_ROUNDS` says so.
static CALLS: LazyLock<usize> =
    LazyLock::new(|| env::var("REKEY_CHAOS_ROUNDS").map_or(400, |rounds| rounds.parse().unwrap()));
const WORKERS: usize = 8;

/// What becomes of a call.
#[derive(Clone, Copy)]
enum End {
    /// It is given up after so many polls.
    Polls(usize),
    /// It is given up after others had so many turns.
    Turns(usize),
    /// It has so many microseconds.
    Deadline(u64),
}

impl End {
    fn of(number: usize) -> Self {
        // Primes, so that every act meets every end.
        match number % 3 {
            0 => Self::Polls(1 + number * 7 % 11),
            1 => Self::Turns(number * 37 % 1_009),
            _ => Self::Deadline(u64::try_from(50 + number * 97 % 8_009).unwrap()),
        }
    }

    /// Whether the call was answered, and well.
    async fn meet(self, call: impl Future<Output = Result<(), Status>>) -> bool {
        let mut call = pin!(call);
        let given_up = async {
            match self {
                Self::Turns(turns) => {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                }
                Self::Polls(_) | Self::Deadline(_) => std::future::pending().await,
            }
        };
        let mut polls = 0;
        let polled = poll_fn(|context| {
            polls += 1;
            match call.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(outcome.is_ok()),
                Poll::Pending if matches!(self, Self::Polls(most) if polls >= most) => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        });
        tokio::select! { biased; done = polled => done, () = given_up => false }
    }
}

type Call = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// One of the acts, under the id `cut-<number>`, which is also the id of what it makes.
fn act(clients: Clients, number: usize, end: End) -> Call {
    fn request<T>(id: &str, end: End, message: T) -> Request<T> {
        let mut request = named(id, message);
        if let End::Deadline(micros) = end {
            request.set_timeout(Duration::from_micros(micros));
        }
        request
    }
    let Clients { mut tenants, mut users, mut devices, mut integrations, mut callers, .. } = clients;
    let id = format!("cut-{number}");
    Box::pin(async move {
        match number % 8 {
            0 => drop(devices.reset_authentication(request(&id, end, reset_device("d1"))).await?),
            1 => drop(integrations.update_integration(request(&id, end, update_integration(&id))).await?),
            2 => drop(integrations.reset_integration(request(&id, end, reset_integration())).await?),
            3 => drop(devices.create_device(request(&id, end, create_device(&id))).await?),
            4 => drop(callers.create_api_token(request(&id, end, create_token("ops"))).await?),
            5 => drop(users.reset_password(request(&id, end, reset_password("ada", "yet another long phrase"))).await?),
            6 => drop(users.create_user(request(&id, end, create_user(&id, None))).await?),
            _ => {
                let tenant = Some(Tenant { tenant_id: id.clone(), ..Tenant::default() });
                drop(
                    tenants
                        .create_tenant(request(&id, end, CreateTenantRequest { tenant, ..Default::default() }))
                        .await?,
                );
            }
        }
        Ok(())
    })
}

pub(super) async fn calls_that_are_given_up_are_done_whole_or_not_at_all(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let clients = clients.clone();
        workers.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in (worker..*CALLS).step_by(WORKERS) {
                // Rotated, or each worker would do one kind of act.
                let number = number / WORKERS * WORKERS + (number + number / WORKERS) % WORKERS;
                let end = End::of(number);
                if end.meet(act(clients.clone(), number, end)).await {
                    acknowledged.push(format!("cut-{number}"));
                }
            }
            acknowledged
        });
    }
    let acknowledged: BTreeSet<String> = workers.join_all().await.into_iter().flatten().collect();

    // Still well, and nobody is in a transaction for ever.
    let raw = Raw::open(&rekey.options).await;
    if !raw.is_sqlite() {
        let open = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        eventually("no connection is in a transaction", async || raw.number(open).await == 0).await;
    }
    raw.run("CREATE TABLE writable (x INTEGER)").await;
    for _ in 0..10 {
        let reset = clients.clone().devices.reset_authentication(named("after", reset_device("d1"))).await.unwrap();
        assert_eq!(reset.into_inner().authentication.unwrap(), revealed(&clients, "d1").await);
    }
    let (ada, integration) = (user(&clients, "ada").await, credentials(&clients).await);
    let stopped = rekey.pause().await;
    check(&raw, &acknowledged).await;

    let rekey = stopped.start().await;
    assert_eq!(user(&rekey.admin(), "ada").await, ada);
    assert_eq!(credentials(&rekey.admin()).await, integration);
}

/// The versions and records tell: each act is there with its record, or neither is.
async fn check(raw: &Raw, acknowledged: &BTreeSet<String>) {
    let set = async |sql: &str| {
        let found = raw.texts(sql).await;
        let count = found.len();
        let set = found.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(set.len(), count, "one each: {sql}");
        set
    };
    let done = set("SELECT request_id FROM audit WHERE request_id LIKE 'cut-%' AND outcome = 'succeeded'").await;
    assert!(acknowledged.is_subset(&done), "acknowledged and not there: {:?}", acknowledged - &done);
    let given_up = *CALLS - acknowledged.len();
    assert!(given_up > *CALLS / 10, "only {given_up} calls were given up");
    assert!(done.len() > acknowledged.len(), "none was done behind its client's back");
    assert!(done.len() < *CALLS, "every call was done");

    // Whatever was made is there with its record.
    let mut made = set("SELECT external_id FROM subject WHERE external_id LIKE 'cut-%'").await;
    made.extend(set("SELECT external_id FROM tenant WHERE external_id LIKE 'cut-%'").await);
    let kinds = "action IN ('DeviceService/CreateDevice', 'UserService/CreateUser', 'TenantService/CreateTenant')";
    let recorded = format!("SELECT request_id FROM audit WHERE request_id LIKE 'cut-%' AND {kinds}");
    assert_eq!(made, set(&recorded).await);
    assert_eq!(raw.number("SELECT count(*) FROM tenant").await, raw.number("SELECT count(*) FROM data_key").await);
    let bare = "SELECT count(*) FROM subject s WHERE kind = 'device' AND NOT EXISTS
                    (SELECT 1 FROM secret WHERE subject_uid = s.uid AND stage = 'current')";
    assert_eq!(raw.number(bare).await, 0, "a device without its password");

    // Whatever was changed has as many versions as records, and one secret in force, that of its last change.
    for (id, actions) in [
        ("d1", "'DeviceService/ResetAuthentication'"),
        ("i1", "'IntegrationService/UpdateIntegration', 'IntegrationService/ResetIntegration'"),
        ("ops", "'CallerService/CreateApiToken'"),
        ("ada", "'UserService/ResetPassword'"),
    ] {
        let of = format!("target_id = '{id}' AND outcome = 'succeeded' AND action IN ({actions})");
        let records = raw.number(&format!("SELECT count(*) FROM audit WHERE {of}")).await;
        let version = raw.number(&format!("SELECT version FROM subject WHERE external_id = '{id}'")).await;
        assert_eq!(version, 1 + records, "{id}");
        let secrets = |which: &str| {
            format!(
                "SELECT count(*) FROM secret JOIN subject ON uid = subject_uid WHERE external_id = '{id}' AND {which}"
            )
        };
        match id {
            "ops" => assert_eq!(raw.number(&secrets("stage = 'current'")).await, records, "a token for each record"),
            "i1" => assert_eq!(raw.number(&secrets("stage = 'current' AND slot = 'password'")).await, 1),
            _ => {
                assert_eq!(raw.number(&secrets("slot = 'password'")).await, version, "{id}");
                let newest = format!("stage = 'current' AND secret.version = {version}");
                assert_eq!(raw.number(&secrets(&newest)).await, 1, "{id}");
                assert_eq!(raw.number(&secrets("stage = 'current'")).await, 1, "{id}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_a_clients_time_is_over_is_told_with_its_reason() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let raw = Raw::open(&rekey.options).await;
    raw.run("BEGIN IMMEDIATE").await;

    // tonic's client would end the call by itself. This one only says how long it waits.
    let stream = TcpStream::connect(rekey.grpc).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let message = reset_device("d1").encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let uri = format!("http://{}/rekey.v1.DeviceService/ResetAuthentication", rekey.grpc);
    let request = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {}", rekey.admin_token))
        .header("grpc-timeout", "50m")
        .body(Full::new(Bytes::from([&[0], &length[..], &message[..]].concat())))
        .unwrap();
    let answer = client.send_request(request).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "TOOK_TOO_LONG"), "{status:?}");
    raw.run("ROLLBACK").await;
}
