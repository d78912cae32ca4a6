//! JWTs of trusted issuers (RFC 7519, RFC 8725).
//!
//! The key comes from the tenant that trusts the issuer and is bound to one algorithm, whatever the token's header says;
//! `kid`, `jku` and the like are not looked at. Times are checked against our clock, not the library's.

use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::{Deserialize, de::IgnoredAny};

use super::credential::invalid;
use crate::domain::{
    Error, Permission, Reason, Result, Timestamp,
    tenant::{JwtAlgorithm, JwtIssuer, Settings},
};

/// How far another's clock may be ahead of ours when it says `nbf` and `iat`.
const LEEWAY: Duration = Duration::from_mins(1);

/// The claims that count, after the signature was checked.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// Whom the token is about.
    pub sub: String,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    /// `ocariot`'s kind of subject.
    #[serde(default)]
    sub_type: String,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
    #[serde(rename = "exp")]
    _exp: Option<IgnoredAny>,
}

/// The `iss` of what looks like a JWT, unchecked: it only says whose key to try. `None` for anything else.
#[must_use]
pub fn issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    let issuer: Issuer = serde_json::from_slice(&payload).ok()?;
    parts.next().is_none().then_some(issuer.iss)
}

/// Checks a token against one issuer.
///
/// # Errors
/// Credential invalid; credential expired, where all but the time is right.
pub fn verify(token: &str, trusted: &JwtIssuer, now: Timestamp) -> Result<Claims> {
    let (key, algorithm) = match trusted.algorithm {
        JwtAlgorithm::RS256 => (DecodingKey::from_rsa_pem(trusted.public_key_pem.as_bytes()), Algorithm::RS256),
        JwtAlgorithm::ES256 => (DecodingKey::from_ec_pem(trusted.public_key_pem.as_bytes()), Algorithm::ES256),
        JwtAlgorithm::EdDSA => (DecodingKey::from_ed_pem(trusted.public_key_pem.as_bytes()), Algorithm::EdDSA),
    };
    let key = key.map_err(Error::internal)?;
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    validation.set_issuer(&[&trusted.issuer]);
    if trusted.audience.is_empty() {
        validation.validate_aud = false;
    } else {
        validation.set_audience(&[&trusted.audience]);
    }
    let claims = decode::<Claims>(token, &key, &validation).map_err(|error| invalid().caused_by(error))?.claims;

    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let soon = now.plus(LEEWAY);
    if claims.sub.is_empty()
        || claims.nbf.is_some_and(|nbf| at(nbf) > soon)
        || claims.iat.is_some_and(|iat| at(iat) > soon)
    {
        return Err(invalid());
    }
    if at(claims.exp) <= now {
        return Err(Error::new(Reason::CredentialExpired, "the token has expired").expired_at(at(claims.exp)));
    }
    Ok(claims)
}

impl Claims {
    /// When the token ends.
    #[must_use]
    pub fn expire_time(&self) -> Timestamp {
        Timestamp::from_micros(self.exp.saturating_mul(1_000_000))
    }

    /// What its scopes allow: to everybody, and to its own subject. By the issuer's grants; a scope without any by the
    /// tenant's alias of that name.
    #[must_use]
    pub fn permissions(&self, trusted: &JwtIssuer, settings: &Settings) -> (Vec<Permission>, Vec<Permission>) {
        let (mut general, mut own) = (Vec::new(), Vec::new());
        for alias in &settings.permission_aliases {
            let granted = trusted.scope_grants.iter().any(|grant| grant.scope == alias.name);
            let has_scope = self.scope.split(' ').any(|scope| scope == alias.name);
            let permission = settings.permission(&alias.name).filter(|_| has_scope && !granted);
            general.extend(permission.filter(|permission| !general.contains(permission)));
        }
        for grant in &trusted.scope_grants {
            let has_scope = self.scope.split(' ').any(|scope| scope == grant.scope);
            let is_type = grant.subject_types.is_empty() || grant.subject_types.contains(&self.sub_type);
            let granted = settings.permission(&grant.permission).filter(|_| has_scope && is_type);
            // Kept before it was refused: a method that does not look at whom it is about would take it for everybody's.
            let Some(permission) = granted.filter(|permission| !grant.own_only || permission.can_be_own()) else {
                continue;
            };
            let list = if grant.own_only { &mut own } else { &mut general };
            if !list.contains(&permission) {
                list.push(permission);
            }
        }
        (general, own)
    }
}

/// Which algorithm a public key in PEM (SPKI, RFC 5280 section 4.1) is good for; a sentence where it is none of ours.
///
/// # Errors
/// What is wrong with it.
pub fn algorithm_of(pem: &str) -> Result<JwtAlgorithm, &'static str> {
    const RULE: &str = "must be a public key in PEM: RSA of 2048 bits or more, P-256 or Ed25519";
    // AlgorithmIdentifiers: rsaEncryption (RFC 8017), id-ecPublicKey with secp256r1 (RFC 5480), id-Ed25519 (RFC 8410).
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    // SPKI of an RSA key whose modulus has 2,048 bits.
    const RSA_2048_BYTES: usize = 294;

    let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----");
    let body = body.and_then(|body| body.strip_suffix("-----END PUBLIC KEY-----")).ok_or(RULE)?;
    let body: String = body.split_ascii_whitespace().collect();
    let Ok(der) = BASE64.decode(body.as_bytes()) else { return Err(RULE) };
    let has = |oid: &[u8]| der.windows(oid.len()).take(24).any(|window| window == oid);
    let (algorithm, readable) = if has(RSA) && der.len() >= RSA_2048_BYTES {
        (JwtAlgorithm::RS256, DecodingKey::from_rsa_pem(pem.as_bytes()).is_ok())
    } else if has(P256) {
        (JwtAlgorithm::ES256, DecodingKey::from_ec_pem(pem.as_bytes()).is_ok())
    } else if has(ED25519) {
        (JwtAlgorithm::EdDSA, DecodingKey::from_ed_pem(pem.as_bytes()).is_ok())
    } else {
        return Err(RULE);
    };
    if readable { Ok(algorithm) } else { Err(RULE) }
}
