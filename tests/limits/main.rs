//! Guessers are slowed down, owners are not locked out, and nobody calls more often than agreed.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../common/mod.rs"]
mod common;
mod cost;
mod crowd;
mod lock;
mod rate;
mod recall;
mod site;
mod spray;
mod stop;
mod tenant;
