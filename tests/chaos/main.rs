//! The binary under faults: killed, cut off, out of disk, without its database; and what must hold after it.
//!
//! [`server`] runs real processes, [`load`] gives them mixed work and [`recorder`] writes down what was asked and what
//! was answered; [`check`] then holds the database against that. Every test has a bug, planted in the process by
//! `src/planted.rs`, that it must catch. Each prints its seed; `REKEY_CHAOS_SEED` sets it, `REKEY_CHAOS_ROUNDS` how often
//! it is done.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise, and says how long it took"
)]

mod check;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod database;
mod disk;
mod inject;
mod io;
mod kill;
mod load;
mod model;
mod outage;
mod parameters;
mod proxy;
mod races;
mod recorder;
mod rekeying;
mod scene;
mod server;
