//! The compression function G (RFC 9106 section 3.5) for AVX2: two permutations P at a time, in 8 of 16 registers.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_alignr_epi8, _mm256_mul_epu32, _mm256_permute4x64_epi64, _mm256_set_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_srli_epi64, _mm256_xor_si256,
};

use ::argon2::Block;

/// One of the rows A, B, C, D of the 4x4 matrices of P, of two matrices.
type Row = [__m256i; 2];
/// A block: 8 rows of 4 registers.
type Registers = [[__m256i; 4]; 8];

/// `current` = G(`previous`, `reference`), with `xor` onto its former content.
#[target_feature(enable = "avx2")]
pub(super) fn compress(previous: &Block, reference: &Block, current: &mut Block, xor: bool) {
    let (previous, reference, current) = (registers(previous), registers(reference), registers_mut(current));
    let mut state = [[_mm256_setzero_si256(); 4]; 8];
    // The result's other term waits in the place where the result goes.
    for (((state, previous), reference), current) in
        state.iter_mut().zip(previous).zip(reference).zip(current.iter_mut())
    {
        for (((state, previous), reference), current) in state.iter_mut().zip(previous).zip(reference).zip(current) {
            *state = _mm256_xor_si256(*previous, *reference);
            *current = if xor { _mm256_xor_si256(*state, *current) } else { *state };
        }
    }
    let (pairs, _) = state.as_chunks_mut();
    for [[a0, b0, c0, d0], [a1, b1, c1, d1]] in pairs {
        [[*a0, *a1], [*b0, *b1], [*c0, *c1], [*d0, *d1]] =
            permute::<false>([[*a0, *a1], [*b0, *b1], [*c0, *c1], [*d0, *d1]]);
    }
    let [r0, r1, r2, r3, r4, r5, r6, r7] = &mut state;
    let columns = r0.iter_mut().zip(r1).zip(r2).zip(r3).zip(r4).zip(r5).zip(r6).zip(r7);
    for (((((((a0, a1), b0), b1), c0), c1), d0), d1) in columns {
        [[*a0, *a1], [*b0, *b1], [*c0, *c1], [*d0, *d1]] =
            permute::<true>([[*a0, *a1], [*b0, *b1], [*c0, *c1], [*d0, *d1]]);
    }
    for (state, current) in state.iter().flatten().zip(current.iter_mut().flatten()) {
        *current = _mm256_xor_si256(*state, *current);
    }
}

/// Two permutations P: a matrix fills the first registers of its rows and the other one the second, or (`ACROSS`) each
/// has its half of all.
#[inline]
#[target_feature(enable = "avx2")]
fn permute<const ACROSS: bool>([mut a, mut b, mut c, mut d]: [Row; 4]) -> [Row; 4] {
    mix(&mut a, &mut b, &mut c, &mut d);
    // B is ready last, so it is the others that turn around it.
    if ACROSS {
        (a, c, d) = (turn_back(a), turn(c), [d[1], d[0]]);
    } else {
        (a, c, d) = (shuffle::<0b10_01_00_11>(a), shuffle::<0b00_11_10_01>(c), shuffle::<0b01_00_11_10>(d));
    }
    mix(&mut a, &mut b, &mut c, &mut d);
    if ACROSS {
        (a, c, d) = (turn(a), turn_back(c), [d[1], d[0]]);
    } else {
        (a, c, d) = (shuffle::<0b00_11_10_01>(a), shuffle::<0b10_01_00_11>(c), shuffle::<0b01_00_11_10>(d));
    }
    [a, b, c, d]
}

/// GB of section 3.6, on every column at once.
#[inline]
#[target_feature(enable = "avx2")]
fn mix(a: &mut Row, b: &mut Row, c: &mut Row, d: &mut Row) {
    let by_24 = _mm256_set_epi8(
        10, 9, 8, 15, 14, 13, 12, 11, 2, 1, 0, 7, 6, 5, 4, 3, 10, 9, 8, 15, 14, 13, 12, 11, 2, 1, 0, 7, 6, 5, 4, 3,
    );
    let by_16 = _mm256_set_epi8(
        9, 8, 15, 14, 13, 12, 11, 10, 1, 0, 7, 6, 5, 4, 3, 2, 9, 8, 15, 14, 13, 12, 11, 10, 1, 0, 7, 6, 5, 4, 3, 2,
    );
    multiply_add(a, b);
    for (d, a) in d.iter_mut().zip(&*a) {
        *d = _mm256_shuffle_epi32::<0b10_11_00_01>(_mm256_xor_si256(*d, *a));
    }
    multiply_add(c, d);
    for (b, c) in b.iter_mut().zip(&*c) {
        *b = _mm256_shuffle_epi8(_mm256_xor_si256(*b, *c), by_24);
    }
    multiply_add(a, b);
    for (d, a) in d.iter_mut().zip(&*a) {
        *d = _mm256_shuffle_epi8(_mm256_xor_si256(*d, *a), by_16);
    }
    multiply_add(c, d);
    for (b, c) in b.iter_mut().zip(&*c) {
        let mixed = _mm256_xor_si256(*b, *c);
        *b = _mm256_xor_si256(_mm256_add_epi64(mixed, mixed), _mm256_srli_epi64::<63>(mixed));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn multiply_add(a: &mut Row, b: &Row) {
    for (a, b) in a.iter_mut().zip(b) {
        let product = _mm256_mul_epu32(*a, *b);
        *a = _mm256_add_epi64(_mm256_add_epi64(*a, *b), _mm256_add_epi64(product, product));
    }
}

/// Moves the words within each register.
#[inline]
#[target_feature(enable = "avx2")]
fn shuffle<const ORDER: i32>([low, high]: Row) -> Row {
    [_mm256_permute4x64_epi64::<ORDER>(low), _mm256_permute4x64_epi64::<ORDER>(high)]
}

/// Moves the words by one column, through both registers.
#[inline]
#[target_feature(enable = "avx2")]
fn turn([low, high]: Row) -> Row {
    [_mm256_alignr_epi8::<8>(high, low), _mm256_alignr_epi8::<8>(low, high)]
}

/// Moves the words by one column the other way.
#[inline]
#[target_feature(enable = "avx2")]
fn turn_back([low, high]: Row) -> Row {
    [_mm256_alignr_epi8::<8>(low, high), _mm256_alignr_epi8::<8>(high, low)]
}

const _: () = assert!(size_of::<Block>() == size_of::<Registers>() && align_of::<Block>() >= align_of::<Registers>());

#[inline]
fn registers(block: &Block) -> &Registers {
    // SAFETY: of one size, as aligned (asserted above), and any bits are a value of both.
    unsafe { &*std::ptr::from_ref(block).cast() }
}

#[inline]
fn registers_mut(block: &mut Block) -> &mut Registers {
    // SAFETY: as above, and borrowed exclusively.
    unsafe { &mut *std::ptr::from_mut(block).cast() }
}
