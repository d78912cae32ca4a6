//! What a command ends with when it fails.

use std::{fmt, io::ErrorKind, process::ExitCode};

use crate::{app::StartError, domain::Error};

/// Exit codes; part of the interface. 2 is clap's, for wrong usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Failed = 1,
    Config = 3,
    Keyring = 4,
    Database = 5,
    Address = 6,
    Unhealthy = 7,
    Rollback = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A sentence that says what, where, and how to mend it, and an exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    sentence: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into() }
    }

    /// The database's. An operator may read the cause.
    pub(super) fn database(error: &Error) -> Self {
        let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(Exit::Database, format!("the database cannot be used: {error}{cause}; see database.url"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(sentence) => Self::new(Exit::Config, sentence),
            StartError::Keyring(sentence) => Self::new(Exit::Keyring, sentence),
            StartError::Store(sentence) => Self::new(Exit::Database, sentence),
            StartError::Rollback(sentence) => Self::new(Exit::Rollback, sentence),
            StartError::Listen { address, ref cause } => {
                let mend = if cause.kind() == ErrorKind::AddrInUse {
                    "stop what listens there, or choose another port"
                } else {
                    "choose an address of this machine, and a port from 1024 on unless privileged"
                };
                Self::new(Exit::Address, format!("cannot listen on {address}: {cause}; {mend}"))
            }
        }
    }
}
