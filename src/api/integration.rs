//! `IntegrationService`.

use tonic::{Request, Response, Status};

use super::{
    answer::{answer, secret_text, soft_lock, state, timestamp},
    listing::page_of,
    mask::Mask,
    named::named,
    rotation::{Place, versions},
    validate::{ByIdOrLogin, Either, Fields, MAX_PURPOSE, etag},
};
use crate::{
    domain::{Error, SubjectKind, Transition, rotation::Act},
    ops::{
        Ops, Source,
        device::VerifyAuthentication,
        integration::{CreateIntegration, Credentials, IntegrationView, UpdateIntegration},
    },
    proto::{
        self, CreateIntegrationRequest, CreateIntegrationResponse, GetIntegrationRequest, GetIntegrationResponse,
        IntegrationCredentials, ResetIntegrationRequest, ResetIntegrationResponse, RevealIntegrationRequest,
        RevealIntegrationResponse, UpdateIntegrationRequest, UpdateIntegrationResponse, create_integration_request,
        integration_service_server::IntegrationService, verify_integration_request,
    },
};

/// The most characters of a user name.
const MAX_USERNAME: usize = 128;

const KIND: SubjectKind = SubjectKind::Integration;
/// What `UpdateIntegration` changes.
const UPDATABLE: &[&str] = &["settings", "username", "labels"];

pub(super) struct IntegrationApi {
    ops: Ops,
}

