//! What a tenant asks of secrets: in words, tried on one, and held against the passwords that a user had before.

use std::sync::Arc;

use super::{
    Call, Ops,
    secret::in_stage,
    user::{KIND as USER, context},
};
use crate::{
    audit::{Outcome, Target},
    blocklist::Blocklist,
    crypto::Verdict,
    domain::{
        Error, Password, Permission, Policy, ResourceId, Result, Rule, RuleKind, Secret, Subject, SubjectKind,
        SubjectRef, Tenant, TenantRef, Unfit,
        strength::{self, Estimate},
    },
};

/// A password to be tried.
#[derive(Debug)]
pub struct CheckPassword {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Of whose secrets.
    pub kind: SubjectKind,
    /// The password, or why it can be none.
    pub password: Result<Password, Unfit>,
    /// Whose it would be.
    pub user_id: Option<ResourceId>,
    /// The name it would belong to.
    pub username: Option<String>,
}

/// What a policy says of it.
#[derive(Debug)]
pub struct Checked {
    /// Every rule that it breaks.
    pub violations: Vec<Rule>,
    /// How easily it is guessed; absent where it can be no password.
    pub strength: Option<Estimate>,
}

impl Ops {
    /// The same use cases with a list of breached passwords.
    #[must_use]
    pub fn with_blocklist(self, blocklist: Option<Blocklist>) -> Self {
        Self { blocklist: blocklist.map(Arc::new), ..self }
    }

    /// What a tenant asks of the secrets of a kind of subject, in the order in which it is checked; and the policy. The
    /// list of breached passwords is left out where the service has none.
    ///
    /// # Errors
    /// Tenant not found.
    pub async fn explain_policy(
        &self,
        call: &Call,
        tenant: &TenantRef,
        kind: SubjectKind,
    ) -> Result<(Vec<Rule>, Policy)> {
        let tenant = self.tenant(call, tenant).await?;
        let policy = policy(&tenant, kind);
        let mut rules = policy.rules(kind);
        rules.retain(|rule| rule.kind != RuleKind::Breached || self.blocklist.is_some());
        Ok((rules, policy.clone()))
    }

    /// Tries a password. A user's names count for who may read users, and the passwords before the one in force for who
    /// may set them; the one in force is not compared, which would be a way to guess it.
    ///
    /// # Errors
    /// Not own subject; tenant not found; rate limited; overloaded.
    pub async fn check_password(&self, call: &Call, request: CheckPassword) -> Result<Checked> {
        call.grant.about(request.user_id.as_ref().map(ResourceId::as_str))?;
        let tenant = self.tenant(call, &request.tenant).await?;
        let policy = policy(&tenant, request.kind);
        let password = match request.password {
            Ok(password) => password,
            Err(unfit) => return Ok(Checked { violations: vec![unfit.into()], strength: None }),
        };
        let may = |permission| call.grant.also(permission).is_ok();
        let mut user = None;
        if let Some(id) = request.user_id
            && request.kind == USER
            && (may(Permission::GET_USER) || may(Permission::RESET_USER))
        {
            self.limit_target(&tenant, USER, id.as_str())?;
            user = self.store.subject(&tenant.uid, USER, &SubjectRef::Id(id)).await?;
        }
        let login = user.as_ref().and_then(|user| user.login.as_deref()).or(request.username.as_deref());
        // As where they are set: a machine's secret has nothing to do with the tenant's name.
        let context = if request.kind == USER { context(&tenant, login) } else { login.into_iter().collect() };
        let strength = self.estimate(policy, &password, &context).await?;
        let mut violations = self.broken(policy, &password, &context, Some(&strength));
        if let Some(user) = &user
            && policy.history > 1
            && may(Permission::RESET_USER)
        {
            let earlier = self.store.earlier_passwords(&user.uid, u64::from(policy.history) - 1).await?;
            let found = self.is_one_of(call, &tenant, user, &earlier, &password).await?;
            // Whoever asks often enough learns something: that it was asked is to be seen.
            let target = Target::Subject(USER, user.id.to_string());
            let detail = "tried against earlier passwords".to_owned();
            self.journal.write(call.record(self, target, Outcome::Succeeded, None, detail)).await;
            violations.extend(found.then(|| policy.rule(RuleKind::History)));
        }
        Ok(Checked { violations, strength: Some(strength) })
    }

    /// Every rule that a given secret breaks, but that of history.
    pub(super) async fn violations(&self, policy: &Policy, password: &Password, context: &[&str]) -> Result<Vec<Rule>> {
        let strength =
            if policy.min_strength > 0 { Some(self.estimate(policy, password, context).await?) } else { None };
        Ok(self.broken(policy, password, context, strength.as_ref()))
    }

    fn broken(&self, policy: &Policy, password: &Password, context: &[&str], strength: Option<&Estimate>) -> Vec<Rule> {
        let mut broken = policy.violations(password, context);
        if self.is_breached(policy, password) {
            broken.push(policy.rule(RuleKind::Breached));
        }
        if strength.is_some_and(|strength| strength.score < policy.min_strength) {
            broken.push(policy.rule(RuleKind::Strength));
        }
        broken
    }

    /// Whether a policy refuses a password because it leaked elsewhere. Without a list, none did.
    pub(super) fn is_breached(&self, policy: &Policy, password: &Password) -> bool {
        policy.breached && self.blocklist.as_ref().is_some_and(|list| list.contains(password))
    }

    /// On a thread that nobody else waits for, and on as many at once as there are threads that hash.
    async fn estimate(&self, policy: &Policy, password: &Password, context: &[&str]) -> Result<Estimate> {
        let permit = Arc::clone(&self.estimates).acquire_owned().await.map_err(Error::internal)?;
        let words = context.iter().copied().chain(policy.words.iter().map(String::as_str));
        let words: Vec<String> = words.map(str::to_owned).collect();
        let password = password.clone();
        let estimate = move || {
            let _permit = permit;
            strength::estimate(&password, &words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        tokio::task::spawn_blocking(estimate).await.map_err(Error::internal)
    }

    /// Whether a password is one of the last that a policy refuses: the one in force, or one before. Each costs a hash.
    pub(super) async fn had_before(
        &self,
        call: &Call,
        tenant: &Tenant,
        (subject, secrets): &(Subject, Vec<Secret>),
        password: &Password,
    ) -> Result<bool> {
        let history = u64::from(tenant.settings.user_policy.history);
        if history == 0 {
            return Ok(false);
        }
        let mut last: Vec<Secret> = in_stage(secrets).cloned().into_iter().collect();
        last.extend(self.store.earlier_passwords(&subject.uid, history - 1).await?);
        self.is_one_of(call, tenant, subject, &last, password).await
    }

    /// One after the other, so that a long history has no larger a share of the queue.
    async fn is_one_of(
        &self,
        call: &Call,
        tenant: &Tenant,
        subject: &Subject,
        secrets: &[Secret],
        password: &Password,
    ) -> Result<bool> {
        for secret in secrets {
            let verifier = self.open_verifier(subject, secret).await?;
            let verdict = self.hasher.verify(call.turn(tenant), password.clone(), Some(verifier)).await?;
            if let Verdict::Match { .. } = verdict {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn policy(tenant: &Tenant, kind: SubjectKind) -> &Policy {
    match kind {
        SubjectKind::User | SubjectKind::Caller => &tenant.settings.user_policy,
        SubjectKind::Device => &tenant.settings.device_policy,
        SubjectKind::Integration => &tenant.settings.integration_policy,
    }
}
