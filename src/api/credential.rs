//! Tokens and signing keys of callers, and their versions.

use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Response, Status};

use super::{
    answer::{answer, timestamp},
    rotation::{Place, versions},
    validate::{Fields, etag},
};
use crate::{
    domain::{Password, Slot, rotation::Act},
    ops::{
        Ops,
        caller::{CreateApiToken, CreateSigningKey},
        credential::{CredentialName, CredentialView, Rotated},
    },
    proto::{
        self, CreateApiTokenRequest, CreateApiTokenResponse, CreateSigningKeyRequest, CreateSigningKeyResponse,
        CredentialKind, RevokeApiTokenRequest, RevokeApiTokenResponse, RevokeSigningKeyRequest,
        RevokeSigningKeyResponse,
    },
};

pub(super) async fn create_api_token(
    ops: &Ops,
    request: Request<CreateApiTokenRequest>,
) -> Result<Response<CreateApiTokenResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let tenant = fields.tenant(&request.tenant_id);
        let caller_id = fields.id("caller_id", &request.caller_id);
        let token = match request.token {
            made if made.is_empty() => Some(None),
            given => fields.printing("token", &given, 16, 512).map(|()| Some(given.into())),
        };
        let expire_time = fields.time("expire_time", request.expire_time);
        let (Some(tenant), Some(caller_id), Some(token), Some(expire_time)) = (tenant, caller_id, token, expire_time)
        else {
            return Err(fields.error());
        };
        let create = CreateApiToken { tenant, caller_id, token, expire_time, etag: etag(request.etag) };
        let (token_id, token) = ops.create_api_token(call, create).await?;
        let token = shown_once(token);
        Ok(CreateApiTokenResponse { token_id, token, expire_time: expire_time.map(timestamp) })
    })
    .await
}

pub(super) async fn create_signing_key(
    ops: &Ops,
    request: Request<CreateSigningKeyRequest>,
) -> Result<Response<CreateSigningKeyResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let tenant = fields.tenant(&request.tenant_id);
        let caller_id = fields.id("caller_id", &request.caller_id);
        let api_key = match request.api_key {
            made if made.is_empty() => Some(None),
            given => fields.api_key(given).map(Some),
        };
        let shared_key = fields.shared_key(request.shared_key);
        let expire_time = fields.time("expire_time", request.expire_time);
        let (Some(tenant), Some(caller_id), Some(api_key), Some(shared_key), Some(expire_time)) =
            (tenant, caller_id, api_key, shared_key, expire_time)
        else {
            return Err(fields.error());
        };
        let (read_only, etag) = (request.read_only, etag(request.etag));
        let create = CreateSigningKey { tenant, caller_id, api_key, shared_key, expire_time, read_only, etag };
        let (api_key, shared_key) = ops.create_signing_key(call, create).await?;
        let shared_key = shown_once(shared_key);
        Ok(CreateSigningKeyResponse { api_key, shared_key, expire_time: expire_time.map(timestamp) })
    })
    .await
}

/// A new version of a token.
pub(super) async fn rotate_api_token(
    ops: &Ops,
    request: Request<proto::RotateApiTokenRequest>,
) -> Result<Response<proto::RotateApiTokenResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let token = fields.id("token_id", &request.token_id).map(|id| Slot::ApiToken(id.to_string()));
        let named = fields.credential(&request.tenant_id, &request.caller_id, token, request.etag);
        let (overlap, pending, at_limit) = (request.overlap, request.pending, request.at_limit);
        let placement = fields.placement(&Place { overlap, pending, at_limit, expire_time: request.expire_time });
        let (Some(named), Some(placement)) = (named, placement) else { return Err(fields.error()) };
        let rotated = ops.rotate_api_token(call, named, placement).await?;
        let Rotated { id: token_id, secret, version, versions: kept } = rotated;
        let (token, versions) = (shown_once(secret), versions(&kept));
        Ok(proto::RotateApiTokenResponse { token_id, token, version, versions })
    })
    .await
}

