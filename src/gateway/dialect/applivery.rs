//! `applivery`: the Harmony Mobile integration of an organization. Reset makes a new password and clears what the third
//! party handed over; it is a DELETE that answers with a body.

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::{Unreadable, json_body, refuse, text};
use crate::{
    gateway::{
        exchange::{Answer, Exchange, allowing, json, retrying},
        failure::Failure,
        path,
        upstream::Call,
    },
    proto::{
        CreateIntegrationRequest, ErrorReason as R, IntegrationCredentials, ResetIntegrationRequest,
        RevealIntegrationRequest, UpdateIntegrationRequest, integration_service_client::IntegrationServiceClient,
    },
};

const INTEGRATION: &str = "harmony-mobile";

/// What the third party hands over, in the order of the answers, with the most characters each.
const SETTINGS: [(&str, usize); 3] = [("token", 128), ("portalAccountId", 256), ("gwAddress", 128)];

#[derive(Debug)]
pub(in crate::gateway) enum Route {
    Call { operation: Operation, organization: String },
    OtherMethod { allowed: &'static str },
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) enum Operation {
    Reset,
    Update,
    Reveal,
    Activate,
}

impl Route {
    pub(super) fn find(method: &Method, segments: &[&str]) -> Option<Self> {
        let ["v1", "organizations", rest @ ..] = segments else { return None };
        // A path ends in `/`; without it it is the same.
        let rest = rest.strip_suffix(&[""]).unwrap_or(rest);
        let (operations, organization): (&[_], _) = match rest {
            [organization, "integrations", INTEGRATION] => (
                &[
                    (Method::DELETE, Operation::Reset),
                    (Method::PUT, Operation::Update),
                    (Method::GET, Operation::Reveal),
                ],
                organization,
            ),
            [organization, "integrations", INTEGRATION, "activate"] => {
                (&[(Method::POST, Operation::Activate)], organization)
            }
            _ => return Some(Self::Unknown),
        };
        let operation = operations.iter().find(|(known, _)| known == method).map(|(_, operation)| *operation);
        let allowed = if operations.len() == 1 { "POST" } else { "DELETE, GET, PUT" };
        Some(operation.map_or(Self::OtherMethod { allowed }, |operation| {
            // What cannot be decoded matches no organization either.
            let organization = path::decode(organization).unwrap_or_default();
            Self::Call { operation, organization }
        }))
    }

    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Call { operation: Operation::Reset | Operation::Update | Operation::Reveal, .. } => {
                "/v1/organizations/{organizationId}/integrations/harmony-mobile/"
            }
            Self::Call { operation: Operation::Activate, .. } => {
                "/v1/organizations/{organizationId}/integrations/harmony-mobile/activate"
            }
            Self::OtherMethod { .. } | Self::Unknown => "/v1/organizations/…",
        }
    }

    pub(super) async fn answer(self, mut exchange: Exchange) -> Answer {
        match self {
            Self::Call { operation, organization } => match call(operation, &organization, &mut exchange).await {
                Ok(credentials) => json(StatusCode::OK, &Success { status: true, data: Data::of(credentials) }),
                Err(error) => error.answer(),
            },
            // Not documented; the method is what an entity of this path does not have.
            Self::OtherMethod { allowed } => {
                allowing(error(StatusCode::METHOD_NOT_ALLOWED, 3001, "Method not allowed").answer(), allowed)
            }
            Self::Unknown => NOT_FOUND.answer(),
        }
    }
}

