//! `rekey caller`.

use std::path::PathBuf;

use super::{
    Change, Failure, Target,
    credential::{self, Credentials},
    lifecycle::{self, Noun},
    pair, pairs, password, updated,
};
use crate::cli::profile;

const NOUN: Noun = Noun {
    service: "CallerService",
    name: "Caller",
    plural: "Callers",
    id: "caller_id",
    list: "callers",
    columns: &["caller_id", "display_name", "state", "roles", "rank", "permissions", "labels", "update_time"],
};

const EXAMPLES: &str = "\
Examples:
  rekey caller create --id login-page --role verifier
  rekey caller create-token login-page --expire-time 2027-01-01T00:00:00Z
  rekey caller credentials login-page
  rekey caller rotate-token login-page 0123456789abcdef --overlap 24h
  rekey caller explain rekey.v1.UserService/ResetPassword --id login-page
  rekey caller whoami
";

/// Callers: the services and people that call Rekey, and what they prove themselves with
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
    CreateToken(CreateToken),
    CreateKey(CreateKey),
    RevokeToken(Revoke),
    RevokeKey(Revoke),
    Credentials(Credentials),
    #[command(flatten)]
    Rotation(credential::Command),
    /// Say who the token's caller is, and what it may do
    Whoami(WhoAmI),
    Explain(Explain),
    #[command(flatten)]
    Lifecycle(lifecycle::Command),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Role {
    Administrator,
    Helpdesk,
    Verifier,
    Auditor,
    Gateway,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Administrator => "ROLE_ADMINISTRATOR",
            Self::Helpdesk => "ROLE_HELPDESK",
            Self::Verifier => "ROLE_VERIFIER",
            Self::Auditor => "ROLE_AUDITOR",
            Self::Gateway => "ROLE_GATEWAY",
        }
    }
}

/// Make a caller. Nobody gives what they do not hold
#[derive(clap::Args, Debug)]
struct Create {
    /// The id [default: made]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// For people
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What it is there for; as often as there are some
    #[arg(long = "role", value_name = "ROLE", value_enum)]
    roles: Vec<Role>,
    /// What it may do besides, such as users:get; * is everything
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// How high it stands, 0 to 1000 [default: as its roles]
    #[arg(long)]
    rank: Option<u32>,
    /// A label; as often as there are some
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Change what a caller may do, or its names
#[derive(clap::Args, Debug)]
struct Update {
    /// The caller's id
    id: String,
    /// For people
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What it is there for; what it was is gone
    #[arg(long = "role", value_name = "ROLE", value_enum)]
    roles: Option<Vec<Role>>,
    /// What it may do besides; what it might is gone
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Option<Vec<String>>,
    /// How high it stands, 0 to 1000
    #[arg(long)]
    rank: Option<u32>,
    /// A label; those that there were are gone
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Option<Vec<(String, String)>>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Give a caller an API token; one that is generated is printed once
#[derive(clap::Args, Debug)]
struct CreateToken {
    /// The caller's id
    id: String,
    /// Whose first line is a token that callers have already [default: one is generated]
    #[arg(long, value_name = "FILE")]
    given_file: Option<PathBuf>,
    /// When it ends, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expire_time: Option<String>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Give a caller an HMAC pair; a shared key that is generated is printed once
#[derive(clap::Args, Debug)]
struct CreateKey {
    /// The caller's id
    id: String,
    /// Names the key in requests [default: made]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Whose first line is the shared key [default: one is generated]
    #[arg(long, value_name = "FILE")]
    shared_key_file: Option<PathBuf>,
    /// When it ends, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expire_time: Option<String>,
    /// It may call reading methods only
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

/// Make a token or key void with all its versions, at once and for good
#[derive(clap::Args, Debug)]
struct Revoke {
    /// The caller's id
    id: String,
    /// The token's id, or the API key
    credential: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Debug)]
struct WhoAmI {
    #[command(flatten)]
    service: super::Service,
}

/// Say whether a caller may call a method, and which rule lets it in or keeps it out
#[derive(clap::Args, Debug)]
struct Explain {
    /// The method, such as rekey.v1.UserService/ResetPassword
    method: String,
    /// The caller's id [default: the token's own caller]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The user it would be about
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Create(create) => create.run().await,
        Command::Update(update) => update.run().await,
        Command::CreateToken(CreateToken { id, given_file, expire_time, change, target }) => {
            let (session, request) = target.open().await?;
            let given = given_file.map(|file| password(Some(&file), "given", false)).transpose()?;
            let request = request.set("caller_id", id).maybe("token", given).maybe("expire_time", expire_time);
            target.show(&session, "CallerService/CreateApiToken", request.change(&change)).await
        }
        Command::CreateKey(CreateKey { id, api_key, shared_key_file, expire_time, read_only, change, target }) => {
            let (session, request) = target.open().await?;
            let shared = shared_key_file.map(|file| password(Some(&file), "shared key", false)).transpose()?;
            let request = request.set("caller_id", id).maybe("api_key", api_key).maybe("shared_key", shared);
            let request = request.maybe("expire_time", expire_time).set("read_only", read_only).change(&change);
            target.show(&session, "CallerService/CreateSigningKey", request).await
        }
        Command::RevokeToken(revoke) => revoke.run("CallerService/RevokeApiToken", "token_id").await,
        Command::RevokeKey(revoke) => revoke.run("CallerService/RevokeSigningKey", "api_key").await,
        Command::Credentials(credentials) => credentials.run().await,
        Command::Rotation(command) => command.run().await,
        Command::Whoami(WhoAmI { service }) => {
            let session = service.connection.open().await?;
            service.show(&session, "CallerService/WhoAmI", super::Request::new()).await
        }
        Command::Explain(Explain { method, id, user, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("method", method).maybe("caller_id", id).maybe("user_id", user);
            target.show(&session, "CallerService/ExplainPermission", request).await
        }
        Command::Lifecycle(command) => NOUN.run(command).await,
    }
}

fn names(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.name()).collect()
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let (session, request) = self.target.open().await?;
        let request = request.maybe("caller_id", self.id).maybe("display_name", self.display_name);
        let request = request.set("roles", names(&self.roles)).set("permissions", self.permissions);
        let request = request.maybe("rank", self.rank).labels(&self.labels).change(&self.change);
        self.target.show(&session, &NOUN.method("Create"), request).await
    }
}

impl Update {
    async fn run(self) -> Result<(), Failure> {
        let (caller, mask) = updated(&[
            ("display_name", self.display_name.map(Into::into)),
            ("roles", self.roles.map(|roles| names(&roles).into())),
            ("permissions", self.permissions.map(Into::into)),
            ("rank", self.rank.map(Into::into)),
            ("labels", self.labels.map(|labels| pairs(&labels))),
        ])?;
        let (session, request) = self.target.open().await?;
        let request = request.set("caller_id", self.id).set("caller", caller).set("update_mask", mask);
        self.target.show(&session, &NOUN.method("Update"), request.change(&self.change)).await
    }
}

impl Revoke {
    async fn run(self, method: &str, field: &str) -> Result<(), Failure> {
        let (session, request) = self.target.open().await?;
        let what = format!("{} is void", self.credential);
        let request = request.set("caller_id", self.id).set(field, self.credential).change(&self.change);
        self.target.service.done(&session, method, request, &what).await
    }
}
