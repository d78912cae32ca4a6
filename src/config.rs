//! Settings: embedded defaults, below a file, below the environment, below flags. Unknown names are refused, everything
//! is checked before a port opens, and all that is wrong is said at once.

mod limits;

use std::{
    fmt, fs,
    net::{AddrParseError, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use figment::{
    Figment,
    providers::{Format as _, Toml},
    value::{Dict, Value},
};
use serde::Deserialize;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use self::limits::{Foreign, Limits};
use crate::{
    app::{ServiceOptions, StartError},
    crypto::HasherOptions,
    gateway::{self, GatewayOptions},
    ops::{ExpiryOptions, job::JobOptions},
    store::StoreOptions,
};

/// Every setting with its default and what it means.
pub const DEFAULTS: &str = include_str!("config.default.toml");

const PREFIX: &str = "REKEY_";

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Variables and their values; those that are no settings are passed over.
    pub environment: Vec<(String, String)>,
    /// Names such as `grpc.listen`, and their values.
    pub flags: Vec<(&'static str, String)>,
}

/// All settings, checked.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Where database and keyring are, unless they are elsewhere.
    pub data_dir: PathBuf,
    drain_s: u64,
    database: Database,
    keyring: Keyring,
    anchor: Anchor,
    grpc: Grpc,
    gateway: Gateway,
    hashing: Hashing,
    foreign: Foreign,
    metrics: Metrics,
    limits: Limits,
    expiry: Expiry,
    blocklist: Blocklist,
    /// What is logged, and how.
    pub log: Log,
}

#[derive(Clone, Deserialize)]
struct Database {
    url: String,
    url_file: PathBuf,
    max_connections: u32,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Database").field("url_file", &self.url_file).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Keyring {
    file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct Anchor {
    file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct Grpc {
    listen: SocketAddr,
    reflection: bool,
    tls_certificate_file: PathBuf,
    tls_key_file: PathBuf,
    allow_plaintext: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Gateway {
    listen: SocketAddr,
    upstream: String,
    upstream_ca_file: PathBuf,
    token_file: PathBuf,
    allow_plaintext: bool,
    docs: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Hashing {
    threads: usize,
    queue: usize,
    max_wait_ms: u64,
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

#[derive(Clone, Debug, Deserialize)]
struct Metrics {
    listen: String,
    allow_plaintext: bool,
}

impl Metrics {
    fn address(&self) -> Result<Option<SocketAddr>, AddrParseError> {
        if self.listen.is_empty() { Ok(None) } else { self.listen.parse().map(Some) }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Expiry {
    notice_s: u64,
    every_s: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Blocklist {
    file: PathBuf,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Log {
    /// In which form.
    pub format: LogFormat,
    /// A level, or tracing's directives.
    pub level: String,
}

/// The forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: an object a line.
    Json,
}

impl Config {
    /// Gathers the settings and checks them.
    ///
    /// # Errors
    /// One sentence for each thing that is wrong, a line each.
    pub fn load(sources: &Sources) -> Result<Self, StartError> {
        let (figment, mut problems) = merge(sources);
        let known: Dict = Figment::from(Toml::string(DEFAULTS)).extract().unwrap_or_default();
        // What could not be read at all is among the problems already.
        let found: Dict = figment.extract().unwrap_or_default();
        for name in unknown(&found, &known, "") {
            let source = figment.find_metadata(&name).and_then(|metadata| metadata.source.as_ref());
            let place = source.map(|source| format!(" ({source})")).unwrap_or_default();
            problems.push(format!("{name}{place} is not a setting"));
        }
        match figment.extract::<Self>() {
            Ok(config) => {
                problems.extend(config.problems());
                if problems.is_empty() { Ok(config) } else { Err(refusal(&problems)) }
            }
            Err(errors) => {
                problems.extend(errors.into_iter().map(|error| format!("{}: {}", error.path.join("."), error.kind)));
                Err(refusal(&problems))
            }
        }
    }

    /// What a service is started with.
    ///
    /// # Errors
    /// Where the file with the database's URL cannot be read.
    pub fn service(&self) -> Result<ServiceOptions, StartError> {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.hashing.threads == 0 { cores() } else { self.hashing.threads };
        let tls = &self.grpc;
        Ok(ServiceOptions {
            store: self.store()?,
            keyring_file: self.keyring_file(),
            anchor_file: self.anchor_file(),
            hasher: HasherOptions {
                threads,
                queue: if self.hashing.queue == 0 { threads * 8 } else { self.hashing.queue },
                max_wait: Duration::from_millis(self.hashing.max_wait_ms),
                memory_kib: self.hashing.memory_kib,
                iterations: self.hashing.iterations,
                parallelism: self.hashing.parallelism,
                foreign: self.foreign.bounds(),
            },
            limits: self.limits.options(),
            jobs: JobOptions::default(),
            expiry: ExpiryOptions {
                notice: Duration::from_secs(self.expiry.notice_s),
                every: Duration::from_secs(self.expiry.every_s),
            },
            blocklist: is_set(&self.blocklist.file).then(|| self.blocklist.file.clone()),
            listen: tls.listen,
            reflection: tls.reflection,
            tls: is_set(&tls.tls_key_file).then(|| (tls.tls_certificate_file.clone(), tls.tls_key_file.clone())),
            metrics: self.metrics.address().map_err(|cause| StartError::Config(format!("metrics.listen: {cause}")))?,
            drain: self.drain(),
        })
    }

    /// Where the database is.
    ///
    /// # Errors
    /// Where the file with its URL cannot be read.
    pub fn store(&self) -> Result<StoreOptions, StartError> {
        let database = &self.database;
        let url = if is_set(&database.url_file) {
            read("database.url_file", &database.url_file)?.trim().to_owned()
        } else if database.url.is_empty() {
            format!("sqlite:{}", self.data_dir.join("rekey.db").display())
        } else {
            database.url.clone()
        };
        Ok(StoreOptions { url, max_connections: database.max_connections })
    }

    /// Where the keys are.
    #[must_use]
    pub fn keyring_file(&self) -> PathBuf {
        if is_set(&self.keyring.file) { self.keyring.file.clone() } else { self.data_dir.join("keyring.json") }
    }

    /// Where this machine writes down how far it has seen the database come.
    #[must_use]
    pub fn anchor_file(&self) -> PathBuf {
        if is_set(&self.anchor.file) { self.anchor.file.clone() } else { self.data_dir.join("anchor.json") }
    }

    /// What a gateway is started with.
    ///
    /// # Errors
    /// Where the authority's certificate or the gateway's own token cannot be read.
    pub fn gateway(&self) -> Result<GatewayOptions, StartError> {
        let invalid = |cause| StartError::Config(format!("gateway.upstream: {cause}"));
        let mut upstream = Endpoint::from_shared(self.gateway.upstream.clone()).map_err(invalid)?;
        if is_set(&self.gateway.upstream_ca_file) {
            let authority = Certificate::from_pem(read("gateway.upstream_ca_file", &self.gateway.upstream_ca_file)?);
            upstream = upstream.tls_config(ClientTlsConfig::new().ca_certificate(authority)).map_err(invalid)?;
        }
        let identity = if is_set(&self.gateway.token_file) {
            let identity = gateway::identity(read("gateway.token_file", &self.gateway.token_file)?.trim());
            Some(identity.ok_or_else(|| StartError::Config("gateway.token_file: holds no token".to_owned()))?)
        } else {
            None
        };
        let Gateway { listen, docs, .. } = self.gateway;
        Ok(GatewayOptions { listen, upstream, drain: self.drain(), identity, docs })
    }

    /// How long running calls may take to end once the process is told to stop.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }

    /// What is wrong although each value is of its kind.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut ask = |good: bool, sentence: &str| {
            if !good {
                problems.push(sentence.to_owned());
            }
        };
        let (database, grpc, gateway) = (&self.database, &self.grpc, &self.gateway);
        ask(is_set(&self.data_dir), "data_dir is empty: name a directory");
        ask((1..=3_600).contains(&self.drain_s), "drain_s must be 1 to 3600");
        ask(
            database.url.is_empty() || !is_set(&database.url_file),
            "database.url and database.url_file are both set: keep one of them",
        );
        let scheme = database.url.split_once(':').map(|(scheme, _)| scheme);
        ask(
            database.url.is_empty()
                || scheme.is_some_and(|scheme| ["sqlite", "postgres", "postgresql"].contains(&scheme)),
            "database.url must begin with sqlite: or postgres://",
        );
        ask((1..=1_000).contains(&database.max_connections), "database.max_connections must be 1 to 1000");
        let tls = is_set(&grpc.tls_certificate_file);
        ask(
            tls == is_set(&grpc.tls_key_file),
            "grpc.tls_certificate_file and grpc.tls_key_file go together: set both or neither",
        );
        ask(
            tls || grpc.allow_plaintext || grpc.listen.ip().to_canonical().is_loopback(),
            "grpc.listen is not a loopback address and there is no TLS, so credentials would cross the network in clear: \
             set grpc.tls_certificate_file and grpc.tls_key_file, or grpc.allow_plaintext where something else encrypts",
        );
        ask(
            gateway.allow_plaintext || gateway.listen.ip().to_canonical().is_loopback(),
            "gateway.listen is not a loopback address and the gateway speaks no TLS, so credentials would cross the \
             network in clear: put something that ends TLS before it and set gateway.allow_plaintext",
        );
        match gateway.upstream.parse::<http::Uri>() {
            Ok(uri) if uri.scheme_str() == Some("https") => ask(
                is_set(&gateway.upstream_ca_file),
                "gateway.upstream is https and gateway.upstream_ca_file is not set: name the authority's certificate",
            ),
            Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => ask(
                gateway.allow_plaintext || uri.host().is_some_and(is_loopback),
                "gateway.upstream is plaintext to another machine: use https, or set gateway.allow_plaintext",
            ),
            Ok(_) | Err(_) => ask(false, "gateway.upstream must be a URL such as http://127.0.0.1:50051"),
        }
        ask(self.hashing.threads <= 1_024, "hashing.threads must be at most 1024");
        ask(self.hashing.queue <= 1_000_000, "hashing.queue must be at most 1000000");
        ask((1..=60_000).contains(&self.hashing.max_wait_ms), "hashing.max_wait_ms must be 1 to 60000");
        for problem in self.foreign.bounds().problems() {
            ask(false, &format!("foreign.max_{problem}"));
        }
        match self.metrics.address() {
            Ok(address) => ask(
                self.metrics.allow_plaintext || address.is_none_or(|address| address.ip().to_canonical().is_loopback()),
                "metrics.listen is not a loopback address and metrics are served in plaintext to whoever asks: set \
                 metrics.allow_plaintext where the network is one's own",
            ),
            Err(_) => ask(false, "metrics.listen must be an address such as 127.0.0.1:9464, or empty"),
        }
        ask((1..=31_622_400).contains(&self.expiry.notice_s), "expiry.notice_s must be 1 to 31622400");
        ask((1..=3_600).contains(&self.expiry.every_s), "expiry.every_s must be 1 to 3600");
        for problem in self.limits.problems() {
            ask(false, problem);
        }
        if let Err(cause) = crate::telemetry::check(&self.log.level) {
            ask(false, &format!("log.level: {cause}"));
        }
        problems
    }
}

fn merge(sources: &Sources) -> (Figment, Vec<String>) {
    let mut problems = Vec::new();
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    if let Some(path) = &sources.file {
        // Asked here as well, for figment takes a file that is not there for an empty one.
        match fs::read_to_string(path) {
            Err(cause) => problems.push(format!("cannot read {}: {cause}", path.display())),
            Ok(text) => match toml::from_str::<toml::Table>(&text) {
                Ok(_) => figment = figment.merge(Toml::file_exact(path)),
                Err(cause) => problems.push(format!("{} is not TOML: {}", path.display(), cause.message())),
            },
        }
    }
    for (variable, text) in &sources.environment {
        match setting_of(variable) {
            Some(Ok(name)) => figment = figment.merge((name, parsed(text))),
            Some(Err(meant)) => problems.push(format!("{variable} is not a setting: did you mean {meant}?")),
            None => {}
        }
    }
    for (name, text) in &sources.flags {
        figment = figment.merge((*name, text.as_str()));
    }
    (figment, problems)
}

/// The setting that a variable names, or the variable that was meant; `None` where it is not for us. Kubernetes sets
/// `REKEY_PORT` and the like for a service of our name, and `demo.env` has `REKEY_GRPC`: only what has a section counts.
fn setting_of(variable: &str) -> Option<Result<String, String>> {
    let name = variable.strip_prefix(PREFIX)?.to_ascii_lowercase();
    if ["data_dir", "drain_s"].contains(&name.as_str()) {
        return Some(Ok(name));
    }
    if let Some((section, setting)) = name.split_once("__") {
        return Some(Ok(format!("{section}.{setting}")));
    }
    let (section, setting) = name.split_once('_')?;
    let defaults: Dict = Figment::from(Toml::string(DEFAULTS)).extract().ok()?;
    defaults.get(section)?.as_dict()?.get(setting)?;
    Some(Err(format!("{PREFIX}{}__{}", section.to_ascii_uppercase(), setting.to_ascii_uppercase())))
}

/// A variable's text as the kind of value it looks like. Paths and URLs are never numbers in earnest.
fn parsed(text: &str) -> Value {
    match (text.parse::<bool>(), text.parse::<i64>()) {
        (Ok(value), _) => Value::from(value),
        (_, Ok(value)) => Value::from(value),
        (Err(_), Err(_)) => Value::from(text),
    }
}

fn unknown(found: &Dict, known: &Dict, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in found {
        match (value, known.get(key)) {
            (_, None) => names.push(format!("{prefix}{key}")),
            (Value::Dict(_, found), Some(Value::Dict(_, known))) => {
                names.extend(unknown(found, known, &format!("{prefix}{key}.")));
            }
            (_, Some(_)) => {}
        }
    }
    names
}

fn refusal(problems: &[String]) -> StartError {
    StartError::Config(match problems {
        [problem] => format!("the configuration is not usable: {problem}"),
        _ => format!("the configuration is not usable:\n  - {}", problems.join("\n  - ")),
    })
}

fn read(setting: &str, path: &Path) -> Result<String, StartError> {
    fs::read_to_string(path)
        .map_err(|cause| StartError::Config(format!("{setting}: cannot read {}: {cause}", path.display())))
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
