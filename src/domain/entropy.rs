//! Randomness, as an argument.

/// A source of random bytes: the operating system's in service, a seeded one in tests.
pub trait Entropy: Send + Sync {
    /// Fills all of `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}
