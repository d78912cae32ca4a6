//! `roma`: device authentication of ROMA Connect LINK. A reset sets a device's user name, its password, or both; where
//! neither is given, it makes a password.

use std::collections::BTreeMap;

use http::{Method, StatusCode, header::AUTHORIZATION};
use serde::Serialize;
use serde_json::Value;

use super::{Unreadable, json_body, refuse};
use crate::{
    gateway::{
        exchange::{Answer, Exchange, allowing, json, retrying},
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

const TEMPLATE: &str = "/v2/{project_id}/link/instances/{instance_id}/devices/{device_id}/authentication";

#[derive(Debug)]
pub(in crate::gateway) enum Route {
    Device { operation: Operation, path: Path },
    OtherMethod,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) enum Operation {
    Reset,
    Show,
}

/// The path's variables, decoded; `None` where that cannot be done.
#[derive(Debug)]
pub(in crate::gateway) struct Path {
    project: Option<String>,
    instance: Option<String>,
    device: Option<String>,
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
        let ["instances", instance, "devices", device, "authentication"] = rest else { return Some(Self::Unknown) };
        let operation = match *method {
            Method::PUT => Operation::Reset,
            Method::GET => Operation::Show,
            _ => return Some(Self::OtherMethod),
        };
        let [project, instance, device] = [project, instance, device].map(|raw| path::decode(raw));
        Some(Self::Device { operation, path: Path { project, instance, device } })
    }

    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Device { .. } | Self::OtherMethod => TEMPLATE,
            Self::Unknown => "/v2/{project_id}/link/…",
        }
    }

    pub(super) async fn answer(self, exchange: Exchange) -> Answer {
        let id = exchange.request_id.clone();
        // Not documented for this service; the code of the vendor's front gateway for a route that it does not have.
        let no_api = |status| Error::new(status, "APIG.0101", "The API does not exist").answer(&id);
        match self {
            Self::Device { operation, path } => match device(operation, &path, exchange).await {
                Ok(authentication) => json(StatusCode::OK, &authentication),
                Err(error) => error.answer(&id),
            },
            Self::OtherMethod => allowing(no_api(StatusCode::METHOD_NOT_ALLOWED), "GET, PUT"),
            Self::Unknown => no_api(StatusCode::NOT_FOUND),
        }
    }
}

async fn device(operation: Operation, path: &Path, mut exchange: Exchange) -> Result<Authentication, Error> {
    let headers = exchange.headers();
    if !headers.contains_key("x-auth-token") {
        let signed = headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"SDK-HMAC-SHA256"));
        return Err(if signed { unauthenticated("verify aksk signature fail") } else { operation.no_token() });
    }
    let call = exchange.call(&["x-auth-token"]).map_err(|_illegal| operation.no_token())?;
    let failed = |failure: &Failure| error(failure, operation, path);
    let wanted = match operation {
        Operation::Reset => wanted(json_body(&mut exchange).await),
        Operation::Show => Ok(Wanted::default()),
    };
    match target(operation, path).and_then(|target| Ok((target, wanted?))) {
        Ok((target, wanted)) => run(operation, target, wanted, &call).await.map_err(|failure| failed(&failure)),
        Err(refusal) => {
            let device = path.device.as_deref().unwrap_or_default();
            Err(refuse(&call, operation.method(), device, refusal, failed).await)
        }
    }
}

/// The tenant and the device that the path names.
fn target(operation: Operation, path: &Path) -> Result<(String, String), Error> {
    let project = path.project.as_deref().ok_or_else(|| operation.invalid("project_id", "path"))?;
    let instance = path.instance.as_deref().ok_or_else(|| operation.invalid("instance_id", "path"))?;
    let device = path.device.as_deref().filter(|device| is_device(device));
    let device = device.ok_or_else(|| operation.invalid("deviceOid", "path"))?;
    Ok((format!("roma:{project}/{instance}"), device.to_owned()))
}

/// A positive integer of up to 17 digits, written in one way.
fn is_device(id: &str) -> bool {
    (1..=17).contains(&id.len()) && !id.starts_with('0') && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the body of a reset asks for. Empty and `null` are absent; other members are nobody's business.
fn wanted(body: Result<Value, Unreadable>) -> Result<Wanted, Error> {
    let invalid = || Operation::Reset.invalid("body", "body");
    let Value::Object(mut members) = body.map_err(|unreadable| match unreadable {
        Unreadable::NotJson => invalid(),
        Unreadable::TooLarge => Error { status: StatusCode::PAYLOAD_TOO_LARGE, ..invalid() },
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
    let authentication = match operation {
        Operation::Reset => {
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
        Operation::Show => {
            let request = RevealAuthenticationRequest { tenant_id, device_id, ..Default::default() };
            call.wait(client.reveal_authentication(call.request(request))).await?.authentication
        }
    };
    let DeviceAuthentication { user_name, password } = authentication.unwrap_or_default();
    Ok(Authentication { user_name, password })
}

impl Operation {
    fn method(self) -> &'static str {
        match self {
            Self::Reset => "rekey.v1.DeviceService/ResetAuthentication",
            Self::Show => "rekey.v1.DeviceService/RevealAuthentication",
        }
    }

    fn invalid(self, parameter: &str, processor: &str) -> Error {
        let operation = match self {
            Self::Reset => "resetAuthentication",
            Self::Show => "showAuthentication",
        };
        let message = format!(
            "Parameter is not valid for operation [romalink.link-device.{operation}]. \
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
        R::PermissionMissing | R::NotOwnSubject | R::ApiKeyReadOnly | R::RankTooLow => {
            Error::new(StatusCode::FORBIDDEN, "ROMA.00012000", "No permissions to request this method")
        }
        // A project or instance whose name no tenant could have is one that does not exist.
        R::FieldsInvalid if failure.is_about("tenant_id") => no_instance(),
        R::FieldsInvalid | R::PolicyViolated => rules(&broken_rules(failure)),
        R::AlreadyExists => rules("user_name:already in use"),
        R::TenantNotFound => no_instance(),
        R::DeviceNotFound => {
            let device = path.device.as_deref().unwrap_or_default();
            let message = format!("The resource does not exist. Check whether the resource ID {device} is correct.");
            Error::new(StatusCode::NOT_FOUND, "ROMA.00110006", message)
        }
        R::Overloaded | R::RateLimited => Error {
            retry_after: failure.retry_after(),
            ..Error::new(StatusCode::TOO_MANY_REQUESTS, "APIG.0308", "The throttling threshold has been reached")
        },
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
        | R::Indispensable => Error::new(StatusCode::INTERNAL_SERVER_ERROR, "ROMA.00011000", "System error"),
    }
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
