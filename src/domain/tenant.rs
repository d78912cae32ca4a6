//! Tenants: the closed spaces everything else lives in.

use serde::{Deserialize, Serialize};

use super::{
    Permission, Policy, ResourceId, SubjectState, TenantLimits, Timestamp, Uid, Violation,
    subject::{Labels, etag},
};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// Active or disabled.
    pub state: SubjectState,
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
    /// Names and values for whoever keeps it.
    #[serde(default)]
    pub labels: Labels,
    /// What other systems call permissions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permission_aliases: Vec<PermissionAlias>,
    /// What differs from the service's own limits.
    #[serde(default)]
    pub limits: TenantLimits,
    /// How tokens of the users are issued; they get none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_issuer: Option<Box<TokenIssuer>>,
}

impl Settings {
    /// What a name of this tenant's stands for: a permission's own, or an alias.
    #[must_use]
    pub fn permission(&self, name: &str) -> Option<Permission> {
        let alias = || self.permission_aliases.iter().find(|alias| alias.name == name);
        Permission::parse(name).or_else(|| Permission::parse(&alias()?.permission))
    }

    /// What is wrong between the parts: grants of scopes that name nothing. Paths begin below the tenant.
    #[must_use]
    pub fn defects(&self) -> Vec<Violation> {
        let mut defects = Vec::new();
        if let Some(own) = &self.token_issuer
            && self.jwt_issuers.iter().any(|trusted| trusted.issuer == own.issuer)
        {
            defects.push(Violation::new("token_issuer.issuer", "is that of one of jwt_issuers"));
        }
        let trusted = self.jwt_issuers.iter().enumerate();
        let trusted = trusted.map(|(place, issuer)| (format!("jwt_issuers[{place}]"), &issuer.scope_grants));
        let own = self.token_issuer.iter().map(|issuer| ("token_issuer".to_owned(), &issuer.scope_grants));
        for (issuer, scope_grants) in trusted.chain(own) {
            for (grant, granted) in scope_grants.iter().enumerate() {
                let rule = match self.permission(&granted.permission) {
                    None => "is no permission of Rekey's and no alias of this tenant's",
                    Some(permission) if granted.own_only && !permission.can_be_own() => {
                        "cannot be held for oneself only: users:changePassword, users:get and users:resetPassword can"
                    }
                    Some(_) => continue,
                };
                let field = format!("{issuer}.scope_grants[{grant}].permission");
                defects.push(Violation::new(field, rule));
            }
        }
        defects
    }

    /// Every permission that somebody may come to through what is new in these settings: by a scope or an alias. An issuer
    /// that was changed at all is new.
    #[must_use]
    pub fn permissions_given_since(&self, before: Option<&Self>) -> Vec<Permission> {
        let issuers = self.jwt_issuers.iter().filter(|issuer| before.is_none_or(|it| !it.jwt_issuers.contains(issuer)));
        let known = self.permission_aliases.iter();
        let new = known.filter(|alias| before.is_none_or(|it| !it.permission_aliases.contains(alias)));
        let own =
            self.token_issuer.iter().filter(|issuer| before.is_none_or(|it| it.token_issuer.as_ref() != Some(issuer)));
        let granted =
            issuers.flat_map(|issuer| &issuer.scope_grants).chain(own.flat_map(|issuer| &issuer.scope_grants));
        let granted = granted.map(|grant| &grant.permission);
        let aliased = new.map(|alias| &alias.permission);
        let mut given: Vec<Permission> = granted.chain(aliased).filter_map(|name| self.permission(name)).collect();
        given.sort_unstable();
        given.dedup();
        given
    }
}

/// What another system calls a permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionAlias {
    /// The name there.
    pub name: String,
    /// The permission, by its own name.
    pub permission: String,
}

impl PermissionAlias {
    /// The most that a tenant has.
    pub const MAX: usize = 64;

