//! Ends of secrets: told of before they come, and swept away after. Every process does it, and each end is one's of them.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Ops;
use crate::{
    audit::{Outcome, Record, Target, Wait},
    domain::{Result, Slot, Timestamp},
    store::Ending,
};

/// The act under which it is recorded that a version ends soon. Followed by a filter: `action = "Secret/ExpiresSoon"`.
pub const EXPIRES_SOON: &str = "Secret/ExpiresSoon";
/// The act under which it is recorded that a version is void because its time was over.
pub const EXPIRED: &str = "Secret/Expired";

/// Versions that are dealt with in one transaction.
const BATCH: u64 = 100;
/// How long what has ended stays as it was: so far may replicas' clocks lie apart, and none is to make void what is still
/// good by another's.
const GRACE: Duration = Duration::from_mins(15);

/// When ends are looked for, and told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryOptions {
    /// How long before its end a version is told of; what lives less than twice as long, in the second half of its life.
    pub notice: Duration,
    /// How often they are looked for.
    pub every: Duration,
}

impl Ops {
    /// Tells of ends and sweeps them away, at once and then from time to time, for as long as it is polled.
    pub async fn watch_expiry(self, options: ExpiryOptions) {
        let mut tick = tokio::time::interval(options.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.deal_with_ends(options.notice).await {
                tracing::warn!(reason = ?error.reason(), cause = ?error.cause(), "ends of secrets were not dealt with");
            }
        }
    }

    /// Deals with what is near or over by now, a batch after the other.
    async fn deal_with_ends(&self, notice: Duration) -> Result<()> {
        loop {
            let now = self.now();
            let found = self.store.ending(now, notice, BATCH).await?;
            let full = is_full(&found);
            if !found.is_empty() {
                let records = found.into_iter().map(|ending| self.recorded(EXPIRES_SOON, ending, now)).collect();
                let told = self.store.tell(records, now).await?;
                tracing::debug!(told, "ends of secrets are near");
            }
            if !full {
                break;
            }
        }
        loop {
            let now = self.now();
            let found = self.store.overdue(now.minus(GRACE), BATCH).await?;
            let full = is_full(&found);
            if !found.is_empty() {
                let records = found.into_iter().map(|ending| self.recorded(EXPIRED, ending, now)).collect();
                let swept = self.store.sweep(records, now).await?;
                tracing::debug!(swept, "secrets whose time is over are void");
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn recorded(&self, action: &'static str, ending: Ending, time: Timestamp) -> (Ending, Record) {
        let Ending { kind, id, slot, version, stage, expire_time, .. } = &ending;
        let slot = match slot {
            Slot::Password | Slot::Settings => slot.to_stored(),
            Slot::ApiToken(id) => format!("token {id}"),
            Slot::SigningKey(api_key) => format!("signing key {api_key}"),
        };
        let (stage, end) = (stage.as_str(), expire_time.to_rfc3339());
        let record = Record {
            uid: self.make_uid(time),
            tenant_uid: ending.tenant_uid.clone(),
            time,
            actor: "rekey".to_owned(),
            action,
            target: Target::Subject(*kind, id.clone()),
            outcome: Outcome::Succeeded,
            reason: None,
            request_id: String::new(),
            detail: format!("{slot}, version {version}, {stage}, ends at {end}"),
            wait: Wait::begin(),
        };
        (ending, record)
    }
}

fn is_full(found: &[Ending]) -> bool {
    found.len() as u64 >= BATCH
}
