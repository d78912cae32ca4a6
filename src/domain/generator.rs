//! Makes secrets that satisfy a policy by construction.

use super::{Entropy, Password, Policy};

/// A secret of `length` code points (within the policy's bounds and at most 128), uniform over what the policy allows.
#[must_use]
pub fn generate(policy: &Policy, length: u32, entropy: &dyn Entropy) -> Password {
    let _ = (policy, length, entropy);
    todo!()
}
