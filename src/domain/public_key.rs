//! Public keys, by which others check what we signed.

use std::fmt;

use super::tenant::JwtAlgorithm;

/// The public half of a key that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Which.
    pub id: String,
    /// What it verifies.
    pub algorithm: JwtAlgorithm,
    /// RSA: modulus and exponent. P-256: x and y. Ed25519: x. Big-endian bytes.
    pub parameters: Vec<Vec<u8>>,
}

/// Without the numbers, which tell nobody anything.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
