//! How much a hash of another system may ask for.

/// The most lanes of Argon2. More would cost no more; but nobody uses them.
pub(super) const MAX_LANES: u32 = 16;

/// The most of each that is worked with, whoever asks: whoever brings a hash, or whoever wrote the database. Beyond it a
/// hash is refused when it comes, and again when it is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignBounds {
    /// Argon2's m, and scrypt's 128·N·r bytes, in KiB.
    pub memory_kib: u32,
    /// Argon2's t.
    pub argon2_iterations: u32,
    /// bcrypt's cost: 2 to this power.
    pub bcrypt_cost: u32,
    /// PBKDF2's iterations.
    pub pbkdf2_iterations: u32,
    /// SHA-crypt's rounds.
    pub sha_crypt_rounds: u32,
}

impl ForeignBounds {
    /// About two or three seconds of one core.
    pub const DEFAULT: Self = Self {
        memory_kib: 262_144,
        argon2_iterations: 16,
        bcrypt_cost: 15,
        pbkdf2_iterations: 5_000_000,
        sha_crypt_rounds: 1_000_000,
    };
    /// No bounds: for what is only named, and never computed.
    pub(in crate::crypto) const NONE: Self = Self {
        memory_kib: u32::MAX,
        argon2_iterations: u32::MAX,
        bcrypt_cost: u32::MAX,
        pbkdf2_iterations: u32::MAX,
        sha_crypt_rounds: u32::MAX,
    };

    /// What no operator can mean: a sentence each. Minutes of a core for one check are no bound.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        [
            ("memory_kib", self.memory_kib, 1_024, 4_194_304),
            ("argon2_iterations", self.argon2_iterations, 1, 1_024),
            ("bcrypt_cost", self.bcrypt_cost, 4, 20),
            ("pbkdf2_iterations", self.pbkdf2_iterations, 1_000, 100_000_000),
            ("sha_crypt_rounds", self.sha_crypt_rounds, 1_000, 100_000_000),
        ]
        .into_iter()
        .filter(|(_, value, least, most)| !(*least..=*most).contains(value))
        .map(|(name, _, least, most)| format!("{name} must be {least} to {most}"))
        .collect()
    }
}
