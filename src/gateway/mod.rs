//! The REST sidecar: the canonical routes of the protos, and four dialects. A gRPC client with no keys, no database and
//! no rights of its own.
//!
//! A request passes, in this order: [`listen`](crate::listen) (bounds of a connection), hyper (bounds of a request's
//! head), `serve` (request id, route, log line, headers of every answer), then one route of a dialect or of the
//! canonical API, which reads the body, calls the service ([`upstream`]) and puts its answer into words.

mod canonical;
mod dialect;
mod exchange;
mod failure;
mod json;
mod key_set;
mod openapi;
mod path;
mod request_id;
mod upstream;

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONNECTION, TRANSFER_ENCODING},
};
use hyper::{body::Incoming as Body, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::Watcher},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tracing::{debug, info, warn};

use self::{
    canonical::Routes,
    exchange::{Answer, Exchange, Upstream},
    request_id::RequestId,
};
use crate::{
    listen::{Connection, Incoming, Limits},
    proto::DESCRIPTORS,
};

/// What a gateway needs to start.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The service.
    pub upstream: Endpoint,
    /// How long running requests may take to end once the gateway is told to stop.
    pub drain: Duration,
    /// What the gateway itself shows to the service, which it may ask who signed a request (`authorization`).
    pub identity: Option<MetadataValue<Ascii>>,
    /// Whether it shows its OpenAPI documents, and the page to read and try them.
    pub docs: bool,
}

/// A gateway that runs.
pub struct Gateway {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

const LIMITS: Limits = Limits {
    first_bytes: 1,
    first_bytes_within: Duration::from_secs(5),
    idle: Duration::from_mins(10),
    connections: 1024,
    connections_per_peer: 64,
};

/// How long the head of an HTTP/1 request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const MAX_HEAD: u16 = 16 * 1024;
/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 100;
/// How long a dead service may hold a request up before it is told so.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

impl Gateway {
    /// Opens the port. The service may start later: until then requests are answered 503.
    ///
    /// # Errors
    /// Where the address is taken or not ours.
    pub async fn start(options: GatewayOptions) -> std::io::Result<Self> {
        let GatewayOptions { listen, upstream, drain, identity, docs } = options;
        let incoming = Incoming::bind(listen, LIMITS).await?;
        let address = incoming.address();
        let channel = upstream.connect_timeout(CONNECT_WITHIN).connect_lazy();
        let service = Arc::new(Service { channel, identity, routes: Routes::read(&DESCRIPTORS), docs });
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(incoming, service, stop.clone(), drain));
        Ok(Self { address, stop, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// No new connections; running requests finish within the drain time.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if (&mut self.server).await.is_err() {
            warn!("the gateway's server ended before it was told to");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a gateway with this token shows to the service; `None` where it is no token.
#[must_use]
pub fn identity(token: &str) -> Option<MetadataValue<Ascii>> {
    let legal = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let mut value = MetadataValue::try_from(format!("Bearer {token}")).ok().filter(|_| legal)?;
    value.set_sensitive(true);
    Some(value)
}

/// Serves connections until told to stop; then running requests have the drain time.
async fn serve(incoming: Incoming, service: Arc<Service>, stop: CancellationToken, drain: Duration) {
    let serve = |connection, graceful| serve_connection(connection, Arc::clone(&service), graceful);
    let mut serving = pin!(incoming.serve(&stop, serve));
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = &mut serving => return,
    }
    if tokio::time::timeout(drain, serving).await.is_err() {
        warn!("requests were still running at the end of the drain time");
    }
}

async fn serve_connection(connection: Connection, service: Arc<Service>, graceful: Watcher) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MAX_HEAD.into());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD.into())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let peer = connection.peer().ip();
    let requests = service_fn(|request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.serve(request, peer).await) }
    });
    let outcome = graceful.watch(server.serve_connection(TokioIo::new(connection), requests).into_owned()).await;
    if let Err(error) = outcome {
        debug!(%error, "a connection broke");
    }
}

/// What every request needs.
struct Service {
    channel: Channel,
    identity: Option<MetadataValue<Ascii>>,
    routes: Routes,
    docs: bool,
}

impl Service {
    /// Answers one request. Every answer passes here.
    async fn serve(&self, request: http::Request<Body>, peer: IpAddr) -> Answer {
        let request_id = RequestId::of(request.headers());
        let method = request.method().clone();
        let chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let upstream = Upstream { channel: self.channel.clone(), identity: self.identity.clone(), peer };
        let exchange = Exchange::new(request, upstream, request_id.clone());
        let (route, mut answer) = self.answer(exchange).await;
        let headers = answer.headers_mut();
        // But for files of the page, which say so themselves.
        headers.entry(CACHE_CONTROL).or_insert(const { HeaderValue::from_static("no-store") });
        if let Some(id) = request_id.to_header() {
            headers.insert(request_id::HEADER, id);
        }
        // Whether it had a length besides, hyper no longer says. What another might take for a second request then gets
        // no answer (RFC 9112 section 6.1).
        if chunked {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        info!(%method, route, status = answer.status().as_u16(), %request_id, "answered");
        answer
    }

    /// The answer, and the route it was found by.
    async fn answer(&self, exchange: Exchange) -> (&str, Answer) {
        if exchange.path() == key_set::PATH {
            return (key_set::PATH, key_set::answer(exchange).await);
        }
        if let Some(route) = dialect::Route::find(exchange.method(), exchange.path()) {
            return (route.template(), route.answer(exchange).await);
        }
        if let Some(route) = openapi::Route::find(exchange.path()).filter(|_| self.docs) {
            return (route.template(), route.answer(exchange.method(), exchange.headers()));
        }
        match self.routes.find(exchange.method(), exchange.path()) {
            Ok(matched) => (matched.route.template.as_str(), canonical::answer(&matched, exchange).await),
            Err(no_route) => ("", canonical::no_route(&no_route)),
        }
    }
}
