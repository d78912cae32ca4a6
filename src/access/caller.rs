//! The caller, and the grant that only its check can make.

use std::sync::Arc;

use super::finding::{Finding, Held, Standing};
use crate::domain::{
    Error, Permission, Reach, Reason, ResourceId, Result, Role, Stage, Subject, Tenant, TenantLimits, Timestamp, Uid,
};

/// What a method asks of its caller, from the `rule` option of the proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: the request holds its own proof, or asks for what is public.
    Anybody,
    /// To be known.
    AnyCaller,
    /// To hold a permission.
    Holding(Permission),
}

/// How a caller proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// An API token.
    ApiToken,
    /// A JWT of a trusted issuer.
    Jwt,
    /// A signature over the date.
    SignedDate,
    /// A short-lived token that was got for another credential.
    AccessToken,
    /// None: only methods for anybody are called so.
    Nothing,
}

/// The proof of a caller.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Of which kind.
    pub kind: ProofKind,
    /// What names it: the token's id, the issuer, the API key.
    pub name: String,
    /// Which version of a token or signing key, and where that is in its life.
    pub version: Option<(i64, Stage)>,
    /// When it ends.
    pub expire_time: Option<Timestamp>,
    /// Whether it is good for reading only.
    pub read_only: bool,
    /// Whether whoever signed in did so too long ago to change anything.
    pub is_stale: bool,
}

/// Who calls. Made once a request, by authentication.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The tenant it belongs to.
    pub tenant_uid: Uid,
    /// The same, by its public id.
    pub tenant_id: ResourceId,
    /// Whether it reaches every tenant: callers of the tenant `system` do.
    pub reaches_all: bool,
    /// Its public id; for a JWT its `sub`.
    pub id: String,
    /// What its tenant sets otherwise than the service.
    pub limits: TenantLimits,
    /// What it may do, besides what its roles allow.
    pub permissions: Vec<Permission>,
    /// What it is there for.
    pub roles: Vec<Role>,
    /// How high it stands: 0 to 1,000.
    pub rank: u32,
    /// What it may do to itself.
    pub own_permissions: Vec<Permission>,
    /// How that is known.
    pub proof: Proof,
}

impl Caller {
    /// The caller that is kept as this subject.
    #[must_use]
    pub fn from_subject(subject: &Subject, tenant: &Tenant, proof: Proof) -> Self {
        let Reach { permissions, roles, rank } = Reach::of(&subject.attributes);
        Self {
            limits: tenant.settings.limits,
            tenant_uid: tenant.uid.clone(),
            tenant_id: tenant.id.clone(),
            reaches_all: tenant.is_system(),
            id: subject.id.to_string(),
            permissions,
            roles,
            rank,
            own_permissions: Vec::new(),
            proof,
        }
    }

    /// Who calls a method that is for anybody. It is of no tenant, holds nothing and reaches nothing but what such a
    /// method hands out by itself.
    #[must_use]
    pub fn nobody() -> Self {
        let proof = Proof {
            kind: ProofKind::Nothing,
            name: String::new(),
            version: None,
            expire_time: None,
            read_only: false,
            is_stale: false,
        };
        Self {
            limits: TenantLimits::default(),
            tenant_uid: Uid::from_stored(""),
            tenant_id: Uid::from_stored("").into(),
            reaches_all: false,
            id: String::new(),
            permissions: Vec::new(),
            roles: Vec::new(),
            rank: 0,
            own_permissions: Vec::new(),
            proof,
        }
    }

    /// For the audit: `tenant/caller` and the proof.
    #[must_use]
    pub fn name(&self) -> String {
        let kind = match self.proof.kind {
            ProofKind::ApiToken => "token",
            ProofKind::Jwt => "jwt",
            ProofKind::SignedDate => "key",
            ProofKind::AccessToken => "access",
            ProofKind::Nothing => return "nobody".to_owned(),
        };
        [self.tenant_id.as_str(), "/", &self.id, " ", kind, ":", &self.proof.name].concat()
    }

    /// Whether it may do this to anybody of its reach.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        match self.holding(permission) {
            Held::Itself(_) | Held::Role(_) => true,
            Held::OwnOnly | Held::Not => false,
        }
    }

    fn holding(&self, wanted: Permission) -> Held {
        let by = |held: &[Permission]| held.iter().find(|held| held.covers(wanted)).copied();
        let by_role = || self.roles.iter().find(|role| role.allows(wanted)).copied().map(Held::Role);
        let for_itself = || by(&self.own_permissions).map(|_| Held::OwnOnly);
        by(&self.permissions).map(Held::Itself).or_else(by_role).or_else(for_itself).unwrap_or(Held::Not)
    }

    /// What the rules say of its calling such a method, in order, up to the one that keeps it out.
    #[must_use]
    pub fn weigh(&self, access: Access) -> Vec<Finding> {
        let Access::Holding(wanted) = access else { return Vec::new() };
        let permission = Finding::Permission { wanted, held: self.holding(wanted) };
        if !permission.passed() {
            return vec![permission];
        }
        let changes = !wanted.only_reads();
        let mut findings = vec![permission, Finding::ReadOnly { read_only: self.proof.read_only, changes }];
        findings.extend(self.proof.is_stale.then_some(Finding::Fresh(!changes)));
        findings
    }

    /// Whether it may act on this, where it may act on itself only; `None`: on something that is not named by its id.
    #[must_use]
    pub fn owns(&self, subject_id: Option<&str>) -> Finding {
        Finding::OwnSubject(subject_id == Some(self.id.as_str()))
    }

    /// Whether a tenant is within its reach.
    #[must_use]
    pub fn reaches(&self, tenant_uid: &Uid) -> Finding {
        Finding::Tenant(self.reaches_all || self.tenant_uid == *tenant_uid)
    }

    /// How high it stands towards others.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { rank: self.rank, reaches_all: self.reaches_all }
    }

    /// Lets the caller in, or not.
    ///
    /// # Errors
    /// Credential missing, where there has to be one; permission missing; API key read-only.
    pub fn authorise(self: &Arc<Self>, access: Access) -> Result<Grant> {
        if self.proof.kind == ProofKind::Nothing && access != Access::Anybody {
            return Err(Error::new(Reason::CredentialMissing, "nobody is known to call"));
        }
        let findings = self.weigh(access);
        findings.iter().try_for_each(|finding| finding.obey())?;
        let own_only = findings.iter().any(|found| matches!(found, Finding::Permission { held: Held::OwnOnly, .. }));
        Ok(Grant { caller: Arc::clone(self), own_only })
    }
}

/// The proof that a caller was let in. Nothing but [`Caller::authorise`] makes one, and no act goes without.
#[derive(Clone, Debug)]
pub struct Grant {
    caller: Arc<Caller>,
    own_only: bool,
}

impl Grant {
    /// Who was let in.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Holds a caller that may act on itself only to that; `None` names a subject by something else than its id.
    ///
    /// # Errors
    /// Not own subject.
    pub fn about(&self, subject_id: Option<&str>) -> Result<()> {
        if self.own_only { self.caller.owns(subject_id).obey() } else { Ok(()) }
    }

    /// Whether the caller may act on itself only.
    #[must_use]
    pub fn is_own_only(&self) -> bool {
        self.own_only
    }

    /// Asks for another permission besides.
    ///
    /// # Errors
    /// Permission missing; API key read-only.
    pub fn also(&self, permission: Permission) -> Result<()> {
        self.caller.authorise(Access::Holding(permission)).map(drop)
    }
}
