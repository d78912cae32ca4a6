//! The keys of the keyring's file: listed, added, promoted, retired.

use std::{collections::HashMap, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    app::Environment,
    cli::{
        failure::{Exit, Failure},
        output,
        print::{self, Output},
    },
    config::Config,
    crypto::{Keyring, KeyringError},
    domain::{
        KeyInfo, KeyPurpose, Replica, Timestamp,
        key::{may_promote, may_retire},
        tenant::JwtAlgorithm,
    },
    store::Store,
};

#[derive(clap::Subcommand, Debug)]
pub(in crate::cli) enum Command {
    List(List),
    Add(Add),
    Promote(Promote),
    Retire(Retire),
    Rotate(Rotate),
}

/// Print the keys: what each is for, whether it makes or only reads, and how many of the running replicas know it
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    print: Print,
}

/// Make a new key, which only reads until it is promoted
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Add {
    /// What the key is for
    #[arg(long, value_enum)]
    purpose: Purpose,
    /// With what it signs, where it does [default: each of them, a key for each]
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
    #[command(flatten)]
    print: Print,
}

/// Have a key make from now on; the one that did then only reads
///
/// Refused while a replica that was seen in the last 15 minutes does not know the key: what it makes could not be read
/// there. Replicas of a version that knows nothing of this are not seen: bring all of them up to date first.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Promote {
    /// Which
    id: String,
    /// Of a digest key: for how many days API tokens under the one before are still accepted. Each moves to the new key
    /// when it is used; those that are not used meanwhile are void then
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    accept_days: u32,
    /// Whether or not all replicas know it, and without asking the database
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    print: Print,
}

/// Take a key out that nothing needs any more
///
/// A wrapping key stays in a copy of the file, for backups that were made before need it.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Retire {
    /// Which
    id: String,
    /// Also where something needs it still: tokens under it are void then. Not for wrapping keys
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    print: Print,
}

/// Make a new key that signs at once; the one in its place until then still verifies what it signed
///
/// Where several replicas share a keyring, add a key and promote it later instead: those that do not know it yet refuse
/// what it signs.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Rotate {
    /// What the key is for
    #[arg(long, value_enum)]
    purpose: Rotated,
    /// With what it signs [default: each of them]
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
    #[command(flatten)]
    print: Print,
}

#[derive(clap::Args, Debug)]
struct Print {
    /// How it is printed
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Purpose {
    Wrapping,
    Digest,
    PageToken,
    TokenSigning,
}

/// What can be rotated here.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Rotated {
    TokenSigning,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Algorithm {
    Eddsa,
    Es256,
    Rs256,
}

impl From<Purpose> for KeyPurpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Wrapping => Self::Wrapping,
            Purpose::Digest => Self::Digest,
            Purpose::PageToken => Self::PageToken,
            Purpose::TokenSigning => Self::TokenSigning,
        }
    }
}

impl From<Algorithm> for JwtAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Eddsa => Self::EdDSA,
            Algorithm::Es256 => Self::ES256,
            Algorithm::Rs256 => Self::RS256,
        }
    }
}

/// What a command works with.
struct Work {
    config: Config,
    environment: Environment,
}

pub(in crate::cli) async fn run(config: Config, command: Command) -> Result<(), Failure> {
    let work = Work { config, environment: Environment::system() };
    match command {
        Command::List(List { print }) => work.list(print.output).await,
        Command::Add(arguments) => work.add(&arguments),
        Command::Promote(arguments) => work.promote(&arguments).await,
        Command::Retire(arguments) => work.retire(&arguments).await,
        Command::Rotate(Rotate { purpose: Rotated::TokenSigning, algorithm, print }) => {
            let algorithms = algorithm.map_or(JwtAlgorithm::ALL.to_vec(), |algorithm| vec![algorithm.into()]);
            let made = add_signing_keys(&work.config, &work.environment, &algorithms)?;
            work.show(&made, print.output)?;
            output::say("Running services take it within seconds. Keep a copy of the keyring.");
            Ok(())
        }
    }
}

/// Makes a key for each of these algorithms that signs at once, and returns their ids.
pub(in crate::cli) fn add_signing_keys(
    config: &Config,
    environment: &Environment,
    algorithms: &[JwtAlgorithm],
) -> Result<Vec<String>, Failure> {
    let add = |algorithm: &JwtAlgorithm| {
        let (now, entropy) = (environment.clock.now(), environment.entropy.as_ref());
        Keyring::add_signing_key(&config.keyring_file(), *algorithm, now, entropy).map_err(|cause| broken(&cause))
    };
    algorithms.iter().map(add).collect()
}

