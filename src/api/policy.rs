//! `PolicyService`.

use tonic::{Request, Response, Status};

use super::{answer::answer, user::MAX_USERNAME, validate::Fields};
use crate::{
    domain::{Password, Rule, RuleKind, SubjectKind, strength::Estimate},
    ops::{
        Ops,
        policy::{CheckPassword, Checked},
    },
    proto::{
        CheckPasswordRequest, CheckPasswordResponse, ExplainPolicyRequest, ExplainPolicyResponse, PolicyKind,
        PolicyRule, PolicyRuleKind, StrengthEstimate, policy_service_server::PolicyService,
    },
};

pub(super) struct PolicyApi {
    ops: Ops,
}

impl PolicyApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl PolicyService for PolicyApi {
    async fn explain_policy(
        &self,
        request: Request<ExplainPolicyRequest>,
    ) -> Result<Response<ExplainPolicyResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let kind = kind(&mut fields, request.kind);
            let (Some(tenant), Some(kind)) = (tenant, kind) else { return Err(fields.error()) };
            let (rules, policy) = self.ops.explain_policy(call, &tenant, kind).await?;
            let rules = rules.into_iter().map(Into::into).collect();
            Ok(ExplainPolicyResponse { rules, policy: Some(policy.into()) })
        })
        .await
    }

    async fn check_password(
        &self,
        request: Request<CheckPasswordRequest>,
    ) -> Result<Response<CheckPasswordResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            // What can be no password is an answer here, and no fault of the request.
            let password = Password::parse(request.password);
            let tenant = fields.tenant(&request.tenant_id);
            let kind = kind(&mut fields, request.kind);
            let user_id = fields.new_id("user_id", &request.user_id);
            let username = fields.short_text("username", request.username, MAX_USERNAME);
            let (Some(tenant), Some(kind), Some(user_id), Some(username)) = (tenant, kind, user_id, username) else {
                return Err(fields.error());
            };
            let username = (!username.is_empty()).then_some(username);
            let check = CheckPassword { tenant, kind, password, user_id, username };
            let Checked { violations, strength } = self.ops.check_password(call, check).await?;
            Ok(CheckPasswordResponse {
                accepted: violations.is_empty(),
                violations: violations.into_iter().map(Into::into).collect(),
                strength: strength.map(Into::into),
            })
        })
        .await
    }
}

fn kind(fields: &mut Fields, value: i32) -> Option<SubjectKind> {
    match PolicyKind::try_from(value) {
        Ok(PolicyKind::Unspecified | PolicyKind::User) => Some(SubjectKind::User),
        Ok(PolicyKind::Device) => Some(SubjectKind::Device),
        Ok(PolicyKind::Integration) => Some(SubjectKind::Integration),
        Err(_) => fields.refuse("kind", "must be a PolicyKind"),
    }
}

impl From<Rule> for PolicyRule {
    fn from(Rule { kind, sentence }: Rule) -> Self {
        let kind = match kind {
            RuleKind::MinLength => PolicyRuleKind::MinLength,
            RuleKind::MaxLength => PolicyRuleKind::MaxLength,
            RuleKind::Digit => PolicyRuleKind::Digit,
            RuleKind::Upper => PolicyRuleKind::Upper,
            RuleKind::Lower => PolicyRuleKind::Lower,
            RuleKind::Symbol => PolicyRuleKind::Symbol,
            RuleKind::Common => PolicyRuleKind::Common,
            RuleKind::Context => PolicyRuleKind::Context,
            RuleKind::Breached => PolicyRuleKind::Breached,
            RuleKind::Strength => PolicyRuleKind::Strength,
            RuleKind::History => PolicyRuleKind::History,
            RuleKind::Characters => PolicyRuleKind::Characters,
        };
        Self { kind: kind.into(), description: sentence }
    }
}

impl From<Estimate> for StrengthEstimate {
    fn from(Estimate { score, guesses_log10, warning, suggestions }: Estimate) -> Self {
        Self { score, guesses_log10, warning, suggestions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_rules_as_the_api_does() {
        for kind in RuleKind::ALL {
            let rule = PolicyRule::from(Rule { kind, sentence: String::new() });
            assert_eq!(rule.kind().as_str_name(), format!("POLICY_RULE_KIND_{}", kind.as_str()));
        }
    }
}
