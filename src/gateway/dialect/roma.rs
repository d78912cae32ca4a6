//! `roma`: device authentication of ROMA Connect LINK. A reset sets a device's user name, its password, or both; where
//! neither is given, it makes a password. A product, one secret for a whole model, is a device of ours too, by the name
//! `product.<id>`.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::{
    Unreadable, json_body, refuse,
    signed_request::{self, Refused},
};
use crate::{
    gateway::{
        exchange::{Answer, BodyError, Exchange, allowing, json, retrying},
        failure::Failure,
        path,
        request_id::RequestId,
        upstream::Call,
    },
    proto::{
        DeviceAuthentication, ErrorReason as R, GenerateSecret, ResetAuthenticationRequest,
        RevealAuthenticationRequest, device_service_client::DeviceServiceClient,
        reset_authentication_request::SecretSource,
    },
};

const DEVICE: &str = "/v2/{project_id}/link/instances/{instance_id}/devices/{device_id}/authentication";
const PRODUCT: &str = "/v2/{project_id}/link/instances/{instance_id}/products/{product_id}/authentication";

#[derive(Debug)]
pub(in crate::gateway) enum Route {
    Authentication { operation: Operation, path: Path },
    OtherMethod(Noun),
    Unknown,
}

/// What is done to what.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) struct Operation {
    verb: Verb,
    noun: Noun,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Reset,
    Show,
}

/// Whose secret it is.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) enum Noun {
    Device,
    Product,
}

/// The path's variables, decoded; `None` where that cannot be done.
#[derive(Debug)]
pub(in crate::gateway) struct Path {
    project: Option<String>,
    instance: Option<String>,
    id: Option<String>,
}

/// What a reset asks for; `None`: kept.
#[derive(Default)]
struct Wanted {
    user_name: Option<String>,
    password: Option<String>,
}

impl Route {
    pub(super) fn find(method: &Method, segments: &[&str]) -> Option<Self> {
        let ["v2", project, "link", rest @ ..] = segments else { return None };
        let (noun, instance, id) = match rest {
            ["instances", instance, "devices", id, "authentication"] => (Noun::Device, instance, id),
            ["instances", instance, "products", id, "authentication"] => (Noun::Product, instance, id),
            _ => return Some(Self::Unknown),
        };
        let verb = match *method {
            Method::PUT => Verb::Reset,
            Method::GET => Verb::Show,
            _ => return Some(Self::OtherMethod(noun)),
        };
        let [project, instance, id] = [project, instance, id].map(|raw| path::decode(raw));
        Some(Self::Authentication { operation: Operation { verb, noun }, path: Path { project, instance, id } })
    }

    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Authentication { operation: Operation { noun: Noun::Device, .. }, .. }
            | Self::OtherMethod(Noun::Device) => DEVICE,
            Self::Authentication { .. } | Self::OtherMethod(Noun::Product) => PRODUCT,
            Self::Unknown => "/v2/{project_id}/link/…",
        }
    }

    pub(super) async fn answer(self, exchange: Exchange) -> Answer {
        let id = exchange.request_id.clone();
        // Not documented for this service; the code of the vendor's front gateway for a route that it does not have.
        let no_api = |status| Error::new(status, "APIG.0101", "The API does not exist").answer(&id);
        match self {
            Self::Authentication { operation, path } => match authentication(operation, &path, exchange).await {
                Ok(authentication) => json(StatusCode::OK, &authentication),
                Err(error) => error.answer(&id),
            },
            Self::OtherMethod(_) => allowing(no_api(StatusCode::METHOD_NOT_ALLOWED), "GET, PUT"),
            Self::Unknown => no_api(StatusCode::NOT_FOUND),
        }
    }
}

async fn authentication(operation: Operation, path: &Path, mut exchange: Exchange) -> Result<Authentication, Error> {
    let failed = |failure: &Failure| error(failure, operation, path);
    // A token that is sent counts alone, whatever else there is.
    let call = if exchange.headers().contains_key("x-auth-token") {
        exchange.call(&["x-auth-token"]).map_err(|_illegal| operation.no_token())?
    } else if signed_request::is_signed(&exchange) {
        signed_request::call(&mut exchange).await.map_err(|refused| match refused {
            Refused::Signature => unauthenticated("verify aksk signature fail"),
            Refused::Body(BodyError::TooLarge) => too_large(operation),
            Refused::Body(BodyError::Incomplete) => operation.invalid("body", "body"),
            Refused::Service(failure) => not_asked(&failure),
        })?
    } else {
        return Err(operation.no_token());
    };
    let wanted = match operation.verb {
        Verb::Reset => wanted(operation, json_body(&mut exchange).await),
        Verb::Show => Ok(Wanted::default()),
    };
    match target(operation, path).and_then(|target| Ok((target, wanted?))) {
        Ok((target, wanted)) => run(operation, target, wanted, &call).await.map_err(|failure| failed(&failure)),
        Err(refusal) => {
            let subject = operation.noun.device_id(path.id.as_deref().unwrap_or_default());
            Err(refuse(&call, operation.method(), &subject, refusal, failed).await)
        }
    }
}

