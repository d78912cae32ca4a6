//! `CallerService`.

use tonic::{Request, Response, Status};

use super::{
    answer::{answer, state, timestamp},
    credential,
    listing::page_of,
    mask::Mask,
    named::named,
    permission::{role, role_values},
    rotation::stage,
    rules,
    validate::Fields,
};
use crate::{
    access::{Access, ProofKind},
    domain::{Permission, Reach, SubjectKind, Transition},
    ops::{
        Gift, Ops,
        caller::{CallerView, CreateCaller},
        explain::ExplainPermission,
        lifecycle::Changes,
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
/// The most characters of a method's path.
const MAX_METHOD: usize = 256;

const KIND: SubjectKind = SubjectKind::Caller;
/// What `UpdateCaller` changes.
const UPDATABLE: &[&str] = &["display_name", "labels", "permissions", "roles", "rank"];

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
            let permissions = fields.permission_names("permissions", request.permissions);
            let labels = fields.labels("labels", request.labels);
            let roles = fields.roles("roles", &request.roles);
            let rank = fields.rank("rank", request.rank);
            let (Some(tenant), Some(id), Some(display_name), Some(permissions), Some(labels), Some(roles), Some(rank)) =
                (tenant, id, display_name, permissions, labels, roles, rank)
            else {
                return Err(fields.error());
            };
            let create = CreateCaller { tenant, id, display_name, labels, gift: Gift { permissions, roles, rank } };
            let caller = self.ops.create_caller(call, create).await?;
            Ok(CreateCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn create_api_token(
        &self,
        request: Request<CreateApiTokenRequest>,
    ) -> Result<Response<CreateApiTokenResponse>, Status> {
        credential::create_api_token(&self.ops, request).await
    }

    async fn create_signing_key(
        &self,
        request: Request<CreateSigningKeyRequest>,
    ) -> Result<Response<CreateSigningKeyResponse>, Status> {
        credential::create_signing_key(&self.ops, request).await
    }

    async fn rotate_api_token(
        &self,
        request: Request<proto::RotateApiTokenRequest>,
    ) -> Result<Response<proto::RotateApiTokenResponse>, Status> {
        credential::rotate_api_token(&self.ops, request).await
    }

    async fn rotate_signing_key(
        &self,
        request: Request<proto::RotateSigningKeyRequest>,
    ) -> Result<Response<proto::RotateSigningKeyResponse>, Status> {
        credential::rotate_signing_key(&self.ops, request).await
    }

    async fn promote_credential(
        &self,
        request: Request<proto::PromoteCredentialRequest>,
    ) -> Result<Response<proto::PromoteCredentialResponse>, Status> {
        credential::promote_credential(&self.ops, request).await
    }

    async fn roll_back_credential(
        &self,
        request: Request<proto::RollBackCredentialRequest>,
    ) -> Result<Response<proto::RollBackCredentialResponse>, Status> {
        credential::roll_back_credential(&self.ops, request).await
    }

    async fn swap_credential(
        &self,
        request: Request<proto::SwapCredentialRequest>,
    ) -> Result<Response<proto::SwapCredentialResponse>, Status> {
        credential::swap_credential(&self.ops, request).await
    }

    async fn revoke_credential_version(
        &self,
        request: Request<proto::RevokeCredentialVersionRequest>,
    ) -> Result<Response<proto::RevokeCredentialVersionResponse>, Status> {
        credential::revoke_credential_version(&self.ops, request).await
    }

    async fn revoke_api_token(
        &self,
        request: Request<RevokeApiTokenRequest>,
    ) -> Result<Response<RevokeApiTokenResponse>, Status> {
        credential::revoke_api_token(&self.ops, request).await
    }

    async fn revoke_signing_key(
        &self,
        request: Request<RevokeSigningKeyRequest>,
    ) -> Result<Response<RevokeSigningKeyResponse>, Status> {
        credential::revoke_signing_key(&self.ops, request).await
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        answer(request, async |call, _| {
            let caller = call.grant.caller();
            let names = |permissions: &[Permission]| {
                permissions.iter().map(|permission| permission.as_str().to_owned()).collect()
            };
            let reach = Reach::new(caller.permissions.clone(), caller.roles.clone(), caller.rank);
            let kind = match caller.proof.kind {
                ProofKind::ApiToken => CredentialKind::ApiToken,
                ProofKind::Jwt => CredentialKind::Jwt,
                ProofKind::SignedDate => CredentialKind::SignedDate,
                ProofKind::AccessToken => CredentialKind::AccessToken,
                ProofKind::Nothing => CredentialKind::Unspecified,
            };
            let version = caller.proof.version;
            Ok(WhoAmIResponse {
                credential_id: version.map(|_| caller.proof.name.clone()).unwrap_or_default(),
                credential_version: version.map(|(version, _)| version).unwrap_or_default(),
                credential_stage: version.map(|(_, at)| stage(at).into()).unwrap_or_default(),
                tenant_id: caller.tenant_id.to_string(),
                caller_id: caller.id.clone(),
                permissions: names(&reach.all_permissions()),
                own_permissions: names(&caller.own_permissions),
                credential_kind: kind.into(),
                expire_time: caller.proof.expire_time.map(timestamp),
                roles: caller.roles.iter().map(|held| role(*held).into()).collect(),
                rank: caller.rank,
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
        request: Request<proto::GetCallerRequest>,
    ) -> Result<Response<proto::GetCallerResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.caller_id, String::new())?;
            let caller: CallerView = self.ops.get_subject(call, &named).await?.into();
            Ok(proto::GetCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn list_callers(
        &self,
        request: Request<proto::ListCallersRequest>,
    ) -> Result<Response<proto::ListCallersResponse>, Status> {
        answer(request, async |call, request| {
            let (tenant, page) = page_of(KIND, request.into())?;
            let page = self.ops.list_subjects(call, &tenant, KIND, page).await?;
            let shown = |kept| CallerView::from(kept).into();
            Ok(proto::ListCallersResponse {
                callers: page.items.into_iter().map(shown).collect(),
                next_page_token: page.next_token,
                total_size: page.total,
            })
        })
        .await
    }

    async fn update_caller(
        &self,
        request: Request<proto::UpdateCallerRequest>,
    ) -> Result<Response<proto::UpdateCallerResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.caller_id, request.etag);
            let mask = fields.mask(request.update_mask, "Caller", UPDATABLE);
            let changes = changes(&mut fields, mask.as_ref(), request.caller);
            let (Some(named), Some(_), Some(changes)) = (named, mask, changes) else { return Err(fields.error()) };
            let caller: CallerView = self.ops.update_subject(call, &named, &changes).await?.into();
            Ok(proto::UpdateCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn delete_caller(
        &self,
        request: Request<proto::DeleteCallerRequest>,
    ) -> Result<Response<proto::DeleteCallerResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.caller_id, request.etag)?;
            self.ops.delete_subject(call, &named, request.allow_missing).await?;
            Ok(proto::DeleteCallerResponse {})
        })
        .await
    }

    async fn lock_caller(
        &self,
        request: Request<proto::LockCallerRequest>,
    ) -> Result<Response<proto::LockCallerResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.caller_id, request.etag)?;
            let caller: CallerView = self.ops.set_state(call, &named, Transition::Lock).await?.into();
            Ok(proto::LockCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn unlock_caller(
        &self,
        request: Request<proto::UnlockCallerRequest>,
    ) -> Result<Response<proto::UnlockCallerResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.caller_id, request.etag)?;
            let caller: CallerView = self.ops.set_state(call, &named, Transition::Unlock).await?.into();
            Ok(proto::UnlockCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn disable_caller(
        &self,
        request: Request<proto::DisableCallerRequest>,
    ) -> Result<Response<proto::DisableCallerResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.caller_id, request.etag)?;
            let caller: CallerView = self.ops.set_state(call, &named, Transition::Disable).await?.into();
            Ok(proto::DisableCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn enable_caller(
        &self,
        request: Request<proto::EnableCallerRequest>,
    ) -> Result<Response<proto::EnableCallerResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.caller_id, request.etag)?;
            let caller: CallerView = self.ops.set_state(call, &named, Transition::Enable).await?.into();
            Ok(proto::EnableCallerResponse { caller: Some(caller.into()) })
        })
        .await
    }

    async fn list_credentials(
        &self,
        request: Request<proto::ListCredentialsRequest>,
    ) -> Result<Response<proto::ListCredentialsResponse>, Status> {
        credential::list_credentials(&self.ops, request).await
    }

    async fn explain_permission(
        &self,
        request: Request<proto::ExplainPermissionRequest>,
    ) -> Result<Response<proto::ExplainPermissionResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let caller_id = fields.new_id("caller_id", &request.caller_id);
            let user_id = fields.new_id("user_id", &request.user_id);
            let path = format!("/{}", request.method.trim_start_matches('/'));
            let legal = |letter: u8| letter.is_ascii_alphanumeric() || b"._/".contains(&letter);
            let named = path.len() <= MAX_METHOD && path.bytes().all(legal) && path.matches('/').count() == 2;
            let rule = "must be like rekey.v1.UserService/ResetPassword";
            let method = if named { Some(rules::of(&path)) } else { fields.refuse("method", rule) };
            let (Some(tenant), Some(caller_id), Some(user_id), Some(rule)) = (tenant, caller_id, user_id, method)
            else {
                return Err(fields.error());
            };
            let access = rule.map(|rule| rule.access);
            let explain = ExplainPermission { tenant, caller_id, access, user_id };
            let explanation = self.ops.explain_permission(call, explain).await?;
            let permission = match access {
                Some(Access::Holding(permission)) => permission.as_str().to_owned(),
                Some(Access::AnyCaller | Access::Anybody) | None => String::new(),
            };
            let allowed = explanation.allowed();
            let rules = explanation.0.into_iter().map(Into::into).collect();
            Ok(proto::ExplainPermissionResponse { allowed, permission, rules })
        })
        .await
    }
}

