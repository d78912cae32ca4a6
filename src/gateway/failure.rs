//! Why a call failed, as the service said it, or as the gateway finds where the service said nothing.

use std::collections::HashMap;

use http::StatusCode;
use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _, pb};

use crate::proto::ErrorReason;

const DOMAIN: &str = "rekey";
const PREFIX: &str = "ERROR_REASON_";

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The kind, as gRPC has it.
    pub(super) code: Code,
    /// The documented reason.
    pub(super) reason: ErrorReason,
    /// The whole of it, details included.
    pub(super) status: pb::Status,
    details: Box<ErrorDetails>,
}

impl Failure {
    /// A failure that the gateway finds by itself.
    pub(super) fn found(code: Code, reason: ErrorReason, message: &str) -> Self {
        let name = reason.as_str_name();
        let info = pb::ErrorInfo {
            reason: name.strip_prefix(PREFIX).unwrap_or(name).to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: HashMap::new(),
        };
        let details = vec![detail("google.rpc.ErrorInfo", &info)];
        let status = pb::Status { code: code.into(), message: message.to_owned(), details };
        Self { code, reason, status, details: Box::default() }
    }

    /// A request whose form is wrong.
    pub(super) fn malformed(reason: ErrorReason, message: &str) -> Self {
        Self::found(Code::InvalidArgument, reason, message)
    }

    /// A request with a header that cannot be passed on.
    pub(super) fn header(name: &str) -> Self {
        let description = "must be given once, in printing ASCII characters";
        let mut failure = Self::malformed(ErrorReason::FieldsInvalid, "a header of the request is invalid");
        let violation = pb::bad_request::FieldViolation {
            field: name.to_owned(),
            description: description.to_owned(),
            ..Default::default()
        };
        failure
            .status
            .details
            .push(detail("google.rpc.BadRequest", &pb::BadRequest { field_violations: vec![violation] }));
        failure
    }

    /// The service did not answer within the deadline.
    pub(super) fn too_late() -> Self {
        let message = "the service did not answer in time; a change may have happened or not";
        Self::found(Code::DeadlineExceeded, ErrorReason::OutcomeUnknown, message)
    }

    /// Of the reason's metadata; empty where absent.
    pub(super) fn metadata(&self, name: &str) -> &str {
        self.details.error_info().and_then(|info| info.metadata.get(name)).map_or("", String::as_str)
    }

    /// The rules that the request breaks.
    pub(super) fn violations(&self) -> &[FieldViolation] {
        self.details.bad_request().map_or(&[], |bad| &bad.field_violations)
    }

    /// Whether one of them is about this field.
    pub(super) fn is_about(&self, field: &str) -> bool {
        self.violations().iter().any(|violation| violation.field == field)
    }

    /// All of them in one line, under the names that a dialect has for the fields.
    pub(super) fn sentence(&self, rename: impl Fn(&str) -> String) -> String {
        let sentences = self.violations().iter();
        let sentences: Vec<_> =
            sentences.map(|violation| format!("{} {}", rename(&violation.field), violation.description)).collect();
        if sentences.is_empty() { self.status.message.clone() } else { sentences.join("; ") }
    }

    /// When to come back: whole seconds, at least one. Always there for `RESOURCE_EXHAUSTED`.
    pub(super) fn retry_after(&self) -> Option<u64> {
        let delay = self.details.retry_info().and_then(|info| info.retry_delay);
        let seconds = delay.map(|delay| (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1));
        seconds.or((self.code == Code::ResourceExhausted).then_some(1))
    }

    /// Whether the service let nobody in, as opposed to anything else that it may have found wrong.
    pub(super) fn comes_before_the_form(&self) -> bool {
        !matches!(self.code, Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::OutOfRange)
    }

    /// The documented counterpart of the code (google/rpc/code.proto), but for what only HTTP tells apart.
    pub(super) fn http_status(&self) -> StatusCode {
        let told_apart = [
            (ErrorReason::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
            (ErrorReason::ContentTypeUnsupported, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (ErrorReason::MethodNotAllowed, StatusCode::METHOD_NOT_ALLOWED),
        ];
        if let Some((_, status)) = told_apart.iter().find(|(reason, _)| *reason == self.reason) {
            return *status;
        }
        match self.code {
            Code::Ok => StatusCode::OK,
            Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let ours = details.error_info().filter(|info| info.domain == DOMAIN);
        let Some(reason) = ours.and_then(|info| ErrorReason::from_str_name(&format!("{PREFIX}{}", info.reason))) else {
            tracing::warn!(code = ?status.code(), cause = innermost(&status), "no answer from the service");
            return unexplained(status.code());
        };
        let decoded = pb::Status::decode(status.details()).unwrap_or_default();
        let whole =
            pb::Status { code: status.code().into(), message: status.message().to_owned(), details: decoded.details };
        Self { code: status.code(), reason, status: whole, details: Box::new(details) }
    }
}

/// A status without a reason is not the service's own: the transport made it, and its message is about our network.
fn unexplained(code: Code) -> Failure {
    match code {
        // tonic has `CANCELLED` for a deadline that a client set.
        Code::Cancelled | Code::DeadlineExceeded => Failure::too_late(),
        Code::Unavailable | Code::Unknown => {
            let message = "the service cannot be reached; try again";
            Failure::found(Code::Unavailable, ErrorReason::ServiceUnreachable, message)
        }
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => {
            Failure::found(code, ErrorReason::Internal, "the service refused the call and did not say why")
        }
    }
}

/// What the transport stumbled over, for the operator alone: a refused connection, a certificate of nobody that is known.
fn innermost(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn detail(name: &str, message: &impl prost::Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}
