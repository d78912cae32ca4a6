//! A tenant's rules for secrets, with ready sets of them.

use serde::{Deserialize, Serialize};

use super::Password;

/// A ready set of rules; see `PolicyPreset` in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented in proto/rekey/v1/tenant.proto")]
pub enum Preset {
    Nist,
    Applivery,
    Ocariot,
    Licensespring,
    Roma,
}

/// A kind of character that a policy can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CharacterClass {
    /// 0 to 9.
    Digit,
    /// A to Z.
    Upper,
    /// a to z.
    Lower,
    /// One of the policy's symbols.
    Symbol,
}

/// Rules for one kind of subject's secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Where the rules came from.
    pub preset: Preset,
    /// Fewest code points.
    pub min_length: u32,
    /// Most code points.
    pub max_length: u32,
    /// One character of each at least.
    pub required_classes: Vec<CharacterClass>,
    /// What counts as a symbol, and what the generator uses.
    pub symbols: String,
    /// Whether common and context words are refused.
    pub blocklist: bool,
    /// Length of a generated secret.
    pub generated_length: u32,
}

impl Policy {
    /// The longest secret that is generated, in characters.
    pub const MAX_GENERATED_LENGTH: u32 = 128;

    /// The rules of a preset.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        todo!("{preset:?}")
    }

    /// Every rule that the secret breaks, as sentences without the secret; `context` are words that must not be the
    /// whole of it (the subject's login, the tenant's name).
    #[must_use]
    pub fn violations(&self, password: &Password, context: &[&str]) -> Vec<String> {
        todo!("{password:?} {context:?}")
    }

    /// What is wrong with the rules themselves, by field of the API's `SecretPolicy`.
    #[must_use]
    pub fn defects(&self) -> Vec<(&'static str, &'static str)> {
        todo!()
    }
}
