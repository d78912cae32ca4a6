//! `rekey health`: whether a service serves, for people and container engines.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    failure::{Exit, Failure},
    output,
};

/// A service that takes longer than this to say that it is well is not.
const PATIENCE: Duration = Duration::from_secs(3);

const HELP: &str = "\
Examples:
  rekey health
  rekey health --address https://rekey.internal:50051 --ca-file ca.pem --service rekey.v1.UserService

Prints SERVING and ends with 0, or ends with 7.";

/// Ask a service whether it serves (grpc.health.v1)
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The service
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    address: String,
    /// One of its services, by its full name; all of them where empty
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    /// Who vouches for its certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let endpoint = endpoint(&arguments.address, arguments.ca_file.as_deref())?;
    let address = arguments.address;
    let unhealthy = |cause: String| Failure::new(Exit::Unhealthy, format!("{address}: {cause}"));
    let ask = async {
        let channel =
            endpoint.connect().await.map_err(|error| unhealthy(format!("not reached: {}", innermost(&error))))?;
        let request = HealthCheckRequest { service: arguments.service };
        let answer = HealthClient::new(channel).check(request).await;
        answer.map_err(|status| unhealthy(format!("{:?}: {}", status.code(), status.message())))
    };
    let answer =
        timeout(PATIENCE, ask).await.map_err(|_elapsed| unhealthy(format!("no answer within {PATIENCE:?}")))??;
    let status = answer.into_inner().status();
    output::line(status.as_str_name());
    if status == ServingStatus::Serving { Ok(()) } else { Err(unhealthy("it does not serve".to_owned())) }
}

/// A service by its URL, or by host and port alone, and who vouches for its certificate.
pub(super) fn endpoint(address: &str, ca_file: Option<&Path>) -> Result<Endpoint, Failure> {
    let invalid = |cause: String| Failure::new(Exit::Config, format!("{address}: {cause}"));
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).map_err(|cause| invalid(cause.to_string()))?;
    let Some(file) = ca_file else { return Ok(endpoint) };
    let authority = fs::read(file).map_err(|cause| invalid(format!("cannot read {}: {cause}", file.display())))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
    endpoint.tls_config(tls).map_err(|cause| invalid(cause.to_string()))
}

/// The cause beneath a transport error, which itself says only that there is one.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
