//! The keyring's file: JSON, mode 0600, written to its end or not at all.
//!
//! ```json
//! {
//!   "format": 1,
//!   "keys": [
//!     { "id": "…", "purpose": "wrapping", "state": "primary", "create_time_unix_s": 1790000000, "secret": "<base64>" },
//!     { "id": "…", "purpose": "token_signing", "algorithm": "EdDSA", …, "secret": "<base64 of PKCS#8>" },
//!     { "id": "…", "purpose": "digest", "state": "active", …, "accept_until_unix_s": 1797000000, … }
//!   ]
//! }
//! ```
//!
//! `accept_until_unix_s` comes with the first digest key that another one follows. A program from before knows no such
//! end, would accept the tokens under it for ever, and so refuses the file; whatever else is done to a keyring it reads.

mod edit;

use std::{
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Key, KeyringError, Ring, SigningKey};
use crate::{
    crypto::aead::AeadKey,
    domain::{KeyInfo, KeyPurpose, Timestamp, tenant::JwtAlgorithm},
};

/// What tells one state of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    inode: u64,
    length: u64,
    /// Of content and of owner and mode, in seconds and nanoseconds.
    changed: [i64; 4],
}

impl FileStamp {
    /// The file's, or that of what its name leads to; `None` where nothing is there.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let changed = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Some(Self { inode: found.ino(), length: found.len(), changed })
    }
}

pub(super) use edit::{NewKey, add, promote, retire};

const FORMAT: u32 = 1;
/// Hundreds of keys fit in; nothing that is larger is read.
const MAX_BYTES: u64 = 1 << 18;

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
    /// Of keys that sign tokens: each algorithm has a primary of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    algorithm: Option<JwtAlgorithm>,
    state: State,
    create_time_unix_s: i64,
    /// Of a digest key that another followed: until when tokens under it are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accept_until_unix_s: Option<i64>,
    secret: &'a str,
}

impl Entry<'_> {
    fn info(&self, purpose: KeyPurpose) -> KeyInfo {
        KeyInfo {
            id: self.id.to_owned(),
            purpose,
            algorithm: self.algorithm,
            is_primary: self.state == State::Primary,
            create_time: at(self.create_time_unix_s),
            accept_until: self.accept_until_unix_s.map(at),
        }
    }
}

fn at(unix_s: i64) -> Timestamp {
    Timestamp::from_micros(unix_s.saturating_mul(1_000_000))
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
    pub(super) infos: Vec<KeyInfo>,
    rings: Vec<(KeyPurpose, State, Key)>,
    signing: Vec<SigningKey>,
}

impl Keys {
    /// The keys that sign tokens, of which at most one of an algorithm is its primary.
    pub(super) fn take_signing(&mut self) -> Result<Vec<SigningKey>, KeyringError> {
        for algorithm in JwtAlgorithm::ALL {
            let primary = |key: &&SigningKey| key.is_primary && key.algorithm() == algorithm;
            if self.signing.iter().filter(primary).count() > 1 {
                let what = format!("has two keys that sign with {}", algorithm.as_str());
                return Err(fault(&self.path, format_args!("{what}: restore the file that rekey wrote")));
            }
        }
        Ok(std::mem::take(&mut self.signing))
    }

    /// The keys of one purpose, of which one is the primary.
    pub(super) fn take(&mut self, purpose: KeyPurpose) -> Result<Ring, KeyringError> {
        let (mut primary, mut others) = (Vec::new(), Vec::new());
        for (_, state, key) in self.rings.extract_if(.., |(of, ..)| *of == purpose) {
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
    let content = parse(path, &text)?;
    let mut infos: Vec<KeyInfo> = Vec::new();
    let mut keys: Vec<(KeyPurpose, State, Key)> = Vec::new();
    let mut signing: Vec<SigningKey> = Vec::new();
    for (number, entry) in (1..).zip(&content.keys) {
        let wrong =
            |what: &str| Err(fault(path, format_args!("key {number} {what}: restore the file that rekey wrote")));
        let Some(purpose) = KeyPurpose::parse(entry.purpose) else {
            return wrong("has another purpose than wrapping, digest, page_token or token_signing");
        };
        if entry.id.is_empty() || infos.iter().any(|known| known.id == entry.id) {
            return wrong("has no id, or that of a key before it");
        }
        let ends = entry.accept_until_unix_s.is_some();
        if ends && (purpose != KeyPurpose::Digest || entry.state == State::Primary) {
            return wrong("has an accept_until_unix_s, which is for older digest keys alone");
        }
        infos.push(entry.info(purpose));
        let secret = BASE64.decode(entry.secret.as_bytes()).ok().map(Zeroizing::new);
        if purpose == KeyPurpose::TokenSigning {
            let is_primary = entry.state == State::Primary;
            let key = entry.algorithm.zip(secret.as_ref());
            let key = key.and_then(|(algorithm, secret)| SigningKey::read(entry.id, is_primary, algorithm, secret));
            let Some(key) = key else { return wrong("has no private key of its algorithm, as PKCS#8 in base64") };
            signing.push(key);
            continue;
        }
        let Some(secret) = secret.and_then(AeadKey::from_bytes) else {
            return wrong("has a secret that is not 32 bytes in base64");
        };
        let (create_time, accept_until) = (at(entry.create_time_unix_s), entry.accept_until_unix_s.map(at));
        keys.push((purpose, entry.state, Key::new(entry.id.to_owned(), secret, create_time, accept_until)));
    }
    Ok(Keys { path: path.to_owned(), infos, rings: keys, signing })
}

fn parse<'a>(path: &Path, text: &'a str) -> Result<Content<'a>, KeyringError> {
    let content: Content<'_> = serde_json::from_str(text).map_err(|cause| {
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
    Ok(content)
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn to_text(path: &Path, content: &Content<'_>) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    // Of the right size at once: a growing buffer would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_BYTES).unwrap_or_default()));
    serde_json::to_writer_pretty(&mut *text, content).map_err(|cause| fault(path, cause))?;
    text.push(b'\n');
    Ok(text)
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
pub(super) fn write(path: &Path, now: Timestamp, rings: &[(KeyPurpose, Ring)]) -> Result<(), KeyringError> {
    let secret = |key: &Key| Zeroizing::new(BASE64.encode(key.secret.as_bytes()));
    let secrets: Vec<_> = rings.iter().map(|(_, ring)| secret(&ring.primary)).collect();
    let keys = rings.iter().zip(&secrets).map(|((purpose, ring), secret)| Entry {
        id: &ring.primary.id,
        purpose: purpose.as_str(),
        algorithm: None,
        state: State::Primary,
        create_time_unix_s: now.seconds(),
        accept_until_unix_s: None,
        secret,
    });
    let text = to_text(path, &Content { format: FORMAT, keys: keys.collect() })?;

    let unwritable = |cause: io::Error| {
        if cause.kind() == ErrorKind::AlreadyExists {
            return fault(path, "exists already: keep it, or give another path; it is never written over");
        }
        if cause.kind() == ErrorKind::NotFound {
            return fault(path, "cannot be made: make its directory first");
        }
        fault(path, format_args!("cannot be written: {cause}"))
    };
    let mut file = open_new(path).map_err(unwritable)?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(directory_of(path))?.sync_all())
        .inspect_err(|_| drop(fs::remove_file(path)))
        .map_err(unwritable)
}

fn fault(path: &Path, what: impl Display) -> KeyringError {
    KeyringError(format!("the keyring {} {what}", path.display()))
}
