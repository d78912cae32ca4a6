//! The demo tenants, made through the API as anybody would make them. Everything has a name of its own and every secret
//! is given, so that a second attempt finds what the first one made: `ALREADY_EXISTS` is as good as done.

use std::path::Path;

use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::{
    super::failure::{Exit, Failure},
    issuer::{ISSUER, Issuer},
    values::Values,
};
use crate::proto::{
    CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest, CreateIntegrationRequest, CreateSigningKeyRequest,
    CreateTenantRequest, CreateUserRequest, JwtIssuer, PolicyPreset, ScopeGrant, SecretPolicy, Tenant, TenantAlias,
    WhoAmIRequest, caller_service_client::CallerServiceClient, create_device_request, create_integration_request,
    create_user_request, device_service_client::DeviceServiceClient,
    integration_service_client::IntegrationServiceClient, tenant_service_client::TenantServiceClient,
    user_service_client::UserServiceClient,
};

const PORTAL: &str = "portal";
const UPDATE_SCOPES: [&str; 5] =
    ["educators:update", "families:update", "children:update", "healthprofessionals:update", "applications:update"];

/// Makes the tenants, what is in them, and their callers.
pub(super) async fn sow(service: &Endpoint, values: &Values, issuer: &Issuer) -> Result<(), Failure> {
    let seeder = Seeder::connect(service, values).await?;
    seeder.applivery(values).await?;
    seeder.ocariot(values, issuer).await?;
    seeder.licensespring(values).await?;
    seeder.roma(values).await
}

/// Asks whether the values are those of this database.
pub(super) async fn check(service: &Endpoint, values: &Values, directory: &Path) -> Result<(), Failure> {
    let seeder = Seeder::connect(service, values).await?;
    let answer = CallerServiceClient::new(seeder.channel.clone()).who_am_i(seeder.request(WhoAmIRequest {})).await;
    answer.map(|_| ()).map_err(|status| {
        let sentence = format!(
            "demo.env and the database in {0} do not belong together ({1}); delete {0} to start anew",
            directory.display(),
            status.message()
        );
        Failure::new(Exit::Failed, sentence)
    })
}

struct Seeder {
    channel: Channel,
    authorization: MetadataValue<Ascii>,
}

impl Seeder {
    async fn connect(service: &Endpoint, values: &Values) -> Result<Self, Failure> {
        let failure = |cause: String| Failure::new(Exit::Failed, format!("cannot make the demo tenants: {cause}"));
        let channel = service.connect().await.map_err(|cause| failure(cause.to_string()))?;
        let authorization = format!("Bearer {}", values.rekey_admin_token).parse::<MetadataValue<Ascii>>();
        let mut authorization = authorization.map_err(|cause| failure(format!("REKEY_ADMIN_TOKEN: {cause}")))?;
        authorization.set_sensitive(true);
        Ok(Self { channel, authorization })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }

    /// A third party's account, and a caller that may do everything with it.
    async fn applivery(&self, values: &Values) -> Result<(), Failure> {
        self.tenant(Tenant {
            tenant_id: "applivery".to_owned(),
            display_name: "Demo of the dialect applivery".to_owned(),
            aliases: vec![alias("applivery", &values.applivery_organization_id), alias("applivery", "acme")],
            ..Tenant::default()
        })
        .await?;
        let settings = [("token", "demo-token"), ("portalAccountId", "demo-account"), ("gwAddress", "gw.example.com")];
        let integration = CreateIntegrationRequest {
            tenant_id: "applivery".to_owned(),
            integration_id: "harmony-mobile".to_owned(),
            username: "harmony".to_owned(),
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            secret_source: Some(create_integration_request::SecretSource::Generate(
                crate::proto::GenerateSecret::default(),
            )),
            ..Default::default()
        };
        let mut integrations = IntegrationServiceClient::new(self.channel.clone());
        done("integration", integrations.create_integration(self.request(integration)).await)?;
        let permissions = ["integrations:get", "integrations:update", "integrations:reset", "integrations:reveal"];
        self.caller("applivery", &permissions).await?;
        self.token("applivery", &values.applivery_token).await
    }

    /// A user, and an issuer whose administrators and owners come with JWTs.
    async fn ocariot(&self, values: &Values, issuer: &Issuer) -> Result<(), Failure> {
        let mut scope_grants = vec![ScopeGrant {
            scope: "users:resetPassword".to_owned(),
            permission: "users:resetPassword".to_owned(),
            own_only: false,
            subject_types: Vec::new(),
        }];
        let own = ["admin", "family", "educator", "healthprofessional"].map(str::to_owned).to_vec();
        scope_grants.extend(UPDATE_SCOPES.map(|scope| ScopeGrant {
            scope: scope.to_owned(),
            permission: "users:changePassword".to_owned(),
            own_only: true,
            subject_types: own.clone(),
        }));
        self.tenant(Tenant {
            tenant_id: "ocariot".to_owned(),
            display_name: "Demo of the dialect ocariot".to_owned(),
            aliases: vec![alias("ocariot", "default")],
            change_password_allowed: true,
            user_policy: Some(policy(PolicyPreset::Ocariot)),
            jwt_issuers: vec![JwtIssuer {
                issuer: ISSUER.to_owned(),
                public_key_pem: issuer.public_key_pem().to_owned(),
                scope_grants,
                audience: String::new(),
            }],
            ..Tenant::default()
        })
        .await?;
        self.user("ocariot", &values.ocariot_user_id, &values.ocariot_username, &values.ocariot_password).await
    }

