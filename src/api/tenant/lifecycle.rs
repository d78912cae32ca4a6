//! What becomes of a tenant that is there.

use tonic::{Request, Response, Status};

use super::{MAX_NAME, aliases, jwt_issuers, limits::limits, policy};
use crate::{
    api::{
        answer::answer,
        token_issuer::token_issuer,
        validate::{Fields, etag},
    },
    domain::{
        Labels, Policy, SubjectState, Tenant, TenantLimits,
        policy::Preset,
        tenant::{Alias, JwtIssuer, PermissionAlias, TokenIssuer},
    },
    ops::{Ops, tenant::DeleteTenant},
    proto::{
        DeleteTenantRequest, DeleteTenantResponse, DisableTenantRequest, DisableTenantResponse, EnableTenantRequest,
        EnableTenantResponse, UpdateTenantRequest, UpdateTenantResponse,
    },
};

/// What `UpdateTenant` changes.
const UPDATABLE: &[&str] = &[
    "display_name",
    "aliases",
    "change_password_allowed",
    "user_policy",
    "device_policy",
    "integration_policy",
    "jwt_issuers",
    "labels",
    "permission_aliases",
    "token_issuer",
    "limits",
];

/// The new values of what the mask names.
#[derive(Default)]
struct Changes {
    display_name: Option<String>,
    aliases: Option<Vec<Alias>>,
    change_password_allowed: Option<bool>,
    user_policy: Option<Policy>,
    device_policy: Option<Policy>,
    integration_policy: Option<Policy>,
    jwt_issuers: Option<Vec<JwtIssuer>>,
    labels: Option<Labels>,
    permission_aliases: Option<Vec<PermissionAlias>>,
    /// `Some(None)` takes it away.
    #[expect(clippy::option_option, reason = "named by the mask or not, and there or not")]
    token_issuer: Option<Option<Box<TokenIssuer>>>,
    limits: Option<TenantLimits>,
}

impl Changes {
    fn apply(&self, tenant: &mut Tenant) {
        fn put<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        put(&mut tenant.aliases, self.aliases.as_ref());
        let settings = &mut tenant.settings;
        put(&mut settings.display_name, self.display_name.as_ref());
        put(&mut settings.change_password_allowed, self.change_password_allowed.as_ref());
        put(&mut settings.user_policy, self.user_policy.as_ref());
        put(&mut settings.device_policy, self.device_policy.as_ref());
        put(&mut settings.integration_policy, self.integration_policy.as_ref());
        put(&mut settings.jwt_issuers, self.jwt_issuers.as_ref());
        put(&mut settings.labels, self.labels.as_ref());
        put(&mut settings.permission_aliases, self.permission_aliases.as_ref());
        put(&mut settings.token_issuer, self.token_issuer.as_ref());
        put(&mut settings.limits, self.limits.as_ref());
    }
}

pub(super) async fn update(
    ops: &Ops,
    request: Request<UpdateTenantRequest>,
) -> Result<Response<UpdateTenantResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let reference = fields.tenant(&request.tenant_id);
        let mask = fields.mask(request.update_mask, "Tenant", UPDATABLE).unwrap_or_default();
        let tenant = request.tenant.or_else(|| fields.refuse("tenant", "must be given")).unwrap_or_default();
        let mut changes = Changes::default();
        if mask.has("display_name") {
            changes.display_name = fields.short_text("tenant.display_name", tenant.display_name, MAX_NAME);
        }
        if mask.has("aliases") {
            changes.aliases = Some(aliases(&mut fields, tenant.aliases));
        }
        if mask.has("change_password_allowed") {
            changes.change_password_allowed = Some(tenant.change_password_allowed);
        }
        if mask.has("user_policy") {
            changes.user_policy = Some(policy(&mut fields, "tenant.user_policy", tenant.user_policy, Preset::Nist));
        }
        if mask.has("device_policy") {
            let path = "tenant.device_policy";
            changes.device_policy = Some(policy(&mut fields, path, tenant.device_policy, Preset::Roma));
        }
        if mask.has("integration_policy") {
            let path = "tenant.integration_policy";
            changes.integration_policy = Some(policy(&mut fields, path, tenant.integration_policy, Preset::Applivery));
        }
        if mask.has("jwt_issuers") {
            changes.jwt_issuers = Some(jwt_issuers(&mut fields, tenant.jwt_issuers));
        }
        if mask.has("labels") {
            changes.labels = fields.labels("tenant.labels", tenant.labels);
        }
        if mask.has("permission_aliases") {
            let path = "tenant.permission_aliases";
            changes.permission_aliases = fields.permission_aliases(path, tenant.permission_aliases);
        }
        if mask.has("token_issuer") {
            changes.token_issuer = Some(token_issuer(&mut fields, tenant.token_issuer).map(Box::new));
        }
        if mask.has("limits") {
            changes.limits = Some(limits(&mut fields, "tenant.limits", tenant.limits));
        }
        let Some(reference) = reference else { return Err(fields.error()) };
        fields.finish()?;
        let etag = etag(request.etag);
        // A tenant is large, and so is a future that moves it about.
        let update = ops.update_tenant(call, &reference, etag.as_deref(), |tenant| changes.apply(tenant));
        Ok(UpdateTenantResponse { tenant: Some(Box::pin(update).await?.into()) })
    })
    .await
}

pub(super) async fn delete(
    ops: &Ops,
    request: Request<DeleteTenantRequest>,
) -> Result<Response<DeleteTenantResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let Some(tenant) = fields.tenant(&request.tenant_id) else { return Err(fields.error()) };
        let (etag, force, allow_missing) = (etag(request.etag), request.force, request.allow_missing);
        Box::pin(ops.delete_tenant(call, DeleteTenant { tenant, etag, force, allow_missing })).await?;
        Ok(DeleteTenantResponse {})
    })
    .await
}

pub(super) async fn disable(
    ops: &Ops,
    request: Request<DisableTenantRequest>,
) -> Result<Response<DisableTenantResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let Some(tenant) = fields.tenant(&request.tenant_id) else { return Err(fields.error()) };
        let etag = etag(request.etag);
        let disable = ops.set_tenant_state(call, &tenant, etag.as_deref(), SubjectState::Disabled);
        Ok(DisableTenantResponse { tenant: Some(Box::pin(disable).await?.into()) })
    })
    .await
}

pub(super) async fn enable(
    ops: &Ops,
    request: Request<EnableTenantRequest>,
) -> Result<Response<EnableTenantResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let Some(tenant) = fields.tenant(&request.tenant_id) else { return Err(fields.error()) };
        let etag = etag(request.etag);
        let enable = ops.set_tenant_state(call, &tenant, etag.as_deref(), SubjectState::Active);
        Ok(EnableTenantResponse { tenant: Some(Box::pin(enable).await?.into()) })
    })
    .await
}
