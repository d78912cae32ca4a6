//! Reading the caller's credential from a request's headers.

use secrecy::SecretString;

use super::signed_date::SignedDate;
use crate::domain::{Error, Reason, Result};

/// What a caller shows, not yet checked.
#[derive(Debug)]
pub enum Credential {
    /// An API token or a JWT.
    Bearer(SecretString),
    /// A signature over the date.
    SignedDate(SignedDate),
}

impl Credential {
    /// The longest header value that is looked at, in bytes.
    pub const MAX_BYTES: usize = 8_192;

    /// Reads `x-auth-token`, or else `authorization` (and `date`). Where `x-auth-token` is sent, it alone counts.
    ///
    /// # Errors
    /// Credential missing or invalid; a signature that cannot be read.
    pub fn read(x_auth_token: Option<&str>, authorization: Option<&str>, date: Option<&str>) -> Result<Self> {
        if let Some(token) = x_auth_token.filter(|token| !token.is_empty()) {
            return bearer(token);
        }
        let missing = || {
            Error::new(
                Reason::CredentialMissing,
                "no credential: send the header authorization with the value Bearer and an API token or JWT",
            )
        };
        let value = authorization.ok_or_else(missing)?.trim_matches(' ');
        if let Some((scheme, token)) = value.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            return match token.trim_matches(' ') {
                "" => Err(missing()),
                token => bearer(token),
            };
        }
        if SignedDate::looks_like(value) {
            return SignedDate::read(value, date).map(Self::SignedDate);
        }
        Err(missing())
    }
}

fn bearer(token: &str) -> Result<Credential> {
    if token.len() > Credential::MAX_BYTES || token.contains(' ') {
        return Err(invalid());
    }
    Ok(Credential::Bearer(token.to_owned().into()))
}

/// The one answer to every token that does not verify.
#[must_use]
pub fn invalid() -> Error {
    Error::new(Reason::CredentialInvalid, "the token is not valid")
}
