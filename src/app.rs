//! The composition root: builds the parts, starts them, says when they are ready, drains and stops them.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretString;

use crate::{
    crypto::HasherOptions,
    domain::{Clock, Entropy},
    store::StoreOptions,
};

/// What a service needs to start.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Where the database is.
    pub store: StoreOptions,
    /// Where the keys are.
    pub keyring_file: PathBuf,
    /// How much to hash at once.
    pub hasher: HasherOptions,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether the reflection services (v1 and v1alpha) are offered.
    pub reflection: bool,
    /// Certificate chain and key, both PEM; plaintext where absent.
    pub tls: Option<(PathBuf, PathBuf)>,
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
        todo!()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
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
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: SocketAddr, cause: std::io::Error },
}

/// Makes a new installation in an empty database: migrations, the tenant `system`, its caller `admin` with the
/// permission `*`, and an API token for it, which is returned and not to be had again. The keyring must exist.
///
/// # Errors
/// Where keyring or database are missing or unreadable, or the database already holds an installation.
pub async fn initialise(options: &ServiceOptions, environment: &Environment) -> Result<SecretString, StartError> {
    let _ = (options, environment);
    todo!()
}

/// A service that runs.
pub struct Service {/* … */}

impl Service {
    /// Starts: checks everything, then opens the port; ready when it returns. Pending migrations are applied where
    /// `migrate` is set, and refused with a sentence where it is not.
    ///
    /// # Errors
    /// Where a part is missing, unreadable, of the wrong mode or taken.
    pub async fn start(options: ServiceOptions, environment: Environment, migrate: bool) -> Result<Self, StartError> {
        let _ = (options, environment, migrate);
        todo!()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Not ready, no new connections, running calls finish within the drain time, the store closes.
    pub async fn stop(self) {
        todo!()
    }
}
