//! A database that goes away and comes back.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rekey::store::StoreOptions;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    database::Raw,
    world::{USER_PASSWORD, populate, reset_device, retry_delay, reveal_device, revealed, verify_password},
};
use crate::common::{
    postgres,
    rekey::{Clients, Rekey, reason},
};

/// Against a test that hangs; never reached.
const NEVER: Duration = Duration::from_mins(1);

/// A port before the database, which can be cut off.
struct Relay {
    address: SocketAddr,
    server: SocketAddr,
    running: Mutex<Option<AbortHandle>>,
}

impl Relay {
    async fn start(server: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Arc::new(Self { address, server, running: Mutex::default() });
        relay.run(listener);
        relay
    }

    fn run(&self, listener: TcpListener) {
        let server = self.server;
        let running = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        *self.running.lock().unwrap() = Some(running.abort_handle());
    }

    fn cut(&self) {
        self.running.lock().unwrap().take().unwrap().abort();
    }

    async fn mend(&self) {
        self.run(TcpListener::bind(self.address).await.unwrap());
    }
}

async fn until(events: &mut Streaming<HealthCheckResponse>, status: ServingStatus) {
    let seen = async { while events.message().await.unwrap().expect("an endless stream").status() != status {} };
    timeout(NEVER, seen).await.unwrap_or_else(|_| panic!("never {status:?}"));
}

async fn watch(rekey: &Rekey, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut events = HealthClient::new(rekey.channel()).watch(request).await.unwrap().into_inner();
    until(&mut events, ServingStatus::Serving).await;
    events
}

fn is_unavailable(status: &Status) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"), "{status:?}");
    assert!(retry_delay(status).is_some());
    let told = format!("{status:?}").to_lowercase();
    assert!(!["postgres", "sqlite", "refused", "pool", "locked"].iter().any(|word| told.contains(word)), "{told}");
}

async fn reset(clients: &Clients) -> Result<String, Status> {
    let answer = clients.clone().devices.reset_authentication(reset_device("d1")).await?;
    Ok(answer.into_inner().authentication.unwrap().password)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_is_said_so_and_found_again() {
    let Some(url) = postgres::url() else { return };
    let (head, name) = url.rsplit_once('/').unwrap();
    let (scheme, server) = head.rsplit_once('@').unwrap();
    let relay = Relay::start(server.parse().unwrap()).await;
    let store = StoreOptions { url: format!("{scheme}@{}/{name}", relay.address), max_connections: 4 };
    let rekey = Rekey::start_with(|options| options.store = store).await;
    let clients = populate(&rekey).await;
    let before = revealed(&clients, "d1").await;
    let mut events = watch(&rekey, "").await;
    let mut of_users = watch(&rekey, "rekey.v1.UserService").await;

    relay.cut();
    let mut users = clients.users.clone();
    let verified = users.verify_password(verify_password("ada@acme.example", USER_PASSWORD));
    let mut devices = clients.devices.clone();
    let (changed, verified, shown) =
        tokio::join!(reset(&clients), verified, devices.reveal_authentication(reveal_device("d1")));
    for status in [changed.unwrap_err(), verified.unwrap_err(), shown.unwrap_err()] {
        is_unavailable(&status);
    }
    until(&mut events, ServingStatus::NotServing).await;
    until(&mut of_users, ServingStatus::NotServing).await;

    relay.mend().await;
    until(&mut events, ServingStatus::Serving).await;
    until(&mut of_users, ServingStatus::Serving).await;
    assert_eq!(revealed(&clients, "d1").await, before, "nothing was changed meanwhile");
    let password = reset(&clients).await.unwrap();
    assert_eq!(revealed(&clients, "d1").await.password, password);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_process_holds_is_said_so_and_waited_for() {
    let rekey = Rekey::start().await;
    let clients = populate(&rekey).await;
    let before = revealed(&clients, "d1").await;
    let mut events = watch(&rekey, "").await;

    let raw = Raw::open(&rekey.options).await;
    raw.run("BEGIN IMMEDIATE").await;
    is_unavailable(&reset(&clients).await.unwrap_err());
    let shown = clients.clone().devices.reveal_authentication(reveal_device("d1")).await;
    is_unavailable(&shown.unwrap_err());
    let read = clients.clone().users.get_user(super::world::get_user("ada")).await;
    read.expect("reading goes on");
    until(&mut events, ServingStatus::NotServing).await;

    raw.run("ROLLBACK").await;
    until(&mut events, ServingStatus::Serving).await;
    assert_eq!(revealed(&clients, "d1").await, before);
    let password = reset(&clients).await.unwrap();
    assert_eq!(revealed(&clients, "d1").await.password, password);
}
