//! Callers, and the tokens and keys they prove themselves with.

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Call, Gift, Ops,
    lifecycle::Kept,
    not_found,
    reach::{may_equip, outranks},
    repeat::named,
    secret::{new_secret, place},
};
use crate::{
    audit::{Outcome, Target},
    crypto::token::{ApiToken, token_id},
    domain::{
        Error, Labels, Material, Password, Reason, ResourceId, Result, Slot, Subject, SubjectKind, SubjectRef, Tenant,
        TenantRef, Timestamp, Violation,
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
    /// Names and values for whoever keeps it.
    pub labels: Labels,
    /// What it may do, and to whom.
    pub gift: Gift,
}

impl From<Kept> for CallerView {
    fn from(Kept { tenant_id, subject, .. }: Kept) -> Self {
        Self { tenant_id, subject }
    }
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
    /// What the caller must still be like.
    pub etag: Option<String>,
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
    /// What the caller must still be like.
    pub etag: Option<String>,
}

impl Ops {
    /// Makes a caller.
    ///
    /// # Errors
    /// Permission missing or rank too low, where the new caller could do what its maker may not; tenant not found; fields
    /// invalid; already exists.
    pub async fn create_caller(&self, call: &Call, request: CreateCaller) -> Result<CallerView> {
        let now = self.now();
        let id = self.id_or_new(request.id, now);
        let target = Target::Subject(KIND, id.to_string());
        self.audited(call, target.clone(), async {
            request.gift.check(call)?;
            let tenant = self.tenant(call, &request.tenant).await?;
            let mut subject = self.new_subject(&tenant, KIND, id, None, now);
            subject.attributes.display_name = request.display_name;
            subject.attributes.labels = request.labels;
            request.gift.put(call, &tenant, "", &mut subject.attributes)?;
            let attributes = &subject.attributes;
            let mut given = attributes.permissions.clone();
            given.extend(attributes.roles.iter().map(|role| format!("role:{role}")));
            given.extend((attributes.rank > 0).then(|| format!("rank:{}", attributes.rank)));
            let detail = given.join(" ");
            let record = call.record(self, target, Outcome::Succeeded, None, detail);
            self.insert_subject(call, subject.clone(), Vec::new(), record, &[("id", "caller_id")]).await?;
            Ok(CallerView { tenant_id: tenant.id, subject })
        })
        .await
    }

    /// Gives a caller an API token: its id, and the token where it was made here.
    ///
    /// # Errors
    /// Permission missing or rank too low, where the caller may do what the asker may not; tenant or caller not found;
    /// already exists.
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
                    let id = self.id_of_given_token(&token).await?;
                    (id, token, false)
                }
            };
            let plan = |subject: &Subject, now| {
                may_equip(call, subject)?;
                let mut secret = self.keep_token(subject, &id, subject.version + 1, now, &token);
                secret.expire_time = request.expire_time;
                Ok((None, vec![SecretChange::Replace(secret)]))
            };
            let detail = format!("token {id} {}", if made { "generated" } else { "given" });
            let changed = self.change(call, subject, request.etag.as_deref(), &detail, plan).await;
            named(call, changed, &[("lookup_key", "token")])?;
            Ok((id, made.then_some(token)))
        })
        .await
    }

    /// Gives a caller an HMAC pair: the API key, and the shared key where it was made here.
    ///
    /// # Errors
    /// Permission missing or rank too low, where the caller may do what the asker may not; tenant or caller not found;
    /// already exists.
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
            let shared_key = request.shared_key.map_or_else(|| self.make_shared_key(), Ok)?;
            let api_key = request.api_key.unwrap_or_else(|| self.make_uid(self.now()).to_string());
            let slot = Slot::SigningKey(api_key.clone());
            let key = self.data_keys.primary(&tenant.uid).await?;
            let plan = |subject: &Subject, now| {
                may_equip(call, subject)?;
                let version = subject.version + 1;
                let payload = key.seal_password(place(subject, &slot, version), &shared_key, &*self.entropy)?;
                let mut secret = new_secret(subject, slot.clone(), version, now, Material::Sealed, payload, &key);
                secret.read_only = request.read_only;
                secret.expire_time = request.expire_time;
                Ok((None, vec![SecretChange::Replace(secret)]))
            };
            let detail = format!("signing key {api_key} {}", if made { "generated" } else { "given" });
            let changed = self.change(call, subject, request.etag.as_deref(), &detail, plan).await;
            named(call, changed, &[("lookup_key", "api_key")])?;
            Ok((api_key, made.then(|| shared_key.secret().clone())))
        })
        .await
    }

    /// Makes a token or signing key void, with all its versions. One that is void already stays so.
    ///
    /// # Errors
    /// Tenant, caller or credential not found; etag mismatch; rank too low.
    pub async fn revoke_credential(
        &self,
        call: &Call,
        tenant: &TenantRef,
        caller: ResourceId,
        slot: Slot,
        etag: Option<String>,
    ) -> Result<()> {
        let target = Target::Subject(KIND, caller.to_string());
        self.audited(call, target, async {
            let (_, subject) = self.named_caller(call, tenant, caller).await?;
            outranks(call, &subject)?;
            let slot = self.slot_of(&subject, &slot).await?;
            super::check_etag(&subject, etag.as_deref())?;
            if self.store.versions(&subject.uid, &slot).await?.is_empty() {
                return Ok(());
            }
            let detail = format!("{} revoked", slot.to_stored());
            let plan = |subject: &Subject, _| {
                outranks(call, subject)?;
                Ok((None, vec![SecretChange::Revoke(slot.clone())]))
            };
            self.change(call, subject, etag.as_deref(), &detail, plan).await.map(drop)
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
        let (tenant, subject) = self.named_caller(call, tenant, id).await?;
        may_equip(call, &subject)?;
        Ok((tenant, subject))
    }

    /// A caller of a tenant.
    pub(super) async fn named_caller(
        &self,
        call: &Call,
        tenant: &TenantRef,
        id: ResourceId,
    ) -> Result<(Tenant, Subject)> {
        let tenant = self.tenant(call, tenant).await?;
        let subject = self.store.subject(&tenant.uid, KIND, &SubjectRef::Id(id)).await?;
        Ok((tenant, subject.ok_or_else(|| not_found(KIND))?))
    }

    /// The id under which a token that others made is found again.
    async fn id_of_given_token(&self, token: &SecretString) -> Result<String> {
        #[expect(clippy::disallowed_methods, reason = "digested, and forgotten")]
        let token = token.expose_secret();
        if token_id(token).is_some() {
            let rule = "is in the form of generated tokens: leave it empty to have one generated";
            return Err(Error::fields(vec![Violation::new("token", rule)]));
        }
        let ids = self.keyring().given_token_ids(token.as_bytes(), self.now());
        let mut ids = ids.into_iter();
        let id = ids.next().ok_or_else(|| Error::internal("the keyring has no digest key"))?;
        // One that was given before the digest key was followed has another id, until it is used.
        for older in ids {
            if self.store.credential(&Slot::ApiToken(older).to_stored()).await?.is_some() {
                return Err(Error::new(Reason::AlreadyExists, "token is taken").with("field", "token"));
            }
        }
        Ok(id)
    }
}
