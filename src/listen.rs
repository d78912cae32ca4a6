//! Accepting connections with bounds that tonic and axum lack: a deadline for the first bytes, an idle time-out, caps in
//! total and per peer, a maximum age, and a pause when accepting fails.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::Stream;

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
    /// Connections of one peer address.
    pub connections_per_peer: usize,
}

/// An open port. As a stream it yields connections, and never ends.
#[derive(Debug)]
pub struct Incoming {/* … */}

impl Incoming {
    /// Opens the port.
    ///
    /// # Errors
    /// Where the address is taken or not ours.
    pub async fn bind(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        let _ = (address, limits);
        todo!()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        todo!()
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let _ = cx;
        todo!()
    }
}

/// One connection, within the bounds.
#[derive(Debug)]
pub struct Connection {/* … */}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = tonic::transport::server::TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        todo!()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let _ = (cx, buffer);
        todo!()
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let _ = (cx, bytes);
        todo!()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        todo!()
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        todo!()
    }
}
