//! Calls made from the descriptors, so that no method is forgotten: bytes out, bytes in.

#![expect(clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use rekey::{
    access::Access,
    api::rules,
    proto::{
        AtLimit, BytesCodec, CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest, CreateIntegrationRequest,
        CreateSigningKeyRequest, CreateUserRequest, DESCRIPTORS, DeleteDeviceRequest, DeleteIntegrationRequest,
        ResetAuthenticationRequest, ResetIntegrationRequest, ResetManyRequest, RotateSigningKeyRequest, SecretPolicy,
        Tenant, create_device_request, create_integration_request, create_user_request, reset_authentication_request,
    },
};
use tonic::{Request, Status, metadata::MetadataMap, transport::Channel};

use crate::common::rekey::Rekey;

/// Good under every preset.
pub(crate) const PASSWORD: &str = "Long-enough-Phrase-42";

/// Of a key that nobody has kept.
pub(crate) const PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEANmT1ikPv+tYz8VH2e2QO0vnpFu5Wt+ILqOIrkppyQ1A=\n\
-----END PUBLIC KEY-----\n\
";

/// A method of the API.
#[derive(Clone)]
pub(crate) struct Method {
    pub(crate) descriptor: MethodDescriptor,
    pub(crate) path: String,
    pub(crate) access: Access,
}

impl Method {
    /// A request that breaks no rule, about what [`furnish`] made.
    pub(crate) fn request(&self, tenant: &str) -> DynamicMessage {
        let mut request = good(&self.descriptor.input(), tenant);
        if self.descriptor.name() == "DeleteTenant" {
            request.set_field_by_name("force", Value::Bool(true));
        }
        // What changes many at once has to be looked at first.
        if self.changes_many() {
            request.set_field_by_name("validate_only", Value::Bool(true));
        }
        // What was made has one version, which is in force.
        if self.descriptor.input().get_field_by_name("allow_last").is_some() {
            request.set_field_by_name("allow_last", Value::Bool(true));
        }
        request
    }

    /// Whether it begins a job.
    pub(crate) fn changes_many(&self) -> bool {
        self.descriptor.is_server_streaming() && self.descriptor.input().get_field_by_name("confirmation").is_some()
    }

    /// Whether its request names a tenant.
    pub(crate) fn names_tenant(&self) -> bool {
        self.descriptor.input().get_field_by_name("tenant_id").is_some()
    }
}

/// A message with what is required, and the first member of each oneof.
pub(crate) fn good(descriptor: &MessageDescriptor, tenant: &str) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if descriptor.full_name() == "google.protobuf.FieldMask" {
        // What everything has that can be updated.
        message.set_field_by_name("paths", Value::List(vec![Value::String("labels".to_owned())]));
    }
    for field in descriptor.fields() {
        let first = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let first = first.and_then(|oneof| oneof.fields().next());
        if is_required(&field) || first.as_ref() == Some(&field) {
            let value = match field.kind() {
                Kind::Message(inner) => Value::Message(good(&inner, tenant)),
                Kind::Enum(_) => Value::EnumNumber(1),
                Kind::Int64 => Value::I64(1),
                Kind::Bytes => Value::Bytes(Bytes::copy_from_slice(value(field.name(), tenant).as_bytes())),
                _ => Value::String(value(field.name(), tenant).to_owned()),
            };
            let value = if field.is_list() { Value::List(vec![value]) } else { value };
            message.set_field(&field, value);
        }
    }
    message
}

fn value<'a>(field: &str, tenant: &'a str) -> &'a str {
    match field {
        "tenant_id" => tenant,
        "user_id" => "ada",
        "device_id" => "cam",
        "integration_id" => "mdm",
        "caller_id" => "svc",
        "token_id" | "job_id" => "unknown",
        "api_key" => "a-key-of-svc",
        "username" | "user_name" => "somebody",
        "password" | "current_password" | "new_password" => PASSWORD,
        "dialect" => "ocariot",
        "alias" => "somewhere",
        "name" => "somewhere.read",
        "issuer" => "https://issuer.example",
        "public_key_pem" => PUBLIC_KEY,
        "scope" | "scopes" => "users",
        "permission" => "users:get",
        "method" => "rekey.v1.UserService/GetUser",
        "client_id" => "a-key-of-nobody",
        "client_secret" | "access_key" => "a key of nobody",
        "date" => "20260101T000000Z",
        "signature" => "ab",
        "canonical_request" => "GET",
        _ => panic!("no value for the field {field}"),
    }
}

