//! `licensespring`: License API v4. The caller's key names the company, a user name the user. Every 4xx is JSON with
//! `status`, `code` and `message`: the vendor's client dies on anything else.

use std::borrow::Cow;

use http::{
    Method, StatusCode,
    header::{AUTHORIZATION, DATE},
};
use serde::Serialize;
use serde_json::Value;

use super::{Unreadable, json_body, oauth, refuse, text};
use crate::{
    gateway::{
        exchange::{Answer, Exchange, allowing, answer, json, retrying},
        failure::Failure,
        upstream::Call,
    },
    proto::{
        ChangePasswordRequest, ErrorReason as R, change_password_request::Subject,
        user_service_client::UserServiceClient,
    },
};

const METHOD: &str = "rekey.v1.UserService/ChangePassword";
const BEARER: &[u8] = b"bearer ";
const OWN_TENANT: &str = "-";
const FIELDS: [&str; 3] = ["username", "password", "new_password"];

#[derive(Debug)]
pub(in crate::gateway) enum Route {
    ChangePassword,
    TokenUrl,
    Token,
    OtherMethod(&'static str),
    Unknown,
}

impl Route {
    pub(super) fn find(method: &Method, segments: &[&str]) -> Option<Self> {
        let ["api", "v4", rest @ ..] = segments else { return None };
        Some(match rest {
            ["change_password"] | ["change_password", ""] if *method == Method::POST => Self::ChangePassword,
            ["oauth_url"] | ["oauth_url", ""] if *method == Method::GET => Self::TokenUrl,
            ["oauth_url"] | ["oauth_url", ""] => Self::OtherMethod("GET"),
            ["oauth_token"] if *method == Method::POST => Self::Token,
            ["change_password" | "oauth_token"] | ["change_password", ""] => Self::OtherMethod("POST"),
            _ => Self::Unknown,
        })
    }

    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::ChangePassword => "/api/v4/change_password",
            Self::TokenUrl => "/api/v4/oauth_url",
            Self::Token => oauth::TOKEN_PATH,
            Self::OtherMethod(_) | Self::Unknown => "/api/v4/…",
        }
    }

    pub(super) async fn answer(self, exchange: Exchange) -> Answer {
        match self {
            Self::ChangePassword => match change_password(exchange).await {
                // Without quotes, so it is not JSON.
                Ok(()) => answer(StatusCode::OK, "text/plain; charset=utf-8", "password_changed"),
                Err(error) => error.answer(),
            },
            Self::TokenUrl => oauth::url(&exchange).unwrap_or_else(|error| error.answer()),
            Self::Token => oauth::token(exchange).await,
            // Not documented.
            Self::OtherMethod(method) => {
                let message = format!("the path has the method {method} only");
                allowing(error(405, "method_not_allowed", message).answer(), method)
            }
            Self::Unknown => error(404, "not_found", "the path is not known").answer(),
        }
    }
}

async fn change_password(mut exchange: Exchange) -> Result<(), Error> {
    let headers = exchange.headers();
    let Some(authorization) = headers.get(AUTHORIZATION).filter(|_| headers.contains_key(DATE)) else {
        return Err(missing_headers());
    };
    let scheme = authorization.as_bytes().get(..BEARER.len());
    let bearer = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(BEARER));
    let failed = |failure: &Failure| failed(failure, bearer);
    let call = exchange.call(&["authorization", "date"]).map_err(|_illegal| invalid_headers())?;
    match passwords(json_body(&mut exchange).await) {
        Ok(request) => run(request, &call).await.map_err(|failure| failed(&failure)),
        Err(refusal) => Err(refuse(&call, METHOD, "", refusal, failed).await),
    }
}

async fn run(request: ChangePasswordRequest, call: &Call) -> Result<(), Failure> {
    let mut client = UserServiceClient::new(call.channel());
    call.wait(client.change_password(call.request(request))).await.map(drop)
}

