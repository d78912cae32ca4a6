//! Argon2 version 1.3 (RFC 9106) as fast as this CPU can: vector kernels for AVX-512 and AVX2, chosen when it runs, and the
//! `argon2` crate for every other CPU and as their judge.
//!
//! What an operator gains: at m = 19456 KiB, t = 2, p = 1 a core with AVX-512 checks more than twice the passwords it
//! does with the crate as it is usually called, one with AVX2 more than one and a half times. So the same logins need
//! less than half the cores, or the same cores take stronger parameters. `cargo bench --bench hashing` measures both, and
//! how much lies on huge pages (Linux's transparent ones, where `madvise` or `always` is set).
//!
//! A build with debug assertions hashes by the crate, which the development profile optimises: our own code is not
//! optimised there, and a profile cannot name a module.
//!
//! The only module with `unsafe`: what the CPU may do (asked before each hash), blocks as registers, and memory on huge
//! pages. It keeps nothing, logs nothing and knows nothing of passwords' meaning; who waits for whom is `hasher`'s.
#![expect(unsafe_code, reason = "vector registers and huge pages have no safe form")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod blake;
mod memory;
#[cfg(target_arch = "x86_64")]
mod walk;

use ::argon2::{Algorithm, Argon2, Block, Params, Result, Version};

pub use self::memory::Memory;
#[cfg(target_arch = "x86_64")]
use self::walk::{Vectors, Walk};

/// A way to compute Argon2. All give the same tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// 512 bits at a time.
    Avx512,
    /// 256 bits at a time.
    Avx2,
    /// The `argon2` crate.
    Portable,
}

impl Kernel {
    /// The fastest one here; with debug assertions the crate.
    #[must_use]
    pub fn fastest() -> Self {
        let here = |kernel: &Self| kernel.is_available() && !cfg!(debug_assertions);
        [Self::Avx512, Self::Avx2].into_iter().find(here).unwrap_or(Self::Portable)
    }

    /// Whether this CPU can do it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// Fills `tag`, whose length is part of what is hashed. What stays in the memory is for the caller to wipe.
    ///
    /// # Errors
    /// Inputs of lengths that Argon2 does not take, and memory of fewer blocks than the parameters ask for.
    pub fn hash(
        self,
        algorithm: Algorithm,
        params: &Params,
        password: &[u8],
        salt: &[u8],
        tag: &mut [u8],
        memory: &mut [Block],
    ) -> Result<()> {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = self.vectors() {
            return hash_by(vectors, algorithm, params, [password, salt, &[]], tag, memory);
        }
        Argon2::new(algorithm, Version::V0x13, params.clone())
            .hash_password_into_with_memory(password, salt, tag, memory)
    }

    /// The kernel of that name, where the CPU has what it needs.
    #[cfg(target_arch = "x86_64")]
    fn vectors(self) -> Option<Vectors> {
        if !self.is_available() {
            return None;
        }
        match self {
            Self::Avx512 => Some(Vectors {
                // SAFETY: this CPU has AVX-512F, as was asked just now.
                compress: |previous, reference, current, xor| unsafe {
                    avx512::compress(previous, reference, current, xor);
                },
                position: avx512::position,
            }),
            Self::Avx2 => Some(Vectors {
                // SAFETY: this CPU has AVX2, as was asked just now.
                compress: |previous, reference, current, xor| unsafe {
                    avx2::compress(previous, reference, current, xor);
                },
                position: |index| index,
            }),
            Self::Portable => None,
        }
    }
}

/// With a secret beside password and salt, as the RFC's examples have it.
#[cfg(target_arch = "x86_64")]
fn hash_by(
    vectors: Vectors,
    algorithm: Algorithm,
    params: &Params,
    inputs: [&[u8]; 3],
    tag: &mut [u8],
    memory: &mut [Block],
) -> Result<()> {
    let initial_hash = blake::initial_hash(algorithm, params, inputs, tag.len())?;
    Walk::new(vectors, algorithm, params, memory)?.run(&initial_hash, tag)
}

#[cfg(test)]
mod tests;
