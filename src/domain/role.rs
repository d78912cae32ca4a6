//! Roles: ready sets of permissions. Ranks: who may do something to whom.

use super::{Attributes, Permission};

/// The highest rank: an administrator's.
pub const MAX_RANK: u32 = 1_000;

/// What a caller is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything in its tenant.
    Administrator,
    /// Finds users, sets their passwords, locks and unlocks them.
    Helpdesk,
    /// Checks passwords.
    Verifier,
    /// Reads everything but secrets.
    Auditor,
    /// Hands in the signatures of other people's requests.
    Gateway,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Administrator, Self::Helpdesk, Self::Verifier, Self::Auditor, Self::Gateway];

    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Helpdesk => "helpdesk",
            Self::Verifier => "verifier",
            Self::Auditor => "auditor",
            Self::Gateway => "gateway",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// How high it stands.
    #[must_use]
    pub const fn rank(self) -> u32 {
        match self {
            Self::Administrator => MAX_RANK,
            Self::Helpdesk => 100,
            Self::Verifier | Self::Auditor | Self::Gateway => 0,
        }
    }

    /// Whether who has it may do what `wanted` names.
    #[must_use]
    pub fn allows(self, wanted: Permission) -> bool {
        let named = |names: &[&str]| names.contains(&wanted.as_str());
        match self {
            Self::Administrator => true,
            Self::Helpdesk => named(&[
                "policies:check",
                "policies:explain",
                "users:get",
                "users:list",
                "users:lock",
                "users:resetPassword",
            ]),
            Self::Verifier => named(&["devices:verify", "integrations:verify", "users:verify"]),
            Self::Auditor => wanted.only_looks(),
            Self::Gateway => named(&["tokens:exchangeSignature"]),
        }
    }

    /// Its permissions.
    #[must_use]
    pub fn permissions(self) -> Vec<Permission> {
        match self {
            Self::Administrator => vec![Permission::EVERYTHING],
            Self::Helpdesk | Self::Verifier | Self::Auditor | Self::Gateway => {
                Permission::all().filter(|permission| self.allows(*permission)).collect()
            }
        }
    }
}

/// What a caller can do, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Its own permissions.
    pub permissions: Vec<Permission>,
    /// Those of its roles are its own too.
    pub roles: Vec<Role>,
    /// How high it stands: 0 to [`MAX_RANK`].
    pub rank: u32,
}

impl Reach {
    /// Where `rank` is zero it is that of the highest role; to hold everything is as good as the highest.
    #[must_use]
    pub fn new(permissions: Vec<Permission>, roles: Vec<Role>, rank: u32) -> Self {
        let of_permissions = if permissions.contains(&Permission::EVERYTHING) { MAX_RANK } else { 0 };
        let of_roles = roles.iter().map(|role| role.rank()).max().unwrap_or_default();
        let rank = if rank == 0 { of_roles.max(of_permissions) } else { rank };
        Self { permissions, roles, rank }
    }

    /// What a caller can do by what is kept of it. A name that is none any more allows nothing.
    #[must_use]
    pub fn of(attributes: &Attributes) -> Self {
        let permissions = attributes.permissions.iter().filter_map(|name| Permission::parse(name)).collect();
        let roles = attributes.roles.iter().filter_map(|name| Role::parse(name)).collect();
        Self::new(permissions, roles, attributes.rank)
    }

    /// Its own permissions and its roles', each once.
    #[must_use]
    pub fn all_permissions(&self) -> Vec<Permission> {
        let mut all = self.permissions.clone();
        for permission in self.roles.iter().flat_map(|role| role.permissions()) {
            if !all.contains(&permission) {
                all.push(permission);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn permission(name: &str) -> Permission {
        Permission::parse(name).unwrap()
    }

    #[test]
    fn a_role_allows_its_permissions_and_no_other() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            let permissions = role.permissions();
            assert!(!permissions.is_empty());
            for wanted in Permission::all().chain([Permission::EVERYTHING]) {
                let covered = permissions.iter().any(|held| held.covers(wanted));
                assert_eq!(role.allows(wanted), covered, "{role:?} {wanted}");
            }
        }
    }

    #[test]
    fn an_auditor_sees_no_secret_and_changes_nothing() {
        let seen = Role::Auditor.permissions();
        for permission in &seen {
            assert!(permission.only_reads(), "{permission}");
            assert!(
                !permission.as_str().contains(":reveal") && !permission.as_str().ends_with(":verify"),
                "{permission}"
            );
        }
        for name in ["audit:list", "users:get", "users:list", "users:census", "policies:explain", "callers:get"] {
            assert!(seen.contains(&permission(name)), "{name}");
        }
    }

    #[test]
    fn rank_is_what_is_set_or_else_of_the_highest_role() {
        let rank = |permissions: &[&str], roles: &[Role], rank| {
            let permissions = permissions.iter().map(|name| permission(name)).collect();
            Reach::new(permissions, roles.to_vec(), rank).rank
        };
        assert_eq!(rank(&[], &[], 0), 0);
        assert_eq!(rank(&["users:*"], &[Role::Auditor], 0), 0);
        assert_eq!(rank(&[], &[Role::Verifier, Role::Helpdesk], 0), 100);
        assert_eq!(rank(&[], &[Role::Helpdesk], 7), 7);
        assert_eq!(rank(&["*"], &[], 0), MAX_RANK);
        assert_eq!(rank(&["*"], &[Role::Administrator], 500), 500);
    }

    proptest! {
        #[test]
        fn all_permissions_are_the_union(own in proptest::sample::subsequence(Permission::all().collect::<Vec<_>>(), 0..9),
                                         roles in proptest::sample::subsequence(Role::ALL.to_vec(), 0..=5)) {
            let reach = Reach::new(own.clone(), roles.clone(), 0);
            let all = reach.all_permissions();
            for wanted in Permission::all() {
                let held = own.iter().any(|held| held.covers(wanted)) || roles.iter().any(|role| role.allows(wanted));
                prop_assert_eq!(all.iter().any(|held| held.covers(wanted)), held);
            }
        }
    }
}
