//! The only code that opens a secret: slow hashing, sealing, the keyring, tokens and signatures.
//!
//! Knows nothing of databases and the network. One provider, aws-lc, beneath everything but Argon2.

mod aead;
pub mod argon2;
pub mod entropy;
pub mod envelope;
mod foreign;
pub mod hasher;
pub mod keyring;
pub mod mark;
pub mod sealed;
pub mod signature;
pub mod token;

pub use entropy::SystemEntropy;
pub use envelope::{DataKey, Place, ReplyPlace};
pub use foreign::ForeignBounds;
pub use hasher::{Hasher, HasherOptions, Load, Promise, TakenOver, Turn, Verdict, Verifier};
pub use keyring::{Keyring, KeyringError, KeyringInUse};
pub use mark::{Mark, Marker};
pub use sealed::same_password;
