//! What several test binaries share.

#![expect(clippy::allow_attributes, reason = "`expect` would fail in the binary that uses everything")]
#![allow(dead_code, reason = "each binary uses a part")]

pub(crate) mod postgres;
pub(crate) mod rekey;
