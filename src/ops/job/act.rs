//! By whose right a job goes on, and what it does to one subject.

use std::{sync::Arc, time::Duration};

use super::super::{
    Call, Ops, in_use,
    reach::outranks,
    rotation::Placement,
    secret::{Source, in_force, in_stage},
    user::KIND as USER,
};
use crate::{
    access::{Access, Caller, Finding, Proof, ProofKind},
    domain::{
        Error, Job, Permission, Reach, Reason, ResourceId, Result, Secret, Slot, Subject, SubjectKind, SubjectRef,
        Tenant, TenantRef,
        job::{Asker, ExpiryMode, Fate, Task},
        rotation::{AtLimit, Beginning},
    },
    store::SecretChange,
};

const PROOFS: [(ProofKind, &str); 5] = [
    (ProofKind::ApiToken, "token"),
    (ProofKind::Jwt, "jwt"),
    (ProofKind::SignedDate, "key"),
    (ProofKind::AccessToken, "access"),
    (ProofKind::Nothing, "nothing"),
];

/// A kind of proof as it is kept.
pub(super) fn proof_name(kind: ProofKind) -> &'static str {
    PROOFS.iter().find(|(known, _)| *known == kind).map_or("nothing", |(_, name)| name)
}

/// Where new passwords are put.
pub(super) fn placement(overlap_s: u64, drop_oldest: bool) -> Placement {
    let overlap = Duration::from_secs(overlap_s);
    let at_limit = if drop_oldest { AtLimit::DropOldest } else { AtLimit::Refuse };
    Placement { beginning: Beginning::Current { overlap }, at_limit, expire_time: None }
}

/// What is to become of a subject.
pub(super) struct Act {
    /// What happens to its secrets.
    pub(super) secrets: Vec<SecretChange>,
    /// What is recorded of it.
    pub(super) detail: &'static str,
}

/// How a subject fares that an act was refused for.
pub(super) fn fate(error: &Error) -> Fate {
    let reason = error.reason();
    if matches!(reason, Reason::RankTooLow | Reason::SecretNotSet | Reason::TwoSecretsLive) {
        Fate::Skipped(reason)
    } else {
        Fate::Failed(reason)
    }
}

impl Ops {
    /// A job's tenant, and a call of whoever asked for the job as they are now: what they may not any more, the job may not
    /// either. That a token has ended or was revoked since does not matter; that its caller is out of use does.
    ///
    /// # Errors
    /// Credential invalid, where the caller is gone or out of use; permission missing; tenant disabled or not found;
    /// unavailable.
    pub(super) async fn vouch(&self, job: &Job) -> Result<(Tenant, Call)> {
        let own = |uid| async move { self.store.tenant(&TenantRef::Own, uid).await };
        let gone = || Error::new(Reason::TenantNotFound, "the tenant is no more");
        let tenant = in_use(own(&job.tenant_uid).await?.ok_or_else(gone)?)?;
        let home = in_use(own(&job.asker.tenant_uid).await?.ok_or_else(gone)?)?;
        let caller = Arc::new(self.caller_again(&job.asker, &home).await?);
        caller.reaches(&tenant.uid).obey()?;
        let grant = caller.authorise(Access::Holding(job.task.permission()))?;
        let call = Call::new(grant, job.task.action(), job.request_id.clone());
        let _ = call.scope.set(tenant.uid.clone());
        Ok((tenant, call))
    }

