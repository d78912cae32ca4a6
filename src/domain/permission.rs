//! What a caller may do.

use std::fmt;

/// Every permission there is, as named in the `rule` option of the methods in `proto/`.
const KNOWN: &[&str] = &[
    "audit:list",
    "callers:create",
    "callers:createCredential",
    "callers:delete",
    "callers:disable",
    "callers:get",
    "callers:list",
    "callers:lock",
    "callers:revokeCredential",
    "callers:update",
    "devices:create",
    "devices:delete",
    "devices:disable",
    "devices:get",
    "devices:list",
    "devices:lock",
    "devices:resetAuthentication",
    "devices:revealAuthentication",
    "devices:update",
    "devices:verify",
    "integrations:create",
    "integrations:delete",
    "integrations:disable",
    "integrations:get",
    "integrations:list",
    "integrations:lock",
    "integrations:reset",
    "integrations:reveal",
    "integrations:update",
    "policies:check",
    "policies:explain",
    "tenants:create",
    "tenants:delete",
    "tenants:disable",
    "tenants:get",
    "tenants:list",
    "tenants:update",
    "tokens:exchangeSignature",
    "users:census",
    "users:changePassword",
    "users:create",
    "users:delete",
    "users:disable",
    "users:get",
    "users:import",
    "users:list",
    "users:lock",
    "users:resetPassword",
    "users:update",
    "users:verify",
];

/// A permission such as `users:resetPassword`, or `*`, which is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(&'static str);

impl Permission {
    /// All of them.
    pub const EVERYTHING: Self = Self("*");
    /// To see a device's secret.
    pub const REVEAL_DEVICE: Self = Self("devices:revealAuthentication");
    /// To read users.
    pub const GET_USER: Self = Self("users:get");
    /// To set users' passwords.
    pub const RESET_USER: Self = Self("users:resetPassword");
    /// To see an integration's secrets.
    pub const REVEAL_INTEGRATION: Self = Self("integrations:reveal");

    /// The permission of this name, where there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == Self::EVERYTHING.0 {
            return Some(Self::EVERYTHING);
        }
        KNOWN.iter().find(|known| **known == name).map(|known| Self(known))
    }

    /// All but `*`, sorted.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|known| Self(known))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether who holds this may do what `wanted` names.
    #[must_use]
    pub fn covers(self, wanted: Self) -> bool {
        self == Self::EVERYTHING || self == wanted
    }

    /// Whether it changes nothing: what a read-only signing key may do.
    #[must_use]
    pub fn only_reads(self) -> bool {
        self.0.ends_with(":census")
            || self.0.ends_with(":check")
            || self.0.ends_with(":explain")
            || self.0.ends_with(":get")
            || self.0.ends_with(":list")
            || self.0.ends_with(":verify")
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
