//! HMAC signatures of requests.

use aws_lc_rs::{digest, hmac};
use secrecy::ExposeSecret as _;

use crate::domain::Password;

/// SHA-256 (FIPS 180-4).
#[must_use]
pub fn sha256(message: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, message).as_ref().to_vec()
}

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

    /// The known answer of the dialect `roma`.
    #[test]
    fn the_known_answer_of_another_vendor_matches() {
        let canonical = b"PUT\n/v2/proj01/link/instances/inst01/devices/4711/authentication/\n\n\
            content-type:application/json;charset=utf-8\nhost:127.0.0.1:8080\nuser-agent:ua/1\nx-project-id:proj01\n\
            x-sdk-date:20240102T030405Z\n\ncontent-type;host;user-agent;x-project-id;x-sdk-date\n";
        let body = br#"{"user_name": "device01", "password": "Abcdefgh1234567!"}"#;
        let canonical = [canonical.as_slice(), HEXLOWER.encode(&sha256(body)).as_bytes()].concat();
        let digest = HEXLOWER.encode(&sha256(&canonical));
        assert_eq!(digest, "06b2c01034a96ed4340a24b25dc98654c401fdb81231edfc9a736680ff2648e6");
        let message = format!("SDK-HMAC-SHA256\n20240102T030405Z\n{digest}");
        let signature = HEXLOWER.decode(b"757deaa832f9d8525bf03622c3ae17ec80907a79c227010fb65e6f1b9f888dff").unwrap();
        assert!(hmac_sha256_matches(b"SKEXAMPLE", message.as_bytes(), &signature));
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
