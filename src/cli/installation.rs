//! What an installation has before it has a database: a directory and a keyring.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path};

use super::{
    failure::{Exit, Failure},
    keys,
};
use crate::{
    app::Environment,
    config::Config,
    crypto::Keyring,
    domain::{
        ResourceId, TenantRef, Uid,
        tenant::{JwtAlgorithm, SYSTEM_TENANT},
    },
    store::Store,
};

/// Makes the data directory (mode 0700) where it is missing.
pub(super) fn make_data_directory(config: &Config) -> Result<(), Failure> {
    let path: &Path = &config.data_dir;
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|cause| {
        let sentence =
            format!("cannot make the data directory {}: {cause}; choose another with --data-dir", path.display());
        Failure::new(Exit::Failed, sentence)
    })
}

/// Makes the keyring where it is missing. Only for a new installation: beside an old database a new keyring would look
/// like the right one, and is not.
pub(super) fn make_keyring(config: &Config, environment: &Environment) -> Result<(), Failure> {
    let path = config.keyring_file();
    let unreadable = |cause| Failure::new(Exit::Keyring, format!("cannot look for {}: {cause}", path.display()));
    if !path.try_exists().map_err(unreadable)? {
        Keyring::create(&path, environment.clock.now(), environment.entropy.as_ref())
            .map_err(|cause| Failure::new(Exit::Keyring, cause.to_string()))?;
        keys::add_signing_keys(config, environment, &JwtAlgorithm::ALL)?;
    }
    Ok(())
}

/// Whether the database holds an installation. Makes its tables where they are missing.
pub(super) async fn exists(config: &Config) -> Result<bool, Failure> {
    let store = Store::connect(&config.store()?).await.map_err(|error| Failure::database(&error))?;
    let found = async {
        store.migrate().await?;
        let Some(system) = ResourceId::parse(SYSTEM_TENANT) else { return Ok(None) };
        store.tenant(&TenantRef::Id(system), &Uid::from_stored("")).await
    };
    let found = found.await.map_err(|error| Failure::database(&error));
    store.close().await;
    Ok(found?.is_some())
}
