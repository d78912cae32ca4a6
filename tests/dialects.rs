//! The dialects' bodies, byte for byte, through a listening gateway: every row of their contracts.
//!
//! In front of a stand-in service, which says what it is told to: so every reason can be had, and what reaches the
//! service can be seen. And, in `whole`, in front of the real one: that its reasons come where the contracts have them.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

#[path = "dialects/applivery.rs"]
mod applivery;
mod common;
#[path = "dialects/licensespring.rs"]
mod licensespring;
#[path = "dialects/ocariot.rs"]
mod ocariot;
#[path = "dialects/roma.rs"]
mod roma;
#[path = "dialects/sidecar.rs"]
mod sidecar;
#[path = "dialects/signing_in.rs"]
mod signing_in;
#[path = "dialects/stand_in.rs"]
mod stand_in;
#[path = "dialects/whole/mod.rs"]
mod whole;
#[path = "dialects/wire.rs"]
mod wire;