impl IntegrationApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl IntegrationService for IntegrationApi {
    async fn create_integration(
        &self,
        request: Request<CreateIntegrationRequest>,
    ) -> Result<Response<CreateIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.new_id("integration_id", &request.integration_id);
            let username = match request.username {
                made if made.is_empty() => Some(None),
                given => fields.text("username", given, MAX_USERNAME).map(Some),
            };
            let source = match request.secret_source {
                Some(create_integration_request::SecretSource::Password(given)) => {
                    fields.source("password", Either::Given(given))
                }
                Some(create_integration_request::SecretSource::Generate(generate)) => {
                    fields.source("password", Either::Generate(generate))
                }
                None => Some(Source::Generate(None)),
            };
            let settings = fields.settings(request.settings);
            let labels = fields.labels("labels", request.labels);
            let expire_time = fields.time("expire_time", request.expire_time);
            fields.finish()?;
            let (Some(tenant), Some(id), Some(username), Some(source), Some(settings), Some(labels), Some(expire_time)) =
                (tenant, id, username, source, settings, labels, expire_time)
            else {
                return Err(Error::internal("checked before"));
            };
            let create = CreateIntegration { tenant, id, username, labels, source, expire_time, settings };
            let (integration, shown) = self.ops.create_integration(call, create).await?;
            Ok(CreateIntegrationResponse { integration: Some(integration.into()), credentials: Some(shown.into()) })
        })
        .await
    }

    async fn get_integration(
        &self,
        request: Request<GetIntegrationRequest>,
    ) -> Result<Response<GetIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.id("integration_id", &request.integration_id);
            let (Some(tenant), Some(id)) = (tenant, id) else { return Err(fields.error()) };
            let integration = self.ops.get_integration(call, &tenant, id).await?;
            Ok(GetIntegrationResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn update_integration(
        &self,
        request: Request<UpdateIntegrationRequest>,
    ) -> Result<Response<UpdateIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.id("integration_id", &request.integration_id);
            // Before there were masks, the settings were all there was to change.
            let mask = match request.update_mask {
                None => Some(Mask::of(&["settings"])),
                given => fields.mask(given, "UpdateIntegrationRequest", UPDATABLE),
            };
            let has = |path| mask.as_ref().is_some_and(|mask| mask.has(path));
            let settings = has("settings").then(|| fields.settings(request.settings));
            let username = has("username").then(|| fields.text("username", request.username, MAX_USERNAME));
            let labels = has("labels").then(|| fields.labels("labels", request.labels));
            fields.finish()?;
            let (Some(tenant), Some(id)) = (tenant, id) else { return Err(Error::internal("checked before")) };
            let (settings, username, labels) = (settings.flatten(), username.flatten(), labels.flatten());
            let (return_credentials, etag) = (request.return_credentials, etag(request.etag));
            let update = UpdateIntegration { tenant, id, settings, username, labels, return_credentials, etag };
            let (integration, shown) = self.ops.update_integration(call, update).await?;
            Ok(UpdateIntegrationResponse { integration: Some(integration.into()), credentials: shown.map(Into::into) })
        })
        .await
    }

    async fn reset_integration(
        &self,
        request: Request<ResetIntegrationRequest>,
    ) -> Result<Response<ResetIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.integration_id, request.etag);
            let ResetIntegrationRequest { overlap, pending, at_limit, expire_time, .. } = request;
            let placement = fields.placement(&Place { overlap, pending, at_limit, expire_time });
            let (Some(named), Some(placement)) = (named, placement) else { return Err(fields.error()) };
            let (integration, shown) = self.ops.reset_integration(call, &named, placement).await?;
            Ok(ResetIntegrationResponse { integration: Some(integration.into()), credentials: Some(shown.into()) })
        })
        .await
    }

    async fn reveal_integration(
        &self,
        request: Request<RevealIntegrationRequest>,
    ) -> Result<Response<RevealIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.id("integration_id", &request.integration_id);
            let purpose = fields.short_text("purpose", request.purpose, MAX_PURPOSE);
            let version = fields.version_or_none(request.version);
            let (Some(tenant), Some(id), Some(purpose), Some(version)) = (tenant, id, purpose, version) else {
                return Err(fields.error());
            };
            let shown = self.ops.reveal_integration(call, &tenant, id, version, purpose).await?;
            Ok(RevealIntegrationResponse { credentials: Some(shown.into()) })
        })
        .await
    }

    async fn list_integrations(
        &self,
        request: Request<proto::ListIntegrationsRequest>,
    ) -> Result<Response<proto::ListIntegrationsResponse>, Status> {
        answer(request, async |call, request| {
            let (tenant, page) = page_of(KIND, request.into())?;
            let page = self.ops.list_subjects(call, &tenant, KIND, page).await?;
            let shown = |kept| IntegrationView::from(kept).into();
            Ok(proto::ListIntegrationsResponse {
                integrations: page.items.into_iter().map(shown).collect(),
                next_page_token: page.next_token,
                total_size: page.total,
            })
        })
        .await
    }

    async fn delete_integration(
        &self,
        request: Request<proto::DeleteIntegrationRequest>,
    ) -> Result<Response<proto::DeleteIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.integration_id, request.etag)?;
            self.ops.delete_subject(call, &named, request.allow_missing).await?;
            Ok(proto::DeleteIntegrationResponse {})
        })
        .await
    }

    async fn lock_integration(
        &self,
        request: Request<proto::LockIntegrationRequest>,
    ) -> Result<Response<proto::LockIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.integration_id, request.etag)?;
            let integration: IntegrationView = self.ops.set_state(call, &named, Transition::Lock).await?.into();
            Ok(proto::LockIntegrationResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn unlock_integration(
        &self,
        request: Request<proto::UnlockIntegrationRequest>,
    ) -> Result<Response<proto::UnlockIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.integration_id, request.etag)?;
            let integration: IntegrationView = self.ops.set_state(call, &named, Transition::Unlock).await?.into();
            Ok(proto::UnlockIntegrationResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn disable_integration(
        &self,
        request: Request<proto::DisableIntegrationRequest>,
    ) -> Result<Response<proto::DisableIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.integration_id, request.etag)?;
            let integration: IntegrationView = self.ops.set_state(call, &named, Transition::Disable).await?.into();
            Ok(proto::DisableIntegrationResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn enable_integration(
        &self,
        request: Request<proto::EnableIntegrationRequest>,
    ) -> Result<Response<proto::EnableIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.integration_id, request.etag)?;
            let integration: IntegrationView = self.ops.set_state(call, &named, Transition::Enable).await?.into();
            Ok(proto::EnableIntegrationResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn verify_integration(
        &self,
        request: Request<proto::VerifyIntegrationRequest>,
    ) -> Result<Response<proto::VerifyIntegrationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let subject = request.subject.map(|subject| match subject {
                verify_integration_request::Subject::IntegrationId(id) => ByIdOrLogin::Id(id),
                verify_integration_request::Subject::Username(login) => ByIdOrLogin::Login("username", login),
            });
            let subject = fields.subject("integration_id", subject);
            let password = fields.password("password", request.password);
            let from = fields.source_of(request.source);
            let (Some(tenant), Some(subject), Some(password), Some(from)) = (tenant, subject, password, from) else {
                return Err(fields.error());
            };
            let verify = VerifyAuthentication { tenant, kind: KIND, subject, password, from };
            let right = self.ops.verify_authentication(call, &verify).await?;
            Ok(proto::VerifyIntegrationResponse {
                verified: right.is_some(),
                secret_version: right.as_ref().map(|right| right.version).unwrap_or_default(),
                integration_id: right.map(|right| right.id.to_string()).unwrap_or_default(),
            })
        })
        .await
    }

    async fn promote_integration_secret(
        &self,
        request: Request<proto::PromoteIntegrationSecretRequest>,
    ) -> Result<Response<proto::PromoteIntegrationSecretResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.integration_id, request.etag);
            let overlap = fields.whole_seconds("overlap", request.overlap);
            let (Some(named), Some(overlap)) = (named, overlap) else { return Err(fields.error()) };
            let act = Act::Promote { overlap };
            let integration: IntegrationView = self.ops.rotate_secret(call, &named, act).await?.into();
            Ok(proto::PromoteIntegrationSecretResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn roll_back_integration_secret(
        &self,
        request: Request<proto::RollBackIntegrationSecretRequest>,
    ) -> Result<Response<proto::RollBackIntegrationSecretResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.integration_id, request.etag)?;
            let integration: IntegrationView = self.ops.rotate_secret(call, &named, Act::RollBack).await?.into();
            Ok(proto::RollBackIntegrationSecretResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn swap_integration_secrets(
        &self,
        request: Request<proto::SwapIntegrationSecretsRequest>,
    ) -> Result<Response<proto::SwapIntegrationSecretsResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.integration_id, request.etag)?;
            let integration: IntegrationView = self.ops.rotate_secret(call, &named, Act::Swap).await?.into();
            Ok(proto::SwapIntegrationSecretsResponse { integration: Some(integration.into()) })
        })
        .await
    }

    async fn revoke_integration_secret(
        &self,
        request: Request<proto::RevokeIntegrationSecretRequest>,
    ) -> Result<Response<proto::RevokeIntegrationSecretResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.integration_id, request.etag);
            let version = fields.version(request.version);
            let (Some(named), Some(version)) = (named, version) else { return Err(fields.error()) };
            let act = Act::Revoke { version, allow_last: request.allow_last };
            let integration: IntegrationView = self.ops.rotate_secret(call, &named, act).await?.into();
            Ok(proto::RevokeIntegrationSecretResponse { integration: Some(integration.into()) })
        })
        .await
    }
}

impl From<IntegrationView> for proto::Integration {
    fn from(view: IntegrationView) -> Self {
        let IntegrationView { tenant_id, subject, configured, secrets, soft_lock: lock } = view;
        Self {
            tenant_id: tenant_id.to_string(),
            integration_id: subject.id.to_string(),
            etag: subject.etag(),
            username: subject.login.unwrap_or_default(),
            state: state(subject.state).into(),
            configured,
            create_time: Some(timestamp(subject.create_time)),
            update_time: Some(timestamp(subject.update_time)),
            labels: subject.attributes.labels.into_iter().collect(),
            secrets: versions(&secrets),
            soft_lock: lock.map(soft_lock),
        }
    }
}

impl From<Credentials> for IntegrationCredentials {
    fn from(Credentials { username, password, settings }: Credentials) -> Self {
        let settings = settings.0.into_iter().map(|(name, value)| (name, value.to_string())).collect();
        Self { username, password: secret_text(&password), settings }
    }
}
