//! JWTs (RFC 7519, RFC 8725): of issuers that a tenant trusts, and our own.
//!
//! A token is read by hand, so that there is one reading of it: nothing stands twice, nothing has another type than it
//! should, nothing that asks to be understood is passed over. Its key comes from the tenant that trusts the issuer, or
//! from the keyring, and is bound to one algorithm, whatever the header says; `jku`, `jwk` and the like are not looked
//! at. Times are checked against our clock.

use std::{fmt, time::Duration};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use super::{credential::invalid, strict_json};
use crate::domain::{
    Error, Permission, Reason, Result, Timestamp,
    tenant::{JwtAlgorithm, JwtIssuer, ScopeGrant, Settings},
};

/// How far another's clock may be ahead of ours when it says `nbf` and `iat`.
const LEEWAY: Duration = Duration::from_mins(1);
/// The longest token that is looked at, in bytes.
const MAX_BYTES: usize = 8_192;

/// The `typ` of tokens that users get.
pub const USER_TOKEN: &str = "JWT";
/// The `typ` of tokens that callers get for another credential (RFC 9068).
pub const ACCESS_TOKEN: &str = "at+jwt";
/// The `iss` of those. No tenant's tokens have it.
pub const ACCESS_TOKEN_ISSUER: &str = "rekey:access";
/// The `aud` of those.
pub const ACCESS_TOKEN_AUDIENCE: &str = "rekey";

/// The kinds of token that trusted issuers send: those that name none, JWTs, and access tokens. Others (of a logout, of
/// a request object, bound to a key) are no proof of who calls (RFC 8725 section 3.11).
const FOREIGN_KINDS: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// A token as it came, whose signature nobody has checked yet.
pub struct Token<'a> {
    /// What is signed.
    message: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Map<String, Value>,
}

/// What a header says that counts.
#[derive(Debug)]
struct Header {
    algorithm: String,
    kind: Option<String>,
    key_id: Option<String>,
    tenant: Option<String>,
    epoch: Option<i64>,
}

/// The claims that count, after the signature was checked.
#[derive(Debug)]
pub struct Claims {
    /// Whom the token is about.
    pub sub: String,
    exp: i64,
    auth_time: Option<i64>,
    /// `ocariot`'s kind of subject.
    sub_type: String,
    scope: String,
}

/// Without what would be a credential.
impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'a> Token<'a> {
    /// Reads a token. `None` for what is none, and for one that could be read in two ways or wants something of us that
    /// we do not do (`crit`, `zip`, `b64`).
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (message, signature) = text.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
        let header = strict_json::object(&decode(header)?)?;
        let claims = strict_json::object(&decode(claims)?)?;
        if ["crit", "zip", "b64"].iter().any(|name| header.contains_key(*name)) {
            return None;
        }
        let header = Header {
            algorithm: text_of(&header, "alg")??,
            kind: text_of(&header, "typ")?,
            key_id: text_of(&header, "kid")?,
            tenant: text_of(&header, "tid")?,
            epoch: whole_number(&header, "epoch")?,
        };
        Some(Self { message, signature: decode(signature)?, header, claims })
    }

    /// Whom it says it is from.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// By which key it says it was signed.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.header.key_id.as_deref()
    }

    /// With what it says it was signed.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.header.algorithm
    }

    /// What was signed.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// What should be its signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether it says that it is one of our own of this kind, exactly.
    #[must_use]
    pub fn is_of_kind(&self, kind: &str) -> bool {
        self.header.kind.as_deref() == Some(kind)
    }

    /// Whether it is bound to this tenant (its internal id) and version of a secret.
    #[must_use]
    pub fn is_bound_to(&self, tenant: &str, epoch: i64) -> bool {
        self.header.tenant.as_deref() == Some(tenant) && self.header.epoch == Some(epoch)
    }

    /// A claim that is text.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// The claims, where they are good now and for us. Only to be asked once the signature was found right.
    ///
    /// # Errors
    /// Credential invalid; credential expired, where all but the time is right.
    pub fn claims(&self, issuer: &str, audience: &str, now: Timestamp) -> Result<Claims> {
        let claims = self.typed_claims(issuer, audience, now).ok_or_else(invalid)?;
        if claims.expire_time() <= now {
            return Err(Error::new(Reason::CredentialExpired, "the token has expired").expired_at(claims.expire_time()));
        }
        Ok(claims)
    }

    fn typed_claims(&self, issuer: &str, audience: &str, now: Timestamp) -> Option<Claims> {
        let claims = &self.claims;
        let for_us = match claims.get("aud") {
            _ if audience.is_empty() => true,
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            Some(_) | None => false,
        };
        let soon = now.plus(LEEWAY);
        let begun = |name| Some(whole_number(claims, name)?.is_none_or(|seconds| at(seconds) <= soon));
        let good = self.issuer()? == issuer && for_us && begun("nbf")? && begun("iat")?;
        let claims = Claims {
            sub: text_of(claims, "sub")?.filter(|sub| !sub.is_empty())?,
            exp: whole_number(claims, "exp")??,
            auth_time: whole_number(claims, "auth_time")?,
            sub_type: text_of(claims, "sub_type")?.unwrap_or_default(),
            scope: text_of(claims, "scope")?.unwrap_or_default(),
        };
        good.then_some(claims)
    }
}