    /// What is wrong with a tenant's aliases, by place and field of each.
    #[must_use]
    pub fn defects(aliases: &[Self]) -> Vec<(usize, &'static str, &'static str)> {
        let mut defects = Vec::new();
        for (place, alias) in aliases.iter().enumerate() {
            let legal = (1..=128).contains(&alias.name.len()) && alias.name.bytes().all(|byte| byte.is_ascii_graphic());
            let known = Permission::parse(&alias.permission);
            if !legal {
                defects.push((place, "name", "must be 1 to 128 printing ASCII characters"));
            } else if Permission::parse(&alias.name).is_some_and(|shadowed| known != Some(shadowed)) {
                defects.push((place, "name", "is a permission of Rekey's, and stands for nothing else"));
            } else if aliases.iter().take(place).any(|other| other.name == alias.name) {
                defects.push((place, "name", "stands twice"));
            }
            if known.is_none() {
                defects.push((place, "permission", "is no permission of Rekey's"));
            }
        }
        defects
    }
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
    /// How long ago whoever is named may have signed in for what changes something, in seconds; 0: it does not matter.
    #[serde(default)]
    pub max_auth_age_s: u32,
}

impl JwtIssuer {
    /// The longest, in seconds.
    pub const MAX_AUTH_AGE_S: u32 = 30 * 86_400;
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
    /// The permission, by its own name or an alias of the tenant's.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(name: &str, permission: &str) -> PermissionAlias {
        PermissionAlias { name: name.to_owned(), permission: permission.to_owned() }
    }

    #[test]
    fn aliases_are_unique_known_and_shadow_nothing() {
        let good = [
            alias("mdm.integration.harmonyMobile.reset", "integrations:reset"),
            alias("educators:update", "users:changePassword"),
            alias("users:get", "users:get"),
            alias("everything", "*"),
            alias("people", "users:*"),
        ];
        assert_eq!(PermissionAlias::defects(&good), []);
        let long = "x".repeat(129);
        for (name, permission, field) in [
            ("", "users:get", "name"),
            ("a b", "users:get", "name"),
            ("\u{e9}", "users:get", "name"),
            (&*long, "users:get", "name"),
            ("users:get", "users:delete", "name"),
            ("*", "users:get", "name"),
            ("users:*", "*", "name"),
            ("fly", "users:fly", "permission"),
            ("again", "fly", "permission"),
        ] {
            let defects = PermissionAlias::defects(&[good[0].clone(), alias(name, permission)]);
            assert_eq!(defects.iter().map(|defect| (defect.0, defect.1)).collect::<Vec<_>>(), [(1, field)], "{name:?}");
        }
        let twice = PermissionAlias::defects(&[alias("a", "users:get"), alias("a", "users:get")]);
        assert_eq!(twice, [(1, "name", "stands twice")]);
    }

    #[test]
    fn what_settings_give_is_all_that_grants_and_aliases_come_to() {
        let old = r#"{"display_name": "", "change_password_allowed": true, "user_policy": P, "device_policy": P,
                      "integration_policy": P, "jwt_issuers": []}"#;
        let policy = serde_json::to_string(&Policy::preset(super::super::policy::Preset::Nist)).unwrap();
        // What was written before there were aliases still reads.
        let mut settings: Settings = serde_json::from_str(&old.replace('P', &policy)).unwrap();
        assert_eq!((settings.permissions_given_since(None), settings.permission("people")), (vec![], None));

        let grant = |permission: &str, own_only| ScopeGrant {
            scope: "s".to_owned(),
            permission: permission.to_owned(),
            own_only,
            subject_types: Vec::new(),
        };
        settings.permission_aliases = vec![alias("people", "users:*"), alias("gone", "users:fly")];
        settings.jwt_issuers = vec![JwtIssuer {
            max_auth_age_s: 0,
            issuer: "i".to_owned(),
            public_key_pem: String::new(),
            algorithm: JwtAlgorithm::EdDSA,
            audience: String::new(),
            scope_grants: vec![
                grant("people", false),
                grant("devices:get", false),
                grant("people", true),
                grant("x", false),
            ],
        }];
        let given: Vec<_> = settings.permissions_given_since(None).into_iter().map(Permission::as_str).collect();
        assert_eq!(given, ["devices:get", "users:*"]);
        let defects: Vec<_> = settings.defects().into_iter().map(|defect| defect.field).collect();
        assert_eq!(defects, [2, 3].map(|place| format!("jwt_issuers[0].scope_grants[{place}].permission")));
    }
}
