//! `rekey serve`: the service.

use std::net::SocketAddr;

use super::{
    Flags,
    failure::Failure,
    listen_flag,
    stop::{Stop, hangup},
};
use crate::{
    app::{Environment, Service},
    config::Config,
};

const HELP: &str = "\
Examples:
  rekey serve
  rekey serve --migrate --database-url postgres://rekey@db/rekey
  REKEY_GRPC__TLS_CERTIFICATE_FILE=chain.pem REKEY_GRPC__TLS_KEY_FILE=key.pem rekey serve --grpc-listen 0.0.0.0:50051

Ready once the log says so, and `rekey health` says SERVING. SIGTERM or SIGINT: no new connections, running calls end
within drain_s (20 seconds); a second signal ends at once. SIGHUP: the keyring's file is read at once, which is otherwise
looked at every few seconds.";

/// Start the gRPC service
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Where to listen; port 0 picks a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<SocketAddr>,
    /// Apply pending migrations first, instead of refusing to start
    #[arg(long)]
    pub(super) migrate: bool,
}

impl Arguments {
    pub(super) fn flags(&self) -> Flags {
        listen_flag("grpc.listen", self.grpc_listen)
    }
}

pub(super) async fn run(config: Config, migrate: bool) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let mut hangup = hangup()?;
    let service = Service::start(config.service()?, Environment::system(), migrate).await?;
    let keyring = service.keyring().clone();
    let reloading = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // What came of it is in the log.
            let _ = keyring.reload().await;
        }
    });
    let stopped = stop.then(config.drain(), service.stop()).await;
    reloading.abort();
    stopped
}
