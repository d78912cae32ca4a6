//! Rotation of passwords, which is the same for devices and integrations: how a new one is placed beside the old, and what
//! is done to the versions there are.

use std::time::Duration;

use super::{
    Call, Ops, Plan, check_etag,
    lifecycle::{Kept, Named},
    not_found,
};
use crate::{
    crypto::DataKey,
    domain::{
        Error, Password, Policy, Result, Secret, Slot, Stage, Subject, SubjectKind, SubjectRef, Tenant, Timestamp,
        Violation,
        rotation::{Act, AtLimit, Beginning, Step, Version, plan},
    },
    store::SecretChange,
};

/// How a new password begins, and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// At once or later, and for how long beside the one before.
    pub beginning: Beginning,
    /// What if it is one too many.
    pub at_limit: AtLimit,
    /// When it ends by itself.
    pub expire_time: Option<Timestamp>,
}

impl Placement {
    /// In force at once and for good, with nothing beside it.
    pub const ALONE: Self = Self {
        beginning: Beginning::Current { overlap: Duration::ZERO },
        at_limit: AtLimit::Refuse,
        expire_time: None,
    };

    /// Which bounds it breaks.
    pub(super) fn violations(&self, policy: &Policy, now: Timestamp) -> Vec<Violation> {
        let overlap = match self.beginning {
            Beginning::Current { overlap } => overlap,
            Beginning::Pending => Duration::ZERO,
        };
        let late = self.expire_time.filter(|end| *end <= now);
        let late = late.map(|_| Violation::new("expire_time", "must be in the future"));
        too_long(overlap, policy).into_iter().chain(late).collect()
    }
}

impl Ops {
    /// Promotes, rolls back, swaps or revokes versions of a device's or integration's password.
    ///
    /// # Errors
    /// Fields invalid (an overlap beyond the policy's); tenant not found or disabled; subject not found; what the act is
    /// refused for; etag mismatch; concurrent change.
    pub async fn rotate_secret(&self, call: &Call, named: &Named, act: Act) -> Result<Kept> {
        self.audited(call, named.target(), async {
            let tenant = self.tenant(call, &named.tenant).await?;
            self.limit_target(&tenant, named.kind, named.id.as_str())?;
            if let Act::Promote { overlap } = act {
                check(too_long(overlap, policy_of(&tenant, named.kind)).into_iter().collect())?;
            }
            let reference = SubjectRef::Id(named.id.clone());
            let found = self.store.subject_with_secrets(&tenant.uid, named.kind, &reference).await?;
            let found = found.ok_or_else(|| not_found(named.kind))?;
            check_etag(&found.0, named.etag.as_deref())?;
            let was_locked = puts_in_force(act) && self.is_soft_locked(&tenant, &found.0).await?;
            let plan = |_: &Subject, secrets: &[Secret], now| {
                let none = |_| Err(Error::internal("an act on what there is that makes a version"));
                Ok(Plan { secrets: rotated(secrets, act, now, none)?, ..Plan::default() })
            };
            let detail = detail(act);
            let (subject, secrets) = self.change_with(call, found, named.etag.as_deref(), &detail, plan).await?;
            if was_locked {
                self.follow(call, self.soft_lock_record(call, named.kind, &subject, "ends by another password")).await;
            }
            Ok(Kept { tenant_id: tenant.id, subject, secrets, time: self.now() })
        })
        .await
    }

    /// What a new password comes to beside these.
    pub(super) fn placed(
        &self,
        key: &DataKey,
        subject: &Subject,
        secrets: &[Secret],
        now: Timestamp,
        password: &Password,
        placement: Placement,
    ) -> Result<Vec<SecretChange>> {
        let Placement { beginning, at_limit, expire_time } = placement;
        let make = |stage| {
            let secret = self.keep_password(key, subject, subject.version + 1, now, password)?;
            Ok(Secret { stage, expire_time, ..secret })
        };
        // Whatever else there is goes, so nobody has to know what that is.
        if beginning == Placement::ALONE.beginning {
            return Ok(vec![SecretChange::Replace(make(Stage::Current)?)]);
        }
        rotated(secrets, Act::Reset { beginning, at_limit }, now, make)
    }
}

/// What an act on the password comes to; a new version is made for its stage.
fn rotated(
    secrets: &[Secret],
    act: Act,
    now: Timestamp,
    make: impl Fn(Stage) -> Result<Secret>,
) -> Result<Vec<SecretChange>> {
    let versions: Vec<Version> =
        secrets.iter().filter(|secret| secret.slot == Slot::Password).map(Version::from).collect();
    let changes = plan(&versions, act, now)?.into_iter().map(|step| match step {
        Step::Move(moved) => Ok(SecretChange::Move(Slot::Password, moved)),
        Step::Add(stage) => make(stage).map(SecretChange::Add),
    });
    changes.collect()
}

/// The versions of the password that are shown, of those that are kept: what is neither in force nor would come into force
/// any more is as good as void, though nobody has swept it away yet.
pub(super) fn shown(secrets: Vec<Secret>, now: Timestamp) -> Vec<Secret> {
    let is_shown = |secret: &Secret| {
        secret.slot == Slot::Password
            && (secret.stage == Stage::Current || secret.expire_time.is_none_or(|end| now < end))
    };
    secrets.into_iter().filter(is_shown).collect()
}

/// Refuses what breaks bounds.
pub(super) fn check(violations: Vec<Violation>) -> Result<()> {
    if violations.is_empty() { Ok(()) } else { Err(Error::fields(violations)) }
}

/// For the record; which versions moved where is added by the change.
pub(super) fn detail(act: Act) -> String {
    match act {
        Act::Promote { overlap } if !overlap.is_zero() => format!("overlap {} s", overlap.as_secs()),
        Act::Reset { .. } | Act::Promote { .. } | Act::RollBack | Act::Swap | Act::Revoke { .. } => String::new(),
    }
}

fn too_long(overlap: Duration, policy: &Policy) -> Option<Violation> {
    let most = policy.max_overlap_s;
    let rule = || format!("must be at most {most} seconds under the tenant's policy");
    (overlap.as_secs() > most).then(|| Violation::new("overlap", rule()))
}

const fn puts_in_force(act: Act) -> bool {
    match act {
        Act::Promote { .. } | Act::RollBack | Act::Swap => true,
        Act::Reset { .. } | Act::Revoke { .. } => false,
    }
}

fn policy_of(tenant: &Tenant, kind: SubjectKind) -> &Policy {
    match kind {
        SubjectKind::User => &tenant.settings.user_policy,
        SubjectKind::Device | SubjectKind::Caller => &tenant.settings.device_policy,
        SubjectKind::Integration => &tenant.settings.integration_policy,
    }
}
