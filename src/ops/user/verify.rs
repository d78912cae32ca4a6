//! Checking a user's password, and what comes of a right one.

use super::{KIND, RightPassword, Verified, VerifyPassword};
use crate::{
    audit::{Outcome, Target},
    crypto::{Turn, Verdict},
    domain::{
        Password, Reason, Result, Secret, Slot, Subject, SubjectKind, SubjectRef, SubjectState, Tenant,
        lockout::Outcome as AttemptOutcome,
    },
    metrics::UseOf,
    ops::{
        Call, Ops,
        fetch::Looked,
        secret::{in_force, in_stage, place},
    },
};

impl Ops {
    /// Checks a password: whose it is where it is right, and whether it must be changed. Unknown, wrong, disabled, locked
    /// and a source that has to wait cost and look the same.
    ///
    /// # Errors
    /// Tenant not found; rate limited; overloaded.
    pub async fn verify_password(&self, call: &Call, request: VerifyPassword) -> Result<Option<Verified>> {
        let tenant = self.known_tenant(call, &request.tenant).await?;
        let right = self.prove(call, &tenant, request).await?;
        Ok(right.map(|right| Verified { user_id: right.user.id, must_change: right.must_change }))
    }

    /// The same in a tenant that was found.
    pub(in crate::ops) async fn prove(
        &self,
        call: &Call,
        tenant: &Tenant,
        request: VerifyPassword,
    ) -> Result<Option<RightPassword>> {
        self.limit_target(tenant, KIND, request.user.as_str())?;
        // Refused before the database is asked, and before it waits for others; let in no faster than can be hashed.
        drop(self.hasher.promise(call.turn(tenant))?);
        let (name, place) = self.enter(call, tenant, (KIND, &request.user), request.from.as_deref()).await?;
        let mut promise = Some(self.hasher.promise(call.turn(tenant))?);
        let Looked { found, other } = self.fetch.subject_with_secrets(&tenant.uid, KIND, &request.user).await?;
        let stored = self.verifier(found.as_ref()).await?;
        // For a name that is nobody's, so that it takes as long.
        drop(self.verifier(other.as_ref()).await);
        let asked = found.as_ref().map(|(subject, _)| subject);
        let attempt = self.reserve(place, name.of(asked), &mut promise).await?;
        let detail = attempt.detail();
        drop(promise);
        let verdict = self.hasher.verify(call.turn(tenant), request.password.clone(), attempt.admit(stored)).await;
        let verdict = self.noted(call, &request.user, verdict).await?;
        self.settle(call, KIND, asked, attempt, outcome(verdict, asked)).await?;
        let active = found.filter(|(subject, _)| subject.state == SubjectState::Active);
        let verified = match (verdict, active) {
            (Verdict::Match { outdated }, Some((subject, secrets))) => {
                let must_change = self.must_change(call, tenant, &subject, &secrets, &request.password);
                let now = self.now();
                let version = in_force(&secrets, &Slot::Password, now).map(|secret| {
                    self.usage.note(UseOf::User, secret, now);
                    secret.version
                });
                if outdated {
                    self.rehash(call, tenant, subject.clone(), secrets, request.password);
                }
                version.map(|version| RightPassword { user: subject, version, must_change })
            }
            (Verdict::Match { .. } | Verdict::Mismatch, _) => None,
        };
        self.record_check(call, KIND, &request.user, verified.is_some(), detail).await;
        Ok(verified)
    }

    /// Records that a stored hash cannot be worked with: whoever could write it may have tampered with the database.
    async fn noted(&self, call: &Call, asked: &SubjectRef, verdict: Result<Verdict>) -> Result<Verdict> {
        if let Err(error) = &verdict
            && error.reason() == Reason::Internal
        {
            let target = Target::Subject(KIND, asked.as_str().to_owned());
            let detail = "the stored hash is unreadable, or asks for more than is given to any".to_owned();
            self.journal.write(call.record(self, target, Outcome::Failed, Some(error.reason()), detail)).await;
        }
        verdict
    }

    /// Records a check that showed or changed nothing.
    pub(in crate::ops) async fn record_check(
        &self,
        call: &Call,
        kind: SubjectKind,
        asked: &SubjectRef,
        verified: bool,
        detail: &str,
    ) {
        let target = Target::Subject(kind, asked.as_str().to_owned());
        let outcome = if verified { Outcome::Succeeded } else { Outcome::Failed };
        self.journal.write(call.record(self, target, outcome, None, detail.to_owned())).await;
    }

    /// Whether a password that is right is one that must be changed. One that leaked elsewhere is marked as such, behind
    /// the answer.
    fn must_change(
        &self,
        call: &Call,
        tenant: &Tenant,
        subject: &Subject,
        secrets: &[Secret],
        password: &Password,
    ) -> bool {
        let Some(secret) = in_stage(secrets) else { return false };
        if secret.must_change || !self.is_breached(&tenant.settings.user_policy, password) {
            return secret.must_change;
        }
        let target = Target::Subject(KIND, subject.id.to_string());
        let detail = "the password leaked elsewhere and must be changed".to_owned();
        let mut record = call.record(self, target, Outcome::Succeeded, None, detail);
        record.action = "UserService/VerifyPassword#breached";
        let (store, secret) = (self.store.clone(), secret.clone());
        tokio::spawn(async move { store.require_change(&secret, record).await.map(drop) });
        true
    }

    /// Replaces a verifier of old parameters by one of today's, behind the answer. Whoever changes the password meanwhile
    /// wins; if the pool is busy, the next check brings the next chance.
    fn rehash(&self, call: &Call, tenant: &Tenant, subject: Subject, secrets: Vec<Secret>, password: Password) {
        let mut record = call.record(
            self,
            Target::Subject(KIND, subject.id.to_string()),
            Outcome::Succeeded,
            None,
            "verifier brought up to date".to_owned(),
        );
        record.action = "UserService/VerifyPassword#rehash";
        let (ops, tenant_uid) = (self.clone(), tenant.uid.clone());
        tokio::spawn(async move {
            let now = ops.now();
            let Some(old) = in_force(&secrets, &Slot::Password, now) else { return Ok(()) };
            let verifier = ops.hasher.hash(Turn { tenant: &tenant_uid, deadline: None }, password).await?;
            let key = ops.data_keys.primary(&tenant_uid).await?;
            let mut secret = old.clone();
            secret.payload = key.seal(place(&subject, &old.slot, old.version), verifier.as_bytes(), &*ops.entropy)?;
            secret.key_id = key.id().to_string();
            secret.scheme = Some(verifier.scheme()?);
            ops.store.rehash(secret, subject.version, record).await.map(drop)
        });
    }
}

/// What a verdict says of the password. Right, but of a user who may not sign in, it is no failure, and nothing that a
/// source should be known by.
pub(super) fn outcome(verdict: Verdict, found: Option<&Subject>) -> AttemptOutcome {
    match verdict {
        Verdict::Mismatch => AttemptOutcome::Wrong,
        Verdict::Match { .. } if found.is_some_and(|subject| subject.state == SubjectState::Active) => {
            AttemptOutcome::Right { seen: 0 }
        }
        Verdict::Match { .. } => AttemptOutcome::Void,
    }
}
