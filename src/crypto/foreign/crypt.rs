//! What `crypt(3)` made: SHA-crypt (Drepper, "Unix crypt using SHA-256 and SHA-512", 0.6) and FreeBSD's MD5-crypt, and
//! the alphabets of both and of bcrypt.

use std::sync::LazyLock;

use data_encoding::{BitOrder, Encoding, Specification};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::domain::{Error, Result};

const MD5_ROUNDS: usize = 1_000;

/// `crypt(3)`: the lowest six bits come first.
pub(super) static CRYPT: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    alphabet("./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", BitOrder::LeastSignificantFirst)
});
/// bcrypt.
pub(super) static BCRYPT: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    alphabet("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", BitOrder::MostSignificantFirst)
});

fn alphabet(symbols: &str, bit_order: BitOrder) -> Option<Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str(symbols);
    specification.bit_order = bit_order;
    // Some programs left what they had in the last bits.
    specification.check_trailing_bits = false;
    specification.encoding().ok()
}

/// SHA-256-crypt or SHA-512-crypt, in the order in which `crypt` writes the bytes.
pub(super) fn sha(long: bool, rounds: u32, password: &[u8], salt: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let params = sha_crypt::Params::new(rounds).map_err(|error| Error::internal(error.to_string()))?;
    if long {
        let digest = Zeroizing::new(sha_crypt::sha512_crypt(password, salt, params));
        // 0 21 42, 22 43 1, 44 2 23, …: each step adds 22 within 63.
        let order = (0..21).flat_map(|step| [42, 21, 0].map(|first| (first + 22 * step) % 63)).chain([63]);
        Ok(pick(&*digest, order))
    } else {
        let digest = Zeroizing::new(sha_crypt::sha256_crypt(password, salt, params));
        // 0 10 20, 21 1 11, 12 22 2, …: each step adds 21 within 30.
        let order = (0..10).flat_map(|step| [20, 10, 0].map(|first| (first + 21 * step) % 30)).chain([30, 31]);
        Ok(pick(&*digest, order))
    }
}

/// MD5-crypt, in the order in which `crypt` writes the bytes.
pub(super) fn md5(password: &[u8], salt: &[u8]) -> Zeroizing<Vec<u8>> {
    let alternate = digest(&[password, salt, password]);
    let mut begin = Md5::new();
    begin.update(password);
    begin.update(b"$1$");
    begin.update(salt);
    for index in 0..password.len() {
        begin.update(alternate.get(index % 16..=index % 16).unwrap_or_default());
    }
    let mut length = password.len();
    while length > 0 {
        begin.update(if length & 1 == 1 { &[0][..] } else { password.get(..1).unwrap_or_default() });
        length >>= 1;
    }
    let mut state = Zeroizing::new(begin.finalize().to_vec());
    for round in 0..MD5_ROUNDS {
        let (odd, salt) = (round % 2 == 1, if round % 3 == 0 { &[][..] } else { salt });
        let again = if round % 7 == 0 { &[][..] } else { password };
        let (first, last) = if odd { (password, &**state) } else { (&**state, password) };
        let next = digest(&[first, salt, again, last]);
        state = next;
    }
    let order = [12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];
    pick(&state, order)
}

fn digest(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    Zeroizing::new(md5.finalize().to_vec())
}

fn pick(bytes: &[u8], order: impl IntoIterator<Item = usize>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(order.into_iter().filter_map(|index| bytes.get(index).copied()).collect())
}
