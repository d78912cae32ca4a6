//! `ocariot`: accounts behind an API gateway. An administrator resets a user's password; a user changes his own.

use std::borrow::Cow;

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Unreadable, json_body, refuse, text};
use crate::{
    gateway::{
        exchange::{Answer, Exchange, allowing, answer, empty, retrying},
        failure::Failure,
        path,
        upstream::Call,
    },
    proto::{
        ChangePasswordRequest, ErrorReason as R, ResetPasswordRequest, change_password_request::Subject,
        reset_password_request::SecretSource, user_service_client::UserServiceClient,
    },
};

const CONTENT_TYPE: &str = "application/json; charset=utf-8";
const OWN_TENANT: &str = "-";

#[derive(Debug)]
pub(in crate::gateway) struct Route {
    operation: Operation,
    user_id: String,
    other_method: bool,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Reset,
    Change,
}

impl Route {
    pub(super) fn find(method: &Method, segments: &[&str]) -> Option<Self> {
        let (operation, user_id) = match segments {
            ["v1", "users", user_id, "reset-password"] => (Operation::Reset, user_id),
            ["v1", "users", user_id, "password"] => (Operation::Change, user_id),
            _ => return None,
        };
        // What cannot be decoded is no id, and is told so.
        let user_id = path::decode(user_id).unwrap_or_default();
        Some(Self { operation, user_id, other_method: operation.http() != *method })
    }

    pub(super) fn template(&self) -> &'static str {
        match self.operation {
            Operation::Reset => "/v1/users/{user_id}/reset-password",
            Operation::Change => "/v1/users/{user_id}/password",
        }
    }

    pub(super) async fn answer(self, mut exchange: Exchange) -> Answer {
        if self.other_method {
            // Not documented.
            let body = Body::new(405, "METHOD NOT ALLOWED", "The resource does not have the requested method.");
            return allowing(body.answer(), self.operation.http().as_str());
        }
        let Ok(call) = exchange.call(&["authorization"]) else { return token_issues() };
        match self.passwords(json_body(&mut exchange).await) {
            Ok(passwords) => match self.run(passwords, &call).await {
                Ok(()) => empty(StatusCode::NO_CONTENT),
                Err(failure) => error(&failure),
            },
            Err(refusal) => refuse(&call, self.operation.method(), &self.user_id, refusal.answer(), error).await,
        }
    }

    /// The old password, where one is asked for, and the new one; or the first thing wrong with the request's form.
    fn passwords(&self, body: Result<Value, Unreadable>) -> Result<(String, String), Body<'static>> {
        let members = match body {
            Ok(Value::Object(members)) => members,
            Ok(Value::Array(_)) => Map::new(),
            Ok(_) | Err(Unreadable::NotJson) => return Err(NOT_JSON),
            Err(Unreadable::TooLarge) => {
                return Err(Body::new(413, NOT_JSON.message, "The request body is larger than 64 KiB."));
            }
        };
        if self.user_id.len() != 24 || !self.user_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(INVALID_ID);
        }
        let names = self.operation.fields();
        for name in names.iter().filter(|name| members.contains_key(**name)) {
            match text(&members, name) {
                None => return Err(invalid_field(format!("{name} must be a string!"))),
                Some("") => return Err(invalid_field(format!("{name} must have at least one character!"))),
                Some(_) => {}
            }
        }
        let missing: Vec<_> = names.iter().filter(|name| !members.contains_key(**name)).copied().collect();
        if !missing.is_empty() {
            return Err(self.operation.missing(&missing.join(", ")));
        }
        let password = |name: &str| text(&members, name).unwrap_or_default().to_owned();
        Ok((password("old_password"), password("new_password")))
    }

    async fn run(self, (old_password, new_password): (String, String), call: &Call) -> Result<(), Failure> {
        let mut client = UserServiceClient::new(call.channel());
        let tenant_id = OWN_TENANT.to_owned();
        match self.operation {
            Operation::Reset => {
                let secret_source = Some(SecretSource::NewPassword(new_password));
                let request =
                    ResetPasswordRequest { tenant_id, user_id: self.user_id, secret_source, ..Default::default() };
                call.wait(client.reset_password(call.request(request))).await.map(drop)
            }
            Operation::Change => {
                let subject = Some(Subject::UserId(self.user_id));
                let request = ChangePasswordRequest {
                    tenant_id,
                    subject,
                    current_password: old_password,
                    new_password,
                    source: String::new(),
                    ..Default::default()
                };
                call.wait(client.change_password(call.request(request))).await.map(drop)
            }
        }
    }
}

