//! A gRPC service that answers what it is told to, and remembers what it was asked; and a gateway in front of it.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rekey::gateway::{Gateway, GatewayOptions};
use tokio::{
    net::TcpListener,
    sync::{Notify, OwnedRwLockWriteGuard, RwLock},
};
use tonic::{Code, transport::Endpoint};
use tonic_types::pb;

use crate::wire::{Reply, send};

/// How the service refuses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) code: Option<Code>,
    pub(crate) reason: &'static str,
    pub(crate) metadata: &'static [(&'static str, &'static str)],
    pub(crate) violations: &'static [(&'static str, &'static str)],
    pub(crate) retry_after_millis: Option<u64>,
}

/// What the service was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) headers: HeaderMap,
    message: Bytes,
}

impl Asked {
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        M::decode(self.message.clone()).unwrap()
    }
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Result<Vec<u8>, Refusal>>,
    asked: Vec<Asked>,
}

/// What happens to calls.
#[derive(Default)]
struct Calls {
    /// Held by whoever wants calls to wait.
    hold: Arc<RwLock<()>>,
    asked: Notify,
    abandoned: Notify,
}

/// Tells when a call is dropped before it is answered.
struct Unanswered(Arc<Calls>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.abandoned.notify_one();
    }
}

/// The service, and the gateway in front of it.
pub(crate) struct StandIn {
    state: Arc<Mutex<State>>,
    calls: Arc<Calls>,
    pub(crate) gateway: Gateway,
}

/// The gateway's own.
pub(crate) const GATEWAY_TOKEN: &str = "the-gateways-own-token";

pub(crate) const CHECK_ACCESS: &str = "rekey.v1.CallerService/CheckAccess";

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let calls = Arc::new(Calls::default());
        let shared = (Arc::clone(&state), Arc::clone(&calls));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, calls) = shared.clone();
                let service = service_fn(move |request| answer(Arc::clone(&state), Arc::clone(&calls), request));
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
            }
        });
        let stand_in = Self { state, calls, gateway: gateway(service).await };
        stand_in.answers(CHECK_ACCESS, &rekey::proto::CheckAccessResponse {});
        stand_in
    }

    /// From now on a method answers so.
    pub(crate) fn answers(&self, method: &str, message: &impl Message) {
        self.state.lock().unwrap().answers.insert(method.to_owned(), Ok(message.encode_to_vec()));
    }

    /// From now on a method refuses so.
    pub(crate) fn refuses(&self, method: &str, refusal: Refusal) {
        self.state.lock().unwrap().answers.insert(method.to_owned(), Err(refusal));
    }

    /// From now on a method refuses for this reason.
    pub(crate) fn refuses_for(&self, method: &str, reason: &'static str) {
        self.refuses(method, Refusal { reason, ..Refusal::default() });
    }

    /// From now on calls wait, until this is dropped.
    pub(crate) async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.calls.hold).write_owned().await
    }

    /// Until a call has come.
    pub(crate) async fn until_asked(&self) {
        self.calls.asked.notified().await;
    }

    /// Until a call that had come was given up.
    pub(crate) async fn until_abandoned(&self) {
        self.calls.abandoned.notified().await;
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// The one thing asked since the last time.
    pub(crate) fn asked_once(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.into_iter().next().unwrap()
    }

    pub(crate) async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        send(self.gateway.address(), method, target, headers, body).await
    }
}

/// A gateway in front of any service.
pub(crate) async fn gateway(service: SocketAddr) -> Gateway {
    let upstream = Endpoint::from_shared(format!("http://{service}")).unwrap();
    let (listen, drain) = ("127.0.0.1:0".parse().unwrap(), Duration::from_secs(1));
    let identity = rekey::gateway::identity(GATEWAY_TOKEN);
    let options = GatewayOptions { listen, upstream, drain, identity, docs: false };
    Gateway::start(options).await.unwrap()
}

/// The code that a reason comes with, by the documentation of `ErrorReason`.
fn code_of(reason: &str) -> Code {
    match reason {
        "PERMISSION_MISSING" | "NOT_OWN_SUBJECT" | "API_KEY_READ_ONLY" => Code::PermissionDenied,
        "FIELDS_INVALID" | "POLICY_VIOLATED" | "CURRENT_PASSWORD_MISMATCH" => Code::InvalidArgument,
        "ALREADY_EXISTS" => Code::AlreadyExists,
        "CHANGE_PASSWORD_NOT_ALLOWED" | "SUBJECT_DISABLED" | "SUBJECT_LOCKED" | "SECRET_NOT_SET" => {
            Code::FailedPrecondition
        }
        "ETAG_MISMATCH" | "CONCURRENT_CHANGE" => Code::Aborted,
        "OVERLOADED" | "RATE_LIMITED" => Code::ResourceExhausted,
        "STORE_UNAVAILABLE" => Code::Unavailable,
        "OUTCOME_UNKNOWN" => Code::Unknown,
        "INTERNAL" => Code::Internal,
        reason if reason.ends_with("_NOT_FOUND") => Code::NotFound,
        _ => Code::Unauthenticated,
    }
}

fn status(refusal: &Refusal) -> pb::Status {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let info = pb::ErrorInfo {
        reason: refusal.reason.to_owned(),
        domain: "rekey".to_owned(),
        metadata: refusal.metadata.iter().map(owned).collect(),
    };
    let any = |name: &str, value: Vec<u8>| prost_types::Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value,
    };
    let mut details = vec![any("ErrorInfo", info.encode_to_vec())];
    if !refusal.violations.is_empty() {
        let field_violations = refusal.violations.iter().map(owned);
        let field_violations = field_violations.map(|(field, description)| pb::bad_request::FieldViolation {
            field,
            description,
            ..Default::default()
        });
        details
            .push(any("BadRequest", pb::BadRequest { field_violations: field_violations.collect() }.encode_to_vec()));
    }
    if let Some(millis) = refusal.retry_after_millis {
        let retry_delay = Some(Duration::from_millis(millis).try_into().unwrap());
        details.push(any("RetryInfo", pb::RetryInfo { retry_delay }.encode_to_vec()));
    }
    let code = refusal.code.unwrap_or_else(|| code_of(refusal.reason));
    pb::Status { code: code.into(), message: "the service's own sentence".to_owned(), details }
}

async fn answer(
    state: Arc<Mutex<State>>,
    calls: Arc<Calls>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut frame = body.collect().await.unwrap().to_bytes();
    let message = frame.split_off(5);
    let method = parts.uri.path().trim_start_matches('/').to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked { method: method.clone(), headers: parts.headers, message });
        state.answers.get(&method).cloned()
    };
    calls.asked.notify_one();
    let unanswered = Unanswered(Arc::clone(&calls));
    drop(calls.hold.read().await);
    std::mem::forget(unanswered);
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    match answer {
        Some(Ok(message)) => {
            let mut data = BytesMut::new();
            data.put_u8(0);
            data.put_u32(message.len().try_into().unwrap());
            data.put_slice(&message);
            frames.push(Ok(Frame::data(data.freeze())));
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Some(Err(refusal)) => {
            let status = status(&refusal);
            trailers.insert("grpc-status", status.code.into());
            trailers.insert("grpc-message", HeaderValue::from_static("the%20service's%20own%20sentence"));
            let details = data_encoding::BASE64_NOPAD.encode(&status.encode_to_vec());
            trailers.insert("grpc-status-details-bin", details.parse().unwrap());
        }
        None => {
            trailers.insert("grpc-status", i32::from(Code::Unimplemented).into());
        }
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let body = BoxBody::new(StreamBody::new(tokio_stream::iter(frames)));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}
