//! The operating system's random numbers.

use crate::domain::Entropy;

/// The operating system's random numbers, through aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let _ = buffer;
        todo!()
    }
}
