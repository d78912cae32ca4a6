//! What callers are given, and what tenants call it: permissions, aliases, roles, ranks.

use super::validate::Fields;
use crate::{
    access::Finding,
    domain::{Role, role::MAX_RANK, tenant::PermissionAlias},
    proto,
};

/// The most characters of a permission's name.
const MAX_NAME: usize = 128;
/// The most permissions of a caller.
const MAX_PERMISSIONS: usize = 128;

impl Fields {
    /// Names of permissions or of a tenant's aliases: which, only the tenant knows.
    pub(super) fn permission_names(&mut self, field: &str, names: Vec<String>) -> Option<Vec<String>> {
        if names.len() > MAX_PERMISSIONS {
            return self.refuse(field, format!("must be at most {MAX_PERMISSIONS}"));
        }
        let mut good = true;
        for (index, name) in names.iter().enumerate() {
            good &= self.printing(&format!("{field}[{index}]"), name, 1, MAX_NAME).is_some();
        }
        good.then_some(names)
    }

    pub(super) fn roles(&mut self, field: &str, given: &[i32]) -> Option<Vec<Role>> {
        let mut roles = Vec::with_capacity(given.len());
        for (index, role) in given.iter().enumerate() {
            let role = match proto::Role::try_from(*role) {
                Ok(proto::Role::Administrator) => Role::Administrator,
                Ok(proto::Role::Helpdesk) => Role::Helpdesk,
                Ok(proto::Role::Verifier) => Role::Verifier,
                Ok(proto::Role::Auditor) => Role::Auditor,
                Ok(proto::Role::Gateway) => Role::Gateway,
                Ok(proto::Role::Unspecified) | Err(_) => {
                    self.refuse::<()>(format!("{field}[{index}]"), "must be a Role");
                    continue;
                }
            };
            if roles.contains(&role) {
                self.refuse::<()>(format!("{field}[{index}]"), "stands twice");
                continue;
            }
            roles.push(role);
            if roles.len() == Role::ALL.len() {
                break;
            }
        }
        (roles.len() == given.len()).then_some(roles)
    }

    pub(super) fn rank(&mut self, field: &str, rank: u32) -> Option<u32> {
        if rank <= MAX_RANK { Some(rank) } else { self.refuse(field, format!("must be 0 to {MAX_RANK}")) }
    }

    /// A tenant's aliases, whatever request they are in.
    pub(super) fn permission_aliases(
        &mut self,
        field: &str,
        given: Vec<proto::PermissionAlias>,
    ) -> Option<Vec<PermissionAlias>> {
        if given.len() > PermissionAlias::MAX {
            return self.refuse(field, format!("must be at most {}", PermissionAlias::MAX));
        }
        let aliases: Vec<_> =
            given.into_iter().map(|alias| PermissionAlias { name: alias.name, permission: alias.permission }).collect();
        let defects = PermissionAlias::defects(&aliases);
        for (place, name, rule) in &defects {
            self.refuse::<()>(format!("{field}[{place}].{name}"), *rule);
        }
        defects.is_empty().then_some(aliases)
    }
}

pub(super) fn role(role: Role) -> proto::Role {
    match role {
        Role::Administrator => proto::Role::Administrator,
        Role::Helpdesk => proto::Role::Helpdesk,
        Role::Verifier => proto::Role::Verifier,
        Role::Auditor => proto::Role::Auditor,
        Role::Gateway => proto::Role::Gateway,
    }
}

/// Roles as they are kept, by name.
pub(super) fn role_values(names: &[String]) -> Vec<i32> {
    names.iter().filter_map(|name| Role::parse(name)).map(|known| role(known).into()).collect()
}

impl From<PermissionAlias> for proto::PermissionAlias {
    fn from(alias: PermissionAlias) -> Self {
        Self { name: alias.name, permission: alias.permission }
    }
}

impl From<Finding> for proto::AccessRule {
    fn from(finding: Finding) -> Self {
        Self { rule: finding.rule().to_owned(), passed: finding.passed(), explanation: finding.explanation() }
    }
}
