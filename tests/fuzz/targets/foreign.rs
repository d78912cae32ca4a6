//! No text that is taken for another system's hash panics, none is repeated in what is said of it, and what is taken asks
//! for no more than is allowed, is read back as it was kept, and is named in a line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rekey::crypto::{ForeignBounds, TakenOver};

/// Few enough that what a hash may ask for shows in its name.
const BOUNDS: ForeignBounds = ForeignBounds {
    memory_kib: 8_192,
    argon2_iterations: 8,
    bcrypt_cost: 12,
    pbkdf2_iterations: 9_999,
    sha_crypt_rounds: 9_999,
};

fuzz_target!(|text: &str| {
    let taken_over = match TakenOver::recognise(text, &BOUNDS) {
        Ok(taken_over) => taken_over,
        Err(sentence) => {
            assert!(sentence.len() < 256, "{sentence}");
            return;
        }
    };
    assert_eq!(format!("{taken_over:?}"), "TakenOver([redacted])");
    let verifier = taken_over.into_verifier();
    let scheme = verifier.scheme().expect("what was kept is read back");
    assert!(scheme.len() < 64 && scheme.is_ascii(), "{scheme}");
    for parameter in scheme.split(' ').skip(1) {
        let (name, value) = parameter.split_once('=').expect("a name and a value");
        let value: u32 = value.parse().expect("a number");
        let most = match name {
            "m" => BOUNDS.memory_kib,
            "t" => BOUNDS.argon2_iterations,
            "cost" => BOUNDS.bcrypt_cost,
            "i" => BOUNDS.pbkdf2_iterations,
            "rounds" => BOUNDS.sha_crypt_rounds,
            "v" | "p" => 8 * 8_192 * 2,
            // 128 bytes times N and r.
            "ln" => 16,
            "r" => 8 * 8_192,
            _ => panic!("{scheme}"),
        };
        assert!(value <= most, "{scheme}");
    }
});
