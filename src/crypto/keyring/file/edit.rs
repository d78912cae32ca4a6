//! Changes of a keyring's file: a key added, promoted or taken out. The file is replaced as a whole, by one at a time.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::{Content, Entry, KeyringError, State, directory_of, fault, open_new, parse, read, read_text, to_text};
use crate::domain::{KeyPurpose, Timestamp, tenant::JwtAlgorithm};

/// A key to be added.
pub(in crate::crypto::keyring) struct NewKey<'a> {
    pub(in crate::crypto::keyring) id: &'a str,
    pub(in crate::crypto::keyring) purpose: KeyPurpose,
    pub(in crate::crypto::keyring) algorithm: Option<JwtAlgorithm>,
    /// The key itself, or PKCS#8.
    pub(in crate::crypto::keyring) secret: &'a [u8],
    pub(in crate::crypto::keyring) create_time: Timestamp,
    /// Whether it makes at once, in the place of the one that did.
    pub(in crate::crypto::keyring) is_primary: bool,
}

/// Adds a key.
pub(in crate::crypto::keyring) fn add(path: &Path, key: &NewKey<'_>) -> Result<(), KeyringError> {
    let secret = Zeroizing::new(BASE64.encode(key.secret));
    let purpose = key.purpose.as_str();
    let new = Entry {
        id: key.id,
        purpose,
        algorithm: key.algorithm,
        state: if key.is_primary { State::Primary } else { State::Active },
        create_time_unix_s: key.create_time.seconds(),
        accept_until_unix_s: None,
        secret: &secret,
    };
    rewrite(path, Some(new), |content| {
        for entry in content.keys.iter_mut().filter(|_| key.is_primary) {
            if entry.purpose == purpose && entry.algorithm == key.algorithm {
                entry.state = State::Active;
            }
        }
        Ok(())
    })
}

/// Makes a key the primary one of its purpose (and algorithm), and the one that was so one that only reads: of digest
/// keys until this time. Whether anything changed.
pub(in crate::crypto::keyring) fn promote(
    path: &Path,
    id: &str,
    accept_until: Timestamp,
) -> Result<bool, KeyringError> {
    let mut changed = false;
    rewrite(path, None, |content| {
        let found = content.keys.iter().find(|entry| entry.id == id);
        let Some(Entry { purpose, algorithm, state, .. }) = found else { return Err(unknown(path, id)) };
        let (purpose, algorithm) = (*purpose, *algorithm);
        changed = *state != State::Primary;
        for entry in content.keys.iter_mut().filter(|_| changed) {
            if entry.id == id {
                (entry.state, entry.accept_until_unix_s) = (State::Primary, None);
            } else if entry.purpose == purpose && entry.algorithm == algorithm && entry.state == State::Primary {
                let ends = purpose == KeyPurpose::Digest.as_str();
                (entry.state, entry.accept_until_unix_s) = (State::Active, ends.then(|| accept_until.seconds()));
            }
        }
        Ok(())
    })?;
    Ok(changed)
}

/// Takes a key out that is not the primary one. A wrapping key stays in a copy of the file as it was, whose path is
/// returned: what was backed up before cannot be read without it.
pub(in crate::crypto::keyring) fn retire(path: &Path, id: &str) -> Result<Option<PathBuf>, KeyringError> {
    let mut copy = None;
    rewrite(path, None, |content| {
        let place = content.keys.iter().position(|entry| entry.id == id).ok_or_else(|| unknown(path, id))?;
        let entry = content.keys.remove(place);
        if entry.state == State::Primary {
            return Err(fault(path, format_args!("needs its key {id}: add another and promote it first")));
        }
        if entry.purpose == KeyPurpose::Wrapping.as_str() {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".with-{id}"));
            let name = PathBuf::from(name);
            // The file itself is replaced, so its second name keeps it. One of this name holds the key already.
            match fs::hard_link(path, &name) {
                Err(cause) if cause.kind() != ErrorKind::AlreadyExists => {
                    return Err(fault(path, format_args!("cannot be kept as {}: {cause}", name.display())));
                }
                Ok(()) | Err(_) => {}
            }
            copy = Some(name);
        }
        Ok(())
    })?;
    Ok(copy)
}

fn unknown(path: &Path, id: &str) -> KeyringError {
    fault(path, format_args!("has no key {id}: `rekey keys list` shows those that there are"))
}

/// Replaces the file by what `change` makes of it, with the new key last: all of it or nothing, for its owner alone.
fn rewrite(
    path: &Path,
    new: Option<Entry<'_>>,
    change: impl FnOnce(&mut Content<'_>) -> Result<(), KeyringError>,
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
        change(&mut content)?;
        content.keys.extend(new);
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
