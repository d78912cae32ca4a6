//! The operating system's random numbers.

use aws_lc_rs::rand;

use crate::domain::Entropy;

/// The operating system's random numbers, through aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::expect_used, reason = "no secret may be made without randomness, so the caller must not go on")]
    fn fill(&self, buffer: &mut [u8]) {
        rand::fill(buffer).expect("the operating system gives random numbers");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fills_differ() {
        let mut buffers = [[0; 32]; 2];
        for buffer in &mut buffers {
            SystemEntropy.fill(buffer);
        }
        assert_ne!(buffers[0], buffers[1]);
        assert_ne!(buffers[0], [0; 32]);
    }
}
