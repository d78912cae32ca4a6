//! HMAC signatures of requests.

use aws_lc_rs::hmac;
use secrecy::ExposeSecret as _;

use crate::domain::Password;

/// Whether `signature` is HMAC-SHA-256 of `message` under `key` (RFC 2104); constant time.
#[must_use]
pub fn hmac_sha256_matches(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, signature).is_ok()
}

/// [`hmac_sha256_matches`] under a shared key that is kept like a password.
#[must_use]
pub fn password_signs(shared_key: &Password, message: &[u8], signature: &[u8]) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the key of the signature")]
    hmac_sha256_matches(shared_key.secret().expose_secret().as_bytes(), message, signature)
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, HEXLOWER};

    use super::*;

    /// The known answer of the dialect `licensespring`.
    #[test]
    fn the_known_answer_of_a_vendor_matches() {
        let key = b"kw4qSnpSwXzgiv5yxYpZZmFEd9QAeiKTQ6OuyMja";
        let message = b"licenseSpring\ndate: Tue, 07 Jun 2011 20:51:35 GMT";
        let signature = BASE64.decode(b"UDysfR6MndUZReo07Y9r+vErn8vSxrnQ5ulit18iJ/Q=").unwrap();
        assert!(hmac_sha256_matches(key, message, &signature));
        assert!(!hmac_sha256_matches(b"another key", message, &signature));
        assert!(!hmac_sha256_matches(key, b"another message", &signature));
    }

    /// RFC 4231 section 4.3.
    #[test]
    fn only_the_whole_signature_matches() {
        let signature = HEXLOWER.decode(b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843").unwrap();
        let message = b"what do ya want for nothing?";
        assert!(hmac_sha256_matches(b"Jefe", message, &signature));
        for length in 0..signature.len() {
            assert!(!hmac_sha256_matches(b"Jefe", message, &signature[..length]));
        }
        for bit in 0..signature.len() * 8 {
            let mut altered = signature.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!hmac_sha256_matches(b"Jefe", message, &altered));
        }
    }
}
