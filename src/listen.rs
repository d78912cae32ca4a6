//! Accepting connections with bounds that hyper lacks: a deadline for the first bytes, an idle time-out, caps in
//! total and per peer, and a pause when accepting fails (a full table of file descriptors would otherwise spin).

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, Sleep, sleep, sleep_until},
};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How long accepting rests after it failed: long enough for descriptors to be given back, short enough not to be felt.
const PAUSE: Duration = Duration::from_millis(100);

/// The least time between two warnings, so that a flood of connections is not a flood of lines.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that must have come within `first_bytes_within`: 24 for HTTP/2's preface, 1 for HTTP/1.
    pub first_bytes: u64,
    /// How long a new connection may take for them.
    pub first_bytes_within: Duration,
    /// How long a connection may be silent in both directions.
    pub idle: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one peer: an IPv4 address, or an IPv6 network of 64 bits, which is what one host has for itself.
    pub connections_per_peer: usize,
}

/// An open port. As a stream it yields connections, and never ends or fails.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    open: Arc<Mutex<Open>>,
    pause: Option<Pin<Box<Sleep>>>,
    refused: u64,
    last_warning: Option<Instant>,
}

impl Incoming {
    /// Opens the port.
    ///
    /// # Errors
    /// Where the address is taken or not ours.
    pub async fn bind(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, limits, open: Arc::default(), pause: None, refused: 0, last_warning: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives each connection to a task of its own. Told to stop, it closes the port and waits for the connections to end,
    /// which their watchers tell them to do. Its drop cuts them off.
    pub async fn serve<S>(mut self, stop: &CancellationToken, serve: impl Fn(Connection, Watcher) -> S)
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_ended) = connections.join_next() => {}
                Some(Ok(connection)) = self.next() => {
                    connections.spawn(serve(connection, graceful.watcher()));
                }
            }
        }
        drop(self);
        graceful.shutdown().await;
    }

    /// The connection within the bounds; `None` where it is one too many, and closed.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
        let Some(place) = Place::take(&self.open, peer.ip(), &self.limits) else {
            self.refused += 1;
            if self.may_warn() {
                warn!(refused = self.refused, address = %self.address, "connections refused: too many are open");
                self.refused = 0;
            }
            return None;
        };
        // Answers are small and complete: waiting to fill a segment only delays them. A socket that cannot be set so
        // is one that the peer has closed, which the first read will tell.
        let _ = stream.set_nodelay(true);
        Some(Connection::new(stream, peer, &self.limits, place))
    }

    /// Rests after accepting failed for want of something: EMFILE, ENFILE, ENOBUFS, ENOMEM.
    fn rest(&mut self, cause: &io::Error) {
        if self.may_warn() {
            warn!(%cause, address = %self.address, "accepting a connection failed");
        }
        self.pause = Some(Box::pin(sleep(PAUSE)));
    }

    fn may_warn(&mut self) -> bool {
        let now = Instant::now();
        let may = self.last_warning.is_none_or(|last| now.duration_since(last) >= BETWEEN_WARNINGS);
        if may {
            self.last_warning = Some(now);
        }
        may
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = self.pause.as_mut() {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, peer)) => {
                    if let Some(connection) = self.admit(stream, peer) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                // The peer went away before its turn came.
                Err(cause) if is_of_one_connection(&cause) => {}
                Err(cause) => self.rest(&cause),
            }
        }
    }
}

fn is_of_one_connection(cause: &io::Error) -> bool {
    [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::Interrupted,
    ]
    .contains(&cause.kind())
}

/// How many connections there are.
#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// One of the places there are for connections; given back on drop.
#[derive(Debug)]
struct Place {
    open: Arc<Mutex<Open>>,
    peer: IpAddr,
}

impl Place {
    fn take(open: &Arc<Mutex<Open>>, address: IpAddr, limits: &Limits) -> Option<Self> {
        let peer = peer_of(address);
        let mut counts = lock(open);
        let of_peer = counts.by_peer.get(&peer).copied().unwrap_or(0);
        if counts.total >= limits.connections || of_peer >= limits.connections_per_peer {
            return None;
        }
        counts.total += 1;
        counts.by_peer.insert(peer, of_peer + 1);
        drop(counts);
        Some(Self { open: Arc::clone(open), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.open);
        counts.total = counts.total.saturating_sub(1);
        let left = counts.by_peer.get(&self.peer).copied().unwrap_or(1).saturating_sub(1);
        // The map stays as small as the number of peers that are connected now.
        if left == 0 {
            counts.by_peer.remove(&self.peer);
        } else {
            counts.by_peer.insert(self.peer, left);
        }
    }
}

/// The counts are right after every statement, so a panic elsewhere does not spoil them.
fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts as one peer.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// One connection, within the bounds. Reads and writes fail with `TimedOut` once it has overstepped one.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Bytes still to come before the connection counts as begun.
    to_come: u64,
    idle: Duration,
    last_byte: Instant,
    /// Fires at the earliest end there can be; looked at again then, rather than set again with every byte.
    alarm: Pin<Box<Sleep>>,
    _place: Place,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, limits: &Limits, place: Place) -> Self {
        let now = Instant::now();
        Self {
            stream,
            peer,
            to_come: limits.first_bytes,
            idle: limits.idle,
            last_byte: now,
            alarm: Box::pin(sleep_until(now + limits.first_bytes_within)),
            _place: place,
        }
    }

    /// The address of the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Ready, with an error, once a bound is overstepped; wakes the task then.
    fn poll_overstepped(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            if self.to_come > 0 {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the first bytes took too long"));
            }
            let end = self.last_byte + self.idle;
            if end <= Instant::now() {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the connection was silent for too long"));
            }
            self.alarm.as_mut().reset(end);
        }
    }

    fn count_read(&mut self, bytes: usize) {
        self.last_byte = Instant::now();
        let begun = self.to_come == 0;
        self.to_come = self.to_come.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.to_come == 0 && !begun {
            let end = self.last_byte + self.idle;
            self.alarm.as_mut().reset(end);
        }
    }

    /// The result of a write, or the end of the connection while it waits.
    fn written(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.last_byte = Instant::now();
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(cause)) => Poll::Ready(Err(cause)),
            Poll::Pending => self.poll_overstepped(cx).map(Err),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Asked first where the beginning is overdue: a byte at a time must not put the deadline off.
        if self.to_come > 0
            && let Poll::Ready(cause) = self.poll_overstepped(cx)
        {
            return Poll::Ready(Err(cause));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                self.count_read(buffer.filled().len().saturating_sub(before));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(cause)) => Poll::Ready(Err(cause)),
            Poll::Pending => self.poll_overstepped(cx).map(Err),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::peer_of;

    #[test]
    fn addresses_of_one_host_are_one_peer() {
        let peer = |text: &str| peer_of(text.parse().unwrap());
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    }
}
