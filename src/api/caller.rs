//! `CallerService`.

use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};

use super::{
    answer::{answer, state, timestamp},
    rules,
    validate::Fields,
};
use crate::{
    access::ProofKind,
    domain::Slot,
    ops::{
        Ops,
        caller::{CallerView, CreateApiToken, CreateCaller, CreateSigningKey},
    },
    proto::{
        self, CheckAccessRequest, CheckAccessResponse, CreateApiTokenRequest, CreateApiTokenResponse,
        CreateCallerRequest, CreateCallerResponse, CreateSigningKeyRequest, CreateSigningKeyResponse, CredentialKind,
        RevokeApiTokenRequest, RevokeApiTokenResponse, RevokeSigningKeyRequest, RevokeSigningKeyResponse,
        WhoAmIRequest, WhoAmIResponse, caller_service_server::CallerService,
    },
};

/// The most characters of a display name.
const MAX_DISPLAY_NAME: usize = 128;

pub(super) struct CallerApi {
    ops: Ops,
}

impl CallerApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl CallerService for CallerApi {
    async fn create_caller(
        &self,
        request: Request<CreateCallerRequest>,
    ) -> Result<Response<CreateCallerResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.new_id("caller_id", &request.caller_id);
            let display_name = fields.short_text("display_name", request.display_name, MAX_DISPLAY_NAME);
            let permissions = fields.permissions(&request.permissions);
            let (Some(tenant), Some(id), Some(display_name), Some(permissions)) =
                (tenant, id, display_name, permissions)
            else {
                return Err(fields.error());
            };
            let create = CreateCaller { tenant, id, display_name, permissions };
            let caller = self.ops.create_caller(call, create).await?;
            Ok(CreateCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn create_api_token(
        &self,
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
            let (Some(tenant), Some(caller_id), Some(token), Some(expire_time)) =
                (tenant, caller_id, token, expire_time)
            else {
                return Err(fields.error());
            };
            let create = CreateApiToken { tenant, caller_id, token, expire_time };
            let (token_id, token) = self.ops.create_api_token(call, create).await?;
            #[expect(clippy::disallowed_methods, reason = "leaves by the front door, once")]
            let token = token.map(|token| token.expose_secret().to_owned()).unwrap_or_default();
            Ok(CreateApiTokenResponse { token_id, token, expire_time: expire_time.map(timestamp) })
        })
        .await
    }

    async fn create_signing_key(
        &self,
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
            let shared_key = match request.shared_key {
                made if made.is_empty() => Some(None),
                given => match fields.printing("shared_key", &given, 16, 256) {
                    Some(()) => fields.password("shared_key", given).map(Some),
                    None => None,
                },
            };
            let expire_time = fields.time("expire_time", request.expire_time);
            let (Some(tenant), Some(caller_id), Some(api_key), Some(shared_key), Some(expire_time)) =
                (tenant, caller_id, api_key, shared_key, expire_time)
            else {
                return Err(fields.error());
            };
            let read_only = request.read_only;
            let create = CreateSigningKey { tenant, caller_id, api_key, shared_key, expire_time, read_only };
            let (api_key, shared_key) = self.ops.create_signing_key(call, create).await?;
            #[expect(clippy::disallowed_methods, reason = "leaves by the front door, once")]
            let shared_key = shared_key.map(|key| key.expose_secret().to_owned()).unwrap_or_default();
            Ok(CreateSigningKeyResponse { api_key, shared_key, expire_time: expire_time.map(timestamp) })
        })
        .await
    }

    async fn revoke_api_token(
        &self,
        request: Request<RevokeApiTokenRequest>,
    ) -> Result<Response<RevokeApiTokenResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let caller = fields.id("caller_id", &request.caller_id);
            let token = fields.id("token_id", &request.token_id);
            let (Some(tenant), Some(caller), Some(token)) = (tenant, caller, token) else { return Err(fields.error()) };
            self.ops.revoke_credential(call, &tenant, caller, Slot::ApiToken(token.to_string())).await?;
            Ok(RevokeApiTokenResponse {})
        })
        .await
    }

    async fn revoke_signing_key(
        &self,
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
            self.ops.revoke_credential(call, &tenant, caller, Slot::SigningKey(api_key)).await?;
            Ok(RevokeSigningKeyResponse {})
        })
        .await
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        answer(request, async |call, _| {
            let caller = call.grant.caller();
            let names = |permissions: &[crate::domain::Permission]| {
                permissions.iter().map(|permission| permission.as_str().to_owned()).collect()
            };
            let kind = match caller.proof.kind {
                ProofKind::ApiToken => CredentialKind::ApiToken,
                ProofKind::Jwt => CredentialKind::Jwt,
                ProofKind::SignedDate => CredentialKind::SignedDate,
                ProofKind::AccessToken => CredentialKind::AccessToken,
                ProofKind::Nothing => CredentialKind::Unspecified,
            };
            Ok(WhoAmIResponse {
                tenant_id: caller.tenant_id.to_string(),
                caller_id: caller.id.clone(),
                permissions: names(&caller.permissions),
                own_permissions: names(&caller.own_permissions),
                credential_kind: kind.into(),
                expire_time: caller.proof.expire_time.map(timestamp),
                ..Default::default()
            })
        })
        .await
    }

    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let path = format!("/{}", request.method.trim_start_matches('/'));
            let Some(rule) = rules::of(&path) else {
                fields
                    .refuse::<()>("method", "must be a method of this API, such as rekey.v1.UserService/ResetPassword");
                return Err(fields.error());
            };
            let subject_id = (!request.subject_id.is_empty()).then_some(request.subject_id.as_str());
            let caller = call.grant.caller();
            self.ops.authorise(caller, rule.access, subject_id, &rule.action, &call.request_id).await?;
            Ok(CheckAccessResponse {})
        })
        .await
    }

    async fn get_caller(
        &self,
        _request: Request<proto::GetCallerRequest>,
    ) -> Result<Response<proto::GetCallerResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn list_callers(
        &self,
        _request: Request<proto::ListCallersRequest>,
    ) -> Result<Response<proto::ListCallersResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn update_caller(
        &self,
        _request: Request<proto::UpdateCallerRequest>,
    ) -> Result<Response<proto::UpdateCallerResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn delete_caller(
        &self,
        _request: Request<proto::DeleteCallerRequest>,
    ) -> Result<Response<proto::DeleteCallerResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn lock_caller(
        &self,
        _request: Request<proto::LockCallerRequest>,
    ) -> Result<Response<proto::LockCallerResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn unlock_caller(
        &self,
        _request: Request<proto::UnlockCallerRequest>,
    ) -> Result<Response<proto::UnlockCallerResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn disable_caller(
        &self,
        _request: Request<proto::DisableCallerRequest>,
    ) -> Result<Response<proto::DisableCallerResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn enable_caller(
        &self,
        _request: Request<proto::EnableCallerRequest>,
    ) -> Result<Response<proto::EnableCallerResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn list_credentials(
        &self,
        _request: Request<proto::ListCredentialsRequest>,
    ) -> Result<Response<proto::ListCredentialsResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn explain_permission(
        &self,
        _request: Request<proto::ExplainPermissionRequest>,
    ) -> Result<Response<proto::ExplainPermissionResponse>, Status> {
        Err(super::error::unimplemented())
    }
}

impl From<CallerView> for proto::Caller {
    fn from(CallerView { tenant_id, subject }: CallerView) -> Self {
        Self {
            tenant_id: tenant_id.to_string(),
            caller_id: subject.id.to_string(),
            etag: subject.etag(),
            display_name: subject.attributes.display_name,
            permissions: subject.attributes.permissions,
            state: state(subject.state).into(),
            create_time: Some(timestamp(subject.create_time)),
            update_time: Some(timestamp(subject.update_time)),
            ..Default::default()
        }
    }
}
