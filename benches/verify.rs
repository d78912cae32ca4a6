//! What stands around the work: `VerifyPassword` over gRPC against the bare `argon2` function on as many threads, and
//! `VerifyAuthentication` against a bare tonic server that answers messages of the same sizes. Side by side in one run.
//!
//! `cargo bench --bench verify`, two and a half minutes; `-- --quick` for seconds. The ratios count; the rates say more
//! about the machine than about us.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::indexing_slicing, reason = "of as many rounds as there are")]

mod service;

use std::{
    cell::{Cell, RefCell},
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

use rekey::crypto::argon2::{Kernel, Memory};

use self::service::{Authorised, Service, check_device, check_right, is_quick, machine, tell};

const MEMORY_KIB: u32 = 19_456;
const ITERATIONS: u32 = 2;
/// Rounds, and the length of each kind's part in one: short ones, so that a neighbour's load meets all kinds alike.
const FULL: (usize, Duration) = (21, Duration::from_secs(1));
const QUICK: (usize, Duration) = (2, Duration::from_millis(500));
/// Calls in flight, over this many connections.
const DEVICE_CALLS: usize = 32;
const CONNECTIONS: usize = 2;

fn main() {
    if let Some(port) = env::args().skip_while(|argument| argument != "--echo").nth(1) {
        return echo(port.parse().unwrap());
    }
    println!("{}", machine());
    let (rounds, length) = if is_quick() { QUICK } else { FULL };
    println!("Argon2id m={MEMORY_KIB} t={ITERATIONS} p=1; medians of {rounds} rounds of {length:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let service = runtime.block_on(Service::start(&[("REKEY_HASHING__MAX_WAIT_MS", "5000")]));
    runtime.block_on(passwords(&service, rounds, length));
    runtime.block_on(devices(&service, rounds, length));
}

async fn passwords(service: &Service, rounds: usize, length: Duration) {
    let threads = thread::available_parallelism().unwrap().get();
    let channels = connections(service, None).await;
    let (mut rows, mut times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let call = async |channel: Authorised, number: usize| {
            let answer = UserServiceClient::new(channel).verify_password(check_right(number)).await.unwrap();
            assert!(answer.into_inner().verified);
        };
        let calls = rate(&channels, threads * 4, length, &mut times, call).await;
        let bare = |hash: fn(&mut [Block], &mut [u8]), fresh| {
            tokio::task::block_in_place(|| bare(threads, length, fresh, hash))
        };
        rows.push([calls, bare(by_crate, false), bare(by_crate, true), bare(by_kernel, false)]);
    }
    let column = |which: usize| median(rows.iter().map(|row| row[which]));
    let ratio = |which: usize| median(rows.iter().map(|row| row[0] / row[which]));
    println!("VerifyPassword over gRPC, {} in flight:     {:>8.1}/s", threads * 4, column(0));
    println!("bare argon2 crate, memory reused:         {:>8.1}/s", column(1));
    println!("bare argon2 crate, new memory each time:  {:>8.1}/s", column(2));
    println!("bare kernel, memory reused:               {:>8.1}/s  ({:?})", column(3), Kernel::fastest());
    println!("  VerifyPassword / crate, memory reused:  {:>8.3}", ratio(1));
    println!("  VerifyPassword / crate, new memory:     {:>8.3}", ratio(2));
    println!("  VerifyPassword / kernel:                {:>8.3}", ratio(3));
    tell("VerifyPassword", &mut times);
}

async fn devices(service: &Service, rounds: usize, length: Duration) {
    let port = service::free_port();
    let mut server = Command::new(env::current_exe().unwrap()).args(["--echo", &port.to_string()]).spawn().unwrap();
    let (ours, echo) = (connections(service, None).await, connections(service, Some(port)).await);
    let call = async |channel: Authorised, number: usize| {
        let answer = DeviceServiceClient::new(channel).verify_authentication(check_device(number)).await.unwrap();
        assert!(answer.into_inner().verified);
    };
    let (mut rows, mut times) = (Vec::new(), [Vec::new(), Vec::new()]);
    let [of_ours, of_echo] = &mut times;
    for _ in 0..rounds {
        let us = rate(&ours, DEVICE_CALLS, length, of_ours, call).await;
        rows.push([us, rate(&echo, DEVICE_CALLS, length, of_echo, call).await]);
    }
    server.kill().unwrap();
    server.wait().unwrap();
    println!("VerifyAuthentication, {DEVICE_CALLS} in flight:       {:>8.0}/s", median(rows.iter().map(|row| row[0])));
    println!("bare tonic echo, same messages:           {:>8.0}/s", median(rows.iter().map(|row| row[1])));
    println!("  VerifyAuthentication / echo:            {:>8.3}", median(rows.iter().map(|row| row[0] / row[1])));
    tell("VerifyAuthentication", of_ours);
    tell("echo", of_echo);
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

/// Calls a second, with so many in flight all the time, each about another subject than the one before.
async fn rate(
    channels: &[Authorised],
    in_flight: usize,
    length: Duration,
    times: &mut Vec<Duration>,
    call: impl AsyncFn(Authorised, usize),
) -> f64 {
    let begin = Instant::now();
    let (next, seen) = (Cell::new(0), RefCell::new(Vec::new()));
    let callers = (0..in_flight).map(async |number| {
        while begin.elapsed() < length {
            let sent = Instant::now();
            call(channels[number % channels.len()].clone(), next.replace(next.get() + 1)).await;
            seen.borrow_mut().push(sent.elapsed());
        }
    });
    futures_util::future::join_all(callers).await;
    let seen = seen.into_inner();
    let count = u32::try_from(seen.len()).unwrap();
    times.extend(seen);
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// Hashes a second, with nothing around them.
fn bare(threads: usize, length: Duration, fresh: bool, hash: fn(&mut [Block], &mut [u8])) -> f64 {
    let begin = Instant::now();
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut reused, mut tag) = (Memory::new(MEMORY_KIB as usize).unwrap(), [0; 32]);
                while begin.elapsed() < length {
                    if fresh {
                        hash(&mut vec![Block::new(); MEMORY_KIB as usize], &mut tag);
                    } else {
                        hash(&mut reused, &mut tag);
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let count = u32::try_from(count.into_inner()).unwrap();
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn params() -> Params {
    Params::new(MEMORY_KIB, ITERATIONS, 1, Some(32)).unwrap()
}

fn by_crate(blocks: &mut [Block], tag: &mut [u8]) {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params());
    argon2.hash_password_into_with_memory(service::PASSWORD.as_bytes(), &[7; 16], tag, blocks).unwrap();
}

fn by_kernel(blocks: &mut [Block], tag: &mut [u8]) {
    let password = service::PASSWORD.as_bytes();
    Kernel::fastest().hash(Algorithm::Argon2id, &params(), password, &[7; 16], tag, blocks).unwrap();
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
        std::future::ready(Ok(Response::new(VerifyAuthenticationResponse {
            verified,
            device_id: "47".to_owned(),
            secret_version: 1,
        })))
    }
}