/// The request in the body. What is missing comes before what is wrong.
fn passwords(body: Result<Value, Unreadable>) -> Result<ChangePasswordRequest, Error> {
    let members = match body {
        Ok(Value::Object(members)) => members,
        Ok(_) => return Err(invalid("the body must be a JSON object")),
        Err(Unreadable::NotJson) => return Err(error(400, "invalid_json", "the body is not valid JSON")),
        Err(Unreadable::TooLarge) => return Err(error(413, "validation_error", "the body is larger than 64 KiB")),
    };
    let missing: Vec<_> = FIELDS.into_iter().filter(|name| !members.contains_key(*name)).collect();
    if !missing.is_empty() {
        let message = format!("Some parameters are missing in the request: {}", missing.join(", "));
        return Err(error(400, "missing_parameters", message));
    }
    let [Some(username), Some(password), Some(new_password)] = FIELDS.map(|name| text(&members, name)) else {
        let wrong: Vec<_> = FIELDS.into_iter().filter(|name| text(&members, name).is_none()).collect();
        return Err(invalid(format!("must be a string: {}", wrong.join(", "))));
    };
    if members.len() > FIELDS.len() {
        return Err(invalid("the body has a member that is not known"));
    }
    Ok(ChangePasswordRequest {
        tenant_id: OWN_TENANT.to_owned(),
        subject: Some(Subject::Username(username.to_owned())),
        current_password: password.to_owned(),
        new_password: new_password.to_owned(),
        source: String::new(),
        ..Default::default()
    })
}

const ERRORS: &[(&[R], u16, &str, &str)] = &[
    (&[R::SignatureHeadersMissing], 400, "missing_headers", "Some headers are missing"),
    // Neither a signature nor a token that can be read. A token's own codes are for callers with a token: the vendor's
    // client answers them by fetching a new one and trying again, without end where it has none to fetch.
    (
        &[R::CredentialMissing, R::SignatureMalformed, R::CredentialInvalid, R::CredentialExpired],
        400,
        "authorization_invalid_headers",
        "invalid headers value in authorization",
    ),
    (&[R::SignatureAlgorithmUnsupported], 400, "hmac_required", "hmac is required algorithm"),
    (
        &[R::SignatureDateSkewed],
        400,
        "date_header_diff",
        "the date header is more than 15 minutes from the server's time",
    ),
    (&[R::ApiKeyUnknown], 400, "invalid_api_key", "provided api key is not valid"),
    (&[R::ApiKeyRevoked], 400, "revoked_api_key", "provided api key is revoked"),
    // Of the documented codes the only one for a key that may not do this.
    (
        &[R::ApiKeyReadOnly, R::AuthenticationTooOld, R::PermissionMissing, R::NotOwnSubject],
        400,
        "read_only_api_key",
        "provided api key is not allowed to change passwords",
    ),
    (&[R::SignatureMismatch], 401, "signature_mismatch", "signature mismatch"),
    (&[R::ChangePasswordNotAllowed], 400, "change_password_not_allowed", "Change password not allowed for the company"),
    // One answer for both, so that names cannot be probed.
    (
        &[R::CurrentPasswordMismatch, R::UserNotFound, R::TenantNotFound, R::SecretNotSet],
        400,
        "license_not_found",
        "license with the provided license user not found",
    ),
    (&[R::SubjectDisabled], 400, "license_not_enabled", "license is not enabled"),
    (&[R::SubjectLocked], 400, "blacklisted", "the license user is blocked"),
    (&[R::Overloaded, R::RateLimited], 429, "too_many_requests", "too many requests, try again later"),
];

fn failed(failure: &Failure, bearer: bool) -> Error {
    let token = [
        (R::CredentialExpired, "oauth_token_expired", "the token has expired"),
        (R::CredentialInvalid, "oauth_token_malformed", "the token is not valid"),
    ];
    if let Some(&(_, code, message)) = token.iter().find(|(reason, ..)| bearer && *reason == failure.reason) {
        return error(401, code, message);
    }
    if failure.reason == R::SignatureParametersMissing {
        let message = format!("some parameters are missing in authorization: {}", failure.metadata("parameters"));
        return error(400, "authorization_missing_params", message);
    }
    if matches!(failure.reason, R::FieldsInvalid | R::PolicyViolated) {
        return invalid(failure.sentence(|field| field.replace("current_password", "password")));
    }
    let row = ERRORS.iter().find(|(reasons, ..)| reasons.contains(&failure.reason));
    let Some(&(_, status, code, message)) = row else {
        return error(500, "internal_error", "Server-side error: Internal error");
    };
    Error { retry_after: failure.retry_after().filter(|_| status == 429), ..error(status, code, message) }
}

#[derive(Serialize)]
pub(super) struct Error {
    status: u16,
    code: &'static str,
    message: Cow<'static, str>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Error {
    pub(super) fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        retrying(json(status, self), self.retry_after)
    }
}

pub(super) fn error(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Error {
    Error { status, code, message: message.into(), retry_after: None }
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    error(400, "validation_error", message)
}

fn missing_headers() -> Error {
    error(400, "missing_headers", "Some headers are missing")
}

fn invalid_headers() -> Error {
    error(400, "authorization_invalid_headers", "invalid headers value in authorization")
}
