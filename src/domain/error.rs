//! What goes wrong, neutrally: a reason, a public sentence, and a private cause that only a log may show.
//!
//! Which gRPC code and HTTP status a reason has is decided in one table, `api::error`.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use super::{Rule, RuleKind, Timestamp};

/// What the layers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed; the documented values of the API's `ErrorReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each value is documented, with its example, in proto/rekey/v1/error_reason.proto")]
pub enum Reason {
    CredentialMissing,
    CredentialInvalid,
    CredentialExpired,
    SignatureHeadersMissing,
    SignatureMalformed,
    SignatureParametersMissing,
    SignatureAlgorithmUnsupported,
    SignatureDateSkewed,
    ApiKeyUnknown,
    ApiKeyRevoked,
    ApiKeyReadOnly,
    SignatureMismatch,
    PermissionMissing,
    NotOwnSubject,
    FieldsInvalid,
    PolicyViolated,
    CurrentPasswordMismatch,
    TenantNotFound,
    UserNotFound,
    DeviceNotFound,
    IntegrationNotFound,
    CallerNotFound,
    CredentialNotFound,
    AlreadyExists,
    ChangePasswordNotAllowed,
    SubjectDisabled,
    SubjectLocked,
    SecretNotSet,
    EtagMismatch,
    ConcurrentChange,
    Overloaded,
    RateLimited,
    StoreUnavailable,
    OutcomeUnknown,
    Internal,
    RequestIdReused,
    RankTooLow,
    PasswordChangeRequired,
    LoginRefused,
    TenantNotEmpty,
    TenantDisabled,
    TokenIssuerNotSet,
    TookTooLong,
    Indispensable,
    AuthenticationTooOld,
    TwoSecretsLive,
    NoPendingSecret,
    NoPreviousSecret,
    PreviousSecretLive,
    LastSecret,
    SecretVersionNotFound,
    JobNotFound,
    ConfirmationNeeded,
    MatchesChanged,
    OwnCredential,
}

impl Reason {
    /// Whether the caller is known and may not.
    #[must_use]
    pub const fn is_denial(self) -> bool {
        matches!(
            self,
            Self::PermissionMissing
                | Self::NotOwnSubject
                | Self::ApiKeyReadOnly
                | Self::RankTooLow
                | Self::AuthenticationTooOld
        )
    }

    /// Its name as the API spells it: `CURRENT_PASSWORD_MISMATCH`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }
}

/// One rule that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, by its path in the proto: `tenant.aliases[1].alias`.
    pub field: String,
    /// A sentence for a person, without the value.
    pub description: String,
    /// Which rule for secrets it is, where it is one.
    pub rule: Option<RuleKind>,
}

impl Violation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into(), rule: None }
    }

    /// A rule for secrets that one field breaks.
    pub fn of_rule(field: impl Into<String>, rule: Rule) -> Self {
        Self { field: field.into(), description: rule.sentence, rule: Some(rule.kind) }
    }
}

/// A failure. What a client may read and what only a log may are held apart.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    reason: Reason,
    message: Cow<'static, str>,
    metadata: Vec<(&'static str, String)>,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
    expired_at: Option<Timestamp>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure with its public sentence, which must hold no secret, path, SQL or hash.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            violations: Vec::new(),
            retry_after: None,
            expired_at: None,
            cause: None,
        }))
    }

    /// A fault of ours; the cause goes to the log alone.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Reason::Internal, "something went wrong on the server; its log knows more under this request's id")
            .caused_by(cause)
    }

    /// Fields that break their own rules, all of them.
    #[must_use]
    pub fn fields(violations: Vec<Violation>) -> Self {
        Self::new(Reason::FieldsInvalid, "fields of the request are invalid").with_violations(violations)
    }

    /// A secret against the tenant's policy, every rule it breaks.
    #[must_use]
    pub fn policy(violations: Vec<Violation>) -> Self {
        Self::new(Reason::PolicyViolated, "the secret does not meet the tenant's policy").with_violations(violations)
    }

    /// Adds what the log should say and the client should not.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds a public name and value for machines.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.metadata.push((name, value.into()));
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds when the credential ended.
    #[must_use]
    pub fn expired_at(mut self, time: Timestamp) -> Self {
        self.0.expired_at = Some(time);
        self
    }

    fn with_violations(mut self, violations: Vec<Violation>) -> Self {
        self.0.violations = violations;
        self
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The public sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Public names and values.
    #[must_use]
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.0.metadata
    }

    /// The rules that were broken.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// When to try again.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// When the credential ended.
    #[must_use]
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.0.expired_at
    }

    /// What only the log may show.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_named_in_the_spelling_of_the_api() {
        assert_eq!(Reason::Internal.name(), "INTERNAL");
        assert_eq!(Reason::CurrentPasswordMismatch.name(), "CURRENT_PASSWORD_MISMATCH");
    }
}