/// Whether a request must have it.
pub(crate) fn is_required(field: &FieldDescriptor) -> bool {
    let extension = DESCRIPTORS.get_extension_by_name("google.api.field_behavior").unwrap();
    let required = DESCRIPTORS.get_enum_by_name("google.api.FieldBehavior").unwrap();
    let required = required.get_value_by_name("REQUIRED").unwrap().number();
    let options = field.options();
    let behaviours = options.get_extension(&extension);
    behaviours.as_list().is_some_and(|list| list.contains(&Value::EnumNumber(required)))
}

/// Every method of `rekey.v1`.
pub(crate) fn methods() -> Vec<Method> {
    let services = DESCRIPTORS.services().filter(|service| service.package_name() == "rekey.v1");
    let methods: Vec<_> = services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .filter(|descriptor| !descriptor.is_client_streaming())
        .map(|descriptor| {
            let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
            let access = rules::of(&path).unwrap_or_else(|| panic!("{path} has no rule")).access;
            Method { descriptor, path, access }
        })
        .collect();
    assert!(methods.len() > 20, "only {} methods", methods.len());
    methods
}

/// A tenant of this id with all that [`Method::request`] names.
pub(crate) async fn furnish(rekey: &Rekey, tenant: &str) {
    let tenant_id = || tenant.to_owned();
    // So that a password may be set again by whose it is.
    let user_policy = Some(SecretPolicy { reset_must_change: Some(false), ..SecretPolicy::default() });
    let made = Tenant { tenant_id: tenant_id(), change_password_allowed: true, user_policy, ..Tenant::default() };
    rekey.make_tenant(made).await;
    make_user(rekey, tenant).await;
    make_device(rekey, tenant).await;
    make_integration(rekey, tenant).await;
    make_caller(rekey, tenant).await;
}

/// Brings what [`furnish`] made into the state that a method asks for.
pub(crate) async fn prepare(rekey: &Rekey, method: &Method, tenant: &str) {
    let name = method.descriptor.name();
    let pending = name.starts_with("Promote");
    if !pending && !name.starts_with("RollBack") && !name.starts_with("Swap") {
        return;
    }
    let (text, at_limit) = (str::to_owned, AtLimit::DropOldest.into());
    let overlap = (!pending).then_some(prost_types::Duration { seconds: 60, nanos: 0 });
    let tenant_id = text(tenant);
    if name.contains("Credential") {
        let (caller_id, api_key) = (text("svc"), format!("a-key-of-svc-of-{tenant}"));
        let rotate =
            RotateSigningKeyRequest { tenant_id, caller_id, api_key, overlap, pending, at_limit, ..Default::default() };
        rekey.admin().callers.rotate_signing_key(rotate).await.unwrap();
    } else if name.contains("Integration") {
        let integration_id = text("mdm");
        let reset =
            ResetIntegrationRequest { tenant_id, integration_id, overlap, pending, at_limit, ..Default::default() };
        rekey.admin().integrations.reset_integration(reset).await.unwrap();
    } else {
        let secret_source = Some(reset_authentication_request::SecretSource::Password(text(PASSWORD)));
        let device_id = text("cam");
        let reset = ResetAuthenticationRequest {
            tenant_id,
            device_id,
            secret_source,
            overlap,
            pending,
            at_limit,
            ..Default::default()
        };
        rekey.admin().devices.reset_authentication(reset).await.unwrap();
    }
}

/// Undoes what a call of a method did to what [`furnish`] made.
pub(crate) async fn mend(rekey: &Rekey, method: &Method, tenant: &str) {
    let undone = [("Lock", "Unlock"), ("Disable", "Enable")];
    let undone = undone.into_iter().find(|(verb, _)| method.descriptor.name().starts_with(verb));
    if let Some((verb, other)) = undone {
        let path = method.path.replace(&format!("/{verb}"), &format!("/{other}"));
        let message = method.request(tenant).encode_to_vec();
        call(rekey.channel(), &path, &bearer(&rekey.admin_token), message).await.unwrap();
    }
    match method.descriptor.name() {
        "DeleteTenant" => furnish(rekey, tenant).await,
        "DeleteUser" => make_user(rekey, tenant).await,
        "DeleteDevice" => make_device(rekey, tenant).await,
        "DeleteIntegration" => make_integration(rekey, tenant).await,
        "DeleteCaller" => make_caller(rekey, tenant).await,
        "RevokeSecret" => {
            let (tenant_id, device_id) = (tenant.to_owned(), "cam".to_owned());
            let delete = DeleteDeviceRequest { tenant_id, device_id, ..DeleteDeviceRequest::default() };
            rekey.admin().devices.delete_device(delete).await.unwrap();
            make_device(rekey, tenant).await;
        }
        "RevokeIntegrationSecret" => {
            let (tenant_id, integration_id) = (tenant.to_owned(), "mdm".to_owned());
            let delete = DeleteIntegrationRequest { tenant_id, integration_id, ..DeleteIntegrationRequest::default() };
            rekey.admin().integrations.delete_integration(delete).await.unwrap();
            make_integration(rekey, tenant).await;
        }
        _ => {}
    }
}

