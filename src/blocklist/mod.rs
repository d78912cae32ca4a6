//! The list of breached passwords: a file that is made once, from what others publish, and asked without a network.
//!
//! A file holds, sorted, the first bits of each password's SHA-1: as many as number a bucket, which are not written down,
//! and 32 more, which are. Buckets hold 128 to 256 entries, and an index says where each begins, so that a question is
//! one look into the index and a short search, in two pages of memory. Four bytes an entry, and a password that is not
//! on the list is taken for one that is in one case of 2^32 / 256, or rarer. (A binary fuse filter of 9 bits an entry
//! would be wrong once in 256 times, one of 18 bits once in 65,536, and is built in memory as a whole: some 25 GB for
//! the 10^9 lines that are published, where this takes 128 MiB.)
//!
//! ```text
//!  0  magic                8 bytes
//!  8  version              u32, little-endian as all that follows
//! 12  algorithm            u32: 1 is SHA-1 over the password in NFC and UTF-8
//! 16  entries              u64
//! 24  bits of the index    u32
//! 28  0                    u32
//! 32  SHA-256 of what follows the header
//! 64  SHA-256 of the header so far
//! 96  the entries, 4 bytes each; then the index, 2^bits + 1 times 8 bytes
//! ```

mod build;
mod map;
mod read;

use std::{fmt, fs::File, io, path::Path};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use memmap2::Mmap;
use secrecy::ExposeSecret as _;

use crate::domain::Password;

pub use build::Builder;
pub use read::{Format, Lines};

const MAGIC: [u8; 8] = *b"rekeyblk";
const VERSION: u32 = 1;
const SHA1_OF_NFC: u32 = 1;
const HEADER: usize = 96;
/// Bytes of an entry, and of a place in the index.
const ENTRY: usize = 4;
const PLACE: usize = 8;
/// The most bits of the index: with those of an entry, all that a fingerprint has.
const MAX_BITS: u32 = 32;

/// The first 64 bits of a password's SHA-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a password.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "what is published is hashed from cleartext")]
    pub fn of(password: &Password) -> Self {
        Self::of_digest(digest(&SHA1_FOR_LEGACY_USE_ONLY, password.secret().expose_secret().as_bytes()).as_ref())
    }

    /// Of a whole SHA-1.
    fn of_digest(sha1: &[u8]) -> Self {
        Self(sha1.first_chunk().map(|first| u64::from_be_bytes(*first)).unwrap_or_default())
    }

    /// Which bucket it belongs into, and what is written of it there.
    fn split(self, bits: u32) -> (usize, u32) {
        let bucket = self.0.checked_shr(u64::BITS - bits).unwrap_or_default();
        let rest = (self.0 << bits) >> u32::BITS;
        (usize::try_from(bucket).unwrap_or(usize::MAX), u32::try_from(rest).unwrap_or_default())
    }
}

/// Half of a weak hash of a password is nearly as good as the password.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint([redacted])")
    }
}

/// What a list is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Info {
    /// Its format.
    pub version: u32,
    /// Passwords on it.
    pub entries: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// How likely a password that is not on it is taken for one that is.
    pub false_positive_rate: f64,
}

/// A list, mapped into memory.
pub struct Blocklist {
    map: Mmap,
    header: Header,
}

#[derive(Clone, Copy)]
struct Header {
    entries: u64,
    bits: u32,
}

impl Header {
    /// What a file with this header has bytes; `None` where no file could.
    fn length(self) -> Option<usize> {
        let entries = usize::try_from(self.entries).ok()?.checked_mul(ENTRY)?;
        let index = 1_usize.checked_shl(self.bits)?.checked_add(1)?.checked_mul(PLACE)?;
        HEADER.checked_add(entries)?.checked_add(index)
    }

    fn write(self, content: &[u8; 32]) -> [u8; HEADER] {
        let fields = [
            &MAGIC[..],
            &VERSION.to_le_bytes(),
            &SHA1_OF_NFC.to_le_bytes(),
            &self.entries.to_le_bytes(),
            &self.bits.to_le_bytes(),
            &[0; 4],
            content,
        ]
        .concat();
        let whole = [&fields, digest(&SHA256, &fields).as_ref()].concat();
        whole.try_into().unwrap_or([0; HEADER])
    }

