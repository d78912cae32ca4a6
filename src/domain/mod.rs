//! What a credential is: ids, secrets, stages, policies, errors.
//!
//! Pure. No async, no I/O, no clock, no ambient randomness, no serde on secrets: time and randomness are arguments.
//! One noun, one file; what a noun is in the database is in `store`, on the wire in `api`, under the same name.

mod blocklist;
pub mod entropy;
pub mod error;
pub mod generator;
pub mod id;
pub mod lockout;
pub mod password;
pub mod permission;
pub mod policy;
pub mod public_key;
pub mod secret;
pub mod subject;
pub mod tenant;
pub mod time;

pub use entropy::Entropy;
pub use error::{Error, Reason, Result, Violation};
pub use id::{ResourceId, Uid};
pub use lockout::Lockout;
pub use password::Password;
pub use permission::Permission;
pub use policy::Policy;
pub use public_key::PublicKey;
pub use secret::{Material, Secret, Slot, Stage, WrappedKey};
pub use subject::{Attributes, Subject, SubjectKind, SubjectRef, SubjectState};
pub use tenant::{Dialect, Tenant, TenantRef};
pub use time::{Clock, Timestamp};
