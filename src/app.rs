//! The composition root: builds the parts, starts them, says when they are ready, drains and stops them.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::{
    anchor::{self, Keeper},
    api,
    blocklist::Blocklist,
    crypto::{Hasher, HasherOptions, Keyring, KeyringInUse, SystemEntropy, keyring::FileStamp},
    domain::{Clock, Entropy, Error, Reason, Timestamp, Uid},
    listen::{Incoming, Limits},
    metrics::{Calls, Census, Endpoint, Guessing, KeyringReloads, Kind, Text, Uses},
    ops::{ExpiryOptions, LimitOptions, Ops, job::JobOptions, keys::KeyringWatch},
    planted::{Bug, is_planted},
    store::{Store, StoreOptions},
};

/// Bounds on connections.
const LIMITS: Limits = Limits {
    // HTTP/2's preface (RFC 9113 section 3.4).
    first_bytes: 24,
    first_bytes_within: Duration::from_secs(5),
    idle: Duration::from_mins(10),
    connections: 1_024,
    connections_per_peer: 64,
};

/// What a service needs to start.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Where the database is.
    pub store: StoreOptions,
    /// Where the keys are.
    pub keyring_file: PathBuf,
    /// Where this machine writes down how far it has seen the database come.
    pub anchor_file: PathBuf,
    /// How much to hash at once.
    pub hasher: HasherOptions,
    /// What callers and guessers are held to.
    pub limits: LimitOptions,
    /// How jobs are shared with other processes.
    pub jobs: JobOptions,
    /// When ends of secrets are told of.
    pub expiry: ExpiryOptions,
    /// The list of breached passwords; none where absent.
    pub blocklist: Option<PathBuf>,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether the reflection services (v1 and v1alpha) are offered.
    pub reflection: bool,
    /// Certificate chain and key, both PEM; plaintext where absent.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where metrics are read; nowhere where absent.
    pub metrics: Option<SocketAddr>,
    /// How long running calls may take to end once the service is told to stop.
    pub drain: Duration,
}

/// What differs between service and test.
#[derive(Clone)]
pub struct Environment {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives random bytes.
    pub entropy: Arc<dyn Entropy>,
}

impl Environment {
    /// The system's clock and random numbers.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock::default()), entropy: Arc::new(SystemEntropy) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// The system's clock; from the first time that a shared database tells on, that, carried on by what passes here: then it
/// is the same on every replica, and the machine's clock may be wrong, or jump.
#[derive(Default)]
struct SystemClock {
    /// A time, and when it was.
    agreed: RwLock<Option<(Instant, Timestamp)>>,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        if let Some((at, time)) = *self.agreed.read().unwrap_or_else(PoisonError::into_inner) {
            return time.plus(at.elapsed());
        }
        #[expect(clippy::disallowed_methods, reason = "the one clock")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(0).plus(since)
    }

    fn agree(&self, earliest: Timestamp, latest: Timestamp) {
        if is_planted(Bug::OwnClock) {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "the one clock")]
        let at = Instant::now();
        // What may be right stays as it is, so that time does not tremble with each answer's way.
        let time = self.now().max(earliest).min(latest);
        *self.agreed.write().unwrap_or_else(PoisonError::into_inner) = Some((at, time));
    }
}

/// Why something did not start: a sentence for the operator, naming the fix. Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Keyring(String),
    #[error("{0}")]
    Store(String),
    #[error("{0}")]
    Rollback(String),
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: SocketAddr, cause: io::Error },
}

/// Makes a new installation in an empty database: migrations, the tenant `system`, its caller `admin` with the
/// permission `*`, and an API token for it, which is returned and not to be had again. The keyring must exist.
///
/// # Errors
/// Where keyring or database are missing or unreadable, or the database already holds an installation.
pub async fn initialise(options: &ServiceOptions, environment: &Environment) -> Result<SecretString, StartError> {
    let Built { store, ops, .. } = build(options, environment, true).await?;
    let token = ops.initialise().await;
    ops.close().await;
    store.close().await;
    token.map_err(|error| {
        if error.reason() != Reason::AlreadyExists {
            return store_error(&error);
        }
        let fix = "the database already holds an installation: use it with rekey serve, or name another database";
        StartError::Store(fix.to_owned())
    })
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    drain: Duration,
    store: Store,
    ops: Ops,
    keeper: Keeper,
    keyring: KeyringWatch,
    reporter: HealthReporter,
    metrics: Option<Endpoint>,
    stopping: CancellationToken,
    server: JoinHandle<()>,
    watch: JoinHandle<()>,
    jobs: JoinHandle<()>,
}