impl Work {
    async fn list(&self, output: Output) -> Result<(), Failure> {
        let keys = self.keys()?;
        let now = self.environment.clock.now();
        let replicas = match self.replicas().await {
            Ok(mut replicas) => {
                replicas.retain(|replica| replica.is_seen_lately(now));
                Some(replicas)
            }
            Err(failure) => {
                output::say(&format!("Which replicas know which key is not known: {failure}"));
                None
            }
        };
        if output == Output::Json {
            let keys: Vec<Value> = keys.iter().map(|key| of_json(key, replicas.as_deref())).collect();
            let replicas: Vec<Value> = replicas.iter().flatten().map(replica_json).collect();
            return print::value(&json!({ "keys": keys, "replicas": replicas }));
        }
        let columns = ["key", "purpose", "algorithm", "state", "created", "accepted until", "known by"];
        let rows = keys.iter().map(|key| row(key, replicas.as_deref())).collect();
        print::rows(&columns, rows);
        for replica in replicas.iter().flatten() {
            let unknown = keys.iter().filter(|key| !replica.knows(&key.id)).map(|key| key.id.as_str());
            let unknown = unknown.collect::<Vec<_>>().join(", ");
            if !unknown.is_empty() {
                output::say(&format!("The replica {} does not know {unknown}.", replica.name));
            }
        }
        Ok(())
    }

    fn add(&self, arguments: &Add) -> Result<(), Failure> {
        let purpose = KeyPurpose::from(arguments.purpose);
        let algorithms: Vec<Option<JwtAlgorithm>> = match (purpose, arguments.algorithm) {
            (KeyPurpose::TokenSigning, None) => JwtAlgorithm::ALL.into_iter().map(Some).collect(),
            (KeyPurpose::TokenSigning, Some(algorithm)) => vec![Some(algorithm.into())],
            (_, None) => vec![None],
            (_, Some(_)) => {
                return Err(Failure::new(Exit::Failed, "--algorithm is for keys with --purpose token-signing alone"));
            }
        };
        let (now, entropy) = (self.environment.clock.now(), self.environment.entropy.as_ref());
        let add = |algorithm| Keyring::add(&self.file(), purpose, algorithm, now, entropy);
        let made: Result<Vec<String>, KeyringError> = algorithms.into_iter().map(add).collect();
        let made = made.map_err(|cause| broken(&cause))?;
        self.show(&made, arguments.print.output)?;
        output::say(
            "It only reads, until `rekey keys promote`. Give the file to all replicas first, and see with \
             `rekey keys list` that they know it. Keep a copy of the keyring.",
        );
        Ok(())
    }

    async fn promote(&self, arguments: &Promote) -> Result<(), Failure> {
        let (keys, now) = (self.keys()?, self.environment.clock.now());
        let key = find(&keys, &arguments.id, &self.file())?;
        if !key.is_primary {
            let made = keys
                .iter()
                .filter(|other| other.is_primary && (other.purpose, other.algorithm) == (key.purpose, key.algorithm));
            let made: Vec<String> = made.map(|other| other.id.clone()).collect();
            if arguments.force {
                // So that it is known until when they made; where nobody can be told, what follows is older.
                if let Ok(store) = self.database().await {
                    let _ = store.note_keys(made, now).await;
                    store.close().await;
                }
            } else {
                let store = self.database().await?;
                let checked = async {
                    let replicas = store.replicas().await.map_err(|error| Failure::database(&error))?;
                    may_promote(key, &replicas, now).map_err(|sentence| Failure::new(Exit::Failed, sentence))?;
                    store.note_keys(made, now).await.map_err(|error| Failure::database(&error))
                };
                let checked = checked.await;
                store.close().await;
                checked?;
            }
        }
        let accept_until = now.plus(Duration::from_hours(24).saturating_mul(arguments.accept_days));
        let changed = Keyring::promote(&self.file(), &key.id, accept_until).map_err(|cause| broken(&cause))?;
        self.show(std::slice::from_ref(&key.id), arguments.print.output)?;
        let next = match (changed, key.purpose) {
            (false, _) => "It made already: nothing changed.",
            (true, KeyPurpose::Wrapping) => {
                "Running services take it within seconds; give the file to all replicas. Then move what the other key \
                 wraps, with `rekey keys rotate-data`."
            }
            (true, KeyPurpose::Digest) => {
                "Running services take it within seconds; give the file to all replicas. API tokens move to it when they \
                 are used; `rekey keys census` says how many have not."
            }
            (true, KeyPurpose::PageToken | KeyPurpose::TokenSigning) => {
                "Running services take it within seconds; give the file to all replicas."
            }
        };
        output::say(next);
        Ok(())
    }