    /// Whoever asked, as they are now.
    async fn caller_again(&self, asker: &Asker, home: &Tenant) -> Result<Caller> {
        let gone = || Error::new(Reason::CredentialInvalid, "whoever asked for this is not in use any more");
        let kind = PROOFS.iter().find(|(_, name)| *name == asker.proof).map(|(kind, _)| *kind).ok_or_else(gone)?;
        let proof = Proof {
            kind,
            name: asker.proof_name.clone(),
            version: None,
            expire_time: None,
            read_only: false,
            is_stale: false,
        };
        let reference = ResourceId::parse(&asker.id).map(SubjectRef::Id);
        if let Some(uid) = &asker.caller_uid {
            let reference = reference.ok_or_else(gone)?;
            let kept = self.store.subject(&home.uid, SubjectKind::Caller, &reference).await?;
            // Whoever was made under its id since is somebody else.
            let kept = kept.filter(|kept| kept.uid == *uid).ok_or_else(gone)?;
            Finding::State(kept.state).obey()?;
            return Ok(Caller::from_subject(&kept, home, proof));
        }
        let own_issuer = home.settings.token_issuer.as_deref().map(|issuer| issuer.issuer.as_str());
        let mut issuers = home.settings.jwt_issuers.iter().map(|trusted| trusted.issuer.as_str()).chain(own_issuer);
        if kind != ProofKind::Jwt || !issuers.any(|issuer| issuer == asker.proof_name) {
            return Err(gone());
        }
        // Whoever is a user here stands as high as that, as when the JWT was read.
        let user = match &reference {
            Some(reference) => self.store.subject(&home.uid, USER, reference).await?,
            None => None,
        };
        let mut rank = 0;
        if let Some(user) = user {
            Finding::State(user.state).obey()?;
            rank = user.attributes.rank;
        }
        let permissions = asker.permissions.iter().filter_map(|name| Permission::parse(name)).collect();
        let Reach { permissions, roles, rank } = Reach::new(permissions, Vec::new(), rank);
        Ok(Caller {
            tenant_uid: home.uid.clone(),
            tenant_id: home.id.clone(),
            reaches_all: home.is_system(),
            id: asker.id.clone(),
            limits: home.settings.limits,
            permissions,
            roles,
            rank,
            own_permissions: Vec::new(),
            proof,
        })
    }

    /// What becomes of one subject, decided on this version of it.
    ///
    /// # Errors
    /// Rank too low; secret not set; policy violated; unavailable.
    pub(super) async fn act(
        &self,
        call: &Call,
        tenant: &Tenant,
        task: &Task,
        subject: &Subject,
        secrets: &[Secret],
    ) -> Result<Act> {
        outranks(call, subject)?;
        match task {
            Task::ResetMany { overlap_s, drop_oldest } => {
                let placement = placement(*overlap_s, *drop_oldest);
                self.reset_one(tenant, subject, secrets, placement).await
            }
            Task::ExpirePasswords { mode: ExpiryMode::MustChange } => self.expire_one(tenant, subject, secrets).await,
            Task::ExpirePasswords { mode: ExpiryMode::Void } => {
                // A temporary one that has ended is void already, and may be in the way of nothing.
                in_stage(secrets).ok_or_else(no_password)?;
                let kept = u64::from(tenant.settings.user_policy.history);
                Ok(Act { secrets: vec![SecretChange::Void { slot: Slot::Password, kept }], detail: "password void" })
            }
        }
    }

    async fn reset_one(
        &self,
        tenant: &Tenant,
        device: &Subject,
        secrets: &[Secret],
        placement: Placement,
    ) -> Result<Act> {
        let context: Vec<&str> = device.login.as_deref().into_iter().collect();
        let (password, _) = self.decide(&tenant.settings.device_policy, Source::Generate(None), &context).await?;
        let key = self.data_keys.primary(&tenant.uid).await?;
        let secrets = self.placed(&key, device, secrets, self.now(), &password, placement)?;
        Ok(Act { secrets, detail: "password generated" })
    }

    /// The same password goes on under a new version, so that whatever hangs on the version before ends: tokens, sessions.
    async fn expire_one(&self, tenant: &Tenant, user: &Subject, secrets: &[Secret]) -> Result<Act> {
        let now = self.now();
        let current = in_force(secrets, &Slot::Password, now).ok_or_else(no_password)?;
        let verifier = self.open_verifier(user, current).await?;
        let key = self.data_keys.primary(&tenant.uid).await?;
        let renewed = self.keep_verifier(&key, user, user.version + 1, current.create_time, &verifier)?;
        let renewed = Secret { must_change: true, expire_time: current.expire_time, ..renewed };
        Ok(Act { secrets: vec![SecretChange::Renew(renewed)], detail: "password must be changed" })
    }
}

fn no_password() -> Error {
    Error::new(Reason::SecretNotSet, "the user has no password")
}
