//! A tenant's limits on the wire.

use crate::{api::validate::Fields, domain::TenantLimits, proto};

/// Limits below `path`, decoded and checked.
pub(in crate::api) fn limits(fields: &mut Fields, path: &str, given: Option<proto::TenantLimits>) -> TenantLimits {
    let given = given.unwrap_or_default();
    let longest_delay_s = given.longest_delay.and_then(|delay| match (u64::try_from(delay.seconds), delay.nanos) {
        (Ok(seconds), 0) => Some(seconds),
        (Ok(_) | Err(_), _) => fields.refuse(format!("{path}.longest_delay"), "must be whole seconds, 1 to 3600"),
    });
    let limits = TenantLimits {
        free_failures: given.free_failures,
        stranger_failures: given.stranger_failures,
        hard_stop_failures: given.hard_stop_failures,
        longest_delay_s,
        caller_per_second: given.caller_per_second,
        caller_burst: given.caller_burst,
        tenant_per_second: given.tenant_per_second,
        tenant_burst: given.tenant_burst,
        target_per_second: given.target_per_second,
        target_burst: given.target_burst,
    };
    for (field, rule) in limits.defects() {
        fields.refuse::<()>(format!("{path}.{field}"), rule);
    }
    limits
}

/// Limits as answers show them: absent where nothing differs from the service's.
pub(in crate::api) fn shown(limits: TenantLimits) -> Option<proto::TenantLimits> {
    let seconds = |seconds| prost_types::Duration { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 };
    (limits != TenantLimits::default()).then(|| proto::TenantLimits {
        free_failures: limits.free_failures,
        stranger_failures: limits.stranger_failures,
        hard_stop_failures: limits.hard_stop_failures,
        longest_delay: limits.longest_delay_s.map(seconds),
        caller_per_second: limits.caller_per_second,
        caller_burst: limits.caller_burst,
        tenant_per_second: limits.tenant_per_second,
        tenant_burst: limits.tenant_burst,
        target_per_second: limits.target_per_second,
        target_burst: limits.target_burst,
    })
}
