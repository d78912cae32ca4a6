//! Versions of passwords on the wire, and what is asked of them: the same for devices and integrations.

use std::time::Duration;

use super::{answer::timestamp, validate::Fields};
use crate::{
    domain::{
        Secret, Stage,
        rotation::{AtLimit, Beginning},
    },
    ops::rotation::Placement,
    proto,
};

/// Where a reset puts its password, as the request has it.
#[derive(Default)]
pub(super) struct Place {
    pub(super) overlap: Option<prost_types::Duration>,
    pub(super) pending: bool,
    pub(super) at_limit: i32,
    pub(super) expire_time: Option<prost_types::Timestamp>,
}

impl Fields {
    /// Whole seconds; none where absent.
    pub(super) fn whole_seconds(&mut self, field: &str, value: Option<prost_types::Duration>) -> Option<Duration> {
        let Some(value) = value else { return Some(Duration::ZERO) };
        match u64::try_from(value.seconds) {
            Ok(seconds) if value.nanos == 0 => Some(Duration::from_secs(seconds)),
            Ok(_) | Err(_) => self.refuse(field, "must be whole seconds, and not negative"),
        }
    }

    /// Where a new password is put.
    pub(super) fn placement(&mut self, place: &Place) -> Option<Placement> {
        let overlap = self.whole_seconds("overlap", place.overlap);
        let beginning = match overlap {
            Some(overlap) if place.pending && !overlap.is_zero() => {
                self.refuse("overlap", "must be left out with pending: it is said when the password is promoted")
            }
            Some(_) if place.pending => Some(Beginning::Pending),
            overlap => overlap.map(|overlap| Beginning::Current { overlap }),
        };
        let at_limit = match proto::AtLimit::try_from(place.at_limit) {
            Ok(proto::AtLimit::Unspecified | proto::AtLimit::Refuse) => Some(AtLimit::Refuse),
            Ok(proto::AtLimit::DropOldest) => Some(AtLimit::DropOldest),
            Err(_) => self.refuse("at_limit", "must be an AtLimit"),
        };
        let expire_time = self.time("expire_time", place.expire_time);
        Some(Placement { beginning: beginning?, at_limit: at_limit?, expire_time: expire_time? })
    }

    /// What is said of a password where there is no new one: nothing.
    pub(super) fn no_placement(&mut self, place: &Place) -> Option<Placement> {
        let given = [
            ("overlap", place.overlap.is_some()),
            ("pending", place.pending),
            ("at_limit", place.at_limit != 0),
            ("expire_time", place.expire_time.is_some()),
        ];
        let given: Vec<_> = given.into_iter().filter(|(_, given)| *given).collect();
        for (field, _) in &given {
            self.refuse::<()>(*field, "goes with a new password alone");
        }
        given.is_empty().then_some(Placement::ALONE)
    }

    /// One version of a secret.
    pub(super) fn version(&mut self, value: i64) -> Option<i64> {
        if value > 0 { Some(value) } else { self.refuse("version", "must be the number of a version, from 1 on") }
    }

    /// The same, where none is named by zero.
    #[expect(clippy::option_option, reason = "not valid, or valid and absent")]
    pub(super) fn version_or_none(&mut self, value: i64) -> Option<Option<i64>> {
        if value == 0 { Some(None) } else { self.version(value).map(Some) }
    }
}

/// Versions as they are shown.
pub(super) fn versions(secrets: &[Secret]) -> Vec<proto::SecretVersion> {
    let shown = |secret: &Secret| proto::SecretVersion {
        version: secret.version,
        stage: stage(secret.stage).into(),
        create_time: Some(timestamp(secret.create_time)),
        stage_time: Some(timestamp(secret.stage_time)),
        expire_time: secret.expire_time.map(timestamp),
        last_used_time: secret.last_used_time.map(timestamp),
        use_count: secret.use_count,
    };
    secrets.iter().map(shown).collect()
}

pub(super) const fn stage(stage: Stage) -> proto::SecretStage {
    match stage {
        Stage::Pending => proto::SecretStage::Pending,
        Stage::Current => proto::SecretStage::Current,
        Stage::Previous => proto::SecretStage::Previous,
        Stage::Revoked => proto::SecretStage::Revoked,
    }
}
