//! Every Argon2 kernel of this CPU makes what the `argon2` crate makes, and refuses what it refuses.

#![no_main]

use std::cell::RefCell;

use argon2::{Algorithm, Argon2, Params, Version};
use libfuzzer_sys::fuzz_target;
use rekey::crypto::argon2::{Kernel, Memory};

/// Blocks of 1 KiB: small, for the fuzzer's speed, but beyond one block of addresses in a segment.
const BLOCKS: usize = 768;

thread_local! {
    /// One memory for all: what a hash leaves there must not matter to the next.
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::new(BLOCKS).unwrap());
}

fuzz_target!(|input: (u8, u16, u8, u8, u8, Vec<u8>, Vec<u8>)| {
    let (algorithm, blocks, passes, lanes, length, password, salt) = input;
    let algorithm = [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id][usize::from(algorithm) % 3];
    let blocks = u32::from(blocks) % (u32::try_from(BLOCKS).unwrap() + 1);
    let (passes, lanes, length) = (u32::from(passes) % 5, u32::from(lanes) % 9, usize::from(length));
    let Ok(params) = Params::new(blocks, passes, lanes, Some(length)) else { return };
    let mut expected = vec![0; length];
    let judged = Argon2::new(algorithm, Version::V0x13, params.clone()).hash_password_into(&password, &salt, &mut expected);
    for kernel in [Kernel::Avx512, Kernel::Avx2, Kernel::Portable].into_iter().filter(|kernel| kernel.is_available()) {
        let mut tag = vec![0; length];
        let found = MEMORY.with_borrow_mut(|memory| {
            kernel.hash(algorithm, &params, &password, &salt, &mut tag, memory)
        });
        assert_eq!(found.is_ok(), judged.is_ok(), "{algorithm} {params:?} by {kernel:?}: {found:?}, {judged:?}");
        if judged.is_ok() {
            assert_eq!(tag, expected, "{algorithm} {params:?} by {kernel:?}");
        }
    }
});
