//! What a service knows of its keys, and rotation of what they wrap and seal.

use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    cli::{
        bar,
        failure::{Exit, Failure},
        output,
        print::{self, Output},
        session::{Connection, refused},
    },
    proto::{
        KeyRotationPart, KeyRotationPhase, RotateKeysRequest, RotateKeysResponse, key_service_client::KeyServiceClient,
    },
};

#[derive(clap::Subcommand, Debug)]
pub(in crate::cli) enum Command {
    Census(Census),
    RotateData(RotateData),
}

/// Print what hangs on each key: data keys, secrets, answers, API tokens
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Census {
    #[command(flatten)]
    service: Service,
}

/// Move everything that is wrapped or sealed under older keys, while everything serves
///
/// Data keys are wrapped under the wrapping key that makes now, every tenant gets a new data key, and what older ones seal
/// is sealed under it: password hashes as well, for which no password is needed. Interrupt it whenever you like: called
/// again, it goes on.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct RotateData {
    /// Which parts; as often as there are some [default: all]
    #[arg(long = "only", value_name = "PART", value_enum)]
    only: Vec<Part>,
    /// Rows in one transaction, 1 to 1000
    #[arg(long, value_name = "ROWS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch_size: u32,
    /// Rows in a second at most [default: as fast as it goes]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_per_second: Option<u32>,
    /// How long to wait for replicas that remember older data keys, before the last look; with 0 what they seal meanwhile
    /// is left to the next call
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=600))]
    settle_s: u32,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args, Debug)]
struct Service {
    #[command(flatten)]
    connection: Connection,
    /// How it is printed
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Part {
    /// Wrap data keys anew
    Wrapping,
    /// New data keys, and everything sealed under them
    DataKeys,
    /// What is still sealed under older data keys
    Sealed,
}

pub(in crate::cli) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Census(Census { service }) => census(&service).await,
        Command::RotateData(arguments) => rotate_data(&arguments).await,
    }
}

async fn census(service: &Service) -> Result<(), Failure> {
    let session = service.connection.open().await?;
    let answer = session.call("KeyService/ListKeys", json!({})).await?;
    if service.output == Output::Json {
        return print::json(&answer);
    }
    let columns = [
        "key_id",
        "purpose",
        "algorithm",
        "state",
        "accept_until_time",
        "data_keys",
        "secrets",
        "replies",
        "tokens",
        "known_by",
    ];
    print::many(&print::items(&answer, "keys"), &columns);
    output::line("");
    print::many(&print::items(&answer, "replicas"), &["name", "version", "seen_time"]);
    if let Some(census) = answer.get_field_by_name("data_keys").as_deref().and_then(prost_reflect::Value::as_message) {
        let number = |name| census.get_field_by_name(name).and_then(|value| value.as_i64()).unwrap_or_default();
        output::line("");
        output::line(&format!(
            "{} data keys seal; {} secrets and {} answers are still under {} older ones",
            number("sealing"),
            number("older_secrets"),
            number("older_replies"),
            number("older"),
        ));
    }
    Ok(())
}

async fn rotate_data(arguments: &RotateData) -> Result<(), Failure> {
    let session = arguments.service.connection.open().await?;
    let part = |part: &Part| match part {
        Part::Wrapping => KeyRotationPart::Wrapping.into(),
        Part::DataKeys => KeyRotationPart::DataKeys.into(),
        Part::Sealed => KeyRotationPart::Sealed.into(),
    };
    let request = RotateKeysRequest {
        parts: arguments.only.iter().map(part).collect(),
        batch_size: i32::try_from(arguments.batch_size).unwrap_or_default(),
        max_per_second: arguments.max_per_second.map_or(0, |rate| i32::try_from(rate).unwrap_or(i32::MAX)),
        settle_time: Some(prost_types::Duration { seconds: arguments.settle_s.into(), nanos: 0 }),
    };
    let mut keys = KeyServiceClient::new(session.channel.clone());
    let answers = keys.rotate_keys(session.request(request)).await.map_err(|status| refused(&status))?;
    let (mut answers, mut bar) = (answers.into_inner(), Bar::new());
    let mut last = None;
    loop {
        match answers.message().await {
            Ok(Some(progress)) => {
                bar.show(&progress);
                last = Some(progress);
            }
            Ok(None) => break,
            Err(status) => {
                bar.end();
                let Failure { exit, .. } = refused(&status);
                let sentence = format!("{}; what was moved stays so, and called again it goes on", refused(&status));
                return Err(Failure::new(exit, sentence));
            }
        }
    }
    bar.end();
    let last = last.filter(|last| last.phase() == KeyRotationPhase::Done);
    let last =
        last.ok_or_else(|| Failure::new(Exit::Failed, "the service ended the rotation; called again it goes on"))?;
    if arguments.service.output == Output::Json {
        let RotateKeysResponse { rotation, done, remaining, unreadable, .. } = last;
        let answer = json!({ "rotation": rotation, "moved": done, "remaining": remaining, "unreadable": unreadable });
        print::value(&answer)?;
    } else {
        output::line(&summary(&last));
    }
    if last.remaining > 0 {
        let sentence = if last.remaining <= last.unreadable {
            "what is left cannot be opened by anybody: the service's log says which it is"
        } else {
            "something still hangs on older keys: some replica makes with them. See `rekey keys census`, and call again"
        };
        return Err(Failure::new(Exit::Failed, sentence));
    }
    Ok(())
}

fn summary(last: &RotateKeysResponse) -> String {
    let RotateKeysResponse { rotation, done, remaining, unreadable, .. } = last;
    format!("rotation {rotation}: {done} moved, {remaining} left, {unreadable} cannot be opened")
}

/// How far a rotation is.
struct Bar {
    bar: ProgressBar,
    phase: Option<KeyRotationPhase>,
}

impl Bar {
    fn new() -> Self {
        Self { bar: bar::bar("{prefix} {wide_bar} {pos}/{len} {msg}, {eta} to go", ""), phase: None }
    }

    fn show(&mut self, progress: &RotateKeysResponse) {
        let phase = progress.phase();
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            self.bar.reset();
            self.bar.set_prefix(match phase {
                KeyRotationPhase::Wrapping => "wrapping data keys",
                KeyRotationPhase::DataKeys => "new data keys",
                KeyRotationPhase::Secrets => "sealing secrets",
                KeyRotationPhase::Replies => "sealing answers",
                KeyRotationPhase::Settling => "waiting for replicas",
                KeyRotationPhase::Done | KeyRotationPhase::Unspecified => "done",
            });
        }
        self.bar.set_length(u64::try_from(progress.total).unwrap_or_default());
        self.bar.set_position(u64::try_from(progress.done).unwrap_or_default());
        self.bar.set_message(format!("{:.0} a second", progress.rate_per_second));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
