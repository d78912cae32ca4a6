//! Why somebody may call a method, or may not: the findings that the call itself would be decided by.

use super::{Call, Ops, not_found, reach};
use crate::{
    access::{Access, Caller, Finding, Held, Proof, ProofKind},
    audit::Target,
    domain::{Permission, ResourceId, Result, SubjectKind, SubjectRef, SubjectState, TenantRef},
};

/// Whose call of what is to be explained.
#[derive(Debug)]
pub struct ExplainPermission {
    /// Where the caller and the user are.
    pub tenant: TenantRef,
    /// The caller; the asker where absent.
    pub caller_id: Option<ResourceId>,
    /// What the method asks for; `None` where there is no such method.
    pub access: Option<Access>,
    /// The user it would be about.
    pub user_id: Option<ResourceId>,
}

/// The rules that were looked at, in order; the last one decided.
#[derive(Debug)]
pub struct Explanation(pub Vec<Finding>);

impl Explanation {
    /// Whether the call would be let in.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.0.iter().all(|finding| finding.passed())
    }
}

impl Ops {
    /// Explains. About oneself it tells what calling the method would tell; about others it asks for the permission to read
    /// callers, and users where one is named.
    ///
    /// # Errors
    /// Permission missing; tenant, caller or user not found.
    pub async fn explain_permission(&self, call: &Call, request: ExplainPermission) -> Result<Explanation> {
        let ExplainPermission { tenant, caller_id, access, user_id } = request;
        if let Some(id) = &caller_id {
            self.audited(call, Target::Subject(SubjectKind::Caller, id.to_string()), async {
                call.grant.also(Permission::GET_CALLER)?;
                user_id.as_ref().map_or(Ok(()), |_| call.grant.also(Permission::GET_USER))
            })
            .await?;
        }
        let tenant = self.tenant(call, &tenant).await?;
        let others = caller_id.is_some();
        let whom = match caller_id {
            None => (Caller::clone(call.grant.caller()), SubjectState::Active),
            Some(id) => {
                let subject = self.store.subject(&tenant.uid, SubjectKind::Caller, &SubjectRef::Id(id)).await?;
                let subject = subject.ok_or_else(|| not_found(SubjectKind::Caller))?;
                // By whichever of its credentials is good for all that it may do.
                let proof = Proof {
                    kind: ProofKind::ApiToken,
                    version: None,
                    name: String::new(),
                    expire_time: None,
                    read_only: false,
                    is_stale: false,
                };
                (Caller::from_subject(&subject, &tenant, proof), subject.state)
            }
        };
        let (caller, state) = whom;
        let mut findings = vec![Finding::State(state), Finding::Method(access)];
        // Another's credential is not known here.
        let known = |finding: &Finding| !others || !matches!(finding, Finding::ReadOnly { .. } | Finding::Fresh(_));
        findings.extend(access.map(|access| caller.weigh(access)).unwrap_or_default().into_iter().filter(known));
        let own_only = findings.iter().any(|found| matches!(found, Finding::Permission { held: Held::OwnOnly, .. }));
        if let Some(id) = user_id.as_ref().filter(|_| own_only) {
            findings.push(caller.owns(Some(id.as_str())));
        }
        findings.push(caller.reaches(&tenant.uid));
        if let Some(refusal) = findings.iter().position(|finding| !finding.passed()) {
            findings.truncate(refusal + 1);
            return Ok(Explanation(findings));
        }
        // Only now: whoever gets this far would hear from the method itself whether there is such a user.
        let is_ranked = matches!(access, Some(Access::Holding(permission)) if permission.is_ranked() && !own_only);
        if let Some(id) = user_id.filter(|_| is_ranked) {
            let user = self.store.subject(&tenant.uid, SubjectKind::User, &SubjectRef::Id(id)).await?;
            findings.push(reach::towards(&caller, &user.ok_or_else(|| not_found(SubjectKind::User))?));
        }
        Ok(Explanation(findings))
    }
}
