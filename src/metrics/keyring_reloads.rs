//! How often the keyring was read anew, and whether its file is the one in use.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{Kind, Text};

/// Readings of the keyring's file since the start. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct KeyringReloads(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    refused: AtomicU64,
    is_refused: AtomicBool,
}

impl KeyringReloads {
    /// The file was read, and taken or refused.
    pub fn count(&self, taken: bool) {
        let count = if taken { &self.0.taken } else { &self.0.refused };
        count.fetch_add(1, Ordering::Relaxed);
        self.0.is_refused.store(!taken, Ordering::Relaxed);
    }

    /// Writes them down.
    pub fn write(&self, text: &mut Text) {
        let name = "rekey_keyring_reloads_total";
        text.family(name, Kind::Counter, "Readings of a changed keyring file, by what came of them.");
        text.value(name, &[("outcome", "taken")], self.0.taken.load(Ordering::Relaxed));
        text.value(name, &[("outcome", "refused")], self.0.refused.load(Ordering::Relaxed));
        let help = "1 where the keyring file was refused last, and another keyring is in use.";
        let is_refused = u8::from(self.0.is_refused.load(Ordering::Relaxed));
        text.single("rekey_keyring_refused", Kind::Gauge, help, is_refused);
    }
}
