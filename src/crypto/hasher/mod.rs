//! Slow hashing as a bounded resource: Argon2id (RFC 9106) on threads of its own, each with one block of memory for ever,
//! behind a queue that refuses what it cannot do in time.

mod foreign;
mod phc;
mod pool;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Block, Params};
use aws_lc_rs::constant_time;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use self::{
    foreign::Stranger,
    phc::Parsed,
    pool::{Pool, Work},
};
pub use self::{foreign::TakenOver, pool::Promise};
use super::{
    argon2::{Kernel, Memory},
    foreign::ForeignBounds,
};
use crate::{
    domain::{Entropy, Error, Password, Result, Uid},
    metrics::Histogram,
};

/// Bytes of salt (RFC 9106 section 3.1 recommends 16).
const SALT_LENGTH: usize = 16;
/// Bytes of a tag.
const TAG_LENGTH: usize = 32;
/// OWASP's least m in KiB for t = 1, 2, 3, 4 and from 5 on (Password Storage Cheat Sheet).
const FLOOR_KIB: [u32; 5] = [47_104, 19_456, 12_288, 9_216, 7_168];
/// The most of each that is worked with, whoever asks: configuration or a stored hash.
const MAX_MEMORY_KIB: u32 = 262_144;
const MAX_ITERATIONS: u32 = 16;
const MAX_PARALLELISM: u32 = 16;

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
    /// What hashes of other systems may ask for.
    pub foreign: ForeignBounds,
}

impl HasherOptions {
    /// Argon2's parameters, where they are within our bounds.
    fn params(&self) -> Result<Params, String> {
        let Self { memory_kib, iterations, parallelism, .. } = *self;
        if self.threads == 0 {
            return Err("there must be at least 1 hashing thread".to_owned());
        }
        let step = usize::try_from(iterations.saturating_sub(1)).unwrap_or(usize::MAX).min(FLOOR_KIB.len() - 1);
        let floor = FLOOR_KIB.get(step).copied().unwrap_or(MAX_MEMORY_KIB);
        if iterations == 0 || memory_kib < floor {
            return Err(format!(
                "memory_kib {memory_kib} with iterations {iterations} is below OWASP's floor for Argon2id: \
                 set memory_kib to at least {floor}, or iterations to at least 2 and memory_kib to at least 19456"
            ));
        }
        if !within_bounds(memory_kib, iterations, parallelism) {
            return Err(format!(
                "memory_kib may be at most {MAX_MEMORY_KIB}, iterations at most {MAX_ITERATIONS} and parallelism 1 to \
                 {MAX_PARALLELISM}"
            ));
        }
        Params::new(memory_kib, iterations, parallelism, Some(TAG_LENGTH)).map_err(|cause| cause.to_string())
    }
}