    async fn retire(&self, arguments: &Retire) -> Result<(), Failure> {
        let (keys, now) = (self.keys()?, self.environment.clock.now());
        let key = find(&keys, &arguments.id, &self.file())?;
        let store = self.database().await?;
        let checked = async {
            let replicas = store.replicas().await.map_err(|error| Failure::database(&error))?;
            let mut census = store.key_census(now).await.map_err(|error| Failure::database(&error))?;
            let uses = census.uses.remove(&key.id).unwrap_or_default();
            may_retire(key, &keys, &uses, &replicas, now, arguments.force)
                .map_err(|sentence| Failure::new(Exit::Failed, sentence))
        };
        let checked = checked.await;
        store.close().await;
        checked?;
        let copy = Keyring::retire(&self.file(), &key.id).map_err(|cause| broken(&cause))?;
        let copy = copy.map(|path| path.display().to_string());
        if arguments.print.output == Output::Json {
            print::value(&json!({ "key_id": key.id, "retired": true, "copy": copy }))?;
        } else {
            output::line(&format!("{} retired", key.id));
        }
        output::say("Running services take the file within seconds; give it to all replicas.");
        if let Some(copy) = copy {
            output::say(&format!(
                "The file as it was is kept as {copy}: backups that were made before cannot be read without the key. Move \
                 it to where those are looked after, and remove it when they are gone."
            ));
        }
        Ok(())
    }

    /// Prints these keys as they are now.
    fn show(&self, ids: &[String], output: Output) -> Result<(), Failure> {
        let keys = self.keys()?;
        let keys = keys.iter().filter(|key| ids.contains(&key.id));
        if output == Output::Json {
            let keys: Vec<Value> = keys.map(|key| of_json(key, None)).collect();
            return print::value(&json!({ "keys": keys }));
        }
        for key in keys {
            let (algorithm, state) = (algorithm(key), state(key));
            output::line(&format!("{}\t{}\t{algorithm}\t{state}", key.id, key.purpose.as_str()));
        }
        Ok(())
    }

    fn file(&self) -> std::path::PathBuf {
        self.config.keyring_file()
    }

    fn keys(&self) -> Result<Vec<KeyInfo>, Failure> {
        Keyring::list(&self.file()).map_err(|cause| broken(&cause))
    }

    /// The database, where there is one and it is current. None is made by asking.
    async fn database(&self) -> Result<Store, Failure> {
        let options = self.config.store()?;
        if let Some(path) = options.url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path))
            && !Path::new(path).exists()
        {
            let sentence = format!("there is no database {path}: name it with --database-url or --data-dir");
            return Err(Failure::new(Exit::Database, sentence));
        }
        let store = Store::connect(&options).await.map_err(|error| Failure::database(&error))?;
        let pending = store.pending_migrations().await.map_err(|error| Failure::database(&error))?;
        if pending > 0 {
            store.close().await;
            return Err(Failure::new(Exit::Database, "the database lacks migrations: run rekey migrate"));
        }
        Ok(store)
    }

    async fn replicas(&self) -> Result<Vec<Replica>, Failure> {
        let store = self.database().await?;
        let replicas = store.replicas().await;
        store.close().await;
        replicas.map_err(|error| Failure::database(&error))
    }
}

fn find<'a>(keys: &'a [KeyInfo], id: &str, file: &Path) -> Result<&'a KeyInfo, Failure> {
    keys.iter().find(|key| key.id == id).ok_or_else(|| {
        let sentence = format!("the keyring {} has no key {id}: see `rekey keys list`", file.display());
        Failure::new(Exit::Keyring, sentence)
    })
}

fn row(key: &KeyInfo, replicas: Option<&[Replica]>) -> Vec<String> {
    let known = replicas.map_or_else(String::new, |replicas| {
        format!("{} of {}", replicas.iter().filter(|replica| replica.knows(&key.id)).count(), replicas.len())
    });
    vec![
        key.id.clone(),
        key.purpose.as_str().to_owned(),
        algorithm(key).to_owned(),
        state(key).to_owned(),
        time(key.create_time),
        key.accept_until.map_or_else(String::new, time),
        known,
    ]
}

fn of_json(key: &KeyInfo, replicas: Option<&[Replica]>) -> Value {
    let known_by = replicas.map(|replicas| {
        replicas
            .iter()
            .filter(|replica| replica.knows(&key.id))
            .map(|replica| replica.name.as_str())
            .collect::<Vec<_>>()
    });
    json!({
        "key_id": key.id,
        "purpose": key.purpose.as_str(),
        "algorithm": key.algorithm.map(JwtAlgorithm::as_str),
        "state": state(key),
        "create_time": time(key.create_time),
        "accept_until_time": key.accept_until.map(time),
        "known_by": known_by,
    })
}

fn replica_json(replica: &Replica) -> Value {
    let keys: HashMap<&str, &[String]> =
        HashMap::from([("knows", &*replica.knows), ("makes_with", &*replica.makes_with)]);
    json!({ "name": replica.name, "version": replica.version, "seen_time": time(replica.seen_time), "keys": keys })
}

fn algorithm(key: &KeyInfo) -> &'static str {
    key.algorithm.map_or("-", JwtAlgorithm::as_str)
}

fn state(key: &KeyInfo) -> &'static str {
    if key.is_primary { "primary" } else { "active" }
}

fn time(time: Timestamp) -> String {
    prost_types::Timestamp { seconds: time.seconds(), nanos: 0 }.to_string()
}

fn broken(cause: &KeyringError) -> Failure {
    Failure::new(Exit::Keyring, cause.to_string())
}
