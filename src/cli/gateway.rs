//! `rekey gateway`: the REST gateway.

use std::net::SocketAddr;

use tracing::info;

use super::{Flags, failure::Failure, listen_flag, stop::Stop};
use crate::{app::StartError, config::Config, gateway::Gateway};

const HELP: &str = "\
Examples:
  rekey gateway
  rekey gateway --http-listen 127.0.0.1:8081 --upstream http://127.0.0.1:50051
  REKEY_GATEWAY__UPSTREAM_CA_FILE=ca.pem rekey gateway --upstream https://rekey.internal:50051

It has no keys, no database and no rights: it hands each caller's own credential on. It may start before the service.";

/// Start the REST gateway, in front of a service that runs
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Where to listen; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<SocketAddr>,
    /// The service [default: on 127.0.0.1:50051]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
}

impl Arguments {
    pub(super) fn flags(&self) -> Flags {
        let mut flags = listen_flag("gateway.listen", self.http_listen);
        flags.extend(self.upstream.clone().map(|upstream| ("gateway.upstream", upstream)));
        flags
    }
}

pub(super) async fn run(config: Config) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let options = config.gateway()?;
    let (address, upstream) = (options.listen, options.upstream.uri().clone());
    let gateway = Gateway::start(options).await.map_err(|cause| StartError::Listen { address, cause })?;
    info!(address = %gateway.address(), %upstream, "the gateway is ready");
    stop.then(config.drain(), gateway.stop()).await
}