/// The tenant and the device that the path names.
fn target(operation: Operation, path: &Path) -> Result<(String, String), Error> {
    let project = path.project.as_deref().ok_or_else(|| operation.invalid("project_id", "path"))?;
    let instance = path.instance.as_deref().ok_or_else(|| operation.invalid("instance_id", "path"))?;
    let id = path.id.as_deref().filter(|id| is_number(id));
    let id = id.ok_or_else(|| operation.invalid(operation.noun.parameter(), "path"))?;
    Ok((format!("roma:{project}/{instance}"), operation.noun.device_id(id)))
}

/// A positive integer of up to 17 digits, written in one way.
fn is_number(id: &str) -> bool {
    (1..=17).contains(&id.len()) && !id.starts_with('0') && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the body of a reset asks for. Empty and `null` are absent; other members are nobody's business.
fn wanted(operation: Operation, body: Result<Value, Unreadable>) -> Result<Wanted, Error> {
    let invalid = || operation.invalid("body", "body");
    let Value::Object(mut members) = body.map_err(|unreadable| match unreadable {
        Unreadable::NotJson => invalid(),
        Unreadable::TooLarge => too_large(operation),
    })?
    else {
        return Err(invalid());
    };
    let mut text = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(invalid()),
    };
    Ok(Wanted { user_name: text("user_name")?, password: text("password")? })
}

async fn run(
    operation: Operation,
    (tenant_id, device_id): (String, String),
    wanted: Wanted,
    call: &Call,
) -> Result<Authentication, Failure> {
    let mut client = DeviceServiceClient::new(call.channel());
    let authentication = match operation.verb {
        Verb::Reset => {
            let Wanted { user_name, password } = wanted;
            // To show a password that is kept is a right of its own, asked for only where one is kept.
            let return_current_password = user_name.is_some() && password.is_none();
            let generate = (user_name.is_none() && password.is_none()).then(GenerateSecret::default);
            let secret_source = password.map(SecretSource::Password).or(generate.map(SecretSource::Generate));
            let request = ResetAuthenticationRequest {
                tenant_id,
                device_id,
                user_name,
                secret_source,
                return_current_password,
                ..Default::default()
            };
            call.wait(client.reset_authentication(call.request(request))).await?.authentication
        }
        Verb::Show => {
            let request = RevealAuthenticationRequest { tenant_id, device_id, ..Default::default() };
            call.wait(client.reveal_authentication(call.request(request))).await?.authentication
        }
    };
    let DeviceAuthentication { user_name, password } = authentication.unwrap_or_default();
    Ok(Authentication { user_name, password })
}

impl Noun {
    /// The device of ours that it is.
    fn device_id(self, id: &str) -> String {
        match self {
            Self::Device => id.to_owned(),
            Self::Product => format!("product.{id}"),
        }
    }

    /// As the original names the parameter; of products by analogy.
    fn parameter(self) -> &'static str {
        match self {
            Self::Device => "deviceOid",
            Self::Product => "productOid",
        }
    }
}

impl Operation {
    fn method(self) -> &'static str {
        match self.verb {
            Verb::Reset => "rekey.v1.DeviceService/ResetAuthentication",
            Verb::Show => "rekey.v1.DeviceService/RevealAuthentication",
        }
    }

    fn invalid(self, parameter: &str, processor: &str) -> Error {
        let operation = match (self.noun, self.verb) {
            (Noun::Device, Verb::Reset) => "link-device.resetAuthentication",
            (Noun::Device, Verb::Show) => "link-device.showAuthentication",
            // By analogy.
            (Noun::Product, Verb::Reset) => "link-product.resetAuthentication",
            (Noun::Product, Verb::Show) => "link-product.showAuthentication",
        };
        let message = format!(
            "Parameter is not valid for operation [romalink.{operation}]. \
             Parameter is [{parameter}]. Processor is [{processor}]."
        );
        Error::new(StatusCode::BAD_REQUEST, "SCB.00000000", message)
    }

    fn no_token(self) -> Error {
        self.invalid("X-Auth-Token", "header")
    }
}

#[derive(Serialize)]
struct Authentication {
    user_name: String,
    password: String,
}

struct Error {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    error_code: &'a str,
    error_msg: &'a str,
    request_id: &'a str,
}

impl Error {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    fn answer(&self, id: &RequestId) -> Answer {
        let body = Body { error_code: self.code, error_msg: &self.message, request_id: id.as_str() };
        retrying(json(self.status, &body), self.retry_after)
    }
}

