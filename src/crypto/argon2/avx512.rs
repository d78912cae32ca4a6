//! The compression function G (RFC 9106 section 3.5) for AVX-512: all of a block in 16 registers.
//!
//! Blocks lie in memory in an order of our own, in which neither rows nor columns need to be gathered: register 4q + s
//! holds words 4q to 4q + 3 of rows 2s and 2s + 1. One permutation P of a row works along q, one of a column along s.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_mul_epu32, _mm512_permutexvar_epi64, _mm512_ror_epi64, _mm512_set_epi64,
    _mm512_xor_si512,
};

use ::argon2::Block;

/// One of the rows A, B, C, D of the 4x4 matrices of P, of all 8 matrices.
type Row = [__m512i; 4];

/// Where in a block of this kernel the RFC's word `index` lies.
pub(super) fn position(index: usize) -> usize {
    let (pair, half, quarter, word) = (index >> 5, index >> 4 & 1, index >> 2 & 3, index & 3);
    quarter << 5 | pair << 3 | half << 2 | word
}

/// `current` = G(`previous`, `reference`), with `xor` onto its former content.
#[target_feature(enable = "avx512f")]
pub(super) fn compress(previous: &Block, reference: &Block, current: &mut Block, xor: bool) {
    let (previous, reference, current) = (registers(previous), registers(reference), registers_mut(current));
    let mut state = *previous;
    // The result's other term waits in the place where the result goes.
    for ((state, reference), current) in state.iter_mut().zip(reference).zip(current.iter_mut()) {
        for ((state, reference), current) in state.iter_mut().zip(reference).zip(current) {
            *state = _mm512_xor_si512(*state, *reference);
            *current = if xor { _mm512_xor_si512(*state, *current) } else { *state };
        }
    }
    let along_rows = [
        _mm512_set_epi64(4, 7, 6, 5, 0, 3, 2, 1),
        _mm512_set_epi64(5, 4, 7, 6, 1, 0, 3, 2),
        _mm512_set_epi64(6, 5, 4, 7, 2, 1, 0, 3),
    ];
    let along_columns = [
        _mm512_set_epi64(2, 7, 0, 5, 6, 3, 4, 1),
        _mm512_set_epi64(3, 2, 1, 0, 7, 6, 5, 4),
        _mm512_set_epi64(6, 3, 4, 1, 2, 7, 0, 5),
    ];
    let state = transpose(permute(transpose(permute(state, along_rows)), along_columns));
    for (state, current) in state.iter().zip(current) {
        for (state, current) in state.iter().zip(current) {
            *current = _mm512_xor_si512(*state, *current);
        }
    }
}

/// Eight permutations P; `turns` moves the words of a row by one, two and three columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn permute([mut a, mut b, mut c, mut d]: [Row; 4], [one, two, three]: [__m512i; 3]) -> [Row; 4] {
    mix(&mut a, &mut b, &mut c, &mut d);
    // B is ready last, so it is the others that turn around it.
    turn(&mut a, three);
    turn(&mut c, one);
    turn(&mut d, two);
    mix(&mut a, &mut b, &mut c, &mut d);
    turn(&mut a, one);
    turn(&mut c, three);
    turn(&mut d, two);
    [a, b, c, d]
}

/// GB of section 3.6, on every column at once.
#[inline]
#[target_feature(enable = "avx512f")]
fn mix(a: &mut Row, b: &mut Row, c: &mut Row, d: &mut Row) {
    multiply_add(a, b);
    xor_rotate::<32>(d, a);
    multiply_add(c, d);
    xor_rotate::<24>(b, c);
    multiply_add(a, b);
    xor_rotate::<16>(d, a);
    multiply_add(c, d);
    xor_rotate::<63>(b, c);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_add(a: &mut Row, b: &Row) {
    for (a, b) in a.iter_mut().zip(b) {
        let product = _mm512_mul_epu32(*a, *b);
        *a = _mm512_add_epi64(_mm512_add_epi64(*a, *b), _mm512_add_epi64(product, product));
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor_rotate<const BITS: i32>(d: &mut Row, a: &Row) {
    for (d, a) in d.iter_mut().zip(a) {
        *d = _mm512_ror_epi64::<BITS>(_mm512_xor_si512(*d, *a));
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn turn(row: &mut Row, order: __m512i) {
    for register in row {
        *register = _mm512_permutexvar_epi64(order, *register);
    }
}

/// Names only: no instruction comes of it.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: [Row; 4]) -> [Row; 4] {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]) = (a, b, c, d);
    [[a0, b0, c0, d0], [a1, b1, c1, d1], [a2, b2, c2, d2], [a3, b3, c3, d3]]
}

const _: () = assert!(size_of::<Block>() == size_of::<[Row; 4]>() && align_of::<Block>() >= align_of::<Row>());

#[inline]
fn registers(block: &Block) -> &[Row; 4] {
    // SAFETY: of one size, as aligned (asserted above), and any bits are a value of both.
    unsafe { &*std::ptr::from_ref(block).cast() }
}

#[inline]
fn registers_mut(block: &mut Block) -> &mut [Row; 4] {
    // SAFETY: as above, and borrowed exclusively.
    unsafe { &mut *std::ptr::from_mut(block).cast() }
}
