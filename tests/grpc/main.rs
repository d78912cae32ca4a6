//! The gRPC API, from outside: a real server, a real channel, a real database.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod access;
mod audit;
mod callers;
#[path = "../common/mod.rs"]
mod common;
mod credentials;
mod devices;
mod dynamic;
mod exchange;
mod forgery;
mod input;
mod integrations;
mod issuing;
mod keys;
mod lifecycle;
mod listing;
mod masks;
mod policies;
mod reach;
mod robustness;
mod rotation;
mod tenant_lifecycle;
mod tenants;
mod tokens;
mod usage;
mod users;
