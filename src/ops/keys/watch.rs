//! The keyring's file is looked at every few seconds, and read anew where it has changed; and the database is told which
//! keys this process knows. A file that cannot be used is refused, and the keyring in use stays.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use super::Ops;
use crate::{
    crypto::{Keyring, keyring::FileStamp},
    domain::{KeyInfo, Replica, Uid},
    metrics::KeyringReloads,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often, in looks, the database is told that this process is there.
const ANNOUNCE_EVERY: u32 = 5;

/// The watch over a keyring's file. Clones share it.
#[derive(Clone, Debug)]
pub struct KeyringWatch(Arc<Watch>);

#[derive(Debug)]
struct Watch {
    ops: Ops,
    file: PathBuf,
    uid: Uid,
    name: String,
    reloads: KeyringReloads,
    /// The file that was taken or refused last.
    seen: Mutex<Option<FileStamp>>,
    /// One reads at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Why a keyring was not taken.
enum Refused {
    /// It will not do.
    Unfit(String),
    /// Nobody can tell now.
    Unknown(String),
}

impl KeyringWatch {
    /// Watches over this file, from which the keyring in use was read when it looked so, for a process of this name.
    #[must_use]
    pub fn new(ops: &Ops, file: &Path, stamp: Option<FileStamp>, name: String, reloads: KeyringReloads) -> Self {
        let seen = Mutex::new(stamp);
        let (ops, file, uid) = (ops.clone(), file.to_owned(), ops.make_uid(ops.now()));
        Self(Arc::new(Watch { ops, file, uid, name, reloads, seen, turn: tokio::sync::Mutex::default() }))
    }

    /// Looks at the file and announces this process, for as long as it is polled.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        loop {
            tick.tick().await;
            ticks = ticks.wrapping_add(1);
            if FileStamp::of(&self.0.file) != *self.seen() {
                let _ = self.reload().await;
            } else if ticks.is_multiple_of(ANNOUNCE_EVERY) {
                self.announce().await;
            }
        }
    }

    /// Reads the file now, and takes the keyring in it; or says why not, and the one in use stays.
    ///
    /// # Errors
    /// A sentence for the operator, which is logged too.
    pub async fn reload(&self) -> Result<(), String> {
        let watch = &*self.0;
        let _turn = watch.turn.lock().await;
        // From before it is read: where it changes meanwhile, it is read once more.
        let stamp = FileStamp::of(&watch.file);
        let taken = self.take().await;
        if !matches!(taken, Err(Refused::Unknown(_))) {
            *self.seen() = stamp;
        }
        watch.reloads.count(taken.is_ok());
        match taken {
            Ok(()) => {
                self.announce().await;
                let keys = watch.ops.keyring().keys().len();
                tracing::info!(keys, "the keyring was read anew, and is in use");
                Ok(())
            }
            Err(Refused::Unfit(sentence) | Refused::Unknown(sentence)) => {
                tracing::error!(sentence, "the keyring's file was refused; the one from before stays in use");
                Err(sentence)
            }
        }
    }

    /// Has the database know which keys this process knows.
    pub async fn announce(&self) {
        let watch = &*self.0;
        let keyring = watch.ops.keyring();
        let ids = |makes: bool| -> Vec<String> {
            let wanted = |key: &&KeyInfo| key.is_primary || !makes;
            keyring.keys().iter().filter(wanted).map(|key| key.id.clone()).collect()
        };
        let replica = Replica {
            uid: watch.uid.clone(),
            name: watch.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            knows: ids(false),
            makes_with: ids(true),
            seen_time: watch.ops.now(),
        };
        if let Err(error) = watch.ops.store.announce(replica).await {
            tracing::debug!(reason = ?error.reason(), cause = ?error.cause(), "this process was not announced");
        }
    }

    /// Has the database forget this process, which ends.
    pub async fn leave(&self) {
        if let Err(error) = self.0.ops.store.leave(self.0.uid.clone()).await {
            tracing::debug!(reason = ?error.reason(), cause = ?error.cause(), "this process is remembered for a while");
        }
    }

    async fn take(&self) -> Result<(), Refused> {
        let file = self.0.file.clone();
        let read = tokio::task::spawn_blocking(move || Keyring::load(&file)).await;
        let keyring = read.map_err(|_panic| Refused::Unknown("the keyring could not be read".to_owned()))?;
        let keyring = keyring.map_err(|refused| Refused::Unfit(refused.to_string()))?;
        let ops = &self.0.ops;
        let needed = ops.store.wrapping_keys_in_use().await;
        let needed =
            needed.map_err(|error| Refused::Unknown(format!("what the database needs is not known: {error}")))?;
        keyring.has_wrapping_keys(&self.0.file, &needed).map_err(|refused| Refused::Unfit(refused.to_string()))?;
        ops.keyring.replace(keyring);
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Option<FileStamp>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
