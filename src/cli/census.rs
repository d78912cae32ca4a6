//! `rekey census`: how many passwords are still kept in which way.

use super::{
    failure::Failure,
    output,
    session::{Connection, refused},
};
use crate::proto::{GetPasswordCensusRequest, user_service_client::UserServiceClient};

const HELP: &str = "\
Examples:
  rekey census --tenant acme --token-file token
  REKEY_TOKEN=rk_… rekey census

Prints a line for each algorithm and parameter set: how many, a tab, and which.";

/// Count a tenant's passwords by algorithm and parameters
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Its id, an alias with its dialect, or - for the caller's own
    #[arg(long, value_name = "TENANT", default_value = "-", allow_hyphen_values = true)]
    tenant: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let session = arguments.connection.open().await?;
    let mut users = UserServiceClient::new(session.channel.clone());
    let request = session.request(GetPasswordCensusRequest { tenant_id: arguments.tenant });
    let answer = users.get_password_census(request).await.map_err(|status| refused(&status))?;
    for scheme in answer.into_inner().schemes {
        let name = if scheme.scheme.is_empty() { "not recorded" } else { &scheme.scheme };
        output::line(&format!("{}\t{name}", scheme.count));
    }
    Ok(())
}
