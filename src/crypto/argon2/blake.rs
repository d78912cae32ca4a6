//! What Argon2 makes of BLAKE2b (RFC 7693): the initial hash and the one of variable length.

use ::argon2::{Algorithm, Error, MIN_SALT_LEN, Params, Result, Version};
use blake2::{
    Blake2bVarCore,
    digest::{
        block_api::{UpdateCore as _, VariableOutputCore as _},
        block_buffer::LazyBuffer,
    },
};
use zeroize::Zeroizing;

/// BLAKE2b's longest tag.
const LONGEST: usize = 64;

/// H0 (RFC 9106 section 3.2, step 1), the only thing that sees the password.
pub(super) fn initial_hash(
    algorithm: Algorithm,
    params: &Params,
    inputs: [&[u8]; 3],
    tag_length: usize,
) -> Result<Zeroizing<[u8; LONGEST]>> {
    let [password, salt, secret] = inputs;
    let data = params.data();
    if params.output_len().is_some_and(|wanted| tag_length < wanted) || tag_length < Params::MIN_OUTPUT_LEN {
        return Err(Error::OutputTooShort);
    }
    if params.output_len().is_some_and(|wanted| tag_length > wanted) {
        return Err(Error::OutputTooLong);
    }
    if salt.len() < MIN_SALT_LEN {
        return Err(Error::SaltTooShort);
    }
    let tag_length = length(tag_length, Error::OutputTooLong)?;
    let password_length = length(password.len(), Error::PwdTooLong)?;
    let salt_length = length(salt.len(), Error::SaltTooLong)?;
    let secret_length = length(secret.len(), Error::SecretTooLong)?;
    let data_length = length(data.len(), Error::AdTooLong)?;
    let mut hash = Zeroizing::new([0; LONGEST]);
    blake2b(
        &[
            &params.p_cost().to_le_bytes(),
            &tag_length,
            &params.m_cost().to_le_bytes(),
            &params.t_cost().to_le_bytes(),
            &u32::from(Version::V0x13).to_le_bytes(),
            &(algorithm as u32).to_le_bytes(),
            &password_length,
            password,
            &salt_length,
            salt,
            &secret_length,
            secret,
            &data_length,
            data,
        ],
        &mut *hash,
    )?;
    Ok(hash)
}

/// H' (section 3.3).
pub(super) fn hash_long(input: &[u8], output: &mut [u8]) -> Result<()> {
    let output_length = length(output.len(), Error::OutputTooLong)?;
    if output.len() <= LONGEST {
        return blake2b(&[&output_length, input], output);
    }
    let mut link = Zeroizing::new([0; LONGEST]);
    blake2b(&[&output_length, input], &mut *link)?;
    let mut rest = output;
    loop {
        let (half, tail) = rest.split_at_mut(LONGEST / 2);
        half.copy_from_slice(link.split_at(LONGEST / 2).0);
        let before = link.clone();
        if tail.len() <= LONGEST {
            return blake2b(&[&*before], tail);
        }
        blake2b(&[&*before], &mut *link)?;
        rest = tail;
    }
}

/// BLAKE2b of as many bytes as there is room for, 1 to 64.
fn blake2b(inputs: &[&[u8]], output: &mut [u8]) -> Result<()> {
    let mut hasher = Blake2bVarCore::new(output.len()).map_err(|_length| Error::OutputTooLong)?;
    let mut buffer = LazyBuffer::default();
    for input in inputs {
        buffer.digest_blocks(input, |blocks| hasher.update_blocks(blocks));
    }
    let mut whole = Zeroizing::new([0; LONGEST]);
    hasher.finalize_variable_core(&mut buffer, (&mut *whole).into());
    output.iter_mut().zip(&*whole).for_each(|(to, from)| *to = *from);
    Ok(())
}

fn length(bytes: usize, error: Error) -> Result<[u8; 4]> {
    u32::try_from(bytes).map(u32::to_le_bytes).map_err(|_too_long| error)
}