/// Whether Argon2 of this cost may be worked with.
fn within_bounds(memory_kib: u32, iterations: u32, parallelism: u32) -> bool {
    memory_kib <= MAX_MEMORY_KIB && iterations <= MAX_ITERATIONS && (1..=MAX_PARALLELISM).contains(&parallelism)
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

    /// Algorithm and parameters, which the census counts: `argon2id m=19456 t=2 p=1`.
    ///
    /// # Errors
    /// Internal where it cannot be read.
    pub fn scheme(&self) -> Result<String> {
        Ok(match Stranger::parse(&self.0, &ForeignBounds::NONE)? {
            Some(stranger) => stranger.scheme(),
            None => Parsed::parse(&self.0)?.scheme(),
        })
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

/// For whom a hash is, and until when it is of use.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Tenants take turns, so that one with many hashes to do does not hold up the others.
    pub tenant: &'a Uid,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
}

/// What the pool does now, and did since it started.
#[derive(Clone, Debug)]
pub struct Load {
    /// Its threads.
    pub threads: usize,
    /// Those of them that hash.
    pub busy: usize,
    /// Hashes that wait.
    pub waiting: usize,
    /// Hashes that were done.
    pub done: u64,
    /// Hashes that were refused, or displaced by those of a tenant with fewer.
    pub refused: u64,
    /// Hashes that were given up before their turn.
    pub cancelled: u64,
    /// How long those that were begun had waited.
    pub wait: Histogram,
    /// How long those that were done took.
    pub service: Histogram,
}

/// The pool. Clones share it; dropping the last one ends the threads.
#[derive(Clone)]
pub struct Hasher(Arc<Inner>);

struct Inner {
    pool: Pool,
    params: Params,
    foreign: ForeignBounds,
    entropy: Arc<dyn Entropy>,
    /// What is checked where there is nothing to check: random, so that nobody knows its password.
    nobody: Verifier,
}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// A sentence, where the parameters are below OWASP's floor or above ours.
    pub fn start(options: HasherOptions, entropy: Arc<dyn Entropy>) -> Result<Self, String> {
        let params = options.params()?;
        // A core does about a GiB of passes in a second; the pool corrects this with each job.
        let guess = Duration::from_micros(u64::from(params.m_cost()) * u64::from(params.t_cost()));
        let pool = Pool::start(&options, params.block_count(), guess)?;
        let mut tag = Zeroizing::new(vec![0; TAG_LENGTH]);
        entropy.fill(&mut tag);
        let nobody = Verifier(phc::encode(&params, &make_salt(&*entropy), &tag));
        Ok(Self(Arc::new(Inner { pool, params, foreign: options.foreign, entropy, nobody })))
    }

    /// Hashes with a new salt of 128 bits.
    ///
    /// # Errors
    /// Overloaded with a time to retry, where the queue is full or too slow, or the deadline too near: at once, or when a
    /// tenant with fewer hashes needs the place.
    pub async fn hash(&self, turn: Turn<'_>, password: Password) -> Result<Verifier> {
        let salt = make_salt(&*self.0.entropy);
        let work = work(Algorithm::Argon2id, self.0.params.clone(), password, salt.to_vec(), TAG_LENGTH);
        let tag = self.0.pool.run(turn, work).await?;
        Ok(Verifier(phc::encode(&self.0.params, &salt, &tag)))
    }

    /// Checks; `None` costs and answers as a wrong password does.
    ///
    /// # Errors
    /// Overloaded as above; internal where the stored string is not one of ours or its parameters are out of bounds.
    pub async fn verify(&self, turn: Turn<'_>, password: Password, stored: Option<Verifier>) -> Result<Verdict> {
        let known = stored.is_some();
        let verifier = stored.unwrap_or_else(|| self.0.nobody.clone());
        if let Some(stranger) = Stranger::parse(&verifier.0, &self.0.foreign)? {
            return self.verify_stranger(turn, password, stranger).await;
        }
        let expected = Parsed::parse(&verifier.0)?;
        let outdated = expected.is_outdated(&self.0.params);
        let Parsed { algorithm, params, salt, tag } = expected;
        let found = self.0.pool.run(turn, work(algorithm, params, password, salt, tag.len())).await?;
        let equal = constant_time::verify_slices_are_equal(&found, &tag).is_ok();
        Ok(if known && equal { Verdict::Match { outdated } } else { Verdict::Mismatch })
    }

    /// What stands for a hash where none is kept: of a password that nobody knows.
    #[must_use]
    pub fn of_nobody(&self) -> Verifier {
        self.0.nobody.clone()
    }

    /// A place for a hash that will be asked for soon. Asked first, a flood costs no look into the database, and no more
    /// look into it than there are places.
    ///
    /// # Errors
    /// Overloaded as above, and counted as such.
    pub fn promise(&self, turn: Turn<'_>) -> Result<Promise> {
        self.0.pool.promise(turn)
    }

    /// How many hashes are done at once.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.0.pool.threads()
    }

    /// What it does now, and did since it started.
    #[must_use]
    pub fn load(&self) -> Load {
        self.0.pool.load()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("params", &self.0.params).finish_non_exhaustive()
    }
}

fn make_salt(entropy: &dyn Entropy) -> [u8; SALT_LENGTH] {
    let mut salt = [0; SALT_LENGTH];
    entropy.fill(&mut salt);
    salt
}

/// One hash, in the thread's memory, or where a stored one asks for more than that, in memory of its own.
fn work(algorithm: Algorithm, params: Params, password: Password, salt: Vec<u8>, tag_length: usize) -> Work {
    Box::new(move |memory: &mut [Block]| {
        let mut tag = Zeroizing::new(vec![0; tag_length]);
        let mut compute = |memory: &mut [Block]| {
            #[expect(clippy::disallowed_methods, reason = "to hash the cleartext is what this is for")]
            let password = password.secret().expose_secret().as_bytes();
            Kernel::fastest().hash(algorithm, &params, password, &salt, &mut tag, memory).map_err(Error::internal)
        };
        let blocks = params.block_count();
        if blocks <= memory.len() {
            compute(memory)?;
        } else {
            compute(&mut Memory::new(blocks).map_err(Error::internal)?)?;
        }
        Ok(tag)
    })
}

#[cfg(test)]
mod tests;