impl Operation {
    fn http(self) -> Method {
        match self {
            Self::Reset => Method::POST,
            Self::Change => Method::PUT,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Reset => "rekey.v1.UserService/ResetPassword",
            Self::Change => "rekey.v1.UserService/ChangePassword",
        }
    }

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Reset => &["new_password"],
            Self::Change => &["old_password", "new_password"],
        }
    }

    /// Singular for the one field of a reset, plural for a change even where one is missing: so the original has it.
    fn missing(self, names: &str) -> Body<'static> {
        match self {
            Self::Reset => Body::new(400, "Required field not provided...", format!("{names} is required!")),
            Self::Change => Body::new(400, "Required fields were not provided...", format!("{names} are required!")),
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    message: &'static str,
    description: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_link: Option<&'static str>,
}

impl<'a> Body<'a> {
    fn new(code: u16, message: &'static str, description: impl Into<Cow<'a, str>>) -> Self {
        Self { code, message, description: description.into(), redirect_link: None }
    }

    fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        answer(status, CONTENT_TYPE, serde_json::to_vec(self).unwrap_or_default())
    }
}

const fn fixed(code: u16, message: &'static str, description: &'static str) -> Body<'static> {
    Body { code, message, description: Cow::Borrowed(description), redirect_link: None }
}

const fn unauthorized(description: &'static str) -> Body<'static> {
    let description = Cow::Borrowed(description);
    Body { code: 401, message: "UNAUTHORIZED", description, redirect_link: Some("/auth") }
}

const NOT_JSON: Body<'static> = fixed(
    400,
    "Unable to process request body!",
    "Please verify that the JSON provided in the request body has a valid format and try again.",
);
const INVALID_ID: Body<'static> = fixed(
    400,
    "Parameter {user_id} is not in valid format!",
    "A 24-byte hex ID similar to this: 507f191e810c19729de860ea is expected.",
);

const ERRORS: &[(&[R], Body<'static>)] = &[
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
        unauthorized("Authentication failed for lack of authentication credentials."),
    ),
    (&[R::CredentialInvalid], unauthorized("Authentication failed due to access token issues.")),
    (&[R::CredentialExpired], unauthorized("Authentication failed because access token is expired.")),
    // The original has no accounts that are disabled or locked, and forbids nobody to change a password.
    (
        &[
            R::PermissionMissing,
            R::NotOwnSubject,
            R::ApiKeyReadOnly,
            R::ChangePasswordNotAllowed,
            R::SubjectDisabled,
            R::SubjectLocked,
        ],
        fixed(403, "FORBIDDEN", "Authorization failed due to insufficient permissions."),
    ),
    (
        &[R::CurrentPasswordMismatch, R::SecretNotSet],
        fixed(
            400,
            "Password does not match!",
            "The old password parameter does not match with the actual user password.",
        ),
    ),
    (
        &[R::UserNotFound, R::TenantNotFound],
        fixed(
            404,
            "User not found!",
            "User not found or already removed. A new operation for the same resource is not required.",
        ),
    ),
    (&[R::Overloaded, R::RateLimited], fixed(429, "TOO MANY REQUESTS", "The server is busy. Please try again later.")),
];

static INTERNAL: Body<'static> = fixed(500, "INTERNAL SERVER ERROR", "An internal server error has occurred.");

fn error(failure: &Failure) -> Answer {
    if matches!(failure.reason, R::FieldsInvalid | R::PolicyViolated) {
        return invalid_field(failure.sentence(|field| field.replace("current_password", "old_password"))).answer();
    }
    let row = ERRORS.iter().find(|(reasons, _)| reasons.contains(&failure.reason));
    let body = row.map_or(&INTERNAL, |(_, body)| body);
    retrying(body.answer(), failure.retry_after().filter(|_| body.code == 429))
}

fn invalid_field(description: String) -> Body<'static> {
    Body::new(400, "One or more request fields are invalid...", description)
}

fn token_issues() -> Answer {
    unauthorized("Authentication failed due to access token issues.").answer()
}
