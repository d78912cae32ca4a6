//! What several test binaries share.

#![allow(dead_code, reason = "each binary uses a part; `expect` would fail in the one that uses all")]

pub(crate) mod postgres;
pub(crate) mod rekey;
pub(crate) mod sql;
