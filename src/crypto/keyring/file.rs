//! The keyring's file: JSON, mode 0600, written once and to its end.
//!
//! ```json
//! {
//!   "format": 1,
//!   "keys": [
//!     { "id": "…", "purpose": "wrapping", "state": "primary", "create_time_unix_s": 1790000000, "secret": "<base64>" }
//!   ]
//! }
//! ```

use std::{
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Key, KeyringError, Ring};
use crate::{crypto::aead::AeadKey, domain::Timestamp};

const FORMAT: u32 = 1;
/// Hundreds of keys fit in; nothing that is larger is read.
const MAX_BYTES: u64 = 1 << 18;

/// What a key is for. None does two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Wrapping,
    Digest,
    PageToken,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Wrapping, Self::Digest, Self::PageToken];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Wrapping => "wrapping",
            Self::Digest => "digest",
            Self::PageToken => "page_token",
        }
    }
}

/// The file. Everything is borrowed from its text, which is wiped.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    format: u32,
    #[serde(borrow)]
    keys: Vec<Entry<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    id: &'a str,
    purpose: &'a str,
    state: State,
    create_time_unix_s: i64,
    secret: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Makes and reads.
    Primary,
    /// Reads.
    Active,
}

/// Keys as they were read, to be taken by purpose.
pub(super) struct Keys {
    path: PathBuf,
    keys: Vec<(Purpose, State, Key)>,
}

impl Keys {
    /// The keys of one purpose, of which one is the primary.
    pub(super) fn take(&mut self, purpose: Purpose) -> Result<Ring, KeyringError> {
        let (mut primary, mut others) = (Vec::new(), Vec::new());
        for (_, state, key) in self.keys.extract_if(.., |(of, ..)| *of == purpose) {
            match state {
                State::Primary => primary.push(key),
                State::Active => others.push(key),
            }
        }
        if let (Some(primary), true) = (primary.pop(), primary.is_empty()) {
            return Ok(Ring { primary, others });
        }
        let purpose = purpose.as_str();
        let what = format!("needs one key with purpose {purpose:?} and state \"primary\", not more and not less");
        Err(fault(&self.path, format_args!("{what}: restore the file that belongs to this database")))
    }
}

/// Reads a file, of which only the owner may.
pub(super) fn read(path: &Path) -> Result<Keys, KeyringError> {
    let text = read_text(path)?;
    let content: Content<'_> = serde_json::from_str(&text).map_err(|cause| {
        // Its own sentence quotes what it stumbled over, which may be a key.
        let place = format!("line {} column {}", cause.line(), cause.column());
        fault(path, format_args!("is not a keyring of format {FORMAT} ({place}): restore the file that rekey wrote"))
    })?;
    if content.format != FORMAT {
        let format = content.format;
        return Err(fault(
            path,
            format_args!("has format {format}, not {FORMAT}: use the version of rekey that wrote it"),
        ));
    }
    let mut keys: Vec<(Purpose, State, Key)> = Vec::new();
    for (number, entry) in (1..).zip(&content.keys) {
        let wrong =
            |what: &str| Err(fault(path, format_args!("key {number} {what}: restore the file that rekey wrote")));
        let Some(purpose) = Purpose::ALL.into_iter().find(|purpose| purpose.as_str() == entry.purpose) else {
            return wrong("has another purpose than wrapping, digest or page_token");
        };
        if entry.id.is_empty() || keys.iter().any(|(_, _, key)| key.id == entry.id) {
            return wrong("has no id, or that of a key before it");
        }
        let secret = BASE64.decode(entry.secret.as_bytes()).ok().map(Zeroizing::new);
        let Some(secret) = secret.and_then(AeadKey::from_bytes) else {
            return wrong("has a secret that is not 32 bytes in base64");
        };
        keys.push((purpose, entry.state, Key { id: entry.id.to_owned(), secret }));
    }
    Ok(Keys { path: path.to_owned(), keys })
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyringError> {
    let unreadable = |cause: io::Error| {
        if cause.kind() == ErrorKind::NotFound {
            return fault(
                path,
                "does not exist: make one with `rekey init`, or restore the one that belongs to this database",
            );
        }
        fault(path, format_args!("cannot be read: {cause}"))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(fault(path, "is not a file: give the path of the keyring file itself"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let fix = format_args!("chmod 600 {}", path.display());
        return Err(fault(path, format_args!("is open to others (mode {mode:04o}): run `{fix}`")));
    }
    if metadata.len() == 0 {
        return Err(fault(
            path,
            "is empty: restore it from a backup, or remove it and run `rekey init` for a new database",
        ));
    }
    if metadata.len() > MAX_BYTES {
        return Err(fault(path, "is too large for a keyring: give the path of the file that rekey wrote"));
    }
    // One buffer, of the right size at once: a growing one would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_BYTES).unwrap_or_default()));
    (&mut file).take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(fault(path, "is not text: restore the file that rekey wrote")),
    }
}

/// Writes a new file: the whole of it is on the disk, or none is there.
pub(super) fn write(path: &Path, now: Timestamp, rings: &[(Purpose, &Ring)]) -> Result<(), KeyringError> {
    let secret = |key: &Key| Zeroizing::new(BASE64.encode(key.secret.as_bytes()));
    let secrets: Vec<_> = rings.iter().map(|(_, ring)| secret(&ring.primary)).collect();
    let keys = rings.iter().zip(&secrets).map(|((purpose, ring), secret)| Entry {
        id: &ring.primary.id,
        purpose: purpose.as_str(),
        state: State::Primary,
        create_time_unix_s: now.seconds(),
        secret,
    });
    let content = Content { format: FORMAT, keys: keys.collect() };
    let mut text = Zeroizing::new(Vec::with_capacity(4_096));
    serde_json::to_writer_pretty(&mut *text, &content).map_err(|cause| fault(path, cause))?;
    text.push(b'\n');

    let unwritable = |cause: io::Error| {
        if cause.kind() == ErrorKind::AlreadyExists {
            return fault(path, "exists already: keep it, or give another path; it is never written over");
        }
        if cause.kind() == ErrorKind::NotFound {
            return fault(path, "cannot be made: make its directory first");
        }
        fault(path, format_args!("cannot be written: {cause}"))
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(directory)?.sync_all())
        .inspect_err(|_| drop(fs::remove_file(path)))
        .map_err(unwritable)
}

fn fault(path: &Path, what: impl Display) -> KeyringError {
    KeyringError(format!("the keyring {} {what}", path.display()))
}
