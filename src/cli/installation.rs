//! What an installation has before it has a database: a directory and a keyring.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::failure::{Exit, Failure};
use crate::{app::Environment, config::Config, crypto::Keyring};

/// A keyring that is there, and whether it is of this run.
pub(super) struct Prepared {
    made: Option<PathBuf>,
}

impl Prepared {
    /// Removes what this run made.
    pub(super) fn take_back(self) {
        if let Some(path) = self.made {
            // It stays where it cannot be removed; it opens nothing.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes the data directory (mode 0700) and the keyring where they are missing.
pub(super) fn prepare(config: &Config, environment: &Environment) -> Result<Prepared, Failure> {
    make_directory(&config.data_dir)?;
    let keyring = config.keyring_file();
    let unreadable = |cause| Failure::new(Exit::Keyring, format!("cannot look for {}: {cause}", keyring.display()));
    if keyring.try_exists().map_err(unreadable)? {
        return Ok(Prepared { made: None });
    }
    Keyring::create(&keyring, environment.clock.now(), environment.entropy.as_ref())
        .map_err(|cause| Failure::new(Exit::Keyring, cause.to_string()))?;
    Ok(Prepared { made: Some(keyring) })
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|cause| {
        let sentence =
            format!("cannot make the data directory {}: {cause}; choose another with --data-dir", path.display());
        Failure::new(Exit::Failed, sentence)
    })
}
