//! HMAC signatures of requests.

/// Whether `signature` is HMAC-SHA-256 of `message` under `key` (RFC 2104); constant time.
#[must_use]
pub fn hmac_sha256_matches(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let _ = (key, message, signature);
    todo!()
}
