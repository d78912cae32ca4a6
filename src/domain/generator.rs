//! Makes secrets that satisfy a policy by construction.

use zeroize::Zeroizing;

use super::{Entropy, Password, Policy, policy::CharacterClass};

/// A secret of `length` code points (within the policy's bounds and at most 128), uniform over what the policy allows.
///
/// Letters and digits, and the policy's symbols where one is required: what need not be there is not there to be
/// mistyped. The whole is drawn again until every class is in it and the blocklist is not, so that no place and no
/// class is likelier than another. That ends: a policy without defects is satisfied by one draw in a hundred at the
/// very least (four characters, four classes, one symbol), and by nearly every one at the lengths in use.
#[must_use]
pub fn generate(policy: &Policy, length: u32, entropy: &dyn Entropy) -> Password {
    let required = |class| policy.classes().any(|required| required == class);
    let optional = [CharacterClass::Digit, CharacterClass::Upper, CharacterClass::Lower];
    let alphabet: Vec<u8> = CharacterClass::ALL
        .into_iter()
        .filter(|class| optional.contains(class) || required(*class))
        .flat_map(|class| policy.members(class).bytes())
        .collect();
    // Fewer characters than classes would never do.
    let length = (length.min(Policy::MAX_GENERATED_LENGTH) as usize).max(policy.classes().count()).max(1);
    let mut indices = Indices { bound: alphabet.len(), entropy, buffer: Zeroizing::new([0; 64]), used: 64 };
    loop {
        let mut secret = Zeroizing::new(String::with_capacity(length));
        while secret.len() < length {
            secret.extend(alphabet.get(indices.draw()).copied().map(char::from));
        }
        if policy.accepts_characters(&secret)
            && let Ok(password) = Password::parse(std::mem::take(&mut secret))
        {
            return password;
        }
    }
}

/// Uniform numbers below a bound of at most 256, by rejection: of 256 bytes, those above the last multiple of the
/// bound are thrown away, or its low remainders would come up more often.
struct Indices<'a> {
    bound: usize,
    entropy: &'a dyn Entropy,
    buffer: Zeroizing<[u8; 64]>,
    used: usize,
}

impl Indices<'_> {
    fn draw(&mut self) -> usize {
        loop {
            let Some(byte) = self.buffer.get(self.used) else {
                self.entropy.fill(&mut *self.buffer);
                self.used = 0;
                continue;
            };
            self.used += 1;
            if usize::from(*byte) < 256 - 256 % self.bound {
                return usize::from(*byte) % self.bound;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests look at what was made")]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::domain::{
        entropy::SeededEntropy,
        policy::{Preset, tests::policies},
    };

    fn text(password: &Password) -> &str {
        password.secret().expose_secret()
    }

    /// Pearson's statistic of these counts against equal ones.
    fn chi_squared(counts: &BTreeMap<char, u32>) -> f64 {
        let expected = f64::from(counts.values().sum::<u32>()) / f64::from(u32::try_from(counts.len()).unwrap());
        counts.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn characters_are_equally_likely_at_every_place() {
        let policy = Policy::preset(Preset::Nist);
        let entropy = SeededEntropy::new(1);
        let secrets: Vec<_> = (0..5_000).map(|_| generate(&policy, 24, &entropy)).collect();
        for place in [0..1, 11..12, 23..24, 0..24] {
            let mut counts = BTreeMap::new();
            for character in secrets.iter().flat_map(|secret| text(secret)[place.clone()].chars()) {
                *counts.entry(character).or_insert(0_u32) += 1;
            }
            assert_eq!(counts.len(), 62);
            // 61 degrees of freedom: above 110 once in ten thousand.
            assert!(chi_squared(&counts) < 110.0, "place {place:?}: {}", chi_squared(&counts));
        }
    }

    #[test]
    fn a_required_class_has_no_place_of_its_own() {
        let policy = Policy::preset(Preset::Roma);
        let entropy = SeededEntropy::new(2);
        let mut first_digits = BTreeMap::new();
        for _ in 0..5_000 {
            let secret = generate(&policy, 16, &entropy);
            for (place, _) in text(&secret).char_indices().filter(|(_, character)| character.is_ascii_digit()) {
                let place = char::from(b'a' + u8::try_from(place).unwrap());
                *first_digits.entry(place).or_insert(0_u32) += 1;
            }
        }
        assert_eq!(first_digits.len(), 16);
        // 15 degrees of freedom: above 44 once in ten thousand.
        assert!(chi_squared(&first_digits) < 44.0, "{}", chi_squared(&first_digits));
    }

    #[test]
    fn no_two_are_alike() {
        let policy = Policy::preset(Preset::Roma);
        let entropy = SeededEntropy::new(3);
        let made: HashSet<_> = (0..1_000).map(|_| text(&generate(&policy, 24, &entropy)).to_owned()).collect();
        assert_eq!(made.len(), 1_000);
    }

    #[test]
    fn even_the_shortest_comes_to_an_end() {
        let all = CharacterClass::ALL.to_vec();
        let policy = Policy {
            min_length: 1,
            required_classes: all,
            symbols: "!".to_owned(),
            blocklist: true,
            ..Policy::preset(Preset::Ocariot)
        };
        assert_eq!(generate(&policy, 4, &SeededEntropy::new(4)).length(), 4);
        assert_eq!(generate(&policy, 1, &SeededEntropy::new(5)).length(), 4);
        let policy = Policy { required_classes: Vec::new(), ..policy };
        assert_eq!(generate(&policy, 1, &SeededEntropy::new(6)).length(), 1);
        assert_eq!(generate(&policy, 0, &SeededEntropy::new(7)).length(), 1);
        assert_eq!(generate(&policy, u32::MAX, &SeededEntropy::new(8)).length(), 128);
    }

    proptest! {
        #[test]
        fn what_is_made_satisfies_its_policy(policy in policies(), seed in any::<u64>(), wish in any::<prop::sample::Index>()) {
            let most = policy.max_length.min(128);
            let entropy = SeededEntropy::new(seed);
            let wish = policy.min_length + u32::try_from(wish.index((most - policy.min_length + 1) as usize)).unwrap();
            for length in [policy.min_length, policy.generated_length, most, wish] {
                let secret = generate(&policy, length, &entropy);
                prop_assert_eq!(policy.violations(&secret, &[]), Vec::new());
                prop_assert_eq!(secret.length(), length as usize);
                prop_assert!(text(&secret).is_ascii());
            }
        }
    }
}