fn error(failure: &Failure, operation: Operation, path: &Path) -> Error {
    let rules = |rules: &str| {
        let message = format!("The parameter does not meet verification rules: [{rules}]");
        Error::new(StatusCode::BAD_REQUEST, "ROMA.00110001", message)
    };
    let no_instance = || {
        let [project, instance] = [&path.project, &path.instance].map(|text| text.as_deref().unwrap_or_default());
        let message = format!("The instance does not exist. project_id: {project}, instance_id: {instance}");
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, "ROMA.00110002", message)
    };
    match failure.reason {
        // A signature over the date is, here, no token at all.
        R::CredentialMissing
        | R::SignatureHeadersMissing
        | R::SignatureMalformed
        | R::SignatureParametersMissing
        | R::SignatureAlgorithmUnsupported
        | R::SignatureDateSkewed
        | R::ApiKeyUnknown
        | R::ApiKeyRevoked
        | R::SignatureMismatch => operation.no_token(),
        R::CredentialInvalid => unauthenticated("decrypt token fail"),
        R::CredentialExpired => {
            unauthenticated(&format!("token expires, expires_at: {}", failure.metadata("expire_time")))
        }
        R::PermissionMissing | R::NotOwnSubject | R::ApiKeyReadOnly | R::RankTooLow | R::AuthenticationTooOld => {
            Error::new(StatusCode::FORBIDDEN, "ROMA.00012000", "No permissions to request this method")
        }
        // A project or instance whose name no tenant could have is one that does not exist.
        R::FieldsInvalid if failure.is_about("tenant_id") => no_instance(),
        R::FieldsInvalid | R::PolicyViolated => rules(&broken_rules(failure)),
        R::AlreadyExists => rules("user_name:already in use"),
        R::TenantNotFound => no_instance(),
        R::DeviceNotFound => {
            let id = path.id.as_deref().unwrap_or_default();
            let message = format!("The resource does not exist. Check whether the resource ID {id} is correct.");
            Error::new(StatusCode::NOT_FOUND, "ROMA.00110006", message)
        }
        R::Overloaded | R::RateLimited => throttled(failure),
        R::Unspecified
        | R::CurrentPasswordMismatch
        | R::UserNotFound
        | R::IntegrationNotFound
        | R::CallerNotFound
        | R::CredentialNotFound
        | R::ChangePasswordNotAllowed
        | R::SubjectDisabled
        | R::SubjectLocked
        | R::SecretNotSet
        | R::EtagMismatch
        | R::ConcurrentChange
        | R::StoreUnavailable
        | R::OutcomeUnknown
        | R::Internal
        | R::JsonInvalid
        | R::BodyTooLarge
        | R::ContentTypeUnsupported
        | R::RouteNotFound
        | R::MethodNotAllowed
        | R::PathInvalid
        | R::ServiceUnreachable
        | R::RequestIdReused
        | R::PasswordChangeRequired
        | R::LoginRefused
        | R::TenantNotEmpty
        | R::TenantDisabled
        | R::TokenIssuerNotSet
        | R::TookTooLong
        | R::Indispensable
        | R::TwoSecretsLive
        | R::NoPendingSecret
        | R::NoPreviousSecret
        | R::PreviousSecretLive
        | R::LastSecret
        | R::SecretVersionNotFound
        | R::JobNotFound
        | R::ConfirmationNeeded
        | R::MatchesChanged
        | R::OwnCredential => system_error(),
    }
}

/// Whoever signed cannot help it that the service does not say who that is.
fn not_asked(failure: &Failure) -> Error {
    if matches!(failure.reason, R::Overloaded | R::RateLimited) { throttled(failure) } else { system_error() }
}

fn throttled(failure: &Failure) -> Error {
    let message = "The throttling threshold has been reached";
    Error { retry_after: failure.retry_after(), ..Error::new(StatusCode::TOO_MANY_REQUESTS, "APIG.0308", message) }
}

fn system_error() -> Error {
    Error::new(StatusCode::INTERNAL_SERVER_ERROR, "ROMA.00011000", "System error")
}

fn too_large(operation: Operation) -> Error {
    Error { status: StatusCode::PAYLOAD_TOO_LARGE, ..operation.invalid("body", "body") }
}

/// `password:…, user_name:…`: every field that breaks a rule once, by name, with all the rules it breaks.
fn broken_rules(failure: &Failure) -> String {
    let mut rules = BTreeMap::<&str, Vec<&str>>::new();
    for violation in failure.violations() {
        rules.entry(&violation.field).or_default().push(&violation.description);
    }
    let rules: Vec<_> = rules.into_iter().map(|(field, rules)| format!("{field}:{}", rules.join("; "))).collect();
    rules.join(", ")
}

fn unauthenticated(message: &str) -> Error {
    let message = format!("Incorrect IAM authentication information: {message}");
    Error::new(StatusCode::UNAUTHORIZED, "APIG.0301", message)
}
