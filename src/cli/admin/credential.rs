//! Versions of callers' tokens and signing keys.

use std::path::PathBuf;

use super::{
    Change, Failure, Request, Target, call, password,
    rotation::{Place, seconds},
};
use crate::cli::{
    output,
    print::{self, Output},
};

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    RotateToken(RotateToken),
    RotateKey(RotateKey),
    Promote(Promote),
    RollBack(RollBack),
    Swap(Swap),
    RevokeVersion(RevokeVersion),
}

/// List a caller's tokens and keys with their versions and last uses, without what is secret in them
#[derive(clap::Args, Debug)]
pub(super) struct Credentials {
    /// The caller's id
    id: String,
    /// Those that were revoked, too
    #[arg(long)]
    show_revoked: bool,
    #[command(flatten)]
    target: Target,
}

/// Give a token a new version, which is printed once; the old one is void at once, unless --overlap or --pending is given
#[derive(clap::Args, Debug)]
pub(super) struct RotateToken {
    /// The caller's id
    id: String,
    /// The token's id
    token: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    asked: Asked,
}

/// Give a signing key another shared key, which is printed once where it is made; the old one is void at once, unless
/// --overlap or --pending is given
#[derive(clap::Args, Debug)]
pub(super) struct RotateKey {
    /// The caller's id
    id: String,
    /// The API key
    api_key: String,
    /// Whose first line is the new shared key [default: one is generated]
    #[arg(long, value_name = "FILE")]
    shared_key_file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    asked: Asked,
}

/// Bring the pending version of a token or key into force
#[derive(clap::Args, Debug)]
pub(super) struct Promote {
    #[command(flatten)]
    which: Which,
    /// How long the old version is good besides, such as 24h or 7d [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    overlap: Option<String>,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    asked: Asked,
}

/// Bring the previous version of a token or key back into force, and make the current one void
#[derive(clap::Args, Debug)]
pub(super) struct RollBack {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    asked: Asked,
}

/// Have the current and the previous version of a token or key change places
#[derive(clap::Args, Debug)]
pub(super) struct Swap {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    asked: Asked,
}

/// Make one version of a token or key void at once
#[derive(clap::Args, Debug)]
pub(super) struct RevokeVersion {
    #[command(flatten)]
    which: Which,
    /// Which version, as `credentials` shows them
    #[arg(value_name = "VERSION")]
    version: i64,
    /// Let it be the last that is accepted: the token or key is good for nothing afterwards
    #[arg(long)]
    allow_last: bool,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    asked: Asked,
}

#[derive(clap::Args, Debug)]
struct Which {
    /// The caller's id
    id: String,
    /// The token's id, or with --key the API key
    #[arg(value_name = "TOKEN")]
    credential: String,
    /// It is an API key
    #[arg(long)]
    key: bool,
}

#[derive(clap::Args, Debug)]
struct Own {
    /// Let it be the version that this command itself calls with
    #[arg(long)]
    allow_own: bool,
}

#[derive(clap::Args, Debug)]
struct Asked {
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

impl Asked {
    async fn show(self, method: &str, fields: impl FnOnce(Request) -> Request) -> Result<(), Failure> {
        let (session, request) = self.target.open().await?;
        let request = fields(request).set("validate_only", self.validate_only).change(&self.change);
        self.target.show(&session, &format!("CallerService/{method}"), request).await
    }
}

impl Request {
    fn which(self, Which { id, credential, key }: Which) -> Self {
        self.set("caller_id", id).set(if key { "api_key" } else { "token_id" }, credential)
    }
}

impl Command {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::RotateToken(RotateToken { id, token, place, asked }) => {
                let fields = |request: Request| request.set("caller_id", id).set("token_id", token).place(place);
                asked.show("RotateApiToken", fields).await
            }
            Self::RotateKey(RotateKey { id, api_key, shared_key_file, place, asked }) => {
                let given = shared_key_file.map(|file| password(Some(&file), "shared key", false)).transpose()?;
                let fields = |request: Request| {
                    request.set("caller_id", id).set("api_key", api_key).maybe("shared_key", given).place(place)
                };
                asked.show("RotateSigningKey", fields).await
            }
            Self::Promote(Promote { which, overlap, own, asked }) => {
                let fields =
                    |request: Request| request.which(which).maybe("overlap", overlap).set("allow_own", own.allow_own);
                asked.show("PromoteCredential", fields).await
            }
            Self::RollBack(RollBack { which, own, asked }) => {
                let fields = |request: Request| request.which(which).set("allow_own", own.allow_own);
                asked.show("RollBackCredential", fields).await
            }
            Self::Swap(Swap { which, asked }) => asked.show("SwapCredential", |request| request.which(which)).await,
            Self::RevokeVersion(RevokeVersion { which, version, allow_last, own, asked }) => {
                let fields = |request: Request| {
                    let request = request.which(which).set("version", version).set("allow_last", allow_last);
                    request.set("allow_own", own.allow_own)
                };
                asked.show("RevokeCredentialVersion", fields).await
            }
        }
    }
}

impl Credentials {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (session, request) = self.target.open().await?;
        let request = request.set("caller_id", self.id).set("show_revoked", self.show_revoked);
        let answer = call(&session, "CallerService/ListCredentials", request).await?;
        if self.target.service.output == Output::Json {
            return print::json(&answer);
        }
        let credentials = print::items(&answer, "credentials");
        let columns = [
            "credential_id",
            "kind",
            "create_time",
            "expire_time",
            "last_used_time",
            "use_count",
            "read_only",
            "revoked",
        ];
        print::many(&credentials, &columns);
        // Where a credential has one version, its own line says it all.
        let columns = ["version", "stage", "create_time", "expire_time", "last_used_time", "use_count"];
        for credential in credentials {
            let versions = print::items(&credential, "versions");
            if versions.len() > 1 {
                output::line("");
                output::line(&format!("{}:", print::text(&credential, "credential_id")));
                print::many(&versions, &columns);
            }
        }
        Ok(())
    }
}
