//! The demo tenants, made through the API as anybody would make them. Everything has a name of its own and every secret
//! is given, so that a second attempt finds what the first one made: `ALREADY_EXISTS` is as good as done.

use std::{collections::BTreeMap, path::Path};

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
    TokenAlgorithm, TokenIssuer, TokenScopes, WhoAmIRequest, caller_service_client::CallerServiceClient,
    create_device_request, create_integration_request, create_user_request, device_service_client::DeviceServiceClient,
    integration_service_client::IntegrationServiceClient, tenant_service_client::TenantServiceClient,
    user_service_client::UserServiceClient,
};

const PORTAL: &str = "portal";
const UPDATE_SCOPES: [&str; 5] =
    ["educators:update", "families:update", "children:update", "healthprofessionals:update", "applications:update"];

/// Makes the tenants, what is in them, and their callers.
pub(super) async fn sow(service: &Endpoint, values: &Values, issuer: &Issuer) -> Result<(), Failure> {
    let seeder = Seeder::connect(service, values).await?;
    seeder.gateway(values).await?;
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

    /// The gateway's own caller: it may ask who signed a request.
    async fn gateway(&self, values: &Values) -> Result<(), Failure> {
        self.caller("system", &["tokens:exchangeSignature"]).await?;
        self.token("system", &values.rekey_gateway_token).await
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

    /// A user who gets tokens, and an issuer whose administrators and owners come with JWTs.
    async fn ocariot(&self, values: &Values, issuer: &Issuer) -> Result<(), Failure> {
        let grant = |name: &str| ScopeGrant {
            scope: name.to_owned(),
            permission: name.to_owned(),
            own_only: false,
            subject_types: Vec::new(),
        };
        let mut scope_grants = vec![grant("users:resetPassword"), grant("users:delete")];
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
            token_issuer: Some(token_issuer(scope_grants.clone())),
            jwt_issuers: vec![JwtIssuer {
                issuer: ISSUER.to_owned(),
                public_key_pem: issuer.public_key_pem().to_owned(),
                scope_grants,
                audience: String::new(),
                ..Default::default()
            }],
            ..Tenant::default()
        })
        .await?;
        let labels = [("sub_type".to_owned(), "educator".to_owned())].into();
        let (username, password) = (&values.ocariot_username, &values.ocariot_password);
        self.labelled_user("ocariot", &values.ocariot_user_id, username, password, labels).await
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
        self.signing_key("licensespring", &values.licensespring_api_key, &values.licensespring_shared_key).await
    }

    /// A device and a product, and a caller that resets and reads them.
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
        let product = format!("product.{}", values.roma_product_id);
        let names = [(&values.roma_device_id, values.roma_user_name.as_str()), (&product, "product01")];
        for (device_id, user_name) in names {
            let device = CreateDeviceRequest {
                tenant_id: "roma".to_owned(),
                device_id: device_id.clone(),
                user_name: user_name.to_owned(),
                secret_source: Some(create_device_request::SecretSource::Password(values.roma_password.clone())),
                ..Default::default()
            };
            done("device", DeviceServiceClient::new(self.channel.clone()).create_device(self.request(device)).await)?;
        }
        self.caller("roma", &["devices:resetAuthentication", "devices:revealAuthentication"]).await?;
        self.token("roma", &values.roma_token).await?;
        self.signing_key("roma", &values.roma_ak, &values.roma_sk).await
    }

    async fn signing_key(&self, tenant: &str, api_key: &str, shared_key: &str) -> Result<(), Failure> {
        let key = CreateSigningKeyRequest {
            tenant_id: tenant.to_owned(),
            caller_id: PORTAL.to_owned(),
            api_key: api_key.to_owned(),
            shared_key: shared_key.to_owned(),
            ..Default::default()
        };
        done("signing key", CallerServiceClient::new(self.channel.clone()).create_signing_key(self.request(key)).await)
    }

    async fn tenant(&self, tenant: Tenant) -> Result<(), Failure> {
        let request = self.request(CreateTenantRequest { tenant: Some(tenant), ..Default::default() });
        done("tenant", TenantServiceClient::new(self.channel.clone()).create_tenant(request).await)
    }

    async fn user(&self, tenant: &str, id: &str, username: &str, password: &str) -> Result<(), Failure> {
        self.labelled_user(tenant, id, username, password, BTreeMap::new()).await
    }

    async fn labelled_user(
        &self,
        tenant: &str,
        id: &str,
        username: &str,
        password: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        let user = CreateUserRequest {
            labels,
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

/// As `ocariot` has it: RS256, a day, the scopes of each type of user.
fn token_issuer(scope_grants: Vec<ScopeGrant>) -> TokenIssuer {
    let of_type = |subject_type: &str, scopes: &[&str]| TokenScopes {
        subject_type: subject_type.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    };
    let admin = [["users:delete", "users:resetPassword"].as_slice(), &UPDATE_SCOPES].concat();
    TokenIssuer {
        issuer: "ocariot".to_owned(),
        algorithm: TokenAlgorithm::Rs256.into(),
        ttl: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        audience: String::new(),
        subject_type_label: "sub_type".to_owned(),
        scopes: vec![
            of_type("admin", &admin),
            of_type("educator", &["educators:update"]),
            of_type("healthprofessional", &["healthprofessionals:update"]),
            of_type("family", &["families:update"]),
        ],
        scope_grants,
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
