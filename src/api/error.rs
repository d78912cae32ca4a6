//! The one table from reasons to the wire, and the one place where statuses are made and faults of ours are logged.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

use crate::domain::{Error, Reason, RuleKind, Timestamp};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "rekey";

/// A reason's gRPC code and its name, which is that of `ErrorReason` without the prefix. The HTTP status follows from the
/// code, as `google.rpc.Code` documents it.
#[must_use]
pub const fn row(reason: Reason) -> (Code, &'static str) {
    use Code::{
        Aborted, AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
        PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unknown,
    };
    match reason {
        Reason::CredentialMissing => (Unauthenticated, "CREDENTIAL_MISSING"),
        Reason::CredentialInvalid => (Unauthenticated, "CREDENTIAL_INVALID"),
        Reason::CredentialExpired => (Unauthenticated, "CREDENTIAL_EXPIRED"),
        Reason::SignatureHeadersMissing => (Unauthenticated, "SIGNATURE_HEADERS_MISSING"),
        Reason::SignatureMalformed => (Unauthenticated, "SIGNATURE_MALFORMED"),
        Reason::SignatureParametersMissing => (Unauthenticated, "SIGNATURE_PARAMETERS_MISSING"),
        Reason::SignatureAlgorithmUnsupported => (Unauthenticated, "SIGNATURE_ALGORITHM_UNSUPPORTED"),
        Reason::SignatureDateSkewed => (Unauthenticated, "SIGNATURE_DATE_SKEWED"),
        Reason::ApiKeyUnknown => (Unauthenticated, "API_KEY_UNKNOWN"),
        Reason::ApiKeyRevoked => (Unauthenticated, "API_KEY_REVOKED"),
        Reason::ApiKeyReadOnly => (PermissionDenied, "API_KEY_READ_ONLY"),
        Reason::SignatureMismatch => (Unauthenticated, "SIGNATURE_MISMATCH"),
        Reason::PermissionMissing => (PermissionDenied, "PERMISSION_MISSING"),
        Reason::NotOwnSubject => (PermissionDenied, "NOT_OWN_SUBJECT"),
        Reason::FieldsInvalid => (InvalidArgument, "FIELDS_INVALID"),
        Reason::PolicyViolated => (InvalidArgument, "POLICY_VIOLATED"),
        Reason::CurrentPasswordMismatch => (InvalidArgument, "CURRENT_PASSWORD_MISMATCH"),
        Reason::TenantNotFound => (NotFound, "TENANT_NOT_FOUND"),
        Reason::UserNotFound => (NotFound, "USER_NOT_FOUND"),
        Reason::DeviceNotFound => (NotFound, "DEVICE_NOT_FOUND"),
        Reason::IntegrationNotFound => (NotFound, "INTEGRATION_NOT_FOUND"),
        Reason::CallerNotFound => (NotFound, "CALLER_NOT_FOUND"),
        Reason::CredentialNotFound => (NotFound, "CREDENTIAL_NOT_FOUND"),
        Reason::AlreadyExists => (AlreadyExists, "ALREADY_EXISTS"),
        Reason::ChangePasswordNotAllowed => (FailedPrecondition, "CHANGE_PASSWORD_NOT_ALLOWED"),
        Reason::SubjectDisabled => (FailedPrecondition, "SUBJECT_DISABLED"),
        Reason::SubjectLocked => (FailedPrecondition, "SUBJECT_LOCKED"),
        Reason::SecretNotSet => (FailedPrecondition, "SECRET_NOT_SET"),
        Reason::EtagMismatch => (Aborted, "ETAG_MISMATCH"),
        Reason::ConcurrentChange => (Aborted, "CONCURRENT_CHANGE"),
        Reason::Overloaded => (ResourceExhausted, "OVERLOADED"),
        Reason::RateLimited => (ResourceExhausted, "RATE_LIMITED"),
        Reason::StoreUnavailable => (Unavailable, "STORE_UNAVAILABLE"),
        Reason::OutcomeUnknown => (Unknown, "OUTCOME_UNKNOWN"),
        Reason::Internal => (Internal, "INTERNAL"),
        Reason::RequestIdReused => (InvalidArgument, "REQUEST_ID_REUSED"),
        Reason::RankTooLow => (PermissionDenied, "RANK_TOO_LOW"),
        Reason::PasswordChangeRequired => (FailedPrecondition, "PASSWORD_CHANGE_REQUIRED"),
        Reason::LoginRefused => (Unauthenticated, "LOGIN_REFUSED"),
        Reason::TenantNotEmpty => (FailedPrecondition, "TENANT_NOT_EMPTY"),
        Reason::TenantDisabled => (FailedPrecondition, "TENANT_DISABLED"),
        Reason::TokenIssuerNotSet => (FailedPrecondition, "TOKEN_ISSUER_NOT_SET"),
        Reason::TookTooLong => (DeadlineExceeded, "TOOK_TOO_LONG"),
        Reason::Indispensable => (FailedPrecondition, "INDISPENSABLE"),
        Reason::AuthenticationTooOld => (PermissionDenied, "AUTHENTICATION_TOO_OLD"),
        Reason::TwoSecretsLive => (FailedPrecondition, "TWO_SECRETS_LIVE"),
        Reason::NoPendingSecret => (FailedPrecondition, "NO_PENDING_SECRET"),
        Reason::NoPreviousSecret => (FailedPrecondition, "NO_PREVIOUS_SECRET"),
        Reason::PreviousSecretLive => (FailedPrecondition, "PREVIOUS_SECRET_LIVE"),
        Reason::LastSecret => (FailedPrecondition, "LAST_SECRET"),
        Reason::SecretVersionNotFound => (NotFound, "SECRET_VERSION_NOT_FOUND"),
        Reason::JobNotFound => (NotFound, "JOB_NOT_FOUND"),
        Reason::ConfirmationNeeded => (FailedPrecondition, "CONFIRMATION_NEEDED"),
        Reason::MatchesChanged => (FailedPrecondition, "MATCHES_CHANGED"),
        Reason::OwnCredential => (FailedPrecondition, "OWN_CREDENTIAL"),
    }
}

