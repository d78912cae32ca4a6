//! Who calls, and what they may do: reading credentials from headers, checking JWTs, and the authority that comes of it.
//!
//! Pure but for the cryptography of JWTs: no database, no clock. Looking up tokens and keys is `ops::authenticate`.

pub mod caller;
pub mod credential;
pub mod finding;
pub mod jwt;
pub mod signed_date;
pub mod signed_request;
mod strict_json;

pub use caller::{Access, Caller, Grant, Proof, ProofKind};
pub use credential::Credential;
pub use finding::{Finding, Held, Standing};
