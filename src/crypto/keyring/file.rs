//! The keyring's file: JSON, mode 0600, written to its end or not at all.
//!
//! ```json
//! {
//!   "format": 1,
//!   "keys": [
//!     { "id": "…", "purpose": "wrapping", "state": "primary", "create_time_unix_s": 1790000000, "secret": "<base64>" },
//!     { "id": "…", "purpose": "token_signing", "algorithm": "EdDSA", …, "secret": "<base64 of PKCS#8>" }
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

use super::{Key, KeyringError, Ring, SigningKey};
use crate::{
    crypto::aead::AeadKey,
    domain::{Timestamp, tenant::JwtAlgorithm},
};

const FORMAT: u32 = 1;
/// Hundreds of keys fit in; nothing that is larger is read.
const MAX_BYTES: u64 = 1 << 18;

/// What a key is for. None does two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Wrapping,
    Digest,
    PageToken,
    TokenSigning,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Wrapping, Self::Digest, Self::PageToken, Self::TokenSigning];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Wrapping => "wrapping",
            Self::Digest => "digest",
            Self::PageToken => "page_token",
            Self::TokenSigning => "token_signing",
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
    /// Of keys that sign tokens: each algorithm has a primary of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    algorithm: Option<JwtAlgorithm>,
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
    rings: Vec<(Purpose, State, Key)>,
    signing: Vec<SigningKey>,
}

/// What may be shown of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: String,
    /// With what it signs, where it does.
    pub algorithm: Option<JwtAlgorithm>,
    /// Whether it makes, or only reads.
    pub is_primary: bool,
    /// When it was made.
    pub create_time: Timestamp,
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
    pub(super) fn take(&mut self, purpose: Purpose) -> Result<Ring, KeyringError> {
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
    let mut keys: Vec<(Purpose, State, Key)> = Vec::new();
    let mut signing: Vec<SigningKey> = Vec::new();
    for (number, entry) in (1..).zip(&content.keys) {
        let wrong =
            |what: &str| Err(fault(path, format_args!("key {number} {what}: restore the file that rekey wrote")));
        let Some(purpose) = Purpose::ALL.into_iter().find(|purpose| purpose.as_str() == entry.purpose) else {
            return wrong("has another purpose than wrapping, digest, page_token or token_signing");
        };
        let known = keys.iter().map(|(_, _, key)| &key.id).chain(signing.iter().map(|key| &key.id));
        if entry.id.is_empty() || known.into_iter().any(|id| id == entry.id) {
            return wrong("has no id, or that of a key before it");
        }
        let secret = BASE64.decode(entry.secret.as_bytes()).ok().map(Zeroizing::new);
        if purpose == Purpose::TokenSigning {
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
        keys.push((purpose, entry.state, Key { id: entry.id.to_owned(), secret }));
    }
    Ok(Keys { path: path.to_owned(), rings: keys, signing })
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

/// What keys there are.
pub(super) fn list(path: &Path) -> Result<Vec<KeyInfo>, KeyringError> {
    read(path)?;
    let text = read_text(path)?;
    let info = |entry: &Entry<'_>| KeyInfo {
        id: entry.id.to_owned(),
        purpose: entry.purpose.to_owned(),
        algorithm: entry.algorithm,
        is_primary: entry.state == State::Primary,
        create_time: Timestamp::from_micros(entry.create_time_unix_s.saturating_mul(1_000_000)),
    };
    Ok(parse(path, &text)?.keys.iter().map(info).collect())
}

/// Adds a key that signs with an algorithm, in the place of the one that did. The file is replaced as a whole.
pub(super) fn add_signing_key(
    path: &Path,
    id: &str,
    algorithm: JwtAlgorithm,
    pkcs8: &[u8],
    now: Timestamp,
) -> Result<(), KeyringError> {
    read(path)?;
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let next = PathBuf::from(next);
    // Whoever makes the next file is the one who writes.
    let mut file = open_new(&next).map_err(|cause| {
        let what = format!("cannot be written anew: {}: {cause}", next.display());
        fault(path, format_args!("{what}; where nobody else is writing it, remove that file"))
    })?;
    let written = (|| {
        let text = read_text(path)?;
        let mut content = parse(path, &text)?;
        for entry in &mut content.keys {
            if entry.purpose == Purpose::TokenSigning.as_str() && entry.algorithm == Some(algorithm) {
                entry.state = State::Active;
            }
        }
        let secret = Zeroizing::new(BASE64.encode(pkcs8));
        content.keys.push(Entry {
            id,
            purpose: Purpose::TokenSigning.as_str(),
            algorithm: Some(algorithm),
            state: State::Primary,
            create_time_unix_s: now.seconds(),
            secret: &secret,
        });
        let text = to_text(path, &content)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&next, path))
            .and_then(|()| File::open(directory_of(path))?.sync_all())
            .map_err(|cause| fault(path, format_args!("cannot be written anew: {cause}")))
    })();
    if written.is_err() {
        // Where it was renamed already, there is none.
        let _ = fs::remove_file(&next);
    }
    written
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
pub(super) fn write(path: &Path, now: Timestamp, rings: &[(Purpose, &Ring)]) -> Result<(), KeyringError> {
    let secret = |key: &Key| Zeroizing::new(BASE64.encode(key.secret.as_bytes()));
    let secrets: Vec<_> = rings.iter().map(|(_, ring)| secret(&ring.primary)).collect();
    let keys = rings.iter().zip(&secrets).map(|((purpose, ring), secret)| Entry {
        id: &ring.primary.id,
        purpose: purpose.as_str(),
        algorithm: None,
        state: State::Primary,
        create_time_unix_s: now.seconds(),
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
