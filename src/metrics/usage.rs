//! Uses of secrets, and how far behind they are written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Kind, Text};

/// What kind of secret was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseOf {
    /// A user's password.
    User,
    /// A device's password.
    Device,
    /// An integration's password.
    Integration,
    /// An API token.
    ApiToken,
    /// A signing key: its signature, its shared key, or a token that was got for it.
    SigningKey,
}

impl UseOf {
    const ALL: [Self; 5] = [Self::User, Self::Device, Self::Integration, Self::ApiToken, Self::SigningKey];

    const fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Integration => "integration",
            Self::ApiToken => "api_token",
            Self::SigningKey => "signing_key",
        }
    }
}

/// Uses since the start. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Uses(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    user: AtomicU64,
    device: AtomicU64,
    integration: AtomicU64,
    api_token: AtomicU64,
    signing_key: AtomicU64,
    dropped: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
    /// The time of the oldest use that is not written, in microseconds; the largest number where all are.
    oldest: AtomicI64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            user: AtomicU64::new(0),
            device: AtomicU64::new(0),
            integration: AtomicU64::new(0),
            api_token: AtomicU64::new(0),
            signing_key: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            oldest: AtomicI64::new(i64::MAX),
        }
    }
}

impl Uses {
    fn count(&self, of: UseOf) -> &AtomicU64 {
        match of {
            UseOf::User => &self.0.user,
            UseOf::Device => &self.0.device,
            UseOf::Integration => &self.0.integration,
            UseOf::ApiToken => &self.0.api_token,
            UseOf::SigningKey => &self.0.signing_key,
        }
    }

    /// A secret was used.
    pub fn used(&self, of: UseOf) {
        self.count(of).fetch_add(1, Ordering::Relaxed);
    }

    /// So many uses will not be written: there was no room for more secrets.
    pub fn dropped(&self, count: u64) {
        self.0.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// A statement wrote what was noted, or it failed and will be tried again.
    pub fn wrote(&self, is_done: bool) {
        let count = if is_done { &self.0.written } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// When the oldest use was that is not written yet, in microseconds; `None` where all are.
    pub fn unwritten_since(&self, time: Option<i64>) {
        self.0.oldest.store(time.unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Writes them down; `now` in microseconds.
    pub fn write(&self, text: &mut Text, now: i64) {
        let name = "rekey_secret_uses_total";
        text.family(name, Kind::Counter, "Times that a secret was right, by what it belongs to.");
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for of in UseOf::ALL {
            text.value(name, &[("kind", of.label())], read(self.count(of)));
        }
        let name = "rekey_secret_uses_writes_total";
        text.family(name, Kind::Counter, "Statements that write uses; what one of them fails to write, the next does.");
        text.value(name, &[("outcome", "done")], read(&self.0.written));
        text.value(name, &[("outcome", "failed")], read(&self.0.failed));
        let help = "Uses that are missing from the counts of their secrets: too many secrets were in use at once.";
        text.single("rekey_secret_uses_dropped_total", Kind::Counter, help, read(&self.0.dropped));
        let age = now.saturating_sub(self.0.oldest.load(Ordering::Relaxed)).max(0);
        let age = Duration::from_micros(age.unsigned_abs()).as_secs_f64();
        let help = "How long ago the oldest use was that is not in the database yet.";
        text.single("rekey_secret_uses_unwritten_seconds", Kind::Gauge, help, age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_counted_by_kind_and_what_is_unwritten_has_an_age() {
        let (uses, at) = (Uses::default(), |seconds: i64| seconds * 1_000_000);
        let page = |now| {
            let mut text = Text::default();
            uses.write(&mut text, at(now));
            text.finish()
        };
        assert!(page(100).contains("rekey_secret_uses_unwritten_seconds 0\n"));
        uses.used(UseOf::Device);
        uses.used(UseOf::Device);
        uses.used(UseOf::ApiToken);
        uses.dropped(7);
        uses.wrote(true);
        uses.wrote(false);
        uses.wrote(false);
        uses.unwritten_since(Some(at(97)));
        let text = page(100);
        for line in [
            r#"rekey_secret_uses_total{kind="user"} 0"#,
            r#"rekey_secret_uses_total{kind="device"} 2"#,
            r#"rekey_secret_uses_total{kind="api_token"} 1"#,
            r#"rekey_secret_uses_total{kind="signing_key"} 0"#,
            "rekey_secret_uses_dropped_total 7",
            r#"rekey_secret_uses_writes_total{outcome="done"} 1"#,
            r#"rekey_secret_uses_writes_total{outcome="failed"} 2"#,
            "rekey_secret_uses_unwritten_seconds 3",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert!(page(90).contains("rekey_secret_uses_unwritten_seconds 0\n"), "a clock that was set back");
        uses.unwritten_since(None);
        assert!(page(100).contains("rekey_secret_uses_unwritten_seconds 0\n"));
    }
}
