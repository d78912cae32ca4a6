//! What a credential is: ids, secrets, stages, policies, errors.
//!
//! Pure. No async, no I/O, no clock, no ambient randomness, no serde on secrets: time and randomness are arguments.
//! One noun, one file; what a noun is in the database is in `store`, on the wire in `api`, under the same name.

pub(crate) mod common;
pub mod entropy;
pub mod error;
pub mod filter;
pub mod generator;
pub mod id;
pub mod installation;
pub mod job;
pub mod key;
pub mod limit;
pub mod listing;
pub mod lockout;
pub mod password;
pub mod permission;
pub mod policy;
pub mod public_key;
pub mod role;
pub mod rotation;
pub mod secret;
pub mod strength;
pub mod subject;
pub mod tenant;
pub mod time;

pub use entropy::Entropy;
pub use error::{Error, Reason, Result, Violation};
pub use filter::Filter;
pub use id::{ResourceId, Uid, UidMaker};
pub use installation::{Epoch, Installation};
pub use job::{Job, JobState};
pub use key::{KeyInfo, KeyPurpose, KeyUse, Replica};
pub use limit::{Rate, TenantLimits};
pub use listing::{Order, Position};
pub use lockout::{Lockout, Lockouts};
pub use password::{Password, Unfit};
pub use permission::Permission;
pub use policy::{Policy, Rule, RuleKind};
pub use public_key::PublicKey;
pub use role::{Reach, Role};
pub use secret::{Material, Secret, Slot, Stage, WrappedKey};
pub use subject::{Attributes, Labels, Subject, SubjectKind, SubjectRef, SubjectState, Transition};
pub use tenant::{Dialect, Tenant, TenantRef};
pub use time::{Clock, Timestamp};
