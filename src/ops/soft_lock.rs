//! The soft lock as the use cases see it: whose attempt it is, how it is settled, what is shown and recorded of it.

use core::net::IpAddr;

use super::{
    Call, Ops,
    attempt::{Attempt, Place},
};
use crate::{
    audit::{Outcome as Ending, Record, Target},
    crypto::Promise,
    domain::{Result, Subject, SubjectKind, SubjectRef, Tenant, Timestamp, lockout::Outcome},
    metrics::Refusal,
    store::{AttemptAnswer, AttemptKey},
};

/// Failed attempts at a subject, as an administrator sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftLock {
    /// When the last delay in force ends, of whatever source.
    pub blocked_until: Option<Timestamp>,
    /// Failures that count.
    pub failures: u32,
    /// Whether sources that are not known are stopped, until a reset or an unlock.
    pub stopped: bool,
}

impl Ops {
    /// Reserves an attempt at a subject, or at a name that is nobody's: that is tallied the same way.
    pub(super) async fn attempt(
        &self,
        call: &Call,
        tenant: &Tenant,
        asked: (SubjectKind, &SubjectRef),
        found: Option<&Subject>,
        source: Option<&str>,
    ) -> Result<Attempt> {
        let (name, place) = self.enter(call, tenant, asked, source).await?;
        self.reserve(place, name.of(found), &mut None).await
    }

    /// Comes to its turn among the attempts at a name, before anything is looked up: whose attempt it is as far as can be
    /// told then (for good where the name is nobody's), and its place.
    pub(super) async fn enter(
        &self,
        call: &Call,
        tenant: &Tenant,
        asked: (SubjectKind, &SubjectRef),
        source: Option<&str>,
    ) -> Result<(AttemptKey, Place)> {
        let name = self.attempt_name(call, tenant, asked, source);
        let place = self.enter_as(&name, tenant, source.is_some()).await?;
        Ok((name, place))
    }

    /// By what name an attempt takes its turn.
    pub(super) fn attempt_name(
        &self,
        call: &Call,
        tenant: &Tenant,
        (kind, asked): (SubjectKind, &SubjectRef),
        source: Option<&str>,
    ) -> AttemptKey {
        // Made for everybody, so that it takes the same time.
        let keyring = self.keyring();
        let nobody =
            keyring.attempt_mark(&["subject", tenant.uid.as_str(), kind.as_str(), asked.form(), asked.as_str()]);
        let subject = [AttemptKey::NOBODY, &nobody].concat();
        let caller = call.grant.caller();
        let source = match source.map(class) {
            Some(class) => keyring.attempt_mark(&["source", &class]),
            None => keyring.attempt_mark(&["caller", caller.tenant_uid.as_str(), &caller.id]),
        };
        AttemptKey { subject, source }
    }

    /// The same for a name that is known. A caller that does not tell sources apart is no guesser for the wrong passwords
    /// of all its users.
    pub(super) async fn enter_as(&self, name: &AttemptKey, tenant: &Tenant, is_source_told: bool) -> Result<Place> {
        let budget = if is_source_told { self.limits.take_failure(&tenant.uid, &name.source) } else { Ok(None) };
        let budget = budget.inspect_err(|_throttled| self.guessing.refused(Refusal::Source))?;
        let lockouts = tenant.settings.limits.lockouts(self.lockouts);
        self.attempts.enter(name, lockouts, budget).await
    }

    /// Reserves a check for who came to its turn.
    pub(super) async fn reserve(
        &self,
        place: Place,
        key: AttemptKey,
        promise: &mut Option<Promise>,
    ) -> Result<Attempt> {
        let attempt = self.attempts.reserve(place, key, promise).await?;
        match attempt {
            Attempt::Reserved(_) => {}
            Attempt::Blocked => self.guessing.refused(Refusal::Delay),
            Attempt::Stopped => self.guessing.refused(Refusal::Stop),
        }
        Ok(attempt)
    }

    /// Settles an attempt. Where a soft lock begins or ends with it, that is recorded.
    pub(super) async fn settle(
        &self,
        call: &Call,
        kind: SubjectKind,
        found: Option<&Subject>,
        attempt: Attempt,
        outcome: Outcome,
    ) -> Result<()> {
        let Attempt::Reserved(reservation) = attempt else { return Ok(()) };
        let outcome = match outcome {
            Outcome::Right { .. } => Outcome::Right { seen: reservation.seen },
            Outcome::Wrong => {
                self.guessing.failed(reservation.stranger, &reservation.key.subject, self.now().seconds());
                outcome
            }
            Outcome::Void => outcome,
        };
        let detail = match reservation.settle(outcome).await? {
            AttemptAnswer::Began(_until) => {
                self.guessing.delay_began();
                "begins"
            }
            AttemptAnswer::Stops => {
                self.guessing.stop_began();
                "sources that are not known are stopped"
            }
            AttemptAnswer::Ended => "ends by a success",
            AttemptAnswer::Settled
            | AttemptAnswer::Reserved { .. }
            | AttemptAnswer::Busy
            | AttemptAnswer::Blocked(_)
            | AttemptAnswer::Stopped => return Ok(()),
        };
        if let Some(subject) = found {
            self.record_soft_lock(call, kind, subject, detail).await;
        }
        Ok(())
    }

