//! What users look like in the exports of others.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use super::{
    super::failure::{Exit, Failure},
    Format,
};
use crate::proto::{ImportUser, SubjectState};

/// Our own columns.
pub(super) const COLUMNS: [&str; 4] = ["user_id", "username", "state", "password_hash"];

/// The longest name of a column or field that is told.
const MAX_NAME: usize = 40;

/// A project's parameters of Firebase's scrypt.
#[derive(Clone)]
pub(super) struct Firebase {
    signer_key: String,
    salt_separator: String,
    rounds: String,
    mem_cost: String,
}

impl Firebase {
    /// Reads what the console shows: `hash_config { algorithm: SCRYPT, base64_signer_key: …, … }`.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|cause| Failure::new(Exit::Config, format!("cannot read {}: {cause}", path.display())))?;
        let value = |name: &str| {
            let rest = text.split_once(name)?.1.trim_start_matches(['"', '\'', ' ', ':', '=']);
            let value = rest.split(['"', '\'', ',', ' ', '\n', '\r', '}']).next()?;
            (!value.is_empty()).then(|| value.to_owned())
        };
        let missing = |name| Failure::new(Exit::Config, format!("{} has no {name}", path.display()));
        let need = |name| value(name).ok_or_else(|| missing(name));
        Ok(Self {
            signer_key: need("base64_signer_key")?,
            salt_separator: need("base64_salt_separator")?,
            rounds: need("rounds")?,
            mem_cost: need("mem_cost")?,
        })
    }
}

/// A user, by its own fields; each export has one that no other has.
pub(super) fn user(
    object: &Map<String, Value>,
    format: Format,
    firebase: Option<&Firebase>,
) -> Result<ImportUser, String> {
    let has = |name: &str| object.contains_key(name);
    let guess = || match () {
        () if has("localId") => Format::Firebase,
        () if has("traits") || has("schema_id") => Format::Kratos,
        () if has("passwordHash") || has("email_verified") => Format::Auth0,
        () if has("credentials") || has("enabled") => Format::Keycloak,
        () => Format::Csv,
    };
    let shape = if matches!(format, Format::Auto | Format::Jsonl) { guess() } else { format };
    match shape {
        Format::Keycloak => Ok(keycloak(object)),
        Format::Kratos => Ok(kratos(object)),
        Format::Firebase => firebase_user(object, firebase),
        Format::Auth0 => Ok(auth0(object)),
        Format::Auto | Format::Jsonl | Format::Csv => own(object),
    }
}

/// What stands where a name should, as it may be told; `None` for what does not look like one: it may be anything, a hash
/// as well.
pub(super) fn name_of(text: &str) -> Option<String> {
    let is_name = text.len() <= MAX_NAME
        && text.chars().all(|character| character.is_alphabetic() || " _-.;|\t".contains(character));
    is_name.then(|| format!("{text:?}"))
}

fn text(object: &Map<String, Value>, names: &[&str]) -> String {
    let texts = names.iter().filter_map(|name| object.get(*name)?.as_str());
    texts.map(str::to_owned).find(|text| !text.is_empty()).unwrap_or_default()
}

fn active(is: bool) -> i32 {
    if is { SubjectState::Active.into() } else { SubjectState::Disabled.into() }
}

fn own(object: &Map<String, Value>) -> Result<ImportUser, String> {
    if let Some(unknown) = object.keys().find(|name| !COLUMNS.contains(&name.as_str())) {
        let unknown = name_of(unknown).unwrap_or_else(|| "of some other name".to_owned());
        return Err(format!("has a field {unknown}, which is of no known shape"));
    }
    let is_text = |name: &str, value: &Value| {
        value.is_string() || value.is_null() || name == "password_hash" && value.is_object()
    };
    if let Some((name, _)) = object.iter().find(|(name, value)| !is_text(name, value)) {
        return Err(format!("{name} must be text"));
    }
    let state = match text(object, &["state"]).to_ascii_lowercase().as_str() {
        "" | "active" => SubjectState::Active,
        "disabled" => SubjectState::Disabled,
        "locked" => SubjectState::Locked,
        _ => return Err("state must be active, disabled or locked".to_owned()),
    };
    // Keycloak's credentials may stand there as they are.
    let password_hash = match object.get("password_hash") {
        Some(hash @ Value::Object(_)) => hash.to_string(),
        Some(_) | None => text(object, &["password_hash"]),
    };
    Ok(ImportUser {
        user_id: text(object, &["user_id"]),
        username: text(object, &["username"]),
        state: state.into(),
        password_hash,
    })
}

/// A realm's export: `users[].credentials[]`.
fn keycloak(object: &Map<String, Value>) -> ImportUser {
    let credentials = object.get("credentials").and_then(Value::as_array);
    let password = credentials.into_iter().flatten().find(|credential| {
        credential.get("type").and_then(Value::as_str) == Some("password") && credential.get("secretData").is_some()
    });
    ImportUser {
        user_id: text(object, &["id"]),
        username: text(object, &["username", "email"]),
        state: active(object.get("enabled").and_then(Value::as_bool).unwrap_or(true)),
        password_hash: password.map(Value::to_string).unwrap_or_default(),
    }
}

/// Identities with `include_credential=password`.
fn kratos(object: &Map<String, Value>) -> ImportUser {
    let password = object.get("credentials").and_then(|credentials| credentials.get("password"));
    let identifier = password.and_then(|password| password.get("identifiers")?.get(0)?.as_str()).map(str::to_owned);
    let traits = object.get("traits").and_then(Value::as_object);
    let username = identifier.or_else(|| traits.map(|traits| text(traits, &["username", "email"])));
    let hash = password.and_then(|password| password.get("config")?.get("hashed_password")?.as_str());
    ImportUser {
        user_id: text(object, &["id"]),
        username: username.unwrap_or_default(),
        state: active(text(object, &["state"]) != "inactive"),
        password_hash: hash.unwrap_or_default().to_owned(),
    }
}

/// `firebase auth:export`.
fn firebase_user(object: &Map<String, Value>, firebase: Option<&Firebase>) -> Result<ImportUser, String> {
    let (salt, hash) = (text(object, &["salt"]), text(object, &["passwordHash"]));
    let password_hash = match firebase {
        _ if hash.is_empty() => String::new(),
        Some(Firebase { signer_key, salt_separator, rounds, mem_cost }) => {
            format!("$firescrypt$ln={mem_cost},r={rounds},p=1${salt}${hash}${salt_separator}${signer_key}")
        }
        None => return Err("Firebase's hashes need the project's parameters: name --firebase-config".to_owned()),
    };
    Ok(ImportUser {
        user_id: text(object, &["localId"]),
        username: text(object, &["email", "phoneNumber", "localId"]),
        state: active(!object.get("disabled").and_then(Value::as_bool).unwrap_or_default()),
        password_hash,
    })
}

/// The lines that Auth0's support hands out, with hashes; its own ids have a `|`, which ours do not.
fn auth0(object: &Map<String, Value>) -> ImportUser {
    let id = object.get("_id").and_then(|id| id.get("$oid")?.as_str()).map(str::to_owned);
    let id = id.unwrap_or_else(|| text(object, &["_id", "user_id"]));
    let blocked = object.get("blocked").and_then(Value::as_bool).unwrap_or_default();
    ImportUser {
        user_id: id.rsplit('|').next().unwrap_or_default().to_owned(),
        username: text(object, &["email", "username"]),
        state: active(!blocked),
        password_hash: text(object, &["passwordHash", "password_hash"]),
    }
}
