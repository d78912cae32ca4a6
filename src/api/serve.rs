//! Serving calls on connections: HTTP/2 with bounds, over TLS where there is a certificate.
//!
//! tonic's own server makes a task of every call, and another processor wakes up for it. Most calls are answered from
//! what is in memory, in less time than that takes. So here a call is begun in its connection's turn and becomes a task
//! only where it has to wait, or where the turn has been long; what was answered in a turn leaves in one write. A flood
//! that is refused, and checks of secrets that are known already, cost the less (`cargo bench --bench flood`, `--bench
//! verify`).
//!
//! Silent connections and their number are `listen`'s. Of the reset-stream limits h2's defaults hold: 20 pending, 1,024
//! local errors. A connection's age is not bounded: running calls would be cut off.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::Gate;
use crate::listen;

/// How long a client may take to agree on TLS.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// The largest head of a call, in bytes.
const MAX_HEAD: u32 = 16 * 1024;
/// Calls of one connection at a time.
const MAX_STREAMS: u32 = 100;
/// How often a connection is asked for a sign of life.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it has for it.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection's turn may take before the calls that have not begun are left to others.
const LONG_TURN: Duration = Duration::from_millis(1);

/// TLS by this certificate chain and its key, both PEM. Clients show no certificates.
///
/// # Errors
/// A sentence where one of them is missing, or they do not belong together.
pub fn tls(chain: &[u8], key: &[u8]) -> Result<TlsAcceptor, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|cause| format!("the certificate cannot be read: {cause}"))?;
    if chain.is_empty() {
        return Err("the certificate's file holds none in PEM".to_owned());
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|cause| format!("the key's file holds none in PEM: {cause}"))?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).map_err(|cause| {
        let foreign = matches!(cause, rustls::Error::InconsistentKeys(_));
        if foreign { "the key is not the certificate's".to_owned() } else { format!("they do not fit TLS: {cause}") }
    })?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves connections until told to stop, and then until their calls have ended. Its drop cuts them off.
pub async fn serve(incoming: listen::Incoming, tls: Option<TlsAcceptor>, gate: Gate, stop: CancellationToken) {
    let welcome = |connection, graceful| welcome(connection, graceful, tls.clone(), gate.clone(), stop.clone());
    incoming.serve(&stop, welcome).await;
}

async fn welcome(
    connection: listen::Connection,
    graceful: Watcher,
    tls: Option<TlsAcceptor>,
    gate: Gate,
    stop: CancellationToken,
) {
    let answer = move |request: Request<Incoming>| gate.clone().answer(request.map(Body::new));
    let Some(tls) = tls else { return serve_connection(connection, graceful, answer).await };
    match stop.run_until_cancelled(timeout(HANDSHAKE_WITHIN, tls.accept(connection))).await {
        Some(Ok(Ok(connection))) => serve_connection(connection, graceful, answer).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, "no agreement on TLS"),
        Some(Err(_elapsed)) => tracing::debug!("agreeing on TLS took too long"),
        // It has no calls that could be waited for.
        None => {}
    }
}

/// Serves one connection until its end, and answers each call by `answer`.
async fn serve_connection<A>(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    graceful: Watcher,
    answer: impl Fn(Request<Incoming>) -> A + Send,
) where
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let arrived = Arrived::default();
    let mut server = http2::Builder::new(arrived.clone());
    server
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    let calls = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(graceful.watch(server.serve_connection(TokioIo::new(connection), calls)));
    let outcome = poll_fn(|cx| {
        // It reads; the calls begin; it writes what they answered.
        for _ in 0..2 {
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            if !arrived.begin() {
                return Poll::Pending;
            }
        }
        // Others have their turn before the answers to what has come meanwhile.
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    if let Err(error) = outcome.await {
        tracing::debug!(%error, "a connection broke");
    }
}

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The calls that have come in a connection's turn.
#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Vec<Call>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Arrived {
    fn execute(&self, call: F) {
        self.lock().push(Box::pin(call));
    }
}

impl Arrived {
    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes with each as far as it gets without waiting; `false` where there was none.
    fn begin(&self) -> bool {
        let calls = mem::take(&mut *self.lock());
        let any = !calls.is_empty();
        let begun = Instant::now();
        for mut call in calls {
            if begun.elapsed() > LONG_TURN || waits(&mut call) {
                tokio::spawn(call);
            }
        }
        any
    }
}

