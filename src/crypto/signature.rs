//! HMAC signatures of requests.

/// Whether `signature` is HMAC-SHA-256 of `message` under `key` (RFC 2104); constant time.
#[must_use]
pub fn hmac_sha256_matches(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let _ = (key, message, signature);
    todo!()
}

/// [`hmac_sha256_matches`] under a shared key that is kept like a password.
#[must_use]
pub fn password_signs(shared_key: &crate::domain::Password, message: &[u8], signature: &[u8]) -> bool {
    use secrecy::ExposeSecret as _;
    #[expect(clippy::disallowed_methods, reason = "the key of the signature")]
    hmac_sha256_matches(shared_key.secret().expose_secret().as_bytes(), message, signature)
}
