//! The tables as sea-orm sees them; what is in them is in the migrations.

#![expect(clippy::disallowed_types, reason = "the derived code returns it")]

pub(super) mod audit;
pub(super) mod data_key;
pub(super) mod failure;
pub(super) mod installation;
pub(super) mod job;
pub(super) mod jwt_issuer;
pub(super) mod key_rotation;
pub(super) mod keyring_key;
pub(super) mod replica;
pub(super) mod reply;
pub(super) mod secret;
pub(super) mod subject;
pub(super) mod subject_label;
pub(super) mod tenant;
pub(super) mod tenant_alias;
pub(super) mod tenant_label;
pub(super) mod token_issuer;
pub(super) mod used_signature;

use std::fmt;

use sea_orm::DeriveValueType;

/// Ciphertext or a digest. The entities' Debug is derived, so this keeps it out.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub(super) struct Payload(pub(super) Vec<u8>);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload([redacted])")
    }
}
