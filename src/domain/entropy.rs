//! Randomness, as an argument.

/// A source of random bytes: the operating system's in service, a seeded one in tests.
pub trait Entropy: Send + Sync {
    /// Fills all of `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// The same bytes for the same seed (`SplitMix64`), so that a failing test fails again.
#[cfg(test)]
pub(crate) struct SeededEntropy(std::sync::atomic::AtomicU64);

#[cfg(test)]
impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.into())
    }
}

#[cfg(test)]
impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        for chunk in buffer.chunks_mut(8) {
            let mut word = self.0.fetch_add(STEP, std::sync::atomic::Ordering::Relaxed).wrapping_add(STEP);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}