/// A new version of a signing key.
pub(super) async fn rotate_signing_key(
    ops: &Ops,
    request: Request<proto::RotateSigningKeyRequest>,
) -> Result<Response<proto::RotateSigningKeyResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let key = fields.api_key(request.api_key).map(Slot::SigningKey);
        let named = fields.credential(&request.tenant_id, &request.caller_id, key, request.etag);
        let shared_key = fields.shared_key(request.shared_key);
        let (overlap, pending, at_limit) = (request.overlap, request.pending, request.at_limit);
        let placement = fields.placement(&Place { overlap, pending, at_limit, expire_time: request.expire_time });
        let (Some(named), Some(shared_key), Some(placement)) = (named, shared_key, placement) else {
            return Err(fields.error());
        };
        let rotated = ops.rotate_signing_key(call, named, shared_key, placement).await?;
        let Rotated { id: api_key, secret, version, versions: kept } = rotated;
        let (shared_key, versions) = (shown_once(secret), versions(&kept));
        Ok(proto::RotateSigningKeyResponse { api_key, shared_key, version, versions })
    })
    .await
}

/// A pending version into force.
pub(super) async fn promote_credential(
    ops: &Ops,
    request: Request<proto::PromoteCredentialRequest>,
) -> Result<Response<proto::PromoteCredentialResponse>, Status> {
    use proto::promote_credential_request::Credential;
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let slot = fields.which(request.credential.map(|which| match which {
            Credential::ApiKey(key) => Which::Key(key),
            Credential::TokenId(id) => Which::Token(id),
        }));
        let named = fields.credential(&request.tenant_id, &request.caller_id, slot, request.etag);
        let act = fields.whole_seconds("overlap", request.overlap).map(|overlap| Act::Promote { overlap });
        let (Some(named), Some(act)) = (named, act) else { return Err(fields.error()) };
        let (credential_id, kept) = ops.act_on_credential(call, named, act, request.allow_own).await?;
        Ok(proto::PromoteCredentialResponse { credential_id, versions: versions(&kept) })
    })
    .await
}

/// A previous version back into force.
pub(super) async fn roll_back_credential(
    ops: &Ops,
    request: Request<proto::RollBackCredentialRequest>,
) -> Result<Response<proto::RollBackCredentialResponse>, Status> {
    use proto::roll_back_credential_request::Credential;
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let slot = fields.which(request.credential.map(|which| match which {
            Credential::ApiKey(key) => Which::Key(key),
            Credential::TokenId(id) => Which::Token(id),
        }));
        let named = fields.credential(&request.tenant_id, &request.caller_id, slot, request.etag);
        let Some(named) = named else { return Err(fields.error()) };
        let (credential_id, kept) = ops.act_on_credential(call, named, Act::RollBack, request.allow_own).await?;
        Ok(proto::RollBackCredentialResponse { credential_id, versions: versions(&kept) })
    })
    .await
}

/// Two versions in each other's place.
pub(super) async fn swap_credential(
    ops: &Ops,
    request: Request<proto::SwapCredentialRequest>,
) -> Result<Response<proto::SwapCredentialResponse>, Status> {
    use proto::swap_credential_request::Credential;
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let slot = fields.which(request.credential.map(|which| match which {
            Credential::ApiKey(key) => Which::Key(key),
            Credential::TokenId(id) => Which::Token(id),
        }));
        let named = fields.credential(&request.tenant_id, &request.caller_id, slot, request.etag);
        let Some(named) = named else { return Err(fields.error()) };
        let (credential_id, kept) = ops.act_on_credential(call, named, Act::Swap, false).await?;
        Ok(proto::SwapCredentialResponse { credential_id, versions: versions(&kept) })
    })
    .await
}

/// One version void.
pub(super) async fn revoke_credential_version(
    ops: &Ops,
    request: Request<proto::RevokeCredentialVersionRequest>,
) -> Result<Response<proto::RevokeCredentialVersionResponse>, Status> {
    use proto::revoke_credential_version_request::Credential;
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let slot = fields.which(request.credential.map(|which| match which {
            Credential::ApiKey(key) => Which::Key(key),
            Credential::TokenId(id) => Which::Token(id),
        }));
        let named = fields.credential(&request.tenant_id, &request.caller_id, slot, request.etag);
        let allow_last = request.allow_last;
        let act = fields.version(request.version).map(|version| Act::Revoke { version, allow_last });
        let (Some(named), Some(act)) = (named, act) else { return Err(fields.error()) };
        let (credential_id, kept) = ops.act_on_credential(call, named, act, request.allow_own).await?;
        Ok(proto::RevokeCredentialVersionResponse { credential_id, versions: versions(&kept) })
    })
    .await
}

