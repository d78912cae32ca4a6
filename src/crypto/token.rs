//! API tokens: `rk_<id>_<secret>_<check>`.
//!
//! The prefix is for secret scanners, the id finds the row, the secret has 256 bits, the checksum tells a typo from a
//! stranger without a look-up.

use secrecy::SecretString;

use crate::domain::Entropy;

/// A token that was just made.
pub struct ApiToken {
    /// Finds it.
    pub id: String,
    /// All of it.
    pub token: SecretString,
}

impl ApiToken {
    /// A new token.
    #[must_use]
    pub fn make(entropy: &dyn Entropy) -> Self {
        let _ = entropy;
        todo!()
    }
}

/// The id in a token of ours; `None` where it is not one, or its checksum is wrong.
#[must_use]
pub fn token_id(token: &str) -> Option<&str> {
    let _ = token;
    todo!()
}

/// A random secret of 43 characters base64url, 256 bits: shared keys.
#[must_use]
pub fn make_shared_key(entropy: &dyn Entropy) -> SecretString {
    let _ = entropy;
    todo!()
}