    /// The failed attempts at a subject that count now, if any.
    pub(super) async fn soft_lock(&self, tenant: &Tenant, subject: &Subject) -> Result<Option<SoftLock>> {
        let (now, mut failures, mut blocked_until, mut stopped) = (self.now(), 0_u32, None, false);
        let lockouts = tenant.settings.limits.lockouts(self.lockouts);
        for (tally, is_strangers) in self.store.tallies(&subject.uid).await? {
            let rule = if is_strangers { lockouts.strangers } else { lockouts.source };
            stopped |= rule.is_stopped(&tally, now);
            blocked_until = blocked_until.max(rule.blocked_until(&tally, now));
            // Each stranger's are in its own tally too.
            failures = failures.saturating_add(if is_strangers { 0 } else { rule.failures(&tally, now) });
        }
        let is_any = failures > 0 || blocked_until.is_some() || stopped;
        Ok(is_any.then_some(SoftLock { blocked_until, failures, stopped }))
    }

    /// Whether somebody has to wait before the next attempt at a subject, or is stopped.
    pub(super) async fn is_soft_locked(&self, tenant: &Tenant, subject: &Subject) -> Result<bool> {
        let lock = self.soft_lock(tenant, subject).await?;
        Ok(lock.is_some_and(|lock| lock.blocked_until.is_some() || lock.stopped))
    }

    /// Records that a soft lock begins or ends.
    pub(super) async fn record_soft_lock(&self, call: &Call, kind: SubjectKind, subject: &Subject, detail: &str) {
        self.journal.write(self.soft_lock_record(call, kind, subject, detail)).await;
    }

    /// The record that a soft lock begins or ends.
    pub(super) fn soft_lock_record(&self, call: &Call, kind: SubjectKind, subject: &Subject, detail: &str) -> Record {
        let target = Target::Subject(kind, subject.id.to_string());
        let mut record = call.record(self, target, Ending::Succeeded, None, detail.to_owned());
        record.action = match call.action {
            "UserService/ResetPassword" => "UserService/ResetPassword#softLock",
            "UserService/ChangePassword" => "UserService/ChangePassword#softLock",
            "UserService/UnlockUser" => "UserService/UnlockUser#softLock",
            "DeviceService/ResetAuthentication" => "DeviceService/ResetAuthentication#softLock",
            "DeviceService/ResetMany" => "DeviceService/ResetMany#softLock",
            "DeviceService/UnlockDevice" => "DeviceService/UnlockDevice#softLock",
            "DeviceService/VerifyAuthentication" => "DeviceService/VerifyAuthentication#softLock",
            "DeviceService/PromoteSecret" => "DeviceService/PromoteSecret#softLock",
            "DeviceService/RollBackSecret" => "DeviceService/RollBackSecret#softLock",
            "DeviceService/SwapSecrets" => "DeviceService/SwapSecrets#softLock",
            "IntegrationService/ResetIntegration" => "IntegrationService/ResetIntegration#softLock",
            "IntegrationService/UnlockIntegration" => "IntegrationService/UnlockIntegration#softLock",
            "IntegrationService/VerifyIntegration" => "IntegrationService/VerifyIntegration#softLock",
            "IntegrationService/PromoteIntegrationSecret" => "IntegrationService/PromoteIntegrationSecret#softLock",
            "IntegrationService/RollBackIntegrationSecret" => "IntegrationService/RollBackIntegrationSecret#softLock",
            "IntegrationService/SwapIntegrationSecrets" => "IntegrationService/SwapIntegrationSecrets#softLock",
            _ => "UserService/VerifyPassword#softLock",
        };
        record
    }
}

/// What counts as one source: an IPv4 network of 24 bits, an IPv6 network of 64, or the text itself.
fn class(source: &str) -> String {
    match source.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Err(_) => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_source() {
        assert_eq!(class("192.0.2.7"), class("192.0.2.200"));
        assert_eq!(class("192.0.2.7"), class("::ffff:192.0.2.9"));
        assert_ne!(class("192.0.2.7"), class("192.0.3.7"));
        assert_eq!(class("2001:db8:1:2:3::4"), class("2001:db8:1:2:ffff::1"));
        assert_ne!(class("2001:db8:1:2::1"), class("2001:db8:1:3::1"));
        assert_ne!(class("device-one"), class("device-two"));
    }
}