impl Service {
    /// Starts: checks everything, then opens the port; ready when it returns. Pending migrations are applied where
    /// `migrate` is set, and refused with a sentence where it is not.
    ///
    /// # Errors
    /// Where a part is missing, unreadable, of the wrong mode or taken.
    pub async fn start(options: ServiceOptions, environment: Environment, migrate: bool) -> Result<Self, StartError> {
        let Built { store, ops, hasher, stamp, keeper } = build(&options, &environment, migrate).await?;
        let calls = Calls::default();
        let tls = options.tls.as_ref().map(|(certificate, key)| tls(certificate, key)).transpose()?;
        let routes = api::routes(&ops, options.reflection).map_err(|cause| StartError::Config(cause.to_string()))?;
        let (reporter, health) = tonic_health::server::health_reporter();
        api::health::refresh(&ops, &reporter).await;
        let gate = api::gate(&ops, &calls, routes.add_service(health));
        let listen = |cause| StartError::Listen { address: options.listen, cause };
        let incoming = Incoming::bind(options.listen, LIMITS).await.map_err(listen)?;

        let address = incoming.address();
        let reloads = KeyringReloads::default();
        let keyring = KeyringWatch::new(&ops, &options.keyring_file, stamp, name(address), reloads.clone());
        keyring.announce().await;

        let census = Census::default();
        let metrics = match options.metrics {
            Some(listen) => {
                let (census, guessing, uses) = (census.clone(), ops.guessing().clone(), ops.uses().clone());
                let clock = Arc::clone(&environment.clock);
                let page = move || page(&calls, &hasher, &guessing, (&reloads, &census), (&uses, clock.now()));
                let endpoint = Endpoint::start(listen, page).await;
                Some(endpoint.map_err(|cause| StartError::Listen { address: listen, cause })?)
            }
            None => None,
        };

        // Not fatal: a database that takes no writes at this moment is served as far as it goes.
        if let Err(error) = keeper.raise().await {
            tracing::warn!(reason = ?error.reason(), "the database's mark was not raised");
        }
        let stopping = CancellationToken::new();
        let stop = stopping.clone();
        let server = tokio::spawn(api::serve(incoming, tls, gate, stop));
        let health = api::health::watch(ops.clone(), reporter.clone());
        let expiry = ops.clone().watch_expiry(options.expiry);
        let census = metrics.is_some().then(|| ops.clone().watch_census(census));
        let (keys, marks) = (keyring.clone().run(), keeper.clone().watch());
        let watch = tokio::spawn(async move {
            match census {
                Some(census) => drop(tokio::join!(health, expiry, keys, marks, census)),
                None => drop(tokio::join!(health, expiry, keys, marks)),
            }
        });
        let jobs = tokio::spawn(ops.clone().work_on_jobs());
        if let Some(metrics) = &metrics {
            tracing::info!(address = %metrics.address(), "metrics");
        }
        tracing::info!(%address, "ready");
        Ok(Self {
            address,
            drain: options.drain,
            store,
            ops,
            keeper,
            keyring,
            reporter,
            metrics,
            stopping,
            server,
            watch,
            jobs,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are read.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Endpoint::address)
    }

    /// The watch over its keyring's file, to have it read at once.
    #[must_use]
    pub fn keyring(&self) -> &KeyringWatch {
        &self.keyring
    }

    /// Not ready, no new connections, running calls finish within the drain time, the store closes.
    ///
    /// A connection that does not end by itself is cut off past the drain time.
    pub async fn stop(mut self) {
        self.watch.abort();
        api::health::not_serving(&self.reporter).await;
        self.stopping.cancel();
        self.ops.stop_jobs();
        if let Ok(ended) = tokio::time::timeout(self.drain, &mut self.server).await {
            tracing::info!(ok = ended.is_ok(), "stopped");
        } else {
            tracing::warn!("connections were cut off: they did not end in time");
            self.server.abort();
        }
        if tokio::time::timeout(self.drain, &mut self.jobs).await.is_err() {
            self.jobs.abort();
        }
        self.keyring.leave().await;
        self.ops.close().await;
        self.keeper.close().await;
        self.store.close().await;
    }
}

/// What people know a process by: its machine, where it listens, and which of the machine's processes it is.
fn name(address: SocketAddr) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {address} (process {})", host.split_whitespace().next().unwrap_or("-"), std::process::id())
}

/// The parts that a service is made of.
struct Built {
    store: Store,
    ops: Ops,
    hasher: Hasher,
    /// The keyring's file as it was when it was read.
    stamp: Option<FileStamp>,
    keeper: Keeper,
}

