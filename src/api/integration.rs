//! `IntegrationService`.

use tonic::{Request, Response, Status};

use super::{
    answer::{answer, secret_text, state, timestamp},
    validate::{Either, Fields, MAX_PURPOSE, etag},
};
use crate::{
    ops::{
        Ops, Source,
        integration::{CreateIntegration, Credentials, IntegrationView, UpdateIntegration},
    },
    proto::{
        self, CreateIntegrationRequest, CreateIntegrationResponse, GetIntegrationRequest, GetIntegrationResponse,
        IntegrationCredentials, ResetIntegrationRequest, ResetIntegrationResponse, RevealIntegrationRequest,
        RevealIntegrationResponse, UpdateIntegrationRequest, UpdateIntegrationResponse, create_integration_request,
        integration_service_server::IntegrationService,
    },
};

/// The most characters of a user name.
const MAX_USERNAME: usize = 128;

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
            let (Some(tenant), Some(id), Some(username), Some(source), Some(settings)) =
                (tenant, id, username, source, settings)
            else {
                return Err(fields.error());
            };
            let create = CreateIntegration { tenant, id, username, source, settings };
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
            let settings = fields.settings(request.settings);
            let (Some(tenant), Some(id), Some(settings)) = (tenant, id, settings) else { return Err(fields.error()) };
            let return_credentials = request.return_credentials;
            let update = UpdateIntegration { tenant, id, settings, return_credentials, etag: etag(request.etag) };
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
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.id("integration_id", &request.integration_id);
            let (Some(tenant), Some(id)) = (tenant, id) else { return Err(fields.error()) };
            let (integration, shown) = self.ops.reset_integration(call, &tenant, id, etag(request.etag)).await?;
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
            let (Some(tenant), Some(id), Some(purpose)) = (tenant, id, purpose) else { return Err(fields.error()) };
            let shown = self.ops.reveal_integration(call, &tenant, id, purpose).await?;
            Ok(RevealIntegrationResponse { credentials: Some(shown.into()) })
        })
        .await
    }

    async fn list_integrations(
        &self,
        _request: Request<proto::ListIntegrationsRequest>,
    ) -> Result<Response<proto::ListIntegrationsResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn delete_integration(
        &self,
        _request: Request<proto::DeleteIntegrationRequest>,
    ) -> Result<Response<proto::DeleteIntegrationResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn lock_integration(
        &self,
        _request: Request<proto::LockIntegrationRequest>,
    ) -> Result<Response<proto::LockIntegrationResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn unlock_integration(
        &self,
        _request: Request<proto::UnlockIntegrationRequest>,
    ) -> Result<Response<proto::UnlockIntegrationResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn disable_integration(
        &self,
        _request: Request<proto::DisableIntegrationRequest>,
    ) -> Result<Response<proto::DisableIntegrationResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn enable_integration(
        &self,
        _request: Request<proto::EnableIntegrationRequest>,
    ) -> Result<Response<proto::EnableIntegrationResponse>, Status> {
        Err(super::error::unimplemented())
    }
}

impl From<IntegrationView> for proto::Integration {
    fn from(IntegrationView { tenant_id, subject, configured }: IntegrationView) -> Self {
        Self {
            tenant_id: tenant_id.to_string(),
            integration_id: subject.id.to_string(),
            etag: subject.etag(),
            username: subject.login.unwrap_or_default(),
            state: state(subject.state).into(),
            configured,
            create_time: Some(timestamp(subject.create_time)),
            update_time: Some(timestamp(subject.update_time)),
            ..Default::default()
        }
    }
}

impl From<Credentials> for IntegrationCredentials {
    fn from(Credentials { username, password, settings }: Credentials) -> Self {
        let settings = settings.0.into_iter().map(|(name, value)| (name, value.to_string())).collect();
        Self { username, password: secret_text(&password), settings }
    }
}
