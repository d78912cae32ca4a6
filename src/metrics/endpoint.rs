//! The page itself, on a listener of its own.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming as Body, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::listen::{Connection, Incoming, Limits};

/// A handful of scrapers, and people with curl.
const LIMITS: Limits = Limits {
    first_bytes: 1,
    first_bytes_within: Duration::from_secs(5),
    idle: Duration::from_mins(5),
    connections: 32,
    connections_per_peer: 16,
};

/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

type Page = Arc<dyn Fn() -> String + Send + Sync>;

/// `GET /metrics`, over HTTP/1.1. Its drop ends it.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Endpoint {
    /// Opens the port. `page` is asked anew for each answer.
    ///
    /// # Errors
    /// Where the address is taken or not ours.
    pub async fn start(listen: SocketAddr, page: impl Fn() -> String + Send + Sync + 'static) -> io::Result<Self> {
        let incoming = Incoming::bind(listen, LIMITS).await?;
        let address = incoming.address();
        let page: Page = Arc::new(page);
        // Nothing that is worth waiting for: it is cut off.
        let server = async move {
            incoming.serve(&CancellationToken::new(), |connection, _| serve(connection, Arc::clone(&page))).await;
        };
        Ok(Self { address, server: tokio::spawn(server) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(connection: Connection, page: Page) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MAX_HEAD);
    let requests = service_fn(|request| {
        let answer = answer(&request, &page);
        async move { Ok::<_, Infallible>(answer) }
    });
    if let Err(error) = server.serve_connection(TokioIo::new(connection), requests).await {
        tracing::debug!(%error, "a connection for metrics broke");
    }
}

fn answer(request: &Request<Body>, page: &Page) -> Response<Full<Bytes>> {
    let (status, text) = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => (StatusCode::OK, page()),
        ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, "GET it\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
