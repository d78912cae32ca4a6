//! The anchor: a small file outside of the database that says how far this machine has seen it come, so that an older copy
//! in its place is recognised at the next start.
//!
//! The database's mark ([`Epoch`](crate::domain::Epoch)) is raised at each start, every ten seconds in which this process
//! changed anything, and when the process ends in order. It is written down here once the database has it for good, so
//! that a crash at any moment leaves the anchor at the database's mark or behind it, never past it. Each machine has an
//! anchor of its own; clocks play no part.
//!
//! What is recognised is a whole copy from before the last mark. What is not: a copy from within the last ten seconds
//! before a crash; a copy on a machine that has no anchor; a database and an anchor that were put back together; and
//! whoever may write to the database and sets its mark.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::{
    crypto::{Keyring, KeyringInUse},
    domain::{Epoch, Installation, Result, Uid},
    planted::{Bug, is_planted},
    store::Store,
};

const FORMAT: u32 = 1;
/// How often the mark is raised while changes happen.
const EVERY: Duration = Duration::from_secs(10);
/// How often this process has written one.
static WRITINGS: AtomicU64 = AtomicU64::new(0);
/// Nothing that is longer is an anchor.
const MAX_BYTES: u64 = 4_096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    installation: String,
    epoch: i64,
    key_id: String,
    tag: String,
}

/// What this machine has seen of the database; `None` where it has seen nothing.
///
/// # Errors
/// A sentence that names the file and the fix, where it cannot be read, or the keyring did not write it.
pub fn read(path: &Path, keyring: &Keyring) -> Result<Option<Installation>, String> {
    let fault = |what: &str| {
        let path = path.display();
        format!(
            "the anchor {path} {what}. It says how far this machine has seen the database come; where you know why, and \
             that the database is the right one, remove it"
        )
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(fault(&format!("cannot be read: {cause}"))),
    };
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(fault("is no anchor"));
    }
    let text = fs::read(path).map_err(|cause| fault(&format!("cannot be read: {cause}")))?;
    let content = serde_json::from_slice::<Content>(&text).map_err(|_quotes| fault("is damaged"))?;
    if content.format != FORMAT {
        return Err(fault(&format!("has format {}, not {FORMAT}: a newer version of rekey wrote it", content.format)));
    }
    let epoch = content.epoch.to_be_bytes();
    match keyring.anchor_matches(&content.key_id, &[content.installation.as_bytes(), &epoch], &content.tag) {
        Some(true) => {}
        Some(false) => return Err(fault("was altered")),
        None => {
            let key_id = content.key_id.escape_default();
            return Err(fault(&format!("was written with the digest key {key_id}, which the keyring lacks")));
        }
    }
    Ok(Some(Installation { uid: Uid::from_stored(content.installation), epoch: Epoch::from_stored(content.epoch) }))
}

/// Writes down what this machine has seen, in the place of what it saw before.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, keyring: &Keyring, seen: &Installation) -> io::Result<()> {
    let epoch = seen.epoch.number();
    let (key_id, tag) = keyring.sign_anchor(&[seen.uid.as_str().as_bytes(), &epoch.to_be_bytes()]);
    let content = Content { format: FORMAT, installation: seen.uid.to_string(), epoch, key_id, tag };
    let mut text = serde_json::to_vec_pretty(&content)?;
    text.push(b'\n');

    // A name of this writing's own: several on this machine may have the same anchor.
    let number = WRITINGS.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_added_extension(format!("{}-{number}.new", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Keeps the database's mark and this machine's anchor going.
#[derive(Clone, Debug)]
pub struct Keeper {
    path: PathBuf,
    keyring: KeyringInUse,
    store: Store,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// What the database was seen to have for good.
    seen: Installation,
    /// The store's count of acts that the mark covers.
    acts: u64,
    /// Whether the last writing failed, which is said once.
    unwritten: bool,
}

impl Keeper {
    /// For this installation, which was found to be no older than the anchor.
    #[must_use]
    pub fn new(path: PathBuf, keyring: KeyringInUse, store: Store, seen: Installation) -> Self {
        let state = State { seen, acts: store.acts(), unwritten: false };
        Self { path, keyring, store, state: Arc::new(Mutex::new(state)) }
    }

    /// Raises the mark, whether or not anything was changed: so that every copy from before is an older one.
    ///
    /// # Errors
    /// Unavailable. That the anchor cannot be written, or that the database went back meanwhile, is only logged.
    pub async fn raise(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        // What comes while it is raised is covered by the next one.
        let acts = self.store.acts();
        if is_planted(Bug::AnchorAhead) {
            let epoch = Epoch::from_stored(state.seen.epoch.number() + 2);
            let _ = write(&self.path, &self.keyring.get(), &Installation { epoch, ..state.seen.clone() });
            return self.store.raise_epoch(&state.seen).await.map(drop);
        }
        match self.store.raise_epoch(&state.seen).await? {
            Some(epoch) => {
                state.acts = acts;
                state.seen.epoch = epoch;
                self.write_down(&mut state);
            }
            None => complain(&state.seen),
        }
        Ok(())
    }

    /// Raises the mark every ten seconds in which this process changed anything, and otherwise takes notice of how far
    /// others have raised it. Never ends.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.look().await {
                tracing::debug!(reason = ?error.reason(), "the mark was not raised");
            }
        }
    }

    /// Raises it for the last time.
    pub async fn close(&self) {
        if let Err(error) = self.look().await {
            tracing::warn!(reason = ?error.reason(), "the mark was not raised: a copy from before the end of this process \
                                                      may not be known for an older one");
        }
    }

    async fn look(&self) -> Result<()> {
        if self.store.acts() != self.state.lock().await.acts {
            return self.raise().await;
        }
        let found = self.store.installation().await?;
        let mut state = self.state.lock().await;
        match found {
            Some(found) if found.uid == state.seen.uid && found.epoch >= state.seen.epoch => {
                if found.epoch > state.seen.epoch || state.unwritten {
                    state.seen.epoch = found.epoch;
                    self.write_down(&mut state);
                }
            }
            Some(_) | None => complain(&state.seen),
        }
        Ok(())
    }

    fn write_down(&self, state: &mut State) {
        match write(&self.path, &self.keyring.get(), &state.seen) {
            Ok(()) => state.unwritten = false,
            Err(cause) => {
                if !state.unwritten {
                    let path = self.path.display();
                    tracing::warn!(%path, %cause, "the anchor cannot be written: an older copy of the database would not be recognised here");
                }
                state.unwritten = true;
            }
        }
    }
}

fn complain(Installation { uid, epoch }: &Installation) {
    tracing::error!(
        installation = %uid, %epoch,
        "the database went back to an older copy, or is another one, while it was served: the next start will refuse it"
    );
}
