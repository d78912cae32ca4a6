//! Callers, and the tokens and keys they prove themselves with.

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Call, Ops, name_field, not_found,
    secret::{new_secret, place},
};
use crate::{
    audit::{Outcome, Target},
    crypto::token::{ApiToken, make_shared_key, token_id},
    domain::{
        Attributes, Error, Material, Password, Permission, Reason, ResourceId, Result, Slot, Stage, Subject,
        SubjectKind, SubjectRef, Tenant, TenantRef, Timestamp, Violation,
    },
    store::SecretChange,
};

const KIND: SubjectKind = SubjectKind::Caller;

/// A caller, as answers show it.
#[derive(Debug)]
pub struct CallerView {
    /// Whose.
    pub tenant_id: ResourceId,
    /// Who.
    pub subject: Subject,
}

/// A caller to be made.
#[derive(Debug)]
pub struct CreateCaller {
    /// In which tenant.
    pub tenant: TenantRef,
    /// The id; made where absent.
    pub id: Option<ResourceId>,
    /// For people.
    pub display_name: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// An API token to be made.
#[derive(Debug)]
pub struct CreateApiToken {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Whose.
    pub caller_id: ResourceId,
    /// The token; made where absent.
    pub token: Option<SecretString>,
    /// When it ends.
    pub expire_time: Option<Timestamp>,
}

/// An HMAC pair to be made.
#[derive(Debug)]
pub struct CreateSigningKey {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Whose.
    pub caller_id: ResourceId,
    /// Names it; made where absent.
    pub api_key: Option<String>,
    /// Signs; made where absent.
    pub shared_key: Option<Password>,
    /// When it ends.
    pub expire_time: Option<Timestamp>,
    /// Whether it may only read.
    pub read_only: bool,
}

impl Ops {
    /// Makes a caller.
    ///
    /// # Errors
    /// Permission missing, where the new caller could do what its maker may not; tenant not found; already exists.
    pub async fn create_caller(&self, call: &Call, request: CreateCaller) -> Result<CallerView> {
        let now = self.now();
        let id = self.id_or_new(request.id, now);
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            for permission in &request.permissions {
                holds(call, *permission)?;
            }
            let tenant = self.tenant(call, &request.tenant).await?;
            let mut subject = self.new_subject(&tenant, KIND, id, None, now);
            subject.attributes = Attributes {
                display_name: request.display_name,
                permissions: request.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
                ..Attributes::default()
            };
            let detail = subject.attributes.permissions.join(" ");
            let record = call.record(self, target, Outcome::Succeeded, None, detail);
            let stored = self.store.insert_subject(subject.clone(), Vec::new(), record).await;
            stored.map_err(|error| name_field(error, &[("id", "caller_id")]))?;
            Ok(CallerView { tenant_id: tenant.id, subject })
        })
        .await
    }

    /// Gives a caller an API token: its id, and the token where it was made here.
    ///
    /// # Errors
    /// Permission missing, where the caller may do what the asker may not; tenant or caller not found; already exists.
    pub async fn create_api_token(
        &self,
        call: &Call,
        request: CreateApiToken,
    ) -> Result<(String, Option<SecretString>)> {
        let target = Target::Subject(KIND, request.caller_id.to_string());
        self.audited(call, target, async {
            self.check_expiry(request.expire_time)?;
            let (_, subject) = self.caller_to_equip(call, &request.tenant, request.caller_id).await?;
            let (id, token, made) = match request.token {
                None => {
                    let ApiToken { id, token } = ApiToken::make(&*self.entropy);
                    (id, token, true)
                }
                Some(token) => {
                    let id = self.id_of_given_token(&token)?;
                    (id, token, false)
                }
            };
            let plan = |subject: &Subject, now| {
                let mut secret = self.keep_token(subject, &id, subject.version + 1, now, &token);
                secret.expire_time = request.expire_time;
                Ok((None, vec![SecretChange::Replace(secret)]))
            };
            let detail = format!("token {id} {}", if made { "generated" } else { "given" });
            let changed = self.change(call, subject, None, &detail, plan).await;
            changed.map_err(|error| name_field(error, &[("lookup_key", "token")]))?;
            Ok((id, made.then_some(token)))
        })
        .await
    }

    /// Gives a caller an HMAC pair: the API key, and the shared key where it was made here.
    ///
    /// # Errors
    /// Permission missing, where the caller may do what the asker may not; tenant or caller not found; already exists.
    pub async fn create_signing_key(
        &self,
        call: &Call,
        request: CreateSigningKey,
    ) -> Result<(String, Option<SecretString>)> {
        let target = Target::Subject(KIND, request.caller_id.to_string());
        self.audited(call, target, async {
            self.check_expiry(request.expire_time)?;
            let (tenant, subject) = self.caller_to_equip(call, &request.tenant, request.caller_id).await?;
            let made = request.shared_key.is_none();
            let shared_key = if let Some(given) = request.shared_key {
                given
            } else {
                #[expect(clippy::disallowed_methods, reason = "made here")]
                let text = make_shared_key(&*self.entropy).expose_secret().to_owned();
                Password::parse(text).map_err(Error::internal)?
            };
            let api_key = request.api_key.unwrap_or_else(|| self.make_uid(self.now()).to_string());
            let slot = Slot::SigningKey(api_key.clone());
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, now| {
                let version = subject.version + 1;
                let payload = key.seal_password(place(subject, &slot, version), &shared_key, &*self.entropy)?;
                let mut secret = new_secret(subject, slot.clone(), version, now, Material::Sealed, payload, &key);
                secret.read_only = request.read_only;
                secret.expire_time = request.expire_time;
                Ok((None, vec![SecretChange::Replace(secret)]))
            };
            let detail = format!("signing key {api_key} {}", if made { "generated" } else { "given" });
            let changed = self.change(call, subject, None, &detail, plan).await;
            changed.map_err(|error| name_field(error, &[("lookup_key", "api_key")]))?;
            Ok((api_key, made.then(|| shared_key.secret().clone())))
        })
        .await
    }

    /// Makes a token or signing key void. One that is void already stays so.
    ///
    /// # Errors
    /// Tenant, caller or credential not found.
    pub async fn revoke_credential(
        &self,
        call: &Call,
        tenant: &TenantRef,
        caller: ResourceId,
        slot: Slot,
    ) -> Result<()> {
        let target = Target::Subject(KIND, caller.to_string());
        self.audited(call, target, async {
            let tenant = self.tenant(call, tenant).await?;
            let subject = self.store.subject(&tenant.uid, KIND, &SubjectRef::Id(caller)).await?;
            let subject = subject.ok_or_else(|| not_found(KIND))?;
            let found = match slot.lookup_key() {
                Some(lookup_key) => self.store.credential(&lookup_key).await?,
                None => None,
            };
            let found = found.filter(|found| found.subject.uid == subject.uid);
            let found = found
                .ok_or_else(|| Error::new(Reason::CredentialNotFound, "the caller has no such token or signing key"))?;
            if found.secret.stage == Stage::Revoked {
                return Ok(());
            }
            let detail = format!("{} revoked", slot.to_stored());
            let plan = |_: &Subject, _| Ok((None, vec![SecretChange::Revoke(slot.clone())]));
            self.change(call, subject, None, &detail, plan).await.map(drop)
        })
        .await
    }

    fn check_expiry(&self, expire_time: Option<Timestamp>) -> Result<()> {
        if expire_time.is_some_and(|end| end <= self.now()) {
            return Err(Error::fields(vec![Violation::new("expire_time", "must be in the future")]));
        }
        Ok(())
    }

    /// A caller that is about to get a credential: the asker must be able to do all that the caller can, or asking would
    /// be a way up.
    async fn caller_to_equip(&self, call: &Call, tenant: &TenantRef, id: ResourceId) -> Result<(Tenant, Subject)> {
        let tenant = self.tenant(call, tenant).await?;
        let subject = self.store.subject(&tenant.uid, KIND, &SubjectRef::Id(id)).await?;
        let subject = subject.ok_or_else(|| not_found(KIND))?;
        for permission in subject.attributes.permissions.iter().filter_map(|name| Permission::parse(name)) {
            holds(call, permission)?;
        }
        Ok((tenant, subject))
    }

    /// The id under which a token that others made is found again.
    fn id_of_given_token(&self, token: &SecretString) -> Result<String> {
        #[expect(clippy::disallowed_methods, reason = "digested, and forgotten")]
        let token = token.expose_secret();
        if token_id(token).is_some() {
            let rule = "is in the form of generated tokens: leave it empty to have one generated";
            return Err(Error::fields(vec![Violation::new("token", rule)]));
        }
        let ids = self.keyring.given_token_ids(token.as_bytes());
        ids.into_iter().next().ok_or_else(|| Error::internal("the keyring has no digest key"))
    }
}

/// Nobody gives what they do not hold.
fn holds(call: &Call, permission: Permission) -> Result<()> {
    if call.grant.caller().holds(permission) {
        return Ok(());
    }
    let message = format!("the caller cannot give the permission {permission}, which it does not hold");
    Err(Error::new(Reason::PermissionMissing, message).with("permission", permission.as_str()))
}
