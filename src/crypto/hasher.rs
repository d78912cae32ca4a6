//! Slow hashing as a bounded resource: Argon2id (RFC 9106) on threads of its own, each with one block of memory for ever,
//! behind a queue that refuses what it cannot do in time.

use std::{fmt, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use crate::domain::{Entropy, Password, Result};

/// How much, on what, and how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct HasherOptions {
    /// Threads, each with a block of `memory_kib`.
    pub threads: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// The longest a job may be expected to wait when it is taken in.
    pub max_wait: Duration,
    /// Argon2id's m, in KiB.
    pub memory_kib: u32,
    /// Argon2id's t.
    pub iterations: u32,
    /// Argon2id's p.
    pub parallelism: u32,
}

/// A finished hash as a PHC string (`$argon2id$v=19$…`); sealed before it is kept.
#[derive(Clone)]
pub struct Verifier(Zeroizing<String>);

impl Verifier {
    /// From what was opened.
    #[must_use]
    pub fn from_stored(phc: Zeroizing<String>) -> Self {
        Self(phc)
    }

    /// The PHC string, to be sealed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier([redacted])")
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the password; `outdated` where the hash has other parameters than are in force now.
    Match {
        /// Whether to hash again.
        outdated: bool,
    },
    /// It is not, or there was nothing to compare with.
    Mismatch,
}

/// The pool. Clones share it; dropping the last one ends the threads.
#[derive(Clone)]
pub struct Hasher {/* … */}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// A sentence, where the parameters are below OWASP's floor or above ours.
    pub fn start(options: HasherOptions, entropy: Arc<dyn Entropy>) -> Result<Self, String> {
        let _ = (options, entropy);
        todo!()
    }

    /// Hashes with a new salt of 128 bits.
    ///
    /// # Errors
    /// Overloaded with a time to retry, at once, where the queue is full or too slow.
    pub async fn hash(&self, password: Password) -> Result<Verifier> {
        let _ = password;
        todo!()
    }

    /// Checks; `None` costs and answers as a wrong password does.
    ///
    /// # Errors
    /// Overloaded as above; internal where the stored string is not one of ours or its parameters are out of bounds.
    pub async fn verify(&self, password: Password, stored: Option<Verifier>) -> Result<Verdict> {
        let _ = (password, stored);
        todo!()
    }
}
