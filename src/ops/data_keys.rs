//! The tenants' data keys, unwrapped once and kept. Which of them seals for a tenant is remembered for [`LIFE`] at most:
//! that is how long after a rotation something may still be sealed under an older one here. None is ever deleted, so
//! nothing that is becomes unreadable.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    crypto::{DataKey, KeyringInUse},
    domain::{Result, Uid},
    store::Store,
};

/// How long it is remembered which key seals, on a clock that nobody sets.
const LIFE: Duration = Duration::from_secs(30);

pub(super) struct DataKeys {
    store: Store,
    keyring: KeyringInUse,
    /// With their tenants.
    by_id: RwLock<HashMap<String, (Uid, Arc<DataKey>)>>,
    /// With when they were asked for.
    primary: RwLock<HashMap<Uid, (Instant, Arc<DataKey>)>>,
}

impl DataKeys {
    pub(super) fn new(store: Store, keyring: KeyringInUse) -> Self {
        Self { store, keyring, by_id: RwLock::default(), primary: RwLock::default() }
    }

    /// The key that seals for a tenant.
    pub(super) async fn primary(&self, tenant_uid: &Uid) -> Result<Arc<DataKey>> {
        let known = self.primary.read().unwrap_or_else(PoisonError::into_inner).get(tenant_uid).cloned();
        match known {
            Some((asked, key)) if asked.elapsed() < LIFE => Ok(key),
            Some(_) | None => self.primary_now(tenant_uid).await,
        }
    }

    /// The key that seals for a tenant, asked for anew.
    pub(super) async fn primary_now(&self, tenant_uid: &Uid) -> Result<Arc<DataKey>> {
        let asked = Instant::now();
        let wrapped = self.store.primary_data_key(tenant_uid).await?;
        let known = self.known(wrapped.id.as_str());
        let key = match known {
            Some(key) => key,
            None => self.keep(tenant_uid, self.keyring.get().unwrap(&wrapped)?),
        };
        let mut primary = self.primary.write().unwrap_or_else(PoisonError::into_inner);
        primary.insert(tenant_uid.clone(), (asked, Arc::clone(&key)));
        Ok(key)
    }

    /// Asks anew the next time which key seals for a tenant.
    pub(super) fn forget_primary(&self, tenant_uid: &Uid) {
        self.primary.write().unwrap_or_else(PoisonError::into_inner).remove(tenant_uid);
    }

    /// Drops the keys of a tenant that is no more. Nothing can ask for them again: uids are never used twice.
    pub(super) fn forget(&self, tenant_uid: &Uid) {
        self.primary.write().unwrap_or_else(PoisonError::into_inner).remove(tenant_uid);
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).retain(|_, (tenant, _)| tenant != tenant_uid);
    }

    /// The key that sealed something.
    pub(super) async fn by_id(&self, tenant_uid: &Uid, id: &str) -> Result<Arc<DataKey>> {
        if let Some(key) = self.known(id) {
            return Ok(key);
        }
        let wrapped = self.store.data_key(tenant_uid, id).await?;
        Ok(self.keep(tenant_uid, self.keyring.get().unwrap(&wrapped)?))
    }

    fn known(&self, id: &str) -> Option<Arc<DataKey>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(id).map(|(_, key)| Arc::clone(key))
    }

    fn keep(&self, tenant_uid: &Uid, key: DataKey) -> Arc<DataKey> {
        let key = Arc::new(key);
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.insert(key.id().to_string(), (tenant_uid.clone(), Arc::clone(&key)));
        key
    }
}
