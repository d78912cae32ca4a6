//! Who may do something to whom, and who may give what: nobody touches who stands as high or higher, and nobody gives what
//! they do not hold.

use super::{Call, Ops};
use crate::{
    access::{Caller, Finding},
    audit::Target,
    domain::{
        Attributes, Error, Permission, Reach, Reason, ResourceId, Result, Role, Subject, SubjectKind, Tenant,
        Violation, role::MAX_RANK, tenant::Settings,
    },
};

/// What a caller is given: names of permissions, or of the tenant's aliases; roles; a rank.
#[derive(Clone, Debug, Default)]
pub struct Gift {
    /// By their own names or by aliases.
    pub permissions: Vec<String>,
    /// What it is there for.
    pub roles: Vec<Role>,
    /// How high it stands; of the highest role where zero.
    pub rank: u32,
}

impl Gift {
    /// Refuses what can be refused without knowing the tenant: that comes before whether there is one.
    ///
    /// # Errors
    /// Permission missing; rank too low.
    pub(super) fn check(&self, call: &Call) -> Result<()> {
        let permissions: Vec<_> = self.permissions.iter().filter_map(|name| Permission::parse(name)).collect();
        may_give(call, &Reach::new(permissions, self.roles.clone(), self.rank))
    }

    /// Puts it into what is kept of a caller of this tenant: aliases as what they stand for, so that they may change.
    ///
    /// # Errors
    /// Fields invalid (`permissions[n]` below `path`); permission missing; rank too low.
    pub(super) fn put(self, call: &Call, tenant: &Tenant, path: &str, attributes: &mut Attributes) -> Result<()> {
        let Self { permissions: names, roles, rank } = self;
        let (mut permissions, mut violations) = (Vec::with_capacity(names.len()), Vec::new());
        for (place, name) in names.iter().enumerate() {
            let rule = match tenant.settings.permission(name) {
                Some(permission) if permissions.contains(&permission) => "stands twice",
                Some(permission) => {
                    permissions.push(permission);
                    continue;
                }
                None => "is no permission of Rekey's and no alias of the tenant's",
            };
            violations.push(Violation::new(format!("{path}permissions[{place}]"), rule));
        }
        if !violations.is_empty() {
            return Err(Error::fields(violations));
        }
        let reach = Reach::new(permissions, roles, rank);
        let before = Reach::of(attributes);
        // What it could do before is not given now.
        let had = before.all_permissions();
        let mut given = reach.all_permissions();
        given.retain(|permission| !had.iter().any(|held| held.covers(*permission)));
        may_give_permissions(call, &given)?;
        if reach.rank > before.rank {
            call.grant.caller().standing().towards_caller(reach.rank).obey()?;
        }
        attributes.permissions = reach.permissions.iter().map(|permission| permission.as_str().to_owned()).collect();
        attributes.roles = reach.roles.iter().map(|role| role.as_str().to_owned()).collect();
        attributes.rank = rank;
        Ok(())
    }
}

impl Ops {
    /// Holds a caller that may act on itself only to that, before anything else is looked at; a refusal is recorded.
    /// `None` names a user by something else than its id.
    ///
    /// # Errors
    /// Not own subject.
    pub async fn hold_to_own(&self, call: &Call, user_id: Option<&str>) -> Result<()> {
        // What is no id has not been refused as such yet, and does not belong into a record.
        let named = user_id.and_then(ResourceId::parse);
        let target = named.map_or(Target::None, |id| Target::Subject(SubjectKind::User, id.to_string()));
        self.audited(call, target, async { call.grant.about(user_id) }).await
    }
}

/// Whether the caller stands high enough to do something to this subject. To be asked again of each state that a change is
/// decided on. Who may act on itself only, does: it need not stand above itself.
///
/// # Errors
/// Rank too low.
pub(super) fn outranks(call: &Call, subject: &Subject) -> Result<()> {
    if call.grant.is_own_only() { Ok(()) } else { towards(call.grant.caller(), subject).obey() }
}

/// What the rule of ranks says of a caller and a subject. Things have no rank.
pub(super) fn towards(caller: &Caller, subject: &Subject) -> Finding {
    let rank = Reach::of(&subject.attributes).rank;
    match subject.kind {
        SubjectKind::User => caller.standing().towards_user(rank),
        SubjectKind::Caller => caller.standing().towards_caller(rank),
        SubjectKind::Device | SubjectKind::Integration => caller.standing().towards_user(0),
    }
}

/// Whether the caller may give a user this rank.
///
/// # Errors
/// Rank too low.
pub(super) fn may_rank_user(call: &Call, rank: u32) -> Result<()> {
    call.grant.caller().standing().gives_user(rank).obey()
}

/// Whether the caller can do all of this itself, and stands as high: else giving it would be a way up.
///
/// # Errors
/// Permission missing; rank too low.
pub(super) fn may_give(call: &Call, reach: &Reach) -> Result<()> {
    may_give_permissions(call, &reach.all_permissions())?;
    call.grant.caller().standing().towards_caller(reach.rank).obey()
}

/// Whether the caller may give this one a credential, and be it then.
///
/// # Errors
/// Permission missing; rank too low.
pub(super) fn may_equip(call: &Call, subject: &Subject) -> Result<()> {
    may_give(call, &Reach::of(&subject.attributes))
}

/// Whether the caller may make an existing tenant believe these issuers and aliases: whoever has an issuer's key can be any
/// of its users, of whatever rank, with whatever the scopes come to. To be asked where a change touches them at all, for a
/// new key alone is as much.
///
/// # Errors
/// Permission missing; rank too low.
pub(super) fn may_trust(call: &Call, before: Option<&Settings>, after: &Settings) -> Result<()> {
    let is_same = match before {
        Some(before) => {
            after.jwt_issuers == before.jwt_issuers
                && after.permission_aliases == before.permission_aliases
                && after.token_issuer == before.token_issuer
        }
        None => after.jwt_issuers.is_empty() && after.permission_aliases.is_empty() && after.token_issuer.is_none(),
    };
    if is_same {
        return Ok(());
    }
    may_give(call, &Reach::new(after.permissions_given_since(before), Vec::new(), MAX_RANK))
}

/// Whether the caller holds all of these itself.
///
/// # Errors
/// Permission missing.
pub(super) fn may_give_permissions(call: &Call, permissions: &[Permission]) -> Result<()> {
    match permissions.iter().find(|permission| !call.grant.caller().holds(**permission)) {
        None => Ok(()),
        Some(missing) => {
            let message = format!("the caller cannot give the permission {missing}, which it does not hold");
            Err(Error::new(Reason::PermissionMissing, message).with("permission", missing.as_str()))
        }
    }
}