/// An error as clients see it. Its cause is logged if it is ours to mend, and goes nowhere else.
#[must_use]
pub fn status(error: &Error, request_id: &str) -> Status {
    let (code, name) = row(error.reason());
    if matches!(code, Code::Internal | Code::Unknown | Code::Unavailable) {
        tracing::error!(reason = name, request_id, cause = ?error.cause(), "a call failed");
    }
    let mut metadata: HashMap<String, String> =
        error.metadata().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    if let Some(time) = error.expire_time() {
        metadata.insert("expire_time".to_owned(), rfc3339(time));
    }
    // tonic-types' BadRequest has no `reason`: kinds of rule are named here, in the order of the violations.
    let rules = error.violations().iter().filter_map(|violation| violation.rule).map(RuleKind::as_str);
    let rules = rules.collect::<Vec<_>>().join(",");
    if !rules.is_empty() {
        metadata.insert("rules".to_owned(), rules);
    }
    let mut details = ErrorDetails::with_error_info(name, DOMAIN, metadata);
    if !error.violations().is_empty() {
        let violation =
            |violation: &crate::domain::Violation| FieldViolation::new(&violation.field, &violation.description);
        details.set_bad_request(error.violations().iter().map(violation).collect::<Vec<_>>());
    }
    if let Some(delay) = error.retry_delay().or((code == Code::ResourceExhausted).then_some(Duration::from_secs(1))) {
        details.set_retry_info(Some(delay));
    }
    if code == Code::NotFound {
        // `USER_NOT_FOUND`: a user. Which one is not repeated: the asker knows.
        let resource = name.trim_end_matches("_NOT_FOUND").to_ascii_lowercase();
        details.set_resource_info(resource, "", "", error.message());
    }
    if code == Code::FailedPrecondition {
        details.set_precondition_failure(vec![PreconditionViolation::new(name, "", error.message())]);
    }
    if !request_id.is_empty() {
        details.set_request_info(request_id, "");
    }
    #[expect(clippy::disallowed_methods, reason = "this is the table")]
    Status::with_error_details(code, error.message(), details)
}