    /// A user, and a caller that signs.
    async fn licensespring(&self, values: &Values) -> Result<(), Failure> {
        self.tenant(Tenant {
            tenant_id: "licensespring".to_owned(),
            display_name: "Demo of the dialect licensespring".to_owned(),
            aliases: vec![alias("licensespring", "demo")],
            change_password_allowed: true,
            user_policy: Some(policy(PolicyPreset::Licensespring)),
            ..Tenant::default()
        })
        .await?;
        self.user("licensespring", "user01", &values.licensespring_username, &values.licensespring_password).await?;
        self.caller("licensespring", &["users:changePassword"]).await?;
        let key = CreateSigningKeyRequest {
            tenant_id: "licensespring".to_owned(),
            caller_id: PORTAL.to_owned(),
            api_key: values.licensespring_api_key.clone(),
            shared_key: values.licensespring_shared_key.clone(),
            expire_time: None,
            read_only: false,
            ..Default::default()
        };
        done("signing key", CallerServiceClient::new(self.channel.clone()).create_signing_key(self.request(key)).await)
    }

    /// A device, and a caller that resets and reads it.
    async fn roma(&self, values: &Values) -> Result<(), Failure> {
        let instance = format!("{}/{}", values.roma_project_id, values.roma_instance_id);
        self.tenant(Tenant {
            tenant_id: "roma".to_owned(),
            display_name: "Demo of the dialect roma".to_owned(),
            aliases: vec![alias("roma", &instance), alias("roma", "default/default")],
            device_policy: Some(policy(PolicyPreset::Roma)),
            ..Tenant::default()
        })
        .await?;
        let device = CreateDeviceRequest {
            tenant_id: "roma".to_owned(),
            device_id: values.roma_device_id.clone(),
            user_name: values.roma_user_name.clone(),
            secret_source: Some(create_device_request::SecretSource::Password(values.roma_password.clone())),
            ..Default::default()
        };
        done("device", DeviceServiceClient::new(self.channel.clone()).create_device(self.request(device)).await)?;
        self.caller("roma", &["devices:resetAuthentication", "devices:revealAuthentication"]).await?;
        self.token("roma", &values.roma_token).await
    }

    async fn tenant(&self, tenant: Tenant) -> Result<(), Failure> {
        let request = self.request(CreateTenantRequest { tenant: Some(tenant), ..Default::default() });
        done("tenant", TenantServiceClient::new(self.channel.clone()).create_tenant(request).await)
    }

    async fn user(&self, tenant: &str, id: &str, username: &str, password: &str) -> Result<(), Failure> {
        let user = CreateUserRequest {
            tenant_id: tenant.to_owned(),
            user_id: id.to_owned(),
            username: username.to_owned(),
            secret_source: Some(create_user_request::SecretSource::Password(password.to_owned())),
            ..CreateUserRequest::default()
        };
        done("user", UserServiceClient::new(self.channel.clone()).create_user(self.request(user)).await)
    }

    async fn caller(&self, tenant: &str, permissions: &[&str]) -> Result<(), Failure> {
        let caller = CreateCallerRequest {
            tenant_id: tenant.to_owned(),
            caller_id: PORTAL.to_owned(),
            display_name: "The demo's caller".to_owned(),
            permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        done("caller", CallerServiceClient::new(self.channel.clone()).create_caller(self.request(caller)).await)
    }

    async fn token(&self, tenant: &str, token: &str) -> Result<(), Failure> {
        let token = CreateApiTokenRequest {
            tenant_id: tenant.to_owned(),
            caller_id: PORTAL.to_owned(),
            token: token.to_owned(),
            expire_time: None,
            ..Default::default()
        };
        done("token", CallerServiceClient::new(self.channel.clone()).create_api_token(self.request(token)).await)
    }
}

fn alias(dialect: &str, name: &str) -> TenantAlias {
    TenantAlias { dialect: dialect.to_owned(), alias: name.to_owned() }
}

fn policy(preset: PolicyPreset) -> SecretPolicy {
    SecretPolicy { preset: preset.into(), ..SecretPolicy::default() }
}

fn done<T>(what: &str, answer: Result<Response<T>, Status>) -> Result<(), Failure> {
    match answer {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        Err(status) => {
            let sentence = format!("cannot make a demo {what}: {:?}: {}", status.code(), status.message());
            Err(Failure::new(Exit::Failed, sentence))
        }
    }
}
