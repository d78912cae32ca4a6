//! The caller, and the grant that only its check can make.

use std::sync::Arc;

use crate::domain::{Error, Permission, Reason, ResourceId, Result, Timestamp, Uid};

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
    /// When it ends.
    pub expire_time: Option<Timestamp>,
    /// Whether it is good for reading only.
    pub read_only: bool,
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
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// What it may do to itself.
    pub own_permissions: Vec<Permission>,
    /// How that is known.
    pub proof: Proof,
}

impl Caller {
    /// Who calls a method that is for anybody. It is of no tenant, holds nothing and reaches nothing but what such a
    /// method hands out by itself.
    #[must_use]
    pub fn nobody() -> Self {
        let proof = Proof { kind: ProofKind::Nothing, name: String::new(), expire_time: None, read_only: false };
        Self {
            tenant_uid: Uid::from_stored(""),
            tenant_id: Uid::from_stored("").into(),
            reaches_all: false,
            id: String::new(),
            permissions: Vec::new(),
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
        format!("{}/{} {kind}:{}", self.tenant_id, self.id, self.proof.name)
    }

    /// Whether it may do this to anybody of its reach.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        self.permissions.iter().any(|held| held.covers(permission))
    }

    /// Lets the caller in, or not.
    ///
    /// # Errors
    /// Credential missing, where there has to be one; permission missing; API key read-only.
    pub fn authorise(self: &Arc<Self>, access: Access) -> Result<Grant> {
        if self.proof.kind == ProofKind::Nothing && access != Access::Anybody {
            return Err(Error::new(Reason::CredentialMissing, "nobody is known to call"));
        }
        let Access::Holding(permission) = access else {
            return Ok(Grant { caller: Arc::clone(self), own_only: false });
        };
        let own = self.own_permissions.iter().any(|held| held.covers(permission));
        if !self.holds(permission) && !own {
            return Err(Error::new(Reason::PermissionMissing, format!("the caller lacks the permission {permission}"))
                .with("permission", permission.as_str()));
        }
        if self.proof.read_only && !permission.only_reads() {
            return Err(Error::new(Reason::ApiKeyReadOnly, "this signing key may only read"));
        }
        Ok(Grant { caller: Arc::clone(self), own_only: !self.holds(permission) })
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
        if self.own_only && subject_id != Some(self.caller.id.as_str()) {
            return Err(Error::new(Reason::NotOwnSubject, "the caller may do this to itself only"));
        }
        Ok(())
    }

    /// Asks for another permission besides.
    ///
    /// # Errors
    /// Permission missing; API key read-only.
    pub fn also(&self, permission: Permission) -> Result<()> {
        self.caller.authorise(Access::Holding(permission)).map(drop)
    }
}
