//! The demo's issuer of JWTs: an RSA key of its own, and an administrator's token as `ocariot` issues them.

use std::{fmt::Display, fs, io::ErrorKind, path::Path};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use data_encoding::BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::super::{
    failure::{Exit, Failure},
    private_file,
};
use crate::domain::Timestamp;

/// The tokens' `iss`. That of the tenant's own tokens is another.
pub(super) const ISSUER: &str = "ocariot-demo";

/// Somebody else than the demo's user: who resets passwords is not whose password is reset.
const ADMINISTRATOR: &str = "5a62be07de34500146d9c544";

/// How long a token is good for, in seconds.
const LIFETIME: i64 = 86_400;

const SCOPE: &str = "users:delete users:resetPassword educators:update families:update children:update \
                     healthprofessionals:update applications:update";

#[derive(Serialize)]
struct Claims {
    sub: &'static str,
    sub_type: &'static str,
    iss: &'static str,
    iat: i64,
    exp: i64,
    scope: &'static str,
}

/// The key.
pub(super) struct Issuer {
    key: EncodingKey,
    public_key_pem: String,
}

impl Issuer {
    /// The key of an earlier start, or a new one: PKCS #8 in PEM, mode 0600, so that openssl can sign with it too.
    pub(super) fn find_or_make(path: &Path) -> Result<Self, Failure> {
        let failure = |cause: &str| Failure::new(Exit::Failed, format!("{}: {cause}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                let made = KeyPair::generate(KeySize::Rsa2048)
                    .map_err(|cause| failure(&format!("cannot make an RSA key: {cause}")))?;
                let der: Pkcs8V1Der<'_> =
                    made.as_der().map_err(|cause| failure(&format!("cannot encode an RSA key: {cause}")))?;
                let text = Zeroizing::new(pem("PRIVATE KEY", der.as_ref()));
                private_file::write(path, &text).map_err(|cause| failure(&cause.to_string()))?;
                text
            }
            Err(cause) => return Err(failure(&cause.to_string())),
        };
        let broken =
            |cause: &dyn Display| failure(&format!("not an RSA key ({cause}); delete its directory to start anew"));
        let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = Zeroizing::new(BASE64.decode(base64.as_bytes()).map_err(|cause| broken(&cause))?);
        let pair = KeyPair::from_pkcs8(&der).map_err(|cause| broken(&cause))?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|cause| broken(&cause))?;
        let key = EncodingKey::from_rsa_pem(text.as_bytes()).map_err(|cause| broken(&cause))?;
        Ok(Self { key, public_key_pem: pem("PUBLIC KEY", public.as_ref()) })
    }

    /// What tokens are checked with.
    pub(super) fn public_key_pem(&self) -> &str {
        &self.public_key_pem
    }

    /// An administrator's token, good for a day.
    pub(super) fn sign(&self, now: Timestamp) -> Result<String, Failure> {
        let iat = now.seconds();
        let claims =
            Claims { sub: ADMINISTRATOR, sub_type: "admin", iss: ISSUER, iat, exp: iat + LIFETIME, scope: SCOPE };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
            .map_err(|cause| Failure::new(Exit::Failed, format!("cannot sign the demo's token: {cause}")))
    }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while let Some((line, tail)) = rest.split_at_checked(64) {
        text += line;
        text.push('\n');
        rest = tail;
    }
    if !rest.is_empty() {
        text += rest;
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    #[test]
    fn a_token_is_what_the_contract_says_and_the_key_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("issuer.pem");
        let token = Issuer::find_or_make(&path).unwrap().sign(Timestamp::from_micros(4_000_000_000_000_000)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let again = Issuer::find_or_make(&path).unwrap();
        let key = DecodingKey::from_rsa_pem(again.public_key_pem().as_bytes()).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[ISSUER]);
        let claims = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"].as_str().unwrap().len(), 24);
        assert_eq!(claims["sub_type"], "admin");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 86_400);
        assert!(claims["scope"].as_str().unwrap().split(' ').any(|scope| scope == "users:resetPassword"));
    }
}
