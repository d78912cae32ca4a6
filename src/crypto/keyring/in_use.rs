//! The keyring that a process uses now. Another may take its place while calls run; each call holds the one that it asked
//! for, and the last of them wipes it.

use std::sync::{Arc, PoisonError, RwLock};

use super::Keyring;

/// The keyring in use. Clones share it.
#[derive(Clone, Debug)]
pub struct KeyringInUse(Arc<RwLock<Arc<Keyring>>>);

impl KeyringInUse {
    /// Begins with this one.
    #[must_use]
    pub fn new(keyring: Keyring) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(keyring))))
    }

    /// The one in use now.
    #[must_use]
    pub fn get(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has another one used from now on.
    pub fn replace(&self, keyring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }
}
