//! `rekey user`.

use std::path::PathBuf;

use super::{
    Change, Exit, Failure, NewSecret, Target, call,
    lifecycle::{self, Noun},
    many::{Deed, Many},
    pair, pairs, password, updated,
};
use crate::cli::{
    output,
    print::{self, Output},
    profile,
};

const NOUN: Noun = Noun {
    service: "UserService",
    name: "User",
    plural: "Users",
    id: "user_id",
    list: "users",
    columns: &["user_id", "username", "state", "rank", "labels", "password_change_time", "update_time"],
};

const EXAMPLES: &str = "\
Examples:
  rekey user create jane@example.com --generate --label team=blue
  rekey user list --filter 'state = LOCKED AND username = \"ja*\"' --all
  rekey user reset-password 5f2b… --generate 24
  rekey user verify-password jane@example.com --password-file - < password
  rekey user update 5f2b… --username jane.doe@example.com
  rekey user unlock 5f2b… --output json
  rekey user expire-passwords must-change --filter 'labels.team = \"blue\"' --dry-run
";

/// Users: people with passwords
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
    ResetPassword(ResetPassword),
    ExpirePasswords(ExpirePasswords),
    ChangePassword(ChangePassword),
    /// Check a password; ends with 1 where it is not right
    VerifyPassword(Check),
    /// Get a token for a right password, as a sign-in page does
    IssueToken(Check),
    #[command(flatten)]
    Lifecycle(lifecycle::Command),
}

/// Make a user
#[derive(clap::Args, Debug)]
struct Create {
    /// What the user signs in with
    username: String,
    /// The id [default: made]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// A label; as often as there are some
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// How high it stands, 0 to 1000: callers of no higher rank cannot touch it
    #[arg(long)]
    rank: Option<u32>,
    /// Without a password for now
    #[arg(long, conflicts_with_all = ["generate", "password_file"])]
    no_password: bool,
    #[command(flatten)]
    secret: NewSecret,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Change a user's name, labels or rank
#[derive(clap::Args, Debug)]
struct Update {
    /// The user's id
    id: String,
    /// What the user signs in with from now on
    #[arg(long)]
    username: Option<String>,
    /// A label; those that there were are gone
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Option<Vec<(String, String)>>,
    /// No labels any more
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// How high it stands, 0 to 1000
    #[arg(long)]
    rank: Option<u32>,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Set a user's new password, without the old one
#[derive(clap::Args, Debug)]
struct ResetPassword {
    /// The user's id
    id: String,
    #[command(flatten)]
    secret: NewSecret,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Let the password of every user that fits expire
#[derive(clap::Args, Debug)]
struct ExpirePasswords {
    /// What becomes of them
    #[arg(value_enum)]
    mode: ExpiryMode,
    #[command(flatten)]
    many: Many,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ExpiryMode {
    /// They verify, as ones that their owners must change first
    MustChange,
    /// They verify no more: their owners need a reset
    Void,
}

/// Change a password, with the one in force
#[derive(clap::Args, Debug)]
struct ChangePassword {
    /// What the user signs in with
    username: String,
    /// Whose first line is the password in force; - for standard input [default: asked for]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    current_password_file: Option<PathBuf>,
    /// Whose first line is the new one [default: asked for]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Debug)]
struct Check {
    /// What the user signs in with
    username: String,
    /// Whose first line is the password; - for standard input [default: asked for]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Create(create) => create.run().await,
        Command::Update(update) => update.run().await,
        Command::ResetPassword(ResetPassword { id, secret, validate_only, change, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("user_id", id).set("validate_only", validate_only).change(&change);
            let request = request.secret("new_password", &secret)?;
            target.show(&session, "UserService/ResetPassword", request).await
        }
        Command::ExpirePasswords(ExpirePasswords { mode, many }) => {
            let (name, verb) = match mode {
                ExpiryMode::MustChange => ("EXPIRY_MODE_MUST_CHANGE", "Demand a new password of"),
                ExpiryMode::Void => ("EXPIRY_MODE_VOID", "Make void the passwords of"),
            };
            let deed = Deed { method: "UserService/ExpirePasswords", verb: verb.to_owned(), nouns: "users" };
            many.run(deed, |request| request.set("mode", name)).await
        }
        Command::ChangePassword(ChangePassword {
            username,
            current_password_file,
            new_password_file,
            change,
            target,
        }) => {
            let (session, request) = target.open().await?;
            let current = password(current_password_file.as_deref(), "current password", false)?;
            let new = password(new_password_file.as_deref(), "new password", true)?;
            let request = request.set("username", username).set("current_password", current).set("new_password", new);
            target.show(&session, "UserService/ChangePassword", request.change(&change)).await
        }
        Command::VerifyPassword(verify) => verify.run().await,
        Command::IssueToken(Check { username, password_file, target }) => {
            let (session, request) = target.open().await?;
            let given = password(password_file.as_deref(), "password", false)?;
            let request = request.set("username", username).set("password", given);
            target.show(&session, "UserService/IssueToken", request).await
        }
        Command::Lifecycle(command) => NOUN.run(command).await,
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let (session, request) = self.target.open().await?;
        let request = request.set("username", self.username).maybe("user_id", self.id).maybe("rank", self.rank);
        let request = request.labels(&self.labels).set("validate_only", self.validate_only).change(&self.change);
        let request = if self.no_password { request } else { request.secret("password", &self.secret)? };
        self.target.show(&session, &NOUN.method("Create"), request).await
    }
}

impl Update {
    async fn run(self) -> Result<(), Failure> {
        let labels = if self.no_labels { Some(Vec::new()) } else { self.labels };
        let (user, mask) = updated(&[
            ("username", self.username.map(Into::into)),
            ("labels", labels.map(|labels| pairs(&labels))),
            ("rank", self.rank.map(Into::into)),
        ])?;
        let (session, request) = self.target.open().await?;
        let request = request.set("user_id", self.id).set("user", user).set("update_mask", mask);
        let request = request.set("validate_only", self.validate_only).change(&self.change);
        self.target.show(&session, &NOUN.method("Update"), request).await
    }
}

impl Check {
    async fn run(self) -> Result<(), Failure> {
        let (session, request) = self.target.open().await?;
        let given = password(self.password_file.as_deref(), "password", false)?;
        let request = request.set("username", self.username).set("password", given);
        let answer = call(&session, "UserService/VerifyPassword", request).await?;
        if self.target.service.output == Output::Json {
            print::json(&answer)?;
        }
        if !print::flag(&answer, "verified") {
            return Err(Failure::new(Exit::Failed, "the password is not right, or there is no such user in use"));
        }
        if self.target.service.output == Output::Table {
            output::line(&print::text(&answer, "user_id"));
        }
        if print::flag(&answer, "must_change") {
            output::say("the password is right, and must be changed by its owner first");
        }
        Ok(())
    }
}