/// The parts, in the order in which they can fail: keys, files, hashing, database.
async fn build(options: &ServiceOptions, environment: &Environment, migrate: bool) -> Result<Built, StartError> {
    let stamp = FileStamp::of(&options.keyring_file);
    let keyring = Keyring::load(&options.keyring_file).map_err(|error| StartError::Keyring(error.to_string()))?;
    let refused = |sentence| StartError::Config(format!("blocklist.file: {sentence}"));
    let blocklist = options.blocklist.as_deref().map(Blocklist::open).transpose().map_err(refused)?;
    if blocklist.is_none() {
        tracing::info!("no list of breached passwords (blocklist.file): policies that ask for one do without");
    }
    let Environment { clock, entropy } = environment.clone();
    let hasher = Hasher::start(options.hasher, Arc::clone(&entropy)).map_err(StartError::Config)?;
    let store = Store::connect(&options.store).await.map_err(|error| store_error(&error))?;
    if migrate {
        store.migrate().await.map_err(|error| store_error(&error))?;
    } else if store.pending_migrations().await.map_err(|error| store_error(&error))? > 0 {
        let fix = "the database lacks migrations: run rekey migrate (or rekey init, if it is new)";
        return Err(StartError::Store(fix.to_owned()));
    }
    let needed = store.wrapping_keys_in_use().await.map_err(|error| store_error(&error))?;
    let fits = keyring.has_wrapping_keys(&options.keyring_file, &needed);
    fits.map_err(|error| StartError::Keyring(error.to_string()))?;
    // Before anything is decided by the time. Where it fails, nothing can be written either, which health tells.
    if let Ok(Some(shared)) = store.check().await {
        shared.tell(&*clock);
    }
    let keyring = KeyringInUse::new(keyring);
    let keeper = recognise(options, environment, &store, &keyring).await?;
    let ops = Ops::new(store.clone(), keyring, hasher.clone(), clock, entropy, &options.limits);
    let ops = ops.with_blocklist(blocklist).with_jobs(options.jobs);
    Ok(Built { store, ops, hasher, stamp, keeper })
}

fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, StartError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|cause| StartError::Config(format!("cannot read {}: {cause}", path.display())))
    };
    api::tls(&read(certificate)?, &read(key)?).map_err(|fault| {
        StartError::Config(format!("certificate {} and key {}: {fault}", certificate.display(), key.display()))
    })
}

/// That the database is no older than this machine has seen it.
async fn recognise(
    options: &ServiceOptions,
    environment: &Environment,
    store: &Store,
    keyring: &KeyringInUse,
) -> Result<Keeper, StartError> {
    let anchor = &options.anchor_file;
    let seen = anchor::read(anchor, &keyring.get()).map_err(StartError::Rollback)?;
    let now = environment.clock.now();
    let uid = Uid::make(now, environment.entropy.as_ref());
    let found = store.find_or_make_installation(uid, now).await.map_err(|error| store_error(&error))?;
    match seen.as_ref().map(|seen| seen.objection(Some(&found))) {
        Some(Some(objection)) => {
            let fix = "Put the right database back; or, to go on from this one all the same, run \
                       rekey restore --accept-rollback";
            return Err(StartError::Rollback(format!("the database is not to be trusted: {objection}. {fix}")));
        }
        Some(None) => {}
        None => {
            let (path, installation) = (anchor.display(), &found.uid);
            tracing::info!(%path, %installation, epoch = %found.epoch, "no anchor: this database is taken for the right one");
        }
    }
    Ok(Keeper::new(anchor.clone(), keyring.clone(), store.clone(), found))
}

/// Everything that is measured.
fn page(
    calls: &Calls,
    hasher: &Hasher,
    guessing: &Guessing,
    (reloads, census): (&KeyringReloads, &Census),
    (uses, now): (&Uses, Timestamp),
) -> String {
    let load = hasher.load();
    let mut text = Text::default();
    text.single("rekey_hashing_threads", Kind::Gauge, "Threads that hash.", load.threads);
    text.single("rekey_hashing_threads_busy", Kind::Gauge, "Threads that hash at this moment.", load.busy);
    text.single("rekey_hashing_queue_length", Kind::Gauge, "Hashes that wait.", load.waiting);
    text.family("rekey_hashing_jobs_total", Kind::Counter, "Hashes by how they ended.");
    for (outcome, count) in [("done", load.done), ("refused", load.refused), ("cancelled", load.cancelled)] {
        text.value("rekey_hashing_jobs_total", &[("outcome", outcome)], count);
    }
    text.family("rekey_hashing_wait_seconds", Kind::Histogram, "How long hashes had waited when they were begun.");
    text.histogram("rekey_hashing_wait_seconds", &[], &load.wait);
    text.family("rekey_hashing_service_seconds", Kind::Histogram, "How long hashes took once they were begun.");
    text.histogram("rekey_hashing_service_seconds", &[], &load.service);
    calls.write(&mut text);
    guessing.write(&mut text);
    reloads.write(&mut text);
    census.write(&mut text);
    uses.write(&mut text, now.micros());
    text.finish()
}

/// An operator may read the cause: it is the driver's short text.
fn store_error(error: &Error) -> StartError {
    match error.cause() {
        Some(cause) => StartError::Store(format!("{error}: {cause}")),
        None => StartError::Store(error.to_string()),
    }
}
