//! The soft lock as the use cases see it: whose attempt it is, how it is settled, what is shown and recorded of it.

use core::net::IpAddr;

use super::{Call, Ops, attempt::Attempt};
use crate::{
    audit::{Outcome as Ending, Target},
    domain::{Result, Subject, SubjectKind, SubjectRef, Tenant, Timestamp, lockout::Outcome},
    store::{AttemptAnswer, AttemptKey},
};

/// Failed attempts at a subject, as an administrator sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftLock {
    /// When the last delay in force ends, of whatever source.
    pub blocked_until: Option<Timestamp>,
    /// Failures that count.
    pub failures: u32,
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
        let name = self.attempt_name(call, tenant, asked, source);
        let place = self.attempts.enter(&name).await?;
        self.attempts.reserve(place, name.of(found), &mut None).await
    }

    /// Whose an attempt is as far as can be told before anything is looked up, and for good where the name is nobody's.
    pub(super) fn attempt_name(
        &self,
        call: &Call,
        tenant: &Tenant,
        (kind, asked): (SubjectKind, &SubjectRef),
        source: Option<&str>,
    ) -> AttemptKey {
        let form = match asked {
            SubjectRef::Id(_) => "id",
            SubjectRef::Login(_) => "login",
        };
        // Made for everybody, so that it takes the same time.
        let nobody = self.keyring.attempt_mark(&["subject", tenant.uid.as_str(), kind.as_str(), form, asked.as_str()]);
        let caller = call.grant.caller();
        let source = match source.map(class) {
            Some(class) => self.keyring.attempt_mark(&["source", &class]),
            None => self.keyring.attempt_mark(&["caller", caller.tenant_uid.as_str(), &caller.id]),
        };
        AttemptKey { subject: format!("?{nobody}"), source }
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
            Outcome::Wrong | Outcome::Void => outcome,
        };
        let detail = match reservation.settle(outcome).await? {
            AttemptAnswer::Began(_until) => "begins",
            AttemptAnswer::Ended => "ends by a success",
            AttemptAnswer::Settled
            | AttemptAnswer::Reserved { .. }
            | AttemptAnswer::Busy
            | AttemptAnswer::Blocked(_) => return Ok(()),
        };
        if let Some(subject) = found {
            self.record_soft_lock(call, kind, subject, detail).await;
        }
        Ok(())
    }

    /// The failed attempts at a subject that count now, if any.
    pub(super) async fn soft_lock(&self, subject: &Subject) -> Result<Option<SoftLock>> {
        let (now, mut failures, mut blocked_until) = (self.now(), 0_u32, None);
        for (tally, is_strangers) in self.store.tallies(&subject.uid).await? {
            let rule = if is_strangers { self.lockouts.strangers } else { self.lockouts.source };
            blocked_until = blocked_until.max(rule.blocked_until(&tally, now));
            // Each stranger's are in its own tally too.
            failures = failures.saturating_add(if is_strangers { 0 } else { rule.failures(&tally, now) });
        }
        Ok((failures > 0 || blocked_until.is_some()).then_some(SoftLock { blocked_until, failures }))
    }

    /// Whether somebody has to wait before the next attempt at a subject.
    pub(super) async fn is_soft_locked(&self, subject: &Subject) -> Result<bool> {
        Ok(self.soft_lock(subject).await?.is_some_and(|lock| lock.blocked_until.is_some()))
    }

    /// Records that a soft lock begins or ends.
    pub(super) async fn record_soft_lock(&self, call: &Call, kind: SubjectKind, subject: &Subject, detail: &str) {
        let target = Target::Subject(kind, subject.id.to_string());
        let mut record = call.record(self, target, Ending::Succeeded, None, detail.to_owned());
        record.action = match call.action {
            "UserService/ResetPassword" => "UserService/ResetPassword#softLock",
            "UserService/ChangePassword" => "UserService/ChangePassword#softLock",
            "DeviceService/ResetAuthentication" => "DeviceService/ResetAuthentication#softLock",
            "DeviceService/VerifyAuthentication" => "DeviceService/VerifyAuthentication#softLock",
            _ => "UserService/VerifyPassword#softLock",
        };
        self.journal.write(record).await;
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