    /// Reads a header, without looking at what follows.
    fn read(bytes: &[u8; HEADER]) -> Result<(Self, [u8; 32]), String> {
        let (fields, checksum) = bytes.split_at(64);
        let number = |at: usize| {
            let bytes = fields.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| u32::from_le_bytes(*bytes)).unwrap_or_default()
        };
        if !fields.starts_with(&MAGIC) {
            return Err("is not a list of rekey's: make one with rekey blocklist build".to_owned());
        }
        let (version, algorithm, bits) = (number(8), number(12), number(24));
        if version != VERSION || algorithm != SHA1_OF_NFC {
            return Err(format!("has version {version}.{algorithm}, which this rekey does not read: make it anew"));
        }
        if digest(&SHA256, fields).as_ref() != checksum || bits > MAX_BITS {
            return Err("is damaged: its header does not match its checksum; make it anew".to_owned());
        }
        let entries = u64::from(number(16)) | u64::from(number(20)) << 32;
        let content = fields.get(32..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default();
        Ok((Self { entries, bits }, content))
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn info(self) -> Info {
        let bucket = self.entries as f64 / 2_f64.powf(f64::from(self.bits));
        Info {
            version: VERSION,
            entries: self.entries,
            bytes: self.length().unwrap_or_default() as u64,
            false_positive_rate: bucket / 2_f64.powf(f64::from(u32::BITS)),
        }
    }
}

impl Blocklist {
    /// Opens a list and reads it once, from beginning to end, against its checksum: about a second a gigabyte, after
    /// which it is in the page cache.
    ///
    /// A file that is in use is replaced by renaming another to its name, as [`Builder`] does, and never written to.
    ///
    /// # Errors
    /// A sentence, where the file cannot be read, is none of ours, was cut off or is damaged.
    pub fn open(path: &Path) -> Result<Self, String> {
        let told = |what: &str| format!("{} {what}", path.display());
        let unreadable = |cause: io::Error| format!("cannot read {}: {cause}", path.display());
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(told("is not a file"));
        }
        let map = map::map(&file).map_err(unreadable)?;
        let Some((header, content)) = map.split_first_chunk::<HEADER>() else {
            return Err(told("is too short for a list: make one with rekey blocklist build"));
        };
        let (header, checksum) = Header::read(header).map_err(|sentence| told(&sentence))?;
        match header.length() {
            Some(length) if length == map.len() => {}
            Some(length) => {
                return Err(told(&format!(
                    "has {} bytes in place of {length}: copy it again, or make it anew",
                    map.len()
                )));
            }
            None => return Err(told("says of itself that it is larger than any file")),
        }
        if digest(&SHA256, content).as_ref() != checksum {
            return Err(told("is damaged: it does not match its checksum; copy it again, or make it anew"));
        }
        Ok(Self { map, header })
    }

    /// Whether a password is on it.
    #[must_use]
    pub fn contains(&self, password: &Password) -> bool {
        self.holds(Fingerprint::of(password))
    }

    fn holds(&self, fingerprint: Fingerprint) -> bool {
        let (bucket, rest) = fingerprint.split(self.header.bits);
        let entries = usize::try_from(self.header.entries).unwrap_or_default() * ENTRY;
        let Some((entries, index)) = self.map.get(HEADER..).and_then(|content| content.split_at_checked(entries))
        else {
            return false;
        };
        let place = |bucket: usize| {
            let place = index.as_chunks::<PLACE>().0.get(bucket).map(|place| u64::from_le_bytes(*place));
            place.and_then(|place| usize::try_from(place).ok())
        };
        let Some((begin, end)) = place(bucket).zip(place(bucket + 1)) else { return false };
        let entries = entries.as_chunks::<ENTRY>().0.get(begin..end).unwrap_or_default();
        entries.binary_search_by_key(&rest, |entry| u32::from_le_bytes(*entry)).is_ok()
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> Info {
        self.header.info()
    }
}

impl fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocklist").field("entries", &self.header.entries).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
