//! `rekey device`.

use std::path::PathBuf;

use super::{
    Change, Failure, NewSecret, Target, call,
    lifecycle::{self, Noun},
    many::{Deed, Many},
    pair, pairs, password,
    rotation::{self, Place},
    updated,
};
use crate::cli::profile;

const NOUN: Noun = Noun {
    service: "DeviceService",
    name: "Device",
    plural: "Devices",
    id: "device_id",
    list: "devices",
    columns: &["device_id", "user_name", "state", "labels", "update_time"],
};

const EXAMPLES: &str = "\
Examples:
  rekey device create cam-7 --id 4711 --generate
  rekey device reset 4711 --generate
  rekey device reset 4711 --generate --overlap 24h
  rekey device roll-back 4711
  rekey device reveal 4711 --purpose 'installed on site'
  rekey device list --filter 'labels.site = \"north\"'
  rekey device reset-many --filter 'labels.site = \"north\"' --dry-run
";

/// Devices: machines with a user name and a password
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
    ResetMany(ResetMany),
    Reveal(Reveal),
    Verify(Verify),
    #[command(flatten)]
    Rotation(rotation::Command),
    #[command(flatten)]
    Lifecycle(lifecycle::Command),
}

/// Make a device
#[derive(clap::Args, Debug)]
struct Create {
    /// What it signs in with
    user_name: String,
    /// The id [default: made]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// A label; as often as there are some
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    secret: NewSecret,
    /// When the password ends by itself, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expire_time: Option<String>,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Change a device's user name or labels, and leave its password
#[derive(clap::Args, Debug)]
struct Update {
    /// The device's id
    id: String,
    /// What it signs in with from now on
    #[arg(long)]
    user_name: Option<String>,
    /// A label; those that there were are gone
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Option<Vec<(String, String)>>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Set a device's new password; the old one is void at once, unless --overlap or --pending is given
#[derive(clap::Args, Debug)]
struct Reset {
    /// The device's id
    id: String,
    /// What it signs in with from now on
    #[arg(long)]
    user_name: Option<String>,
    #[command(flatten)]
    secret: NewSecret,
    #[command(flatten)]
    place: Place,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Give every device that fits a new password, made by the service; reveal shows them
#[derive(clap::Args, Debug)]
struct ResetMany {
    /// How long the old passwords are accepted besides, such as 24h or 30m [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = rotation::seconds)]
    overlap: Option<String>,
    /// Where two versions of a password live already, drop the older one, in the place of passing the device over
    #[arg(long)]
    drop_oldest: bool,
    #[command(flatten)]
    many: Many,
}

/// Show what a device signs in with, in clear; it is recorded
#[derive(clap::Args, Debug)]
struct Reveal {
    /// The device's id
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

/// Check a device's password; ends with 1 where it is not right
#[derive(clap::Args, Debug)]
struct Verify {
    /// What it signs in with
    user_name: String,
    /// Whose first line is the password; - for standard input [default: asked for]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Create(Create { user_name, id, labels, secret, expire_time, validate_only, change, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("user_name", user_name).maybe("device_id", id).labels(&labels);
            let request = request.maybe("expire_time", expire_time);
            let request = request.set("validate_only", validate_only).change(&change).secret("password", &secret)?;
            target.show(&session, &NOUN.method("Create"), request).await
        }
        Command::Update(Update { id, user_name, labels, change, target }) => {
            let (device, mask) =
                updated(&[("user_name", user_name.map(Into::into)), ("labels", labels.map(|labels| pairs(&labels)))])?;
            let (session, request) = target.open().await?;
            let request = request.set("device_id", id).set("device", device).set("update_mask", mask);
            target.show(&session, &NOUN.method("Update"), request.change(&change)).await
        }
        Command::Reset(Reset { id, user_name, secret, place, validate_only, change, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("device_id", id).maybe("user_name", user_name).place(place);
            let request = request.set("validate_only", validate_only).change(&change).secret("password", &secret)?;
            target.show(&session, "DeviceService/ResetAuthentication", request).await
        }
        Command::ResetMany(ResetMany { overlap, drop_oldest, many }) => {
            let deed =
                Deed { method: "DeviceService/ResetMany", verb: "Give new passwords to".to_owned(), nouns: "devices" };
            let at_limit = drop_oldest.then_some("AT_LIMIT_DROP_OLDEST");
            many.run(deed, |request| request.maybe("overlap", overlap).maybe("at_limit", at_limit)).await
        }
        Command::Reveal(Reveal { id, version, purpose, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("device_id", id).maybe("version", version).maybe("purpose", purpose);
            target.show(&session, "DeviceService/RevealAuthentication", request).await
        }
        Command::Verify(Verify { user_name, password_file, target }) => {
            let (session, request) = target.open().await?;
            let given = password(password_file.as_deref(), "password", false)?;
            let request = request.set("user_name", user_name).set("password", given);
            let answer = call(&session, "DeviceService/VerifyAuthentication", request).await?;
            target.verified(&answer, "device")
        }
        Command::Rotation(command) => NOUN.rotate("", command).await,
        Command::Lifecycle(command) => NOUN.run(command).await,
    }
}
