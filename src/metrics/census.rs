//! How many passwords are kept in which way, as it was counted last.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Kind, Text};

/// The most ways that are named; the rest is one.
const SCHEMES: usize = 40;
/// What the rest is called.
const OTHER: &str = "other";

/// The census of all tenants together. Clones share it; empty before the first count.
#[derive(Clone, Debug, Default)]
pub struct Census(Arc<Mutex<Vec<(String, i64)>>>);

impl Census {
    /// Takes a new count, the most frequent first; without a name where none was recorded.
    pub fn set(&self, counts: Vec<(Option<String>, i64)>) {
        let mut kept: Vec<(String, i64)> = Vec::with_capacity(SCHEMES + 1);
        for (scheme, count) in counts {
            let scheme = label(scheme);
            if let Some(same) = kept.iter_mut().find(|(name, _)| *name == scheme) {
                same.1 = same.1.saturating_add(count);
            } else if kept.len() < SCHEMES {
                kept.push((scheme, count));
            } else if let Some(other) = kept.iter_mut().find(|(name, _)| name == OTHER) {
                other.1 = other.1.saturating_add(count);
            } else {
                kept.push((OTHER.to_owned(), count));
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Writes it down.
    pub fn write(&self, text: &mut Text) {
        let help = "Passwords of users by how they are kept, as counted every five minutes.";
        text.family("rekey_passwords", Kind::Gauge, help);
        for (scheme, count) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            text.value("rekey_passwords", &[("scheme", scheme)], count);
        }
    }
}

/// A label that needs no escaping, whatever a database says.
fn label(scheme: Option<String>) -> String {
    let legal = |scheme: &String| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b" =.-".contains(&byte);
        (1..=128).contains(&scheme.len()) && scheme.bytes().all(legal)
    };
    match scheme {
        None => "not recorded".to_owned(),
        Some(scheme) if legal(&scheme) => scheme,
        Some(_) => OTHER.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: Vec<(Option<String>, i64)>) -> String {
        let census = Census::default();
        census.set(counts);
        let mut text = Text::default();
        census.write(&mut text);
        text.finish()
    }

    #[test]
    fn as_many_ways_as_anybody_makes_up_are_few_series() {
        let many = (0..1_000).map(|number| (Some(format!("pbkdf2-sha256 i={number}")), 1)).collect();
        let page = page(many);
        assert_eq!(page.lines().count(), 2 + SCHEMES + 1);
        assert!(page.contains("rekey_passwords{scheme=\"other\"} 960\n"), "{page}");
    }

    #[test]
    fn what_is_not_a_scheme_is_not_printed() {
        let counts = vec![
            (Some("argon2id m=19456 t=2 p=1 over bcrypt cost=10".to_owned()), 5),
            (None, 3),
            (Some("\"} 1\nevil".to_owned()), 2),
            (Some("x".repeat(1_000)), i64::MAX),
        ];
        let page = page(counts);
        let lines: Vec<_> = page.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "rekey_passwords{scheme=\"argon2id m=19456 t=2 p=1 over bcrypt cost=10\"} 5",
                "rekey_passwords{scheme=\"not recorded\"} 3",
                "rekey_passwords{scheme=\"other\"} 9223372036854775807",
            ]
        );
    }
}
