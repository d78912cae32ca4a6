//! **Rekey** looks after credentials: it sets, resets, changes, generates, verifies and revokes the credentials of
//! users, devices, third-party integrations and calling services, and records each act.
//!
//! One package, a library and one binary. A layer is a folder, a noun is a file, and the same noun has the same name in
//! each layer: `proto/rekey/v1/device.proto`, [`domain::subject`], `ops/device.rs`, `api/device.rs`.
//!
//! ```text
//!             cli ──> app ── builds ──> everything
//!    REST ──> gateway ──gRPC──> api ──> ops ──> store ──> database
//!               │proto           │ └access┘├──> crypto
//!               └───────────────>┘         ├──> audit
//!                                          └──> blocklist      domain is under all of them
//! ```
//!
//! Three hops from wire to disk: `api` decodes and encodes, `ops` decides, `store` persists. `gateway` has no Rust path
//! inward: it is a gRPC client like any other. `tests/architecture.rs` holds the arrows to that. Beside them are what keeps
//! a database for worse days ([`backup`]) and what tells an older copy of it from the newest ([`anchor`]): `cli` and `app`
//! use them, and they use `crypto` and `store`.

pub mod access;
pub mod anchor;
pub mod api;
pub mod app;
pub mod audit;
pub mod backup;
pub mod blocklist;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod gateway;
pub mod listen;
pub mod metrics;
pub mod ops;
pub mod planted;
pub mod proto;
pub mod store;
pub mod telemetry;
