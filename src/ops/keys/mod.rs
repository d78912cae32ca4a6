//! The keyring's keys while the service runs: which there are and what hangs on them; another keyring taken in the place
//! of the one in use; rotation of what the keys wrap and seal.

mod moves;
mod rotate;
mod watch;

pub use rotate::{Phase, Progress, Rotation, RotationOptions};
pub use watch::KeyringWatch;

pub(super) use moves::Moves;

use super::{Call, Ops};
use crate::{
    domain::{Error, KeyInfo, KeyUse, Reason, Replica, Result},
    store::KeyCensus,
};

/// The keys, and everything that is known of their use.
#[derive(Debug)]
pub struct KeyView {
    /// The keys of this process, in their file's order, each with what hangs on it.
    pub keys: Vec<(KeyInfo, KeyUse)>,
    /// Keys that something hangs on, and that this process does not have.
    pub missing: Vec<(String, KeyUse)>,
    /// The processes that use a keyring and were seen lately.
    pub replicas: Vec<Replica>,
    /// The counts in whole.
    pub census: KeyCensus,
}

impl Ops {
    /// The keys and what hangs on each.
    ///
    /// # Errors
    /// Permission missing (not a platform caller).
    pub async fn list_keys(&self, call: &Call) -> Result<KeyView> {
        for_the_platform(call)?;
        let now = self.now();
        let census = self.store.key_census(now).await?;
        let mut replicas = self.store.replicas().await?;
        replicas.retain(|replica| replica.is_seen_lately(now));
        let of = |id: &str| census.uses.get(id).cloned().unwrap_or_default();
        let keyring = self.keyring();
        let keys: Vec<_> = keyring.keys().iter().map(|key| (key.clone(), of(&key.id))).collect();
        let hangs = |uses: &KeyUse| uses.data_keys > 0 || uses.tokens > 0;
        let is_missing = |(id, uses): &(&String, &KeyUse)| hangs(uses) && !keys.iter().any(|(key, _)| key.id == **id);
        let missing = census.uses.iter().filter(is_missing).map(|(id, uses)| (id.clone(), uses.clone()));
        let mut missing: Vec<_> = missing.collect();
        missing.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(KeyView { keys, missing, replicas, census })
    }
}

/// The keys are those of all tenants.
fn for_the_platform(call: &Call) -> Result<()> {
    if call.grant.caller().reaches_all {
        return Ok(());
    }
    Err(Error::new(Reason::PermissionMissing, "only callers of the tenant system look after keys"))
}