async fn call(
    operation: Operation,
    organization: &str,
    exchange: &mut Exchange,
) -> Result<IntegrationCredentials, Error> {
    let call =
        exchange.call(&["authorization"]).map_err(|_illegal| error(StatusCode::UNAUTHORIZED, 4004, "Invalid Token"))?;
    let method = match operation {
        Operation::Reset => "rekey.v1.IntegrationService/ResetIntegration",
        Operation::Update => "rekey.v1.IntegrationService/UpdateIntegration",
        Operation::Reveal => "rekey.v1.IntegrationService/RevealIntegration",
        Operation::Activate => "rekey.v1.IntegrationService/CreateIntegration",
    };
    let settings = match operation {
        Operation::Update => settings(json_body(exchange).await),
        Operation::Reset | Operation::Reveal | Operation::Activate => Ok(Vec::new()),
    };
    let settings = match settings {
        Ok(_) if !is_organization(organization) => Err(NOT_FOUND),
        settings => settings,
    };
    match settings {
        Ok(settings) => run(operation, organization, settings, &call).await.map_err(|failure| failed(&failure)),
        Err(refusal) => Err(refuse(&call, method, INTEGRATION, refusal, failed).await),
    }
}

async fn run(
    operation: Operation,
    organization: &str,
    settings: Vec<(String, String)>,
    call: &Call,
) -> Result<IntegrationCredentials, Failure> {
    let tenant_id = format!("applivery:{organization}");
    let integration_id = INTEGRATION.to_owned();
    let mut client = IntegrationServiceClient::new(call.channel());
    let credentials = match operation {
        Operation::Reset => {
            let request = ResetIntegrationRequest { tenant_id, integration_id, ..Default::default() };
            call.wait(client.reset_integration(call.request(request))).await?.credentials
        }
        Operation::Update => {
            let settings = settings.into_iter().collect();
            let request = UpdateIntegrationRequest {
                tenant_id,
                integration_id,
                settings,
                return_credentials: true,
                ..Default::default()
            };
            call.wait(client.update_integration(call.request(request))).await?.credentials
        }
        Operation::Reveal => {
            let request = RevealIntegrationRequest { tenant_id, integration_id, ..Default::default() };
            call.wait(client.reveal_integration(call.request(request))).await?.credentials
        }
        Operation::Activate => {
            let request = CreateIntegrationRequest { tenant_id, integration_id, ..Default::default() };
            call.wait(client.create_integration(call.request(request))).await?.credentials
        }
    };
    Ok(credentials.unwrap_or_default())
}

/// `^(([a-fA-F0-9]{24})|([a-zA-Z0-9\-]{3,}))$`, of which the second half holds the first.
fn is_organization(id: &str) -> bool {
    id.len() >= 3 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The settings in the body of an update, or every rule it breaks.
fn settings(body: Result<Value, Unreadable>) -> Result<Vec<(String, String)>, Error> {
    let members = match body {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(Unreadable::NotJson) => return Err(invalid_body(vec![Problem::new("", "must be a JSON object")])),
        Err(Unreadable::TooLarge) => {
            let problems = vec![Problem::new("", "must not be larger than 64 KiB")];
            return Err(Error { status: StatusCode::PAYLOAD_TOO_LARGE, ..invalid_body(problems) });
        }
    };
    let mut settings = Vec::new();
    let mut problems = Vec::new();
    for (name, most) in SETTINGS {
        match (members.contains_key(name), text(&members, name)) {
            (false, _) => problems.push(Problem::new(name, "is required")),
            (true, None) => problems.push(Problem::new(name, "must be a string")),
            (true, Some("")) => problems.push(Problem::new(name, "must not be empty")),
            (true, Some(value)) if value.chars().count() > most => {
                problems.push(Problem::new(name, &format!("must be at most {most} characters")));
            }
            (true, Some(value)) => settings.push((name.to_owned(), value.to_owned())),
        }
    }
    if members.keys().any(|name| SETTINGS.iter().all(|(known, _)| known != name)) {
        problems.push(Problem::new("", "must have no other members"));
    }
    if problems.is_empty() { Ok(settings) } else { Err(invalid_body(problems)) }
}

#[derive(Serialize)]
struct Success {
    status: bool,
    data: Data,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    username: String,
    password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    portal_account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gw_address: Option<String>,
}

impl Data {
    fn of(credentials: IntegrationCredentials) -> Self {
        let IntegrationCredentials { username, password, mut settings } = credentials;
        let mut setting = |name: &str| settings.remove(name);
        let (token, portal_account_id, gw_address) =
            (setting("token"), setting("portalAccountId"), setting("gwAddress"));
        Self { username, password, token, portal_account_id, gw_address }
    }
}

/// An error's code, message, and every rule that the body breaks.
struct Error {
    status: StatusCode,
    code: u16,
    message: &'static str,
    problems: Vec<Problem>,
    retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    status: bool,
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Problems<'a>>,
}

#[derive(Serialize)]
struct Problems<'a> {
    errors: &'a [Problem],
}

