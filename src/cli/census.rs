//! `rekey census`: how many passwords are still kept in which way.

use serde_json::json;

use super::{
    failure::Failure,
    output,
    print::{self, Output},
    session::Connection,
};

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
    /// How it is printed
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let session = arguments.connection.open().await?;
    let answer = session.call("UserService/GetPasswordCensus", json!({ "tenantId": arguments.tenant })).await?;
    if arguments.output == Output::Json {
        return print::json(&answer);
    }
    for scheme in print::items(&answer, "schemes") {
        let count = scheme.get_field_by_name("count").and_then(|value| value.as_i64()).unwrap_or_default();
        let name = Some(print::text(&scheme, "scheme")).filter(|name| !name.is_empty());
        output::line(&format!("{count}\t{}", name.as_deref().unwrap_or("not recorded")));
    }
    Ok(())
}