/// Resets every device of a tenant by a job, and returns that once it has ended.
pub(crate) async fn reset_all(rekey: &Rekey, tenant: &str) -> String {
    let mut devices = rekey.admin().devices;
    let request = ResetManyRequest { tenant_id: tenant.to_owned(), ..ResetManyRequest::default() };
    let look = ResetManyRequest { validate_only: true, ..request.clone() };
    let mut answers = devices.reset_many(look).await.unwrap().into_inner();
    let confirmation = answers.message().await.unwrap().unwrap().plan.unwrap().confirmation;
    let mut answers = devices.reset_many(ResetManyRequest { confirmation, ..request }).await.unwrap().into_inner();
    let mut job_id = String::new();
    while let Some(answer) = answers.message().await.unwrap() {
        job_id = answer.job.unwrap().job_id;
    }
    job_id
}

async fn make_user(rekey: &Rekey, tenant: &str) {
    let text = str::to_owned;
    let user = CreateUserRequest {
        tenant_id: text(tenant),
        user_id: text("ada"),
        username: text("ada@acme.example"),
        secret_source: Some(create_user_request::SecretSource::Password(text(PASSWORD))),
        ..CreateUserRequest::default()
    };
    rekey.admin().users.create_user(user).await.unwrap();
}

async fn make_device(rekey: &Rekey, tenant: &str) {
    let text = str::to_owned;
    let device = CreateDeviceRequest {
        tenant_id: text(tenant),
        device_id: text("cam"),
        user_name: text("cam-1"),
        secret_source: Some(create_device_request::SecretSource::Password(text(PASSWORD))),
        ..Default::default()
    };
    rekey.admin().devices.create_device(device).await.unwrap();
}

async fn make_integration(rekey: &Rekey, tenant: &str) {
    let text = str::to_owned;
    let integration = CreateIntegrationRequest {
        tenant_id: text(tenant),
        integration_id: text("mdm"),
        secret_source: Some(create_integration_request::SecretSource::Password(text(PASSWORD))),
        ..CreateIntegrationRequest::default()
    };
    rekey.admin().integrations.create_integration(integration).await.unwrap();
}

async fn make_caller(rekey: &Rekey, tenant: &str) {
    let (text, tenant_id) = (str::to_owned, || tenant.to_owned());
    let mut admin = rekey.admin();
    let caller =
        CreateCallerRequest { tenant_id: tenant_id(), caller_id: text("svc"), ..CreateCallerRequest::default() };
    admin.callers.create_caller(caller).await.unwrap();
    let key = CreateSigningKeyRequest {
        tenant_id: tenant_id(),
        caller_id: text("svc"),
        api_key: format!("a-key-of-svc-of-{tenant}"),
        ..CreateSigningKeyRequest::default()
    };
    admin.callers.create_signing_key(key).await.unwrap();
    let token =
        CreateApiTokenRequest { tenant_id: tenant_id(), caller_id: text("svc"), ..CreateApiTokenRequest::default() };
    admin.callers.create_api_token(token).await.unwrap();
}

/// Metadata with one header.
pub(crate) fn header(name: &'static str, value: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert(name, value.parse().unwrap());
    metadata
}

/// Metadata with a token.
pub(crate) fn bearer(token: &str) -> MetadataMap {
    header("authorization", &format!("Bearer {token}"))
}

/// Calls a method with these bytes as its message.
pub(crate) async fn call(
    channel: Channel,
    path: &str,
    metadata: &MetadataMap,
    message: impl Into<Bytes>,
) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new(message.into());
    *request.metadata_mut() = metadata.clone();
    let path = path.parse().unwrap();
    client.unary(request, path, BytesCodec).await.map(tonic::Response::into_inner)
}
