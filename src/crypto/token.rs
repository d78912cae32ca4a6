//! API tokens: `rk_<id>_<secret>_<check>`.
//!
//! The prefix is for secret scanners, the id finds the row, the secret has 256 bits, the checksum tells a typo from a
//! stranger without a look-up. All parts are base32 in the alphabet `0-9a-v` (RFC 4648 section 7, lower case): no `_`
//! in them, no case to lose, one word for a double click.

use std::fmt;

use data_encoding::BASE32_DNSSEC as BASE32;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::domain::Entropy;

const PREFIX: &str = "rk_";
/// Bytes behind an id, and the characters they make.
const ID: (usize, usize) = (10, 16);
/// Bytes behind a secret, and the characters they make.
const SECRET: (usize, usize) = (32, 52);

/// A token that was just made.
pub struct ApiToken {
    /// Finds it.
    pub id: String,
    /// All of it.
    pub token: SecretString,
}

impl ApiToken {
    /// A new token.
    #[must_use]
    pub fn make(entropy: &dyn Entropy) -> Self {
        let mut id = [0; ID.0];
        entropy.fill(&mut id);
        let id = BASE32.encode(&id);
        let mut secret = Zeroizing::new([0; SECRET.0]);
        entropy.fill(&mut *secret);
        let secret = Zeroizing::new(BASE32.encode(&*secret));
        let checked = Zeroizing::new(format!("{PREFIX}{id}_{}", *secret));
        let token = Zeroizing::new(format!("{}_{}", *checked, checksum(&checked)));
        Self { id, token: SecretString::from(token.as_str()) }
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The id in a token of ours; `None` where it is not one, or its checksum is wrong.
///
/// A CRC-32 sees every change within 32 neighbouring bits, so no token with one wrong character passes; of arbitrary
/// ones, 1 in 2^32.
#[must_use]
pub fn token_id(token: &str) -> Option<&str> {
    let (checked, check) = token.rsplit_once('_')?;
    let (id, secret) = checked.strip_prefix(PREFIX)?.split_once('_')?;
    let legal = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v'));
    let formed = id.len() == ID.1 && secret.len() == SECRET.1 && legal(id) && legal(secret);
    (formed && checksum(checked) == check).then_some(id)
}

/// A random secret of 43 characters base64url, 256 bits: shared keys.
#[must_use]
pub fn make_shared_key(entropy: &dyn Entropy) -> SecretString {
    let mut secret = Zeroizing::new([0; 32]);
    entropy.fill(&mut *secret);
    data_encoding::BASE64URL_NOPAD.encode(&*secret).into()
}

fn checksum(text: &str) -> String {
    BASE32.encode(&crc32(text.as_bytes()).to_be_bytes())
}

/// CRC-32 as in zlib and Ethernet, bit by bit: 72 bytes a token are not worth a table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _bit| (sum >> 1) ^ (0xedb8_8320 * (sum & 1))))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests look at what was made")]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::domain::entropy::SeededEntropy;

    /// The check value of the CRC catalogue.
    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn debug_shows_the_id_and_not_the_secret() {
        let made = ApiToken::make(&SeededEntropy::new(1));
        assert_eq!(format!("{made:?}"), format!("ApiToken {{ id: {:?}, .. }}", made.id));
    }

    #[test]
    fn a_shared_key_has_43_characters_of_base64url() {
        let (one, two) = (make_shared_key(&SeededEntropy::new(1)), make_shared_key(&SeededEntropy::new(2)));
        assert_eq!(one.expose_secret().len(), 43);
        assert!(one.expose_secret().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_ne!(one.expose_secret(), two.expose_secret());
    }

    #[test]
    fn strangers_have_no_id() {
        let made = ApiToken::make(&SeededEntropy::new(1));
        let token = made.token.expose_secret();
        let strangers = ["", "rk_", "rk___", "rk_a_b_c", "gh_a_b_c", "_", "e30.e30.e30", "rk_\u{1F600}_\u{1F600}_"];
        for stranger in strangers.into_iter().chain([&token[1..], &token[..token.len() - 1]]) {
            assert_eq!(token_id(stranger), None, "{stranger}");
        }
        assert_eq!(token_id(&format!("{token} ")), None);
        assert_eq!(token_id(&format!(" {token}")), None);
    }

    proptest! {
        #[test]
        fn a_made_token_tells_its_id(seed in any::<u64>()) {
            let made = ApiToken::make(&SeededEntropy::new(seed));
            prop_assert_eq!(token_id(made.token.expose_secret()), Some(made.id.as_str()));
            prop_assert_eq!(made.token.expose_secret().len(), 3 + 16 + 1 + 52 + 1 + 7);
        }

        #[test]
        fn no_wrong_character_passes(seed in any::<u64>(), place in 0_usize..80, wrong in any::<char>()) {
            let made = ApiToken::make(&SeededEntropy::new(seed));
            let altered: String = made
                .token
                .expose_secret()
                .chars()
                .enumerate()
                .map(|(index, right)| if index == place { wrong } else { right })
                .collect();
            prop_assume!(altered != made.token.expose_secret());
            prop_assert_eq!(token_id(&altered), None);
        }

        #[test]
        fn no_two_neighbours_can_be_swapped(seed in any::<u64>(), place in 0_usize..79) {
            let made = ApiToken::make(&SeededEntropy::new(seed));
            let mut altered: Vec<char> = made.token.expose_secret().chars().collect();
            altered.swap(place, place + 1);
            let altered: String = altered.into_iter().collect();
            prop_assume!(altered != made.token.expose_secret());
            prop_assert_eq!(token_id(&altered), None);
        }

        #[test]
        fn nothing_that_is_typed_panics(text in any::<String>()) {
            prop_assert_eq!(token_id(&text), None);
        }
    }
}
