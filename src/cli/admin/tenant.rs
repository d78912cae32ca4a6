//! `rekey tenant`.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{
    Change, Exit, Failure, Request, Service, camel,
    lifecycle::{Noun, Page},
    object, pair, pairs,
};
use crate::cli::{profile, prompt};

const NOUN: Noun = Noun {
    service: "TenantService",
    name: "Tenant",
    plural: "Tenants",
    id: "tenant_id",
    list: "tenants",
    columns: &["tenant_id", "display_name", "state", "labels", "update_time"],
};

const EXAMPLES: &str = "\
Examples:
  rekey tenant create --id acme --display-name 'Acme Corporation' --alias applivery:acme
  rekey tenant update acme --file policy.json
  rekey tenant get applivery:acme --output json
  rekey tenant delete acme --force

What has no flag of its own is given as JSON, as --output json prints it:
  { \"userPolicy\": { \"preset\": \"POLICY_PRESET_NIST\", \"minLength\": 12, \"history\": 5 } }
";

/// Tenants: the closed spaces that everything else lives in
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
    /// Read one
    Get(Get),
    /// List those that the caller may see, a page at a time or all
    List(List),
    /// Delete one; with --force everything in it too, for good
    Delete(Delete),
    /// Put one out of use: none of its callers is let in
    Disable(State),
    /// Put a disabled one back into use
    Enable(State),
}

/// Make a tenant
#[derive(clap::Args, Debug)]
struct Create {
    /// The id [default: made]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    service: Service,
}

/// Change what a tenant is set to. What is not named stays as it is
#[derive(clap::Args, Debug)]
struct Update {
    /// Its id, or an alias with its dialect
    id: String,
    #[command(flatten)]
    settings: Settings,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args, Debug)]
struct Settings {
    /// For people
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A name in a REST dialect, such as roma:proj01/inst01; as often as there are some
    #[arg(long = "alias", value_name = "DIALECT:NAME", value_parser = alias)]
    aliases: Vec<(String, String)>,
    /// Whether users may change their own passwords
    #[arg(long, value_name = "BOOL")]
    change_password_allowed: Option<bool>,
    /// A label; as often as there are some
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// More of it, as JSON: policies, token issuers, limits, …; - for standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    file: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Get {
    /// Its id, an alias with its dialect, or - for the caller's own
    #[arg(allow_hyphen_values = true)]
    id: String,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args, Debug)]
struct List {
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args, Debug)]
struct Delete {
    /// Its id, or an alias with its dialect
    id: String,
    /// With everything in it
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args, Debug)]
struct State {
    /// Its id, or an alias with its dialect
    id: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    service: Service,
}

fn alias(text: &str) -> Result<(String, String), String> {
    let (dialect, name) = text.split_once(':').ok_or("must be DIALECT:NAME")?;
    Ok((dialect.to_owned(), name.to_owned()))
}

impl Settings {
    /// A tenant in JSON, from the file and then the flags.
    fn tenant(self) -> Result<Map<String, Value>, Failure> {
        let mut tenant = match &self.file {
            Some(file) => object(file, "the tenant")?,
            None => Map::new(),
        };
        let mut set = |name: &str, value: Value| tenant.insert(name.to_owned(), value);
        if let Some(name) = self.display_name {
            set("displayName", name.into());
        }
        if !self.aliases.is_empty() {
            let aliases = self.aliases.iter().map(|(dialect, alias)| json!({ "dialect": dialect, "alias": alias }));
            set("aliases", aliases.collect());
        }
        if let Some(allowed) = self.change_password_allowed {
            set("changePasswordAllowed", allowed.into());
        }
        if !self.labels.is_empty() {
            set("labels", pairs(&self.labels));
        }
        Ok(tenant)
    }
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Create(Create { id, settings, validate_only, change, service }) => {
            let mut tenant = settings.tenant()?;
            tenant.extend(id.map(|id| ("tenantId".to_owned(), Value::String(id))));
            let session = service.connection.open().await?;
            let request = Request::new().set("tenant", tenant).set("validate_only", validate_only).change(&change);
            service.show(&session, &NOUN.method("Create"), request).await
        }
        Command::Update(Update { id, settings, validate_only, change, service }) => {
            let tenant = settings.tenant()?;
            // The file may be an answer as it was printed: what only answers have is not to be set.
            let output_only = ["tenantId", "etag", "createTime", "updateTime", "state"];
            let names = tenant.keys().map(|name| camel(name)).filter(|name| !output_only.contains(&name.as_str()));
            let mask = names.collect::<Vec<_>>().join(",");
            if mask.is_empty() {
                return Err(Failure::new(Exit::Failed, "nothing to change: name at least one field"));
            }
            let session = service.connection.open().await?;
            let request = Request::new().set("tenant_id", id).set("tenant", tenant).set("update_mask", mask);
            let request = request.set("validate_only", validate_only).change(&change);
            service.show(&session, &NOUN.method("Update"), request).await
        }
        Command::Get(Get { id, service }) => {
            let session = service.connection.open().await?;
            service.show(&session, &NOUN.method("Get"), Request::new().set("tenant_id", id)).await
        }
        Command::List(List { page, service }) => {
            let session = service.connection.open().await?;
            NOUN.list(&session, Request::new(), page, service.output).await
        }
        Command::Delete(Delete { id, force, yes, change, service }) => {
            let what = if force { format!("Delete {id} and everything in it") } else { format!("Delete {id}") };
            prompt::confirm(yes, &what)?;
            let session = service.connection.open().await?;
            let what = format!("{id} is deleted");
            let request = Request::new().set("tenant_id", id).set("force", force).change(&change);
            service.done(&session, &NOUN.method("Delete"), request, &what).await
        }
        Command::Disable(state) => state.run("Disable").await,
        Command::Enable(state) => state.run("Enable").await,
    }
}

impl State {
    async fn run(self, verb: &str) -> Result<(), Failure> {
        let session = self.service.connection.open().await?;
        let request = Request::new().set("tenant_id", self.id).change(&self.change);
        self.service.show(&session, &NOUN.method(verb), request).await
    }
}
