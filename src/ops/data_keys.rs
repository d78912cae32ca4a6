//! The tenants' data keys, unwrapped once and kept.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    crypto::{DataKey, Keyring},
    domain::{Result, Uid},
    store::Store,
};

pub(super) struct DataKeys {
    store: Store,
    keyring: Arc<Keyring>,
    by_id: RwLock<HashMap<String, Arc<DataKey>>>,
    primary: RwLock<HashMap<Uid, Arc<DataKey>>>,
}

impl DataKeys {
    pub(super) fn new(store: Store, keyring: Arc<Keyring>) -> Self {
        Self { store, keyring, by_id: RwLock::default(), primary: RwLock::default() }
    }

    /// The key that seals for a tenant.
    pub(super) async fn primary(&self, tenant_uid: &Uid) -> Result<Arc<DataKey>> {
        let known = self.primary.read().unwrap_or_else(PoisonError::into_inner).get(tenant_uid).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = Arc::new(self.keyring.unwrap(&self.store.primary_data_key(tenant_uid).await?)?);
        self.primary.write().unwrap_or_else(PoisonError::into_inner).insert(tenant_uid.clone(), Arc::clone(&key));
        Ok(key)
    }

    /// Drops the key of a tenant that is no more. Nothing can ask for it again: uids are never used twice.
    pub(super) fn forget(&self, tenant_uid: &Uid) {
        let primary = self.primary.write().unwrap_or_else(PoisonError::into_inner).remove(tenant_uid);
        if let Some(key) = primary {
            self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(key.id().as_str());
        }
    }

    /// The key that sealed something.
    pub(super) async fn by_id(&self, tenant_uid: &Uid, id: &str) -> Result<Arc<DataKey>> {
        let known = self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = Arc::new(self.keyring.unwrap(&self.store.data_key(tenant_uid, id).await?)?);
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), Arc::clone(&key));
        Ok(key)
    }
}
