//! Which access each method asks for, read from the `rule` option in the descriptors.

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{DynamicMessage, MethodDescriptor, Value};

use crate::{access::Access, domain::Permission, proto::DESCRIPTORS};

/// The rule of one method.
#[derive(Debug)]
pub struct Rule {
    /// `UserService/ResetPassword`, as the audit has it.
    pub action: String,
    /// What it asks for.
    pub access: Access,
}

static RULES: LazyLock<HashMap<String, Rule>> = LazyLock::new(|| {
    let services = DESCRIPTORS.services().filter(|service| service.package_name() == "rekey.v1");
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods
        .filter_map(|method| {
            let service = method.parent_service();
            let action = format!("{}/{}", service.name(), method.name());
            let path = format!("/{}/{}", service.full_name(), method.name());
            Some((path, Rule { action, access: access(&method)? }))
        })
        .collect()
});

/// The rule of the method at a path such as `/rekey.v1.UserService/ResetPassword`; `None` where there is none: then
/// nobody may call it.
#[must_use]
pub fn of(path: &str) -> Option<&'static Rule> {
    RULES.get(path)
}

/// Every method's path and rule.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Rule)> {
    RULES.iter().map(|(path, rule)| (path.as_str(), rule))
}

fn access(method: &MethodDescriptor) -> Option<Access> {
    let extension = DESCRIPTORS.get_extension_by_name("rekey.v1.rule")?;
    let options = method.options();
    let value = options.get_extension(&extension);
    let rule: &DynamicMessage = value.as_message()?;
    match rule.get_field_by_name("permission").as_deref() {
        Some(Value::String(permission)) if !permission.is_empty() => Permission::parse(permission).map(Access::Holding),
        _ => {
            let says = |name| rule.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or(false);
            says("anybody").then_some(Access::Anybody).or_else(|| says("any_caller").then_some(Access::AnyCaller))
        }
    }
}
