//! The rules of access as data. Whoever decides makes findings and obeys them; whoever explains shows the same ones.

use super::{caller::Access, credential::invalid};
use crate::domain::{Error, Permission, Reason, Result, Role, SubjectState, role::MAX_RANK};

/// One rule, and what it says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Whether the caller is in use.
    State(SubjectState),
    /// What the method asks for; nobody may call what does not exist.
    Method(Option<Access>),
    /// Whether the caller holds the method's permission.
    Permission {
        /// Which.
        wanted: Permission,
        /// How it is held.
        held: Held,
    },
    /// Whether the credential is good for what the method does.
    ReadOnly {
        /// Whether it is good for reading alone.
        read_only: bool,
        /// Whether the method does more than that.
        changes: bool,
    },
    /// Whether whoever signed in did so lately enough for what the method does.
    Fresh(bool),
    /// Whether somebody who may act on itself alone does.
    OwnSubject(bool),
    /// Whether the tenant is within reach.
    Tenant(bool),
    /// Whether the caller stands high enough.
    Rank {
        /// How high it stands.
        caller: u32,
        /// Whether that is enough.
        enough: bool,
    },
}

/// How a permission is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// By a permission of the caller's own: this or a wider one.
    Itself(Permission),
    /// By a role.
    Role(Role),
    /// For the caller itself only.
    OwnOnly,
    /// Not.
    Not,
}

impl Finding {
    /// The rule's name.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::State(_) => "state",
            Self::Method(_) => "method",
            Self::Permission { held: Held::Role(_), .. } => "role",
            Self::Permission { .. } => "permission",
            Self::ReadOnly { .. } => "read_only",
            Self::Fresh(_) => "fresh",
            Self::OwnSubject(_) => "own_subject",
            Self::Tenant(_) => "tenant",
            Self::Rank { .. } => "rank",
        }
    }

    /// Whether it lets the caller pass.
    #[must_use]
    pub fn passed(self) -> bool {
        match self {
            Self::State(state) => state == SubjectState::Active,
            Self::Method(access) => access.is_some(),
            Self::Permission { held, .. } => held != Held::Not,
            Self::ReadOnly { read_only, changes } => !(read_only && changes),
            Self::Fresh(passed)
            | Self::OwnSubject(passed)
            | Self::Tenant(passed)
            | Self::Rank { enough: passed, .. } => passed,
        }
    }

    /// What it says, for a person.
    #[must_use]
    pub fn explanation(self) -> String {
        let said = match self {
            Self::State(SubjectState::Active) => "the caller is in use",
            Self::State(SubjectState::Disabled) => "the caller is disabled",
            Self::State(SubjectState::Locked) => "the caller is locked",
            Self::Method(None) => "there is no such method",
            Self::Method(Some(Access::Anybody)) => "the method asks for nothing: the request holds its own proof",
            Self::Method(Some(Access::AnyCaller)) => "the method asks only for a known caller",
            Self::Method(Some(Access::Holding(wanted))) => return format!("the method asks for {wanted}"),
            Self::Permission { wanted, held } => {
                return match held {
                    Held::Itself(held) if held == wanted => format!("the caller holds {wanted}"),
                    Held::Itself(wider) => format!("the caller holds {wider}, and {wanted} with it"),
                    Held::Role(role) => format!("the caller holds {wanted} by its role {}", role.as_str()),
                    Held::OwnOnly => format!("the caller holds {wanted} for itself only"),
                    Held::Not => format!("the caller lacks the permission {wanted}"),
                };
            }
            Self::ReadOnly { read_only: false, .. } => "the credential is good for reading and changing",
            Self::ReadOnly { changes: false, .. } => "this signing key may only read, and the method does no more",
            Self::ReadOnly { .. } => "this signing key may only read",
            Self::Fresh(true) => "the method changes nothing, so that it does not matter how long ago one signed in",
            Self::Fresh(false) => {
                "the token's subject signed in too long ago, or the token does not say when: sign in again"
            }
            Self::OwnSubject(true) => "it is the caller itself",
            Self::OwnSubject(false) => "the caller may do this to itself only",
            Self::Tenant(true) => "the tenant is within the caller's reach",
            Self::Tenant(false) => "there is no such tenant",
            Self::Rank { caller, enough: true } => return format!("the caller, of rank {caller}, stands high enough"),
            Self::Rank { caller, enough: false } => {
                return format!("the caller, of rank {caller}, does not stand high enough");
            }
        };
        said.to_owned()
    }

    /// Refuses where the rule does.
    ///
    /// # Errors
    /// Credential invalid; permission missing; API key read-only; not own subject; tenant not found; rank too low.
    pub fn obey(self) -> Result<()> {
        if self.passed() {
            return Ok(());
        }
        let refuse = |reason| Error::new(reason, self.explanation());
        Err(match self {
            Self::State(_) => invalid(),
            Self::Method(_) => refuse(Reason::PermissionMissing),
            Self::Permission { wanted, .. } => refuse(Reason::PermissionMissing).with("permission", wanted.as_str()),
            Self::ReadOnly { .. } => refuse(Reason::ApiKeyReadOnly),
            Self::Fresh(_) => refuse(Reason::AuthenticationTooOld),
            Self::OwnSubject(_) => refuse(Reason::NotOwnSubject),
            Self::Tenant(_) => refuse(Reason::TenantNotFound),
            Self::Rank { caller, .. } => refuse(Reason::RankTooLow).with("rank", caller.to_string()),
        })
    }
}

