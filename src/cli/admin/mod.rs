//! `rekey user`, `rekey device`, …: what an administrator does, over gRPC like anybody else.
//!
//! A file for each noun of the API. Requests are JSON, mapped by the descriptors, so that a new field of the API is a
//! line here; what all nouns can do is in `lifecycle`.

pub(super) mod audit;
pub(super) mod caller;
mod credential;
pub(super) mod device;
pub(super) mod integration;
pub(super) mod job;
mod lifecycle;
mod many;
pub(super) mod policy;
mod rotation;
pub(super) mod tenant;
pub(super) mod user;

use std::{fs, path::PathBuf};

use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    failure::{Exit, Failure},
    output,
    print::{self, Output},
    prompt,
    session::{Connection, Session},
};

/// What every command that talks to a service takes.
#[derive(clap::Args, Debug)]
pub(super) struct Target {
    /// In which tenant: its id, an alias with its dialect, or - for the caller's own [default: the profile's, or -]
    #[arg(long, value_name = "TENANT", allow_hyphen_values = true, env = "REKEY_TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    service: Service,
}

/// The same, where no tenant is named besides.
#[derive(clap::Args, Debug)]
pub(super) struct Service {
    #[command(flatten)]
    connection: Connection,
    /// How answers are printed
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

/// What every change takes.
#[derive(clap::Args, Debug)]
pub(super) struct Change {
    /// Change it only if it still has this etag
    #[arg(long, value_name = "ETAG", allow_hyphen_values = true)]
    etag: Option<String>,
    /// Makes a repetition harmless: the same id is answered the same, and done once [default: a random one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Where a new secret comes from.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
pub(super) struct NewSecret {
    /// Have the service make it, in the policy's length or this one; it is printed once
    #[arg(long, value_name = "LENGTH", num_args = 0..=1, default_missing_value = "0")]
    generate: Option<u32>,
    /// Whose first line is the new password; - for standard input [default: asked for]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    password_file: Option<PathBuf>,
}

/// A request in the making.
struct Request(Map<String, Value>);

impl Request {
    fn new() -> Self {
        Self(Map::new())
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// A field that may be left alone.
    fn maybe<V: Into<Value>>(self, field: &str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.set(field, value),
            None => self,
        }
    }

    fn change(self, change: &Change) -> Self {
        let id = change.request_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        self.maybe("etag", change.etag.clone()).set("request_id", id)
    }

    /// Where a new secret comes from, given under this name.
    fn secret(self, given: &str, source: &NewSecret) -> Result<Self, Failure> {
        match source.generate {
            Some(length) => Ok(self.set("generate", json!({ "length": length }))),
            None => Ok(self.set(given, password(source.password_file.as_deref(), "password", true)?)),
        }
    }

    fn labels(self, labels: &[(String, String)]) -> Self {
        if labels.is_empty() { self } else { self.set("labels", pairs(labels)) }
    }
}

impl Target {
    /// Opens a session, and begins a request about its tenant.
    async fn open(&self) -> Result<(Session, Request), Failure> {
        let session = self.service.connection.open().await?;
        let request = Request::new().set("tenant_id", session.tenant(self.tenant.as_deref()));
        Ok((session, request))
    }

    /// Calls a method and prints its answer.
    async fn show(&self, session: &Session, method: &str, request: Request) -> Result<(), Failure> {
        self.service.show(session, method, request).await
    }

    /// Prints whose password a check found right; fails where it is nobody's.
    fn verified(&self, answer: &DynamicMessage, kind: &str) -> Result<(), Failure> {
        if self.service.output == Output::Json {
            print::json(answer)?;
        }
        if !print::flag(answer, "verified") {
            let sentence = format!("the password is not right, or there is no such {kind} in use");
            return Err(Failure::new(Exit::Failed, sentence));
        }
        if self.service.output == Output::Table {
            output::line(&print::text(answer, &format!("{kind}_id")));
        }
        Ok(())
    }
}

impl Service {
    async fn show(&self, session: &Session, method: &str, request: Request) -> Result<(), Failure> {
        print::one(&session.call(method, Value::Object(request.0)).await?, self.output)
    }

    /// Calls a method whose answer says nothing, and says so.
    async fn done(&self, session: &Session, method: &str, request: Request, what: &str) -> Result<(), Failure> {
        let answer = session.call(method, Value::Object(request.0)).await?;
        if self.output == Output::Json {
            return print::json(&answer);
        }
        output::line(what);
        Ok(())
    }
}

async fn call(session: &Session, method: &str, request: Request) -> Result<DynamicMessage, Failure> {
    session.call(method, Value::Object(request.0)).await
}

/// A password from a file or a person.
fn password(file: Option<&std::path::Path>, what: &str, is_new: bool) -> Result<Value, Failure> {
    prompt::secret_from(file, what, is_new).map(|secret| Value::String((*secret).clone()))
}

fn pairs(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect())
}

/// A field and its value, or, for `Update`, both and the mask that names it.
fn updated(fields: &[(&str, Option<Value>)]) -> Result<(Value, Value), Failure> {
    let given: Vec<_> = fields.iter().filter_map(|(name, value)| Some((*name, value.clone()?))).collect();
    if given.is_empty() {
        return Err(Failure::new(Exit::Failed, "nothing to change: name at least one field"));
    }
    // In JSON a mask's paths are in lowerCamelCase, joined by commas.
    let mask = given.iter().map(|(name, _)| camel(name)).collect::<Vec<_>>().join(",");
    Ok((Value::Object(given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()), mask.into()))
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut text, word| {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text + letters.as_str()
    })
}

/// `NAME=VALUE`, as labels are given.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A JSON object out of a file; `-` is standard input.
fn object(file: &std::path::Path, what: &str) -> Result<Map<String, Value>, Failure> {
    let unusable = |cause: String| Failure::new(Exit::Failed, format!("{what} in {}: {cause}", file.display()));
    let text = if file == std::path::Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        fs::read_to_string(file)
    };
    let text = text.map_err(|cause| unusable(cause.to_string()))?;
    let value = serde_json::from_str(&text).map_err(|cause| {
        // Without the parser's own words: they may quote a secret.
        unusable(format!("is not JSON at line {}, column {}", cause.line(), cause.column()))
    })?;
    if let Value::Object(object) = value { Ok(object) } else { Err(unusable("must be a JSON object".to_owned())) }
}