/// What the mask names of a caller; each field is looked at, so that everything wrong is told at once.
fn changes(fields: &mut Fields, mask: Option<&Mask>, caller: Option<proto::Caller>) -> Option<Changes> {
    let Some(caller) = caller else { return fields.refuse("caller", "must be given") };
    let mask = mask?;
    let mut changes = Changes::default();
    let mut good = true;
    if mask.has("display_name") {
        changes.display_name = fields.short_text("caller.display_name", caller.display_name, MAX_DISPLAY_NAME);
        good &= changes.display_name.is_some();
    }
    if mask.has("labels") {
        changes.labels = fields.labels("caller.labels", caller.labels);
        good &= changes.labels.is_some();
    }
    if mask.has("permissions") {
        changes.permissions = fields.permission_names("caller.permissions", caller.permissions);
        good &= changes.permissions.is_some();
    }
    if mask.has("roles") {
        changes.roles = fields.roles("caller.roles", &caller.roles);
        good &= changes.roles.is_some();
    }
    if mask.has("rank") {
        changes.rank = fields.rank("caller.rank", caller.rank);
        good &= changes.rank.is_some();
    }
    good.then_some(changes)
}

impl From<CallerView> for proto::Caller {
    fn from(CallerView { tenant_id, subject }: CallerView) -> Self {
        Self {
            tenant_id: tenant_id.to_string(),
            caller_id: subject.id.to_string(),
            etag: subject.etag(),
            display_name: subject.attributes.display_name,
            permissions: subject.attributes.permissions,
            roles: role_values(&subject.attributes.roles),
            rank: subject.attributes.rank,
            state: state(subject.state).into(),
            create_time: Some(timestamp(subject.create_time)),
            update_time: Some(timestamp(subject.update_time)),
            labels: subject.attributes.labels.into_iter().collect(),
        }
    }
}