/// How high somebody stands towards others. Whoever reaches every tenant from the highest rank stands above everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// 0 to [`MAX_RANK`].
    pub rank: u32,
    /// Whether it reaches every tenant.
    pub reaches_all: bool,
}

impl Standing {
    fn is_above_all(self) -> bool {
        self.reaches_all && self.rank == MAX_RANK
    }

    /// Whether it may do something to a user of this rank. Users of rank zero are for everybody with the permission; all
    /// others must be below.
    #[must_use]
    pub fn towards_user(self, rank: u32) -> Finding {
        Finding::Rank { caller: self.rank, enough: rank == 0 || rank < self.rank || self.is_above_all() }
    }

    /// Whether it may do something to a caller of this rank, or make one: to all but those who stand higher.
    #[must_use]
    pub fn towards_caller(self, rank: u32) -> Finding {
        Finding::Rank { caller: self.rank, enough: rank <= self.rank }
    }

    /// Whether it may give a user this rank: one below its own, and the highest may give even that.
    #[must_use]
    pub fn gives_user(self, rank: u32) -> Finding {
        Finding::Rank { caller: self.rank, enough: rank == 0 || rank < self.rank || self.rank == MAX_RANK }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(rank: u32) -> Standing {
        Standing { rank, reaches_all: false }
    }

    proptest! {
        /// Nobody climbs: who cannot touch a user cannot make one of that rank either, unless at the very top; and what
        /// one makes, one can touch.
        #[test]
        fn nobody_gives_a_rank_that_is_out_of_reach(caller in 0..=MAX_RANK, user in 0..=MAX_RANK) {
            let may_touch = standing(caller).towards_user(user).passed();
            let may_give = standing(caller).gives_user(user).passed();
            prop_assert_eq!(may_give, may_touch || caller == MAX_RANK);
            prop_assert_eq!(may_touch, user == 0 || user < caller);
            prop_assert_eq!(standing(caller).towards_caller(user).passed(), user <= caller);
            let platform = Standing { rank: caller, reaches_all: true };
            prop_assert_eq!(platform.towards_user(user).passed(), may_touch || caller == MAX_RANK);
        }
    }

    #[test]
    fn each_rule_refuses_with_a_reason_of_its_own_and_says_why() {
        let wanted = Permission::GET_USER;
        let failing = [
            (Finding::State(SubjectState::Locked), Reason::CredentialInvalid),
            (Finding::Method(None), Reason::PermissionMissing),
            (Finding::Permission { wanted, held: Held::Not }, Reason::PermissionMissing),
            (Finding::ReadOnly { read_only: true, changes: true }, Reason::ApiKeyReadOnly),
            (Finding::Fresh(false), Reason::AuthenticationTooOld),
            (Finding::OwnSubject(false), Reason::NotOwnSubject),
            (Finding::Tenant(false), Reason::TenantNotFound),
            (Finding::Rank { caller: 7, enough: false }, Reason::RankTooLow),
        ];
        for (finding, reason) in failing {
            assert!(!finding.passed() && !finding.explanation().is_empty() && !finding.rule().is_empty());
            assert_eq!(finding.obey().unwrap_err().reason(), reason, "{finding:?}");
        }
        let rank = standing(7).towards_user(7).obey().unwrap_err();
        assert_eq!(rank.metadata(), [("rank", "7".to_owned())]);
    }
}
