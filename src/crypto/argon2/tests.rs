//! The kernels against the RFC's examples, and against the `argon2` crate on random inputs and parameters.
//!
//! A few of those in every run, since nothing is optimised there. All of them, on every kernel this CPU has:
//! `REKEY_ARGON2_CASES=100000 cargo test --config profile.dev.package.rekey.opt-level=3 --lib crypto::argon2`.

use std::env;

use ::argon2::{AssociatedData, Error, ParamsBuilder};

use super::*;
use crate::{
    crypto::SystemEntropy,
    domain::entropy::{Entropy as _, SeededEntropy},
};

const KERNELS: [Kernel; 3] = [Kernel::Avx512, Kernel::Avx2, Kernel::Portable];
/// Without optimisation a case takes two or three hundredths of a second.
const CASES: usize = 150;

fn kernels() -> impl Iterator<Item = Kernel> {
    KERNELS.into_iter().filter(|kernel| kernel.is_available())
}

/// Numbers and bytes that are the same for the same seed.
struct Random(SeededEntropy);

impl Random {
    fn number(&mut self, from: u32, to: u32) -> u32 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        from + u32::try_from(u64::from_le_bytes(bytes) % u64::from(to - from + 1)).unwrap()
    }

    fn bytes(&mut self, from: u32, to: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.number(from, to) as usize];
        self.0.fill(&mut bytes);
        bytes
    }
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

/// RFC 9106 section 5.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_tags_are_those_of_rfc_9106() {
    let examples = [
        (Algorithm::Argon2d, "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb"),
        (Algorithm::Argon2i, "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8"),
        (Algorithm::Argon2id, "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"),
    ];
    let data = AssociatedData::new(&[4; 12]).unwrap();
    let params = ParamsBuilder::new().m_cost(32).t_cost(3).p_cost(4).data(data).output_len(32).build().unwrap();
    let mut memory = Memory::new(params.block_count()).unwrap();
    for (algorithm, expected) in examples {
        for kernel in kernels() {
            let (password, salt, secret) = (&[1; 32], &[2; 16], &[3; 8]);
            let mut tag = [0; 32];
            match kernel.vectors() {
                Some(vectors) => {
                    hash_by(vectors, algorithm, &params, [password, salt, secret], &mut tag, &mut memory).unwrap();
                }
                None => Argon2::new_with_secret(secret, algorithm, Version::V0x13, params.clone())
                    .unwrap()
                    .hash_password_into_with_memory(password, salt, &mut tag, &mut *memory)
                    .unwrap(),
            }
            assert_eq!(data_encoding::HEXLOWER.encode(&tag), expected, "{algorithm} by {kernel:?}");
        }
    }
}

#[test]
fn every_kernel_agrees_with_the_crate() {
    let cases = from_environment("REKEY_ARGON2_CASES").unwrap_or(CASES);
    let seed = from_environment("REKEY_ARGON2_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 8];
        SystemEntropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    });
    println!("{cases} cases by {:?}, REKEY_ARGON2_SEED={seed}", kernels().collect::<Vec<_>>());
    let mut random = Random(SeededEntropy::new(seed));
    // One memory for all: what a hash leaves there must not matter to the next.
    let mut memory = Memory::new(2_048).unwrap();
    for case in 0..cases {
        let algorithm = [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id][random.number(0, 2) as usize];
        let (passes, lanes) = (random.number(1, 4), random.number(1, 4));
        // Mostly small; now and then beyond one block of addresses in a segment.
        let most = if case % 100 == 99 { 2_048 } else { lanes * 8 + 56 };
        let blocks = random.number(lanes * 8, most);
        let (password, salt) = (random.bytes(0, 200), random.bytes(8, 64));
        let length = random.number(4, 128) as usize;
        let params = Params::new(blocks, passes, lanes, Some(length)).unwrap();
        let mut expected = vec![0; length];
        Argon2::new(algorithm, Version::V0x13, params.clone())
            .hash_password_into(&password, &salt, &mut expected)
            .unwrap();
        for kernel in kernels() {
            let mut tag = vec![0; length];
            kernel.hash(algorithm, &params, &password, &salt, &mut tag, &mut memory).unwrap();
            assert_eq!(tag, expected, "case {case} of seed {seed}: {algorithm} {params:?} by {kernel:?}");
        }
    }
}

#[test]
fn every_kernel_refuses_what_the_crate_refuses() {
    let params = Params::new(64, 1, 1, Some(32)).unwrap();
    let mut memory = Memory::new(64).unwrap();
    for kernel in kernels() {
        let mut hash = |salt: &[u8], tag: &mut [u8], blocks: usize| {
            kernel.hash(Algorithm::Argon2id, &params, b"x", salt, tag, &mut memory[..blocks])
        };
        assert_eq!(hash(&[0; 8], &mut [0; 32], 64), Ok(()), "{kernel:?}");
        assert_eq!(hash(&[0; 7], &mut [0; 32], 64), Err(Error::SaltTooShort), "{kernel:?}");
        assert_eq!(hash(&[0; 8], &mut [0; 31], 64), Err(Error::OutputTooShort), "{kernel:?}");
        assert_eq!(hash(&[0; 8], &mut [0; 33], 64), Err(Error::OutputTooLong), "{kernel:?}");
        assert_eq!(hash(&[0; 8], &mut [0; 32], 63), Err(Error::MemoryTooLittle), "{kernel:?}");
    }
}

#[test]
fn new_memory_is_zeroed_and_aligned_to_huge_pages() {
    for count in [0, 1, 2_048, 2_049] {
        let mut memory = Memory::new(count).unwrap();
        assert_eq!(memory.len(), count);
        assert!(memory.as_ptr().addr().is_multiple_of(2 << 20));
        for block in &mut *memory {
            assert!(block.as_ref().iter().all(|word| *word == 0));
            block.as_mut().fill(u64::MAX);
        }
    }
    assert_eq!(Memory::new(usize::MAX).map(drop), Err(Error::OutOfMemory));
    assert_eq!(Memory::new(usize::MAX / 2048).map(drop), Err(Error::OutOfMemory));
}
