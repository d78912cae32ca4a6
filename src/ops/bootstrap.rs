//! The first act in an empty database: the tenant of platform callers, its administrator, and a token for it.

use secrecy::SecretString;

use super::Ops;
use crate::{
    audit::{Outcome, Record, Target, Wait},
    crypto::{DataKey, token::ApiToken},
    domain::{
        Attributes, Error, Labels, Permission, Policy, Reason, ResourceId, Result, SubjectKind, SubjectState, Tenant,
        TenantLimits,
        policy::Preset,
        tenant::{SYSTEM_TENANT, Settings},
    },
};

impl Ops {
    /// Makes the tenant `system`, its caller `admin` with every permission, and an API token, which is returned: all of it
    /// or nothing. Of several that try at once, whatever keys they have, one makes it.
    ///
    /// # Errors
    /// Already exists, where the database holds an installation; store unavailable.
    pub async fn initialise(&self) -> Result<SecretString> {
        let now = self.now();
        let id = ResourceId::parse(SYSTEM_TENANT).ok_or_else(|| Error::internal("the system tenant's id"))?;
        let record = |tenant: &Tenant, target: Target| Record {
            uid: self.make_uid(now),
            tenant_uid: tenant.uid.clone(),
            time: now,
            actor: "rekey init".to_owned(),
            action: "init",
            target,
            outcome: Outcome::Succeeded,
            reason: None,
            request_id: String::new(),
            detail: String::new(),
            wait: Wait::begin(),
        };

        let tenant = Tenant {
            uid: self.make_uid(now),
            id,
            aliases: Vec::new(),
            settings: Settings {
                display_name: "Platform".to_owned(),
                change_password_allowed: false,
                user_policy: Policy::preset(Preset::Nist),
                device_policy: Policy::preset(Preset::Roma),
                integration_policy: Policy::preset(Preset::Applivery),
                jwt_issuers: Vec::new(),
                labels: Labels::new(),
                permission_aliases: Vec::new(),
                limits: TenantLimits::default(),
                token_issuer: None,
            },
            state: SubjectState::Active,
            version: 1,
            create_time: now,
            update_time: now,
        };
        let key = DataKey::make(self.make_uid(now), &*self.entropy);
        let key = self.keyring().wrap(&key, &tenant.uid, &*self.entropy)?;

        let admin = ResourceId::parse("admin").ok_or_else(|| Error::internal("the administrator's id"))?;
        let mut subject = self.new_subject(&tenant, SubjectKind::Caller, admin, None, now);
        subject.attributes = Attributes {
            display_name: "First administrator".to_owned(),
            permissions: vec![Permission::EVERYTHING.as_str().to_owned()],
            ..Attributes::default()
        };
        let ApiToken { id, token } = ApiToken::make(&*self.entropy);
        let secret = self.keep_token(&subject, &id, 1, now, &token);
        let records = [
            record(&tenant, Target::Tenant(tenant.id.to_string())),
            record(&tenant, Target::Subject(SubjectKind::Caller, subject.id.to_string())),
        ];
        self.store.install((tenant, key), (subject, secret), records).await.map_err(|error| {
            if error.reason() == Reason::AlreadyExists {
                Error::new(Reason::AlreadyExists, "the database already holds an installation")
            } else {
                error
            }
        })?;
        Ok(token)
    }
}
