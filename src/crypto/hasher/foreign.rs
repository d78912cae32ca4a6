//! Other systems' hashes on the same threads: admitted, queued and refused like our own.

use std::fmt;

use argon2::{Algorithm, Block, Params};
use aws_lc_rs::constant_time;
use data_encoding::BASE64_NOPAD;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::{
    Hasher, SALT_LENGTH, TAG_LENGTH, Turn, Verdict, Verifier,
    phc::Parsed,
    pool::{Tag, Work},
    work,
};
use crate::{
    crypto::foreign::{Foreign, ForeignBounds, Recipe, recognise},
    domain::{Error, Password, Result},
};

/// What a check is made against, where it is not ours.
pub(super) enum Stranger {
    /// The hash as it came.
    Bare(Foreign),
    /// An Argon2id hash of what the recipe makes.
    Wrapped(Parsed, Recipe),
}

impl Stranger {
    /// `None` where the stored string is a plain Argon2 one.
    pub(super) fn parse(stored: &str, bounds: &ForeignBounds) -> Result<Option<Self>> {
        if let Some(foreign) = Foreign::parse(stored, bounds) {
            return foreign.map(|foreign| Some(Self::Bare(foreign)));
        }
        let Some(wrapped) = Recipe::unwrap(stored, bounds) else { return Ok(None) };
        let (outer, recipe) = wrapped?;
        Ok(Some(Self::Wrapped(Parsed::parse(outer)?, recipe)))
    }

    /// What the census counts.
    pub(super) fn scheme(&self) -> String {
        match self {
            Self::Bare(foreign) => foreign.recipe.scheme(),
            Self::Wrapped(outer, recipe) => format!("{} over {}", outer.scheme(), recipe.scheme()),
        }
    }

    /// Makes something of the password where it is right, and nothing where it is not. `ours` is what a hash of ours takes.
    pub(super) fn into_work(self, password: Password, ours: Params) -> Work {
        Box::new(move |memory| {
            // Others do not normalise: first as it came, then as a system that does would have hashed it.
            let received = password.as_received();
            let mut found = false;
            for candidate in received.into_iter().chain([password.clone()]) {
                found = match &self {
                    Self::Bare(Foreign { recipe, tag }) => same(&derive(recipe, candidate, memory)?, tag),
                    Self::Wrapped(outer, recipe) => {
                        let inner = as_password(&derive(recipe, candidate, memory)?)?;
                        let Parsed { algorithm, params, salt, tag } = outer.clone();
                        same(&work(algorithm, params, inner, salt, tag.len())(memory)?, &tag)
                    }
                };
                if found {
                    break;
                }
            }
            // Many a hash is done in no time, which would tell that there is somebody: no less than what nobody costs.
            if let Self::Bare(Foreign { recipe, .. }) = &self
                && recipe.as_argon2().is_none()
            {
                work(Algorithm::Argon2id, ours, password, vec![0; SALT_LENGTH], TAG_LENGTH)(memory)?;
            }
            Ok(Zeroizing::new(if found { vec![1] } else { Vec::new() }))
        })
    }
}

/// What a recipe makes of a password. Argon2 as we do it has the thread's memory for it.
fn derive(recipe: &Recipe, password: Password, memory: &mut [Block]) -> Result<Tag> {
    if let Some((algorithm, params)) = recipe.as_argon2() {
        return work(algorithm, params, password, recipe.salt().to_vec(), recipe.length())(memory);
    }
    #[expect(clippy::disallowed_methods, reason = "to hash the cleartext is what this is for")]
    recipe.derive(password.secret().expose_secret().as_bytes())
}

fn same(found: &[u8], tag: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(found, tag).is_ok()
}

impl Hasher {
    /// Checks against what another system made. A match is always outdated.
    pub(super) async fn verify_stranger(
        &self,
        turn: Turn<'_>,
        password: Password,
        stranger: Stranger,
    ) -> Result<Verdict> {
        let found = self.0.pool.run(turn, stranger.into_work(password, self.0.params.clone())).await?;
        Ok(if found.is_empty() { Verdict::Mismatch } else { Verdict::Match { outdated: true } })
    }

    /// What a hash of another system may ask for.
    #[must_use]
    pub fn foreign_bounds(&self) -> &ForeignBounds {
        &self.0.foreign
    }

    /// Hashes the hash, so that only as much can be tried against it as against ours. What is as strong as ours already
    /// stays as it is.
    ///
    /// # Errors
    /// Overloaded, as for any hash.
    pub async fn wrap(&self, turn: Turn<'_>, taken_over: TakenOver) -> Result<Verifier> {
        let current = &self.0.params;
        let as_strong = |params: &Params| params.m_cost() >= current.m_cost() && params.t_cost() >= current.t_cost();
        if taken_over.0.recipe.as_argon2().is_some_and(|(_, params)| as_strong(&params)) {
            return Ok(taken_over.into_verifier());
        }
        let TakenOver(Foreign { recipe, tag }) = taken_over;
        let outer = self.hash(turn, as_password(&tag)?).await?;
        Ok(Verifier(recipe.wrap(&outer.0)))
    }
}

/// A hash of another system that can be checked here.
#[derive(Clone)]
pub struct TakenOver(Foreign);

impl TakenOver {
    /// Recognises a hash, in any form that is known.
    ///
    /// # Errors
    /// A sentence: unknown, garbled, or asking for more than is allowed. Never a part of the hash.
    pub fn recognise(text: &str, bounds: &ForeignBounds) -> Result<Self, String> {
        recognise(text, bounds).map(Self)
    }

    /// To be kept as it is.
    #[must_use]
    pub fn into_verifier(self) -> Verifier {
        Verifier(self.0.to_stored())
    }
}

impl fmt::Debug for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TakenOver([redacted])")
    }
}

/// What a recipe made, as something that can be hashed again.
fn as_password(tag: &[u8]) -> Result<Password> {
    Password::parse(BASE64_NOPAD.encode(tag)).map_err(Error::internal)
}