pub(super) async fn revoke_api_token(
    ops: &Ops,
    request: Request<RevokeApiTokenRequest>,
) -> Result<Response<RevokeApiTokenResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let tenant = fields.tenant(&request.tenant_id);
        let caller = fields.id("caller_id", &request.caller_id);
        let token = fields.id("token_id", &request.token_id);
        let (Some(tenant), Some(caller), Some(token)) = (tenant, caller, token) else { return Err(fields.error()) };
        let (slot, etag) = (Slot::ApiToken(token.to_string()), etag(request.etag));
        ops.revoke_credential(call, &tenant, caller, slot, etag).await?;
        Ok(RevokeApiTokenResponse {})
    })
    .await
}

pub(super) async fn revoke_signing_key(
    ops: &Ops,
    request: Request<RevokeSigningKeyRequest>,
) -> Result<Response<RevokeSigningKeyResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let tenant = fields.tenant(&request.tenant_id);
        let caller = fields.id("caller_id", &request.caller_id);
        let api_key = fields.api_key(request.api_key);
        let (Some(tenant), Some(caller), Some(api_key)) = (tenant, caller, api_key) else {
            return Err(fields.error());
        };
        let (slot, etag) = (Slot::SigningKey(api_key), etag(request.etag));
        ops.revoke_credential(call, &tenant, caller, slot, etag).await?;
        Ok(RevokeSigningKeyResponse {})
    })
    .await
}

pub(super) async fn list_credentials(
    ops: &Ops,
    request: Request<proto::ListCredentialsRequest>,
) -> Result<Response<proto::ListCredentialsResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let tenant = fields.tenant(&request.tenant_id);
        let caller = fields.id("caller_id", &request.caller_id);
        let (Some(tenant), Some(caller)) = (tenant, caller) else { return Err(fields.error()) };
        let credentials = ops.list_credentials(call, &tenant, caller, request.show_revoked).await?;
        let credentials = credentials.into_iter().filter_map(shown).collect();
        Ok(proto::ListCredentialsResponse { credentials })
    })
    .await
}

/// Which credential a request is about.
enum Which {
    Key(String),
    Token(String),
}

impl Fields {
    fn which(&mut self, which: Option<Which>) -> Option<Slot> {
        match which {
            Some(Which::Key(key)) => self.api_key(key).map(Slot::SigningKey),
            Some(Which::Token(id)) => self.id("token_id", &id).map(|id| Slot::ApiToken(id.to_string())),
            None => self.refuse("credential", "must be given: api_key or token_id"),
        }
    }

    fn credential(&mut self, tenant: &str, caller: &str, slot: Option<Slot>, tag: String) -> Option<CredentialName> {
        let (tenant, caller_id) = (self.tenant(tenant), self.id("caller_id", caller));
        Some(CredentialName { tenant: tenant?, caller_id: caller_id?, slot: slot?, etag: etag(tag) })
    }

    /// A shared key that others made; none where it is to be made here.
    #[expect(clippy::option_option, reason = "not valid, or valid and absent")]
    fn shared_key(&mut self, given: String) -> Option<Option<Password>> {
        if given.is_empty() {
            return Some(None);
        }
        self.printing("shared_key", &given, 16, 256)?;
        self.password("shared_key", given).map(Some)
    }
}

#[expect(clippy::disallowed_methods, reason = "leaves by the front door, once")]
fn shown_once(secret: Option<SecretString>) -> String {
    secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default()
}

fn shown(view: CredentialView) -> Option<proto::CallerCredential> {
    let (revoked, expire_time) = (view.is_revoked(), view.expire_time());
    let (kind, credential_id) = match view.slot {
        Slot::ApiToken(id) => (CredentialKind::ApiToken, id),
        Slot::SigningKey(api_key) => (CredentialKind::SignedDate, api_key),
        Slot::Password | Slot::Settings => return None,
    };
    let last_used = view.versions.iter().filter_map(|secret| secret.last_used_time).max();
    Some(proto::CallerCredential {
        kind: kind.into(),
        credential_id,
        create_time: view.versions.first().map(|newest| timestamp(newest.create_time)),
        expire_time: expire_time.map(timestamp),
        read_only: view.versions.iter().any(|secret| secret.read_only),
        revoked,
        last_used_time: last_used.map(timestamp),
        use_count: view.versions.iter().map(|secret| secret.use_count).sum(),
        versions: versions(&view.versions),
    })
}
