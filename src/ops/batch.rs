//! Several checks in one call: each is one of its own, with its own cost, limits and record.

use futures_util::{StreamExt as _, stream};

use super::{
    Call, Ops,
    device::{RightSecret, VerifyAuthentication},
    user::{Verified, VerifyPassword},
};
use crate::domain::Result;

/// Devices' passwords that a batch checks at once: enough to hide the database's answers behind each other.
const DEVICES_AT_ONCE: usize = 8;

impl Ops {
    /// Checks passwords, in their order. As many wait as keep the hashing threads at work and no more, so that a batch has
    /// no larger a share of the queue than other callers of its tenant.
    pub async fn verify_passwords(&self, call: &Call, checks: Vec<VerifyPassword>) -> Vec<Result<Option<Verified>>> {
        let at_once = self.hasher.threads() * 2;
        let checks = checks.into_iter().map(|check| self.verify_password(call, check));
        stream::iter(checks).buffered(at_once).collect().await
    }

    /// Checks devices' passwords, in their order.
    pub async fn verify_authentications(
        &self,
        call: &Call,
        checks: Vec<VerifyAuthentication>,
    ) -> Vec<Result<Option<RightSecret>>> {
        let checks = checks.into_iter().map(async |check| self.verify_authentication(call, &check).await);
        stream::iter(checks).buffered(DEVICES_AT_ONCE).collect().await
    }
}
