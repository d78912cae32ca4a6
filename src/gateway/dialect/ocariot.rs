//! `ocariot`: accounts behind an API gateway. A user signs in, and changes his password; an administrator resets it, and
//! removes users.

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
        ChangePasswordRequest, DeleteUserRequest, ErrorReason as R, IssueTokenRequest, ResetPasswordRequest,
        WhoAmIRequest, caller_service_client::CallerServiceClient, change_password_request::Subject,
        issue_token_request, reset_password_request::SecretSource, user_service_client::UserServiceClient,
    },
};

const CONTENT_TYPE: &str = "application/json; charset=utf-8";
const OWN_TENANT: &str = "-";
/// Whoever signs in has nothing yet that would name a tenant: it is the one of this alias.
const SIGN_IN_TENANT: &str = "ocariot:default";

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
    Delete,
    SignIn,
}

impl Route {
    pub(super) fn find(method: &Method, segments: &[&str]) -> Option<Self> {
        let (operation, user_id) = match segments {
            ["v1", "users", user_id, "reset-password"] => (Operation::Reset, user_id),
            ["v1", "users", user_id, "password"] => (Operation::Change, user_id),
            ["v1", "users", user_id] => (Operation::Delete, user_id),
            ["v1", "auth"] => (Operation::SignIn, &""),
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
            Operation::Delete => "/v1/users/{user_id}",
            Operation::SignIn => "/v1/auth",
        }
    }

    pub(super) async fn answer(self, mut exchange: Exchange) -> Answer {
        if self.other_method {
            // Not documented.
            let body = Body::new(405, "METHOD NOT ALLOWED", "The resource does not have the requested method.");
            return allowing(body.answer(), self.operation.http().as_str());
        }
        if matches!(self.operation, Operation::SignIn) {
            return sign_in(exchange).await;
        }
        let Ok(call) = exchange.call(&["authorization"]) else { return token_issues() };
        if matches!(self.operation, Operation::Delete) {
            return match delete(self.user_id, &call).await {
                Ok(()) => empty(StatusCode::NO_CONTENT),
                Err(refused) => refused,
            };
        }
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
        if !is_id(&self.user_id) {
            return Err(INVALID_ID);
        }
        self.operation.check(&members)?;
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
            // They are no matter of passwords to be set.
            Operation::Delete | Operation::SignIn => Ok(()),
        }
    }
}

/// A token for a password. Nobody needs to be known for it, and no header goes on.
async fn sign_in(mut exchange: Exchange) -> Answer {
    let Ok(call) = exchange.call(&[]) else { return INTERNAL.answer() };
    let members = match json_body(&mut exchange).await {
        Ok(Value::Object(members)) => members,
        Err(Unreadable::TooLarge) => {
            return Body::new(413, NOT_JSON.message, "The request body is larger than 64 KiB.").answer();
        }
        // The original takes what is not JSON for nothing at all.
        Ok(_) | Err(Unreadable::NotJson) => Map::new(),
    };
    if let Err(refusal) = Operation::SignIn.check(&members) {
        return refusal.answer();
    }
    let field = |name: &str| text(&members, name).unwrap_or_default().to_owned();
    let request = IssueTokenRequest {
        tenant_id: SIGN_IN_TENANT.to_owned(),
        subject: Some(issue_token_request::Subject::Username(field("username"))),
        password: field("password"),
        source: exchange.peer().to_string(),
    };
    let mut client = UserServiceClient::new(call.channel());
    match call.wait(client.issue_token(call.request(request))).await {
        Ok(issued) => {
            let body = serde_json::json!({ "access_token": issued.access_token });
            answer(StatusCode::OK, CONTENT_TYPE, serde_json::to_vec(&body).unwrap_or_default())
        }
        // A name that nobody can have is as unknown as any other.
        Err(failure) if matches!(failure.reason, R::LoginRefused | R::FieldsInvalid) => {
            fixed(401, "Invalid username or password!", "").answer()
        }
        Err(failure) => error(&failure),
    }
}

/// Removes a user. That there is none, or one whom the caller may not remove, is not told: the original answers alike.
async fn delete(user_id: String, call: &Call) -> Result<(), Answer> {
    call.permitted(Operation::Delete.method(), "").await.map_err(|failure| error(&failure))?;
    let mut callers = CallerServiceClient::new(call.channel());
    let who = call.wait(callers.who_am_i(call.request(WhoAmIRequest {}))).await.map_err(|failure| error(&failure))?;
    if who.caller_id.eq_ignore_ascii_case(&user_id) {
        return Err(FORBIDDEN.answer());
    }
    if !is_id(&user_id) {
        return Err(INVALID_ID.answer());
    }
    let request =
        DeleteUserRequest { tenant_id: OWN_TENANT.to_owned(), user_id, allow_missing: true, ..Default::default() };
    let mut client = UserServiceClient::new(call.channel());
    match call.wait(client.delete_user(call.request(request))).await {
        Err(failure) if !matches!(failure.reason, R::UserNotFound | R::RankTooLow) => Err(error(&failure)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Operation {
    fn http(self) -> Method {
        match self {
            Self::Reset | Self::SignIn => Method::POST,
            Self::Change => Method::PUT,
            Self::Delete => Method::DELETE,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Reset => "rekey.v1.UserService/ResetPassword",
            Self::Change => "rekey.v1.UserService/ChangePassword",
            Self::Delete => "rekey.v1.UserService/DeleteUser",
            Self::SignIn => "rekey.v1.UserService/IssueToken",
        }
    }

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Reset => &["new_password"],
            Self::Change => &["old_password", "new_password"],
            Self::Delete => &[],
            Self::SignIn => &["username", "password"],
        }
    }

    /// The first thing wrong with the fields that are there, or else those that are missing.
    fn check(self, members: &Map<String, Value>) -> Result<(), Body<'static>> {
        let (present, missing): (Vec<&str>, Vec<&str>) =
            self.fields().iter().copied().partition(|name| members.contains_key(*name));
        for name in present {
            match text(members, name) {
                None => return Err(invalid_field(format!("{name} must be a string!"))),
                Some("") => return Err(invalid_field(format!("{name} must have at least one character!"))),
                Some(_) => {}
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(self.missing(&missing.join(", "))) }
    }

    /// Singular for the one field of a reset, plural for the others even where one is missing: so the original has it.
    fn missing(self, names: &str) -> Body<'static> {
        match self {
            Self::Reset => Body::new(400, "Required field not provided...", format!("{names} is required!")),
            Self::Change | Self::Delete | Self::SignIn => {
                Body::new(400, "Required fields were not provided...", format!("{names} are required!"))
            }
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    message: &'static str,
    #[serde(skip_serializing_if = "is_empty")]
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

#[expect(clippy::ptr_arg, reason = "what serde gives")]
fn is_empty(text: &Cow<'_, str>) -> bool {
    text.is_empty()
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

const FORBIDDEN: Body<'static> = fixed(403, "FORBIDDEN", "Authorization failed due to insufficient permissions.");

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
    // The original has no accounts that are disabled or locked, or must change their password, and forbids nobody to do so.
    (
        &[
            R::PermissionMissing,
            R::NotOwnSubject,
            R::ApiKeyReadOnly,
            R::AuthenticationTooOld,
            R::ChangePasswordNotAllowed,
            R::SubjectDisabled,
            R::SubjectLocked,
            R::PasswordChangeRequired,
            R::RankTooLow,
        ],
        FORBIDDEN,
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