/// What answers a method that has no rule.
#[must_use]
pub fn unimplemented() -> Status {
    Status::unimplemented("there is no such method")
}

fn rfc3339(time: Timestamp) -> String {
    prost_types::Timestamp { seconds: time.seconds(), nanos: 0 }.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::proto::ErrorReason;

    /// Every reason of the domain; a new one that is missing here does not compile in `row`, and fails below.
    const ALL: [Reason; 55] = [
        Reason::CredentialMissing,
        Reason::CredentialInvalid,
        Reason::CredentialExpired,
        Reason::SignatureHeadersMissing,
        Reason::SignatureMalformed,
        Reason::SignatureParametersMissing,
        Reason::SignatureAlgorithmUnsupported,
        Reason::SignatureDateSkewed,
        Reason::ApiKeyUnknown,
        Reason::ApiKeyRevoked,
        Reason::ApiKeyReadOnly,
        Reason::SignatureMismatch,
        Reason::PermissionMissing,
        Reason::NotOwnSubject,
        Reason::FieldsInvalid,
        Reason::PolicyViolated,
        Reason::CurrentPasswordMismatch,
        Reason::TenantNotFound,
        Reason::UserNotFound,
        Reason::DeviceNotFound,
        Reason::IntegrationNotFound,
        Reason::CallerNotFound,
        Reason::CredentialNotFound,
        Reason::AlreadyExists,
        Reason::ChangePasswordNotAllowed,
        Reason::SubjectDisabled,
        Reason::SubjectLocked,
        Reason::SecretNotSet,
        Reason::EtagMismatch,
        Reason::ConcurrentChange,
        Reason::Overloaded,
        Reason::RateLimited,
        Reason::StoreUnavailable,
        Reason::OutcomeUnknown,
        Reason::Internal,
        Reason::RequestIdReused,
        Reason::RankTooLow,
        Reason::PasswordChangeRequired,
        Reason::LoginRefused,
        Reason::TenantNotEmpty,
        Reason::TenantDisabled,
        Reason::TokenIssuerNotSet,
        Reason::TookTooLong,
        Reason::Indispensable,
        Reason::AuthenticationTooOld,
        Reason::TwoSecretsLive,
        Reason::NoPendingSecret,
        Reason::NoPreviousSecret,
        Reason::PreviousSecretLive,
        Reason::LastSecret,
        Reason::SecretVersionNotFound,
        Reason::JobNotFound,
        Reason::ConfirmationNeeded,
        Reason::MatchesChanged,
        Reason::OwnCredential,
    ];

    #[test]
    fn every_reason_is_documented_with_its_code_in_the_proto() {
        let mut names = BTreeSet::new();
        let documented = crate::proto::DESCRIPTORS.get_enum_by_name("rekey.v1.ErrorReason").unwrap();
        let file = documented.parent_file();
        let locations = &file.file_descriptor_proto().source_code_info.as_ref().unwrap().location;
        for reason in ALL {
            let (code, name) = row(reason);
            assert!(names.insert(name), "{name} stands twice");
            let value = ErrorReason::from_str_name(&format!("ERROR_REASON_{name}")).unwrap_or_else(|| panic!("{name}"));
            let value = documented.get_value(value.into()).unwrap();
            let comment = locations.iter().find(|location| location.path == value.path()).unwrap().leading_comments();
            let code = format!("{code:?}").chars().fold(String::new(), |mut code, letter| {
                if letter.is_uppercase() && !code.is_empty() {
                    code.push('_');
                }
                code.push(letter.to_ascii_uppercase());
                code
            });
            assert!(comment.trim_start().starts_with(&format!("{code}:")), "{name}: {comment}");
        }
    }

    #[test]
    fn the_cause_stays_here() {
        let error = Error::internal("SELECT secret FROM canary");
        let status = status(&error, "r1");
        assert!(!format!("{status:?}").contains("canary"));
        assert!(!String::from_utf8_lossy(status.details()).contains("canary"));
    }
}