#[derive(Serialize)]
struct Problem {
    path: String,
    message: String,
}

const ERRORS: &[(&[R], StatusCode, u16, &str)] = &[
    // Every signature is, here, something other than a Bearer token.
    (
        &[
            R::CredentialMissing,
            R::SignatureHeadersMissing,
            R::SignatureMalformed,
            R::SignatureParametersMissing,
            R::SignatureAlgorithmUnsupported,
            R::SignatureDateSkewed,
            R::ApiKeyUnknown,
            R::ApiKeyRevoked,
            R::SignatureMismatch,
        ],
        StatusCode::UNAUTHORIZED,
        4002,
        "No auth token",
    ),
    (&[R::CredentialInvalid], StatusCode::UNAUTHORIZED, 4004, "Invalid Token"),
    (&[R::CredentialExpired], StatusCode::UNAUTHORIZED, 4005, "Token Expired"),
    (
        &[R::PermissionMissing, R::NotOwnSubject, R::ApiKeyReadOnly, R::AuthenticationTooOld],
        StatusCode::FORBIDDEN,
        4003,
        "Forbidden - You are not allowed to perform this action",
    ),
    (&[R::TenantNotFound, R::IntegrationNotFound], StatusCode::NOT_FOUND, 3001, "Entity not found"),
    (&[R::AlreadyExists, R::EtagMismatch, R::ConcurrentChange], StatusCode::CONFLICT, 5001, "Conflict"),
    (&[R::Overloaded, R::RateLimited], StatusCode::TOO_MANY_REQUESTS, 5003, "Limit Exceeded"),
];

fn failed(failure: &Failure) -> Error {
    if matches!(failure.reason, R::FieldsInvalid | R::PolicyViolated) {
        // An organization whose name no tenant could have is one that does not exist.
        if failure.is_about("tenant_id") {
            return NOT_FOUND;
        }
        let problems = failure.violations().iter().map(|violation| {
            let path = violation.field.strip_prefix("settings[").and_then(|rest| rest.strip_suffix(']'));
            Problem::new(path.unwrap_or(&violation.field), &violation.description)
        });
        return invalid_body(problems.collect());
    }
    let row = ERRORS.iter().find(|(reasons, ..)| reasons.contains(&failure.reason));
    let Some(&(_, status, code, message)) = row else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, 1000, "Internal error");
    };
    let retry_after = failure.retry_after().filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
    Error { retry_after, ..error(status, code, message) }
}

impl Error {
    fn answer(&self) -> Answer {
        let data = (!self.problems.is_empty()).then_some(Problems { errors: &self.problems });
        let envelope = Envelope { status: false, error: Inner { code: self.code, message: self.message, data } };
        retrying(json(self.status, &envelope), self.retry_after)
    }
}

impl Problem {
    fn new(path: &str, message: &str) -> Self {
        Self { path: path.to_owned(), message: message.to_owned() }
    }
}

const NOT_FOUND: Error = error(StatusCode::NOT_FOUND, 3001, "Entity not found");

const fn error(status: StatusCode, code: u16, message: &'static str) -> Error {
    Error { status, code, message, problems: Vec::new(), retry_after: None }
}

fn invalid_body(problems: Vec<Problem>) -> Error {
    Error { problems, ..error(StatusCode::BAD_REQUEST, 3001, "Body Validation Error") }
}
