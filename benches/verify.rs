//! What stands around the work: `VerifyPassword` over gRPC against the bare `argon2` function on as many threads, and
//! `VerifyAuthentication` against a bare tonic server that answers messages of the same sizes. Side by side in one run.
//!
//! `cargo bench --bench verify`. The ratios count; the rates say more about the machine than about us.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::indexing_slicing, reason = "of as many rounds as there are")]

mod service;

use std::{
    convert::Infallible,
    env,
    net::SocketAddr,
    pin::Pin,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use rekey::proto::{
    VerifyAuthenticationRequest, VerifyAuthenticationResponse, device_service_client::DeviceServiceClient,
    user_service_client::UserServiceClient,
};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};

use self::service::{Authorised, Service, check_device, check_right, machine};

const MEMORY_KIB: u32 = 19_456;
const ITERATIONS: u32 = 2;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(3);
/// Calls in flight, over this many connections.
const DEVICE_CALLS: usize = 32;
const CONNECTIONS: usize = 2;

fn main() {
    if let Some(port) = env::args().skip_while(|argument| argument != "--echo").nth(1) {
        return echo(port.parse().unwrap());
    }
    println!("{}", machine());
    println!("Argon2id m={MEMORY_KIB} t={ITERATIONS} p=1; medians of {ROUNDS} rounds of {} s", ROUND.as_secs());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let service = runtime.block_on(Service::start(&[("REKEY_HASHING__MAX_WAIT_MS", "5000")]));
    runtime.block_on(passwords(&service));
    runtime.block_on(devices(&service));
}

async fn passwords(service: &Service) {
    let threads = thread::available_parallelism().unwrap().get();
    let channels = connections(service, None).await;
    let mut rows = Vec::new();
    for _ in 0..ROUNDS {
        let calls = rate(&channels, threads * 4, async |channel: Authorised| {
            let answer = UserServiceClient::new(channel).verify_password(check_right()).await.unwrap();
            assert!(answer.into_inner().verified);
        })
        .await;
        let reused = tokio::task::block_in_place(|| bare(threads, false));
        let fresh = tokio::task::block_in_place(|| bare(threads, true));
        rows.push([calls, reused, fresh]);
    }
    let column = |which: usize| median(rows.iter().map(|row| row[which]));
    println!("VerifyPassword over gRPC:                 {:>8.1}/s", column(0));
    println!("bare argon2 crate, memory reused:         {:>8.1}/s", column(1));
    println!("bare argon2 crate, new memory each time:  {:>8.1}/s", column(2));
    println!("  VerifyPassword / bare, memory reused:   {:>8.3}", median(rows.iter().map(|row| row[0] / row[1])));
    println!("  VerifyPassword / bare, new memory:      {:>8.3}", median(rows.iter().map(|row| row[0] / row[2])));
}

async fn devices(service: &Service) {
    let port = service::free_port();
    let mut server = Command::new(env::current_exe().unwrap()).args(["--echo", &port.to_string()]).spawn().unwrap();
    let (ours, echo) = (connections(service, None).await, connections(service, Some(port)).await);
    let call = async |channel: Authorised| {
        let answer = DeviceServiceClient::new(channel).verify_authentication(check_device()).await.unwrap();
        assert!(answer.into_inner().verified);
    };
    let mut rows = Vec::new();
    for _ in 0..ROUNDS {
        rows.push([rate(&ours, DEVICE_CALLS, call).await, rate(&echo, DEVICE_CALLS, call).await]);
    }
    server.kill().unwrap();
    server.wait().unwrap();
    println!("VerifyAuthentication, {DEVICE_CALLS} in flight:       {:>8.0}/s", median(rows.iter().map(|row| row[0])));
    println!("bare tonic echo, same messages:           {:>8.0}/s", median(rows.iter().map(|row| row[1])));
    println!("  VerifyAuthentication / echo:            {:>8.3}", median(rows.iter().map(|row| row[0] / row[1])));
}

async fn connections(service: &Service, port: Option<u16>) -> Vec<Authorised> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(match port {
            Some(port) => service.connect_to(port).await,
            None => service.connect().await,
        });
    }
    channels
}

/// Calls a second, with so many in flight all the time.
async fn rate(channels: &[Authorised], in_flight: usize, call: impl AsyncFn(Authorised)) -> f64 {
    let begin = Instant::now();
    let callers = (0..in_flight).map(async |number| {
        let mut count = 0.0;
        while begin.elapsed() < ROUND {
            call(channels[number % channels.len()].clone()).await;
            count += 1.0;
        }
        count
    });
    let counts: f64 = futures_util::future::join_all(callers).await.into_iter().sum();
    counts / begin.elapsed().as_secs_f64()
}

/// Hashes a second, with nothing around them.
fn bare(threads: usize, fresh: bool) -> f64 {
    let begin = Instant::now();
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut blocks = memory();
                while begin.elapsed() < ROUND {
                    if fresh {
                        blocks = memory();
                    }
                    hash(&mut blocks);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let count = u32::try_from(count.into_inner()).unwrap();
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn hash(blocks: &mut [Block]) {
    let params = Params::new(MEMORY_KIB, ITERATIONS, 1, Some(32)).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut tag = [0; 32];
    argon2.hash_password_into_with_memory(service::PASSWORD.as_bytes(), &[7; 16], &mut tag, blocks).unwrap();
}

fn memory() -> Vec<Block> {
    vec![Block::new(); MEMORY_KIB as usize]
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Answers every call with the same words, on a port of its own in a process of its own.
fn echo(port: u16) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    runtime.block_on(Server::builder().tcp_nodelay(true).add_service(Echo).serve(address)).unwrap();
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &str = "rekey.v1.DeviceService";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(Grpc::new(tonic_prost::ProstCodec::default()).unary(Answer, request).await) })
    }
}

struct Answer;

impl UnaryService<VerifyAuthenticationRequest> for Answer {
    type Response = VerifyAuthenticationResponse;
    type Future = std::future::Ready<Result<Response<VerifyAuthenticationResponse>, Status>>;

    fn call(&mut self, request: Request<VerifyAuthenticationRequest>) -> Self::Future {
        let verified = request.into_inner().password == service::DEVICE_PASSWORD;
        std::future::ready(Ok(Response::new(VerifyAuthenticationResponse { verified, device_id: "4711".to_owned() })))
    }
}