/// Goes with a call as far as it gets; whether it waits for something there. One that panics ends alone, as a task does.
fn waits(call: &mut Call) -> bool {
    // Nobody needs to be woken yet: as a task it is asked again at once.
    let mut nobody = Context::from_waker(Waker::noop());
    matches!(catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut nobody))), Ok(Poll::Pending))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use hyper::client::conn::http2::{SendRequest, handshake};
    use hyper_util::{rt::TokioExecutor, server::graceful::GracefulShutdown};
    use tokio::{io::ReadBuf, sync::Notify};

    use super::*;

    /// The service's end of a connection, and of each write how many answers' heads it had.
    struct Noted(tokio::io::DuplexStream, Arc<Mutex<Vec<usize>>>);

    impl AsyncRead for Noted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Noted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
            self.1.lock().unwrap().push(heads(bytes));
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// Frames of the type HEADERS (RFC 9113 sections 4.1 and 6.2).
    fn heads(mut frames: &[u8]) -> usize {
        let mut count = 0;
        while let [high, middle, low, kind, rest @ ..] = frames {
            let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            count += usize::from(*kind == 1);
            frames = rest.get(5 + length..).unwrap_or_default();
        }
        count
    }

    /// A client of a service that answers so, and what is noted of the service's writes.
    async fn client<A>(
        answer: impl Fn(Request<Incoming>) -> A + Send + 'static,
    ) -> (SendRequest<Body>, Arc<Mutex<Vec<usize>>>)
    where
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let (client, server) = tokio::io::duplex(1 << 16);
        let writes = Arc::<Mutex<Vec<usize>>>::default();
        let noted = Noted(server, Arc::clone(&writes));
        tokio::spawn(async move {
            let graceful = GracefulShutdown::new();
            serve_connection(noted, graceful.watcher(), answer).await;
        });
        let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        // Both ends have introduced themselves.
        sender.send_request(request("/")).await.unwrap();
        writes.lock().unwrap().clear();
        (sender, writes)
    }

    fn request(path: &str) -> Request<Body> {
        Request::builder().uri(format!("http://localhost{path}")).body(Body::empty()).unwrap()
    }

    /// How many answers left in each write, of calls that came together.
    async fn left<A>(answer: impl Fn(Request<Incoming>) -> A + Send + 'static, paths: &[&str]) -> Vec<usize>
    where
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let (sender, writes) = client(answer).await;
        let calls = paths.iter().map(|path| sender.clone().send_request(request(path)));
        assert!(join_all(calls).await.iter().all(Result::is_ok));
        writes.lock().unwrap().iter().copied().filter(|heads| *heads > 0).collect()
    }

    #[tokio::test]
    async fn what_is_answered_in_a_turn_leaves_in_one_write() {
        assert_eq!(left(|_| async { Response::new(Body::empty()) }, &["/"; 5]).await, [5]);
    }

    #[tokio::test]
    async fn a_turn_that_takes_long_leaves_the_rest_to_others() {
        let answer = |request: Request<Incoming>| async move {
            let begun = Instant::now();
            while request.uri().path() == "/long" && begun.elapsed() <= LONG_TURN {
                std::hint::spin_loop();
            }
            Response::new(Body::empty())
        };
        assert_eq!(left(answer, &["/long", "/", "/"]).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_call_that_waits_or_panics_holds_no_other_up() {
        let go_on = Arc::new(Notify::new());
        let waited_for = Arc::clone(&go_on);
        let (mut sender, _) = client(move |request| {
            let go_on = Arc::clone(&waited_for);
            async move {
                match request.uri().path() {
                    "/waits" => go_on.notified().await,
                    "/panics" => panic!("as it was asked to"),
                    _ => {}
                }
                Response::new(Body::empty())
            }
        })
        .await;
        let waits = tokio::spawn(sender.clone().send_request(request("/waits")));
        let panics = tokio::spawn(sender.clone().send_request(request("/panics")));
        assert!(sender.send_request(request("/")).await.is_ok());
        assert!(panics.await.unwrap().is_err());
        assert!(sender.send_request(request("/")).await.is_ok());
        assert!(!waits.is_finished());
        go_on.notify_one();
        assert!(waits.await.unwrap().is_ok());
    }
}
