//! `rekey policy`.

use std::path::PathBuf;

use super::{Exit, Failure, Target, call, password};
use crate::cli::{
    output,
    print::{self, Output},
    profile,
};

const EXAMPLES: &str = "\
Examples:
  rekey policy explain user
  rekey policy check user --username jane@example.com
  rekey tenant update acme --file policy.json        changes it
";

/// Policies: what a tenant asks of secrets
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{}", profile::HELP))]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Explain(Explain),
    Check(Check),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    User,
    Device,
    Integration,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::User => "POLICY_KIND_USER",
            Self::Device => "POLICY_KIND_DEVICE",
            Self::Integration => "POLICY_KIND_INTEGRATION",
        }
    }
}

/// Say in words what is asked of the secrets of a kind of subject
#[derive(clap::Args, Debug)]
struct Explain {
    /// Of whose secrets
    #[arg(value_enum)]
    kind: Kind,
    #[command(flatten)]
    target: Target,
}

/// Try a password: every rule that it breaks, and how strong it is; ends with 1 where it breaks one
#[derive(clap::Args, Debug)]
struct Check {
    /// Of whose secrets
    #[arg(value_enum)]
    kind: Kind,
    /// Whose first line is the password; - for standard input [default: asked for]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    password_file: Option<PathBuf>,
    /// The user whose it would be
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The name it would belong to, where there is no such user yet
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Explain(Explain { kind, target }) => {
            let (session, request) = target.open().await?;
            let answer = call(&session, "PolicyService/ExplainPolicy", request.set("kind", kind.name())).await?;
            if target.service.output == Output::Json {
                return print::json(&answer);
            }
            for rule in print::items(&answer, "rules") {
                output::line(&print::text(&rule, "description"));
            }
            Ok(())
        }
        Command::Check(Check { kind, password_file, user, username, target }) => {
            let (session, request) = target.open().await?;
            let given = password(password_file.as_deref(), "password", false)?;
            let request = request.set("kind", kind.name()).set("password", given);
            let request = request.maybe("user_id", user).maybe("username", username);
            let answer = call(&session, "PolicyService/CheckPassword", request).await?;
            print::one(&answer, target.service.output)?;
            if print::flag(&answer, "accepted") {
                return Ok(());
            }
            Err(Failure::new(Exit::Failed, "the policy refuses this password"))
        }
    }
}
