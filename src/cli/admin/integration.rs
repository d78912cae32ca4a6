//! `rekey integration`.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    Change, Failure, NewSecret, Target, call,
    lifecycle::{self, Noun},
    object, pair, pairs, password,
    rotation::{self, Place},
};
use crate::cli::{failure::Exit, profile};

const NOUN: Noun = Noun {
    service: "IntegrationService",
    name: "Integration",
    plural: "Integrations",
    id: "integration_id",
    list: "integrations",
    columns: &["integration_id", "username", "state", "configured", "labels", "update_time"],
};

const EXAMPLES: &str = "\
Examples:
  rekey integration create --id harmony-mobile --generate
  rekey integration update harmony-mobile --settings-file settings.json
  rekey integration reset harmony-mobile
  rekey integration reset harmony-mobile --overlap 24h
  rekey integration roll-back harmony-mobile
  rekey integration reveal harmony-mobile --purpose 'moved to the new console'
";

/// Integrations: third parties that sign in, and what they hand over
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{}", profile::HELP))]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Create(Create),
    Update(Update),
    Reset(Reset),
    Reveal(Reveal),
    Verify(Verify),
    #[command(flatten)]
    Rotation(rotation::Command),
    #[command(flatten)]
    Lifecycle(lifecycle::Command),
}

/// Make an integration
#[derive(clap::Args, Debug)]
struct Create {
    /// The id, such as harmony-mobile [default: made]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// What the third party signs in with [default: made]
    #[arg(long)]
    username: Option<String>,
    /// Names and values, a JSON object; - for standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    settings_file: Option<PathBuf>,
    /// A label; as often as there are some
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    secret: NewSecret,
    /// When the password ends by itself, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expire_time: Option<String>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Replace an integration's settings, user name or labels
#[derive(clap::Args, Debug)]
struct Update {
    /// The integration's id
    id: String,
    /// All the settings there will be, a JSON object; - for standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    settings_file: Option<PathBuf>,
    /// What the third party signs in with from now on
    #[arg(long)]
    username: Option<String>,
    /// A label; those that there were are gone
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Option<Vec<(String, String)>>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Set a new password, made by the service, and wipe every setting; the old one is void at once, unless --overlap or
/// --pending is given
#[derive(clap::Args, Debug)]
struct Reset {
    /// The integration's id
    id: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Show user name, password and settings in clear; it is recorded
#[derive(clap::Args, Debug)]
struct Reveal {
    /// The integration's id
    id: String,
    /// Which version of the password, as `get` shows them [default: the current one]
    #[arg(long, value_name = "VERSION")]
    version: Option<i64>,
    /// Why, for the record
    #[arg(long)]
    purpose: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Check an integration's password; ends with 1 where it is not right
#[derive(clap::Args, Debug)]
struct Verify {
    /// What the third party signs in with
    username: String,
    /// Whose first line is the password; - for standard input [default: asked for]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Create(Create { id, username, settings_file, labels, secret, expire_time, change, target }) => {
            let (session, request) = target.open().await?;
            let settings = settings_file.map(|file| object(&file, "the settings")).transpose()?;
            let request = request.maybe("integration_id", id).maybe("username", username);
            let request = request.maybe("expire_time", expire_time);
            let request = request.maybe("settings", settings.map(Value::Object)).labels(&labels).change(&change);
            target.show(&session, &NOUN.method("Create"), request.secret("password", &secret)?).await
        }
        Command::Update(Update { id, settings_file, username, labels, change, target }) => {
            let settings = settings_file.map(|file| object(&file, "the settings")).transpose()?;
            let mut mask = Vec::new();
            mask.extend(settings.is_some().then_some("settings"));
            mask.extend(username.is_some().then_some("username"));
            mask.extend(labels.is_some().then_some("labels"));
            if mask.is_empty() {
                return Err(Failure::new(Exit::Failed, "nothing to change: name at least one field"));
            }
            let (session, request) = target.open().await?;
            let request = request.set("integration_id", id).maybe("settings", settings.map(Value::Object));
            let request = request.maybe("username", username).maybe("labels", labels.map(|labels| pairs(&labels)));
            let request = request.set("update_mask", mask.join(",")).change(&change);
            target.show(&session, &NOUN.method("Update"), request).await
        }
        Command::Reset(Reset { id, place, change, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("integration_id", id).place(place).change(&change);
            target.show(&session, &NOUN.method("Reset"), request).await
        }
        Command::Reveal(Reveal { id, version, purpose, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("integration_id", id).maybe("version", version).maybe("purpose", purpose);
            target.show(&session, &NOUN.method("Reveal"), request).await
        }
        Command::Verify(Verify { username, password_file, target }) => {
            let (session, request) = target.open().await?;
            let given = password(password_file.as_deref(), "password", false)?;
            let request = request.set("username", username).set("password", given);
            let answer = call(&session, &NOUN.method("Verify"), request).await?;
            target.verified(&answer, "integration")
        }
        Command::Rotation(command) => NOUN.rotate("Integration", command).await,
        Command::Lifecycle(command) => NOUN.run(command).await,
    }
}
