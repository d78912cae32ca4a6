//! Keycloak's credentials: JSON that holds JSON, `secretData` and `credentialData`.

use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    Foreign,
    recognise::{argon2, base64, pbkdf2_digest},
    scheme::Scheme,
};

const BROKEN: &str = "the credential is not JSON as Keycloak writes it";

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "camelCase")]
struct Credential {
    secret_data: String,
    credential_data: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct SecretData {
    value: String,
    salt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialData {
    hash_iterations: u32,
    algorithm: String,
    #[serde(default)]
    additional_parameters: Map<String, Value>,
}

pub(super) fn read(text: &str) -> Result<Foreign, String> {
    // The parser's own words may quote a value.
    let credential: Credential = serde_json::from_str(text).map_err(|_quotes| BROKEN)?;
    let secret: SecretData = serde_json::from_str(&credential.secret_data).map_err(|_quotes| BROKEN)?;
    let how: CredentialData = serde_json::from_str(&credential.credential_data).map_err(|_quotes| BROKEN)?;
    if how.algorithm == "argon2" {
        let parameter = |name: &str| {
            let value = how.additional_parameters.get(name)?;
            value.as_str().or_else(|| value.get(0)?.as_str())
        };
        let kind = parameter("type").unwrap_or("id");
        let version = match parameter("version") {
            Some("1.0") => 16,
            Some(_) | None => 19,
        };
        let (memory, lanes) = (parameter("memory").ok_or(BROKEN)?, parameter("parallelism").ok_or(BROKEN)?);
        let (salt, tag) = (secret.salt.trim_end_matches('='), secret.value.trim_end_matches('='));
        let t = how.hash_iterations;
        let phc = Zeroizing::new(format!("$argon2{kind}$v={version}$m={memory},t={t},p={lanes}${salt}${tag}"));
        return argon2(&phc);
    }
    let scheme = Scheme::Pbkdf2 { digest: pbkdf2_digest(&how.algorithm)?, iterations: how.hash_iterations };
    Foreign::new(scheme, base64(&secret.salt)?.to_vec(), base64(&secret.value)?)
}
