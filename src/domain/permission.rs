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
    "callers:rotateCredential",
    "callers:update",
    "devices:create",
    "devices:delete",
    "devices:disable",
    "devices:get",
    "devices:list",
    "devices:lock",
    "devices:resetAuthentication",
    "devices:resetMany",
    "devices:revealAuthentication",
    "devices:rotateSecret",
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
    "integrations:rotateSecret",
    "integrations:update",
    "integrations:verify",
    "jobs:cancel",
    "jobs:get",
    "jobs:list",
    "keys:list",
    "keys:rotate",
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
    "users:expirePasswords",
    "users:get",
    "users:import",
    "users:list",
    "users:lock",
    "users:resetPassword",
    "users:update",
    "users:verify",
];

/// All that there is of one noun, what is secret included.
const GROUPS: &[&str] = &[
    "audit:*",
    "callers:*",
    "devices:*",
    "integrations:*",
    "jobs:*",
    "keys:*",
    "policies:*",
    "tenants:*",
    "tokens:*",
    "users:*",
];

/// What may be done only to users who stand below.
const RANKED: &[&str] =
    &["users:delete", "users:disable", "users:expirePasswords", "users:lock", "users:resetPassword", "users:update"];

/// What can be held for oneself only: the methods that look at whom they are about.
const OWN: &[&str] = &["users:changePassword", "users:get", "users:resetPassword"];

/// A permission such as `users:resetPassword`; or `users:*`, all of a noun's; or `*`, which is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(&'static str);

impl Permission {
    /// All of them.
    pub const EVERYTHING: Self = Self("*");
    /// To let many users' passwords expire.
    pub const EXPIRE_PASSWORDS: Self = Self("users:expirePasswords");
    /// To read callers.
    pub const GET_CALLER: Self = Self("callers:get");
    /// To read users.
    pub const GET_USER: Self = Self("users:get");
    /// To give many devices new passwords.
    pub const RESET_MANY: Self = Self("devices:resetMany");
    /// To see a device's secret.
    pub const REVEAL_DEVICE: Self = Self("devices:revealAuthentication");
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
        KNOWN.iter().chain(GROUPS).find(|known| **known == name).map(|known| Self(known))
    }

    /// All but those that end in `*`, sorted.
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
        self == wanted || self.0.strip_suffix('*').is_some_and(|group| wanted.0.starts_with(group))
    }

    /// Whether it is about users of whom the caller must stand above.
    #[must_use]
    pub fn is_ranked(self) -> bool {
        RANKED.contains(&self.0)
    }

    /// Whether it can be held for oneself only.
    #[must_use]
    pub fn can_be_own(self) -> bool {
        OWN.contains(&self.0)
    }

    /// Whether it shows what is not secret, and does nothing else.
    #[must_use]
    pub fn only_looks(self) -> bool {
        [":census", ":explain", ":get", ":list"].iter().any(|verb| self.0.ends_with(verb))
    }

    /// Whether it changes nothing: what a read-only signing key may do.
    #[must_use]
    pub fn only_reads(self) -> bool {
        self.only_looks() || self.0.ends_with(":check") || self.0.ends_with(":verify")
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_covers_its_noun_and_nothing_else() {
        for group in GROUPS {
            let held = Permission::parse(group).unwrap();
            let noun = group.trim_end_matches('*');
            assert!(KNOWN.iter().any(|known| known.starts_with(noun)), "{group} is of nothing");
            for wanted in Permission::all().chain([Permission::EVERYTHING]) {
                assert_eq!(held.covers(wanted), wanted.as_str().starts_with(noun), "{group} {wanted}");
            }
            assert!(Permission::EVERYTHING.covers(held) && !held.only_reads());
        }
        for permission in Permission::all() {
            let noun = permission.as_str().split(':').next().unwrap();
            assert!(Permission::parse(&format!("{noun}:*")).is_some(), "{noun} has no group");
            assert!(permission.covers(permission) && Permission::EVERYTHING.covers(permission));
        }
        for none in ["users", "users:", ":*", "*:get", "users:**", "users:r*", "Users:*", "**"] {
            assert_eq!(Permission::parse(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_ranked_exists_and_changes_something() {
        for name in RANKED {
            let permission = Permission::parse(name).unwrap();
            assert!(KNOWN.contains(name) && permission.is_ranked() && !permission.only_reads(), "{name}");
        }
    }
}
