//! The REST sidecar: the canonical routes of the protos, and four dialects. A gRPC client with no keys, no database and
//! no rights of its own.

use std::net::SocketAddr;

use tonic::transport::Endpoint;

/// What a gateway needs to start.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The service.
    pub upstream: Endpoint,
    /// How long running requests may take to end once the gateway is told to stop.
    pub drain: std::time::Duration,
}

/// A gateway that runs.
pub struct Gateway {/* … */}

impl Gateway {
    /// Opens the port. The service may start later: until then requests are answered 503.
    ///
    /// # Errors
    /// Where the address is taken or not ours.
    pub async fn start(options: GatewayOptions) -> std::io::Result<Self> {
        let _ = options;
        todo!()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// No new connections; running requests finish within the drain time.
    pub async fn stop(self) {
        todo!()
    }
}