/// Checks a token against an issuer that a tenant trusts.
///
/// # Errors
/// Credential invalid; credential expired, where all but the time is right.
pub fn verify(token: &Token<'_>, trusted: &JwtIssuer, now: Timestamp) -> Result<Claims> {
    let pem = trusted.public_key_pem.as_bytes();
    let (key, algorithm) = match trusted.algorithm {
        JwtAlgorithm::RS256 => (DecodingKey::from_rsa_pem(pem), Algorithm::RS256),
        JwtAlgorithm::ES256 => (DecodingKey::from_ec_pem(pem), Algorithm::ES256),
        JwtAlgorithm::EdDSA => (DecodingKey::from_ed_pem(pem), Algorithm::EdDSA),
    };
    let key = key.map_err(Error::internal)?;
    let kind = token.header.kind.as_deref();
    if token.algorithm() != trusted.algorithm.as_str()
        || kind.is_some_and(|kind| !FOREIGN_KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)))
    {
        return Err(invalid());
    }
    let signature = BASE64URL_NOPAD.encode(&token.signature);
    let signed = crypto::verify(&signature, token.message(), &key, algorithm);
    if !signed.map_err(|error| invalid().caused_by(error))? {
        return Err(invalid());
    }
    token.claims(&trusted.issuer, &trusted.audience, now)
}

impl Claims {
    /// Whether its subject signed in no longer ago than this, in seconds; not where nobody says when.
    #[must_use]
    pub fn is_fresh(&self, max_age_s: u32, now: Timestamp) -> bool {
        self.auth_time
            .is_some_and(|time| time <= now.plus(LEEWAY).seconds() && time >= now.seconds() - i64::from(max_age_s))
    }

    /// When the token ends.
    #[must_use]
    pub fn expire_time(&self) -> Timestamp {
        at(self.exp)
    }

    /// What its scopes allow: to everybody, and to its own subject. By the issuer's grants; a scope without any by the
    /// tenant's alias of that name.
    #[must_use]
    pub fn permissions(&self, scope_grants: &[ScopeGrant], settings: &Settings) -> (Vec<Permission>, Vec<Permission>) {
        let (mut general, mut own) = (Vec::new(), Vec::new());
        for alias in &settings.permission_aliases {
            let granted = scope_grants.iter().any(|grant| grant.scope == alias.name);
            let has_scope = self.scope.split(' ').any(|scope| scope == alias.name);
            let permission = settings.permission(&alias.name).filter(|_| has_scope && !granted);
            general.extend(permission.filter(|permission| !general.contains(permission)));
        }
        for grant in scope_grants {
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

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// A member that is text or absent; `None` where it is anything else.
#[expect(clippy::option_option, reason = "not text, or text and absent")]
fn text_of(members: &Map<String, Value>, name: &str) -> Option<Option<String>> {
    match members.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

/// A member that is a whole number from 0 on, or absent; `None` where it is anything else, `null` and text included.
#[expect(clippy::option_option, reason = "no such number, or one and absent")]
fn whole_number(members: &Map<String, Value>, name: &str) -> Option<Option<i64>> {
    match members.get(name) {
        None => Some(None),
        Some(value) => value.as_i64().filter(|number| *number >= 0).map(Some),
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
