//! Tenants: the closed spaces everything else lives in.

use serde::{Deserialize, Serialize};

use super::{Permission, Policy, ResourceId, Timestamp, Uid, subject::etag};

/// The public id of the tenant of platform callers, which reach every tenant. Made by `rekey init`.
pub const SYSTEM_TENANT: &str = "system";

/// The REST dialects, which have names of their own for tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Harmony Mobile integrations of organizations.
    Applivery,
    /// Accounts behind an API gateway.
    Ocariot,
    /// License API v4.
    Licensespring,
    /// Devices of ROMA Connect LINK.
    Roma,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Applivery, Self::Ocariot, Self::Licensespring, Self::Roma];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applivery => "applivery",
            Self::Ocariot => "ocariot",
            Self::Licensespring => "licensespring",
            Self::Roma => "roma",
        }
    }

    /// The dialect of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }
}

/// A tenant's name in one dialect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Alias {
    /// Where.
    pub dialect: Dialect,
    /// The name there: 1 to 200 printing ASCII characters.
    pub name: String,
}

/// How a request names a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantRef {
    /// By its id.
    Id(ResourceId),
    /// `dialect:name`.
    Alias(Alias),
    /// `-`: the one the caller belongs to.
    Own,
}

impl TenantRef {
    /// The rule, as a sentence for whoever broke it.
    pub const RULE: &str = "must be a tenant's id, an alias such as applivery:acme, or - for the caller's own tenant";

    /// The reference, where `text` is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "-" {
            return Some(Self::Own);
        }
        match text.split_once(':') {
            None => ResourceId::parse(text).map(Self::Id),
            Some((dialect, name)) => {
                Some(Self::Alias(Alias { dialect: Dialect::parse(dialect)?, name: alias_name(name)? }))
            }
        }
    }
}

/// An alias's name, where it follows the rule: 1 to 200 printing ASCII characters.
#[must_use]
pub fn alias_name(text: &str) -> Option<String> {
    let legal = (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    legal.then(|| text.to_owned())
}

/// A tenant as it is kept.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Never used twice.
    pub uid: Uid,
    /// Its public id.
    pub id: ResourceId,
    /// Its names in the dialects.
    pub aliases: Vec<Alias>,
    /// What it is set to.
    pub settings: Settings,
    /// Grows by one with every change.
    pub version: i64,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

impl Tenant {
    /// The etag of this state.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(&self.uid, self.version)
    }

    /// Whether its callers reach every tenant.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.id.as_str() == SYSTEM_TENANT
    }
}

/// What a tenant is set to; kept as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// For people.
    pub display_name: String,
    /// Whether users may change their own passwords.
    pub change_password_allowed: bool,
    /// Rules for users' passwords.
    pub user_policy: Policy,
    /// Rules for devices' secrets.
    pub device_policy: Policy,
    /// Rules for integrations' secrets.
    pub integration_policy: Policy,
    /// Whose JWTs are believed.
    pub jwt_issuers: Vec<JwtIssuer>,
    /// How tokens of the users are issued; they get none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_issuer: Option<Box<TokenIssuer>>,
}

/// What is in the tokens that the tenant's users get for their passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenIssuer {
    /// The `iss`; no other tenant has the same.
    pub issuer: String,
    /// With which kind of key they are signed.
    pub algorithm: JwtAlgorithm,
    /// How long they are good, in seconds.
    pub ttl_s: u32,
    /// The `aud`; none where empty.
    pub audience: String,
    /// The label of a user whose value becomes `sub_type`; none where empty.
    pub subject_type_label: String,
    /// Which scopes a token has.
    pub scopes: Vec<TokenScopes>,
    /// What scopes allow where a token is shown to us.
    pub scope_grants: Vec<ScopeGrant>,
}

impl TokenIssuer {
    /// How long tokens are good where nobody says, in seconds.
    pub const TTL_S: u32 = 15 * 60;
    /// The shortest and the longest, in seconds.
    pub const TTL_BOUNDS_S: (u32, u32) = (60, 7 * 86_400);

    /// The scopes of a user of this type, as a token has them: each once, joined by spaces.
    #[must_use]
    pub fn scope_of(&self, subject_type: &str) -> String {
        let of_type = |scopes: &&TokenScopes| scopes.subject_type.is_empty() || scopes.subject_type == subject_type;
        let mut scopes: Vec<&str> = Vec::new();
        for scope in self.scopes.iter().filter(of_type).flat_map(|scopes| &scopes.scopes) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes.join(" ")
    }
}

/// The scopes of one type of user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenScopes {
    /// The type; every type where empty.
    pub subject_type: String,
    /// Its scopes.
    pub scopes: Vec<String>,
}

/// Somebody whose JWTs name callers of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtIssuer {
    /// The exact `iss`.
    pub issuer: String,
    /// SPKI in PEM.
    pub public_key_pem: String,
    /// What its kind of key signs with: `RS256`, `ES256` or `EdDSA`.
    pub algorithm: JwtAlgorithm,
    /// The exact `aud`; empty where none is asked for.
    pub audience: String,
    /// What scopes allow.
    pub scope_grants: Vec<ScopeGrant>,
}

/// The signatures that are believed. Nothing symmetric, so no key can be taken for another kind (RFC 8725 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// One scope and the permission it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeGrant {
    /// The scope.
    pub scope: String,
    /// The permission, by name.
    pub permission: String,
    /// Whether for the token's own `sub` only.
    pub own_only: bool,
    /// Where not empty: only for these in `sub_type`.
    pub subject_types: Vec<String>,
}

impl JwtAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EdDSA, Self::ES256, Self::RS256];

    /// Its name (RFC 7518, RFC 8037).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl ScopeGrant {
    /// The permission, where it still exists.
    #[must_use]
    pub fn permission(&self) -> Option<Permission> {
        Permission::parse(&self.permission)
    }
}
