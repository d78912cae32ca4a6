//! The rules of the house, held by reading the sources, the descriptors and the `Debug` of what holds secrets.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops at the first surprise"
)]

#[path = "architecture/conventions.rs"]
mod conventions;
#[path = "architecture/debug.rs"]
mod debug;
#[path = "architecture/descriptors.rs"]
mod descriptors;
#[path = "architecture/layers.rs"]
mod layers;
#[path = "architecture/source.rs"]
mod source;
