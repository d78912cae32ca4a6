//! What others publish: lines of `SHA-1` or `SHA-1:count`, in either case and any order; or passwords, a line each.

use std::io::{self, BufRead, Read as _};

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

use super::Fingerprint;
use crate::domain::Password;

/// Digits of a SHA-1.
const DIGITS: usize = 40;
/// The longest line: past it, it can be neither.
const MAX_LINE: u64 = Password::MAX_BYTES as u64 + 2;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A SHA-1 in hexadecimal digits, and perhaps how often it was seen.
    Hashes,
    /// A password.
    Plain,
}

/// A list as it is published, line by line.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    format: Format,
    min_count: u64,
    line: Zeroizing<Vec<u8>>,
    read: u64,
    left_out: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads such a list; what was seen less often than `min_count` is left out.
    #[must_use]
    pub fn new(reader: R, format: Format, min_count: u64) -> Self {
        Self { reader, format, min_count, line: Zeroizing::default(), read: 0, left_out: 0 }
    }

    /// Lines that were left out: seen too seldom, or of a text that can be no password.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The next password's fingerprint; `None` at the end.
    ///
    /// # Errors
    /// A sentence that names the line, where it cannot be read or is not what it should be. Never with the line itself.
    pub fn next_fingerprint(&mut self) -> Result<Option<Fingerprint>, String> {
        loop {
            self.line.clear();
            let count = (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut self.line);
            let count = count.map_err(|cause: io::Error| format!("cannot be read: {cause}"))?;
            if count == 0 {
                return Ok(None);
            }
            self.read += 1;
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = if self.read == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
            if count as u64 == MAX_LINE && !self.line.ends_with(b"\n") {
                return Err(format!("line {} is too long", self.read));
            }
            let found = match self.format {
                Format::Plain => plain(line),
                Format::Hashes if line.trim_ascii().is_empty() => continue,
                Format::Hashes => {
                    let hash = hash(line).map_err(|rule| format!("line {} {rule}", self.read))?;
                    Some(hash).filter(|(_, count)| *count >= self.min_count).map(|(fingerprint, _)| fingerprint)
                }
            };
            if found.is_some() {
                return Ok(found);
            }
            self.left_out += u64::from(!line.is_empty());
        }
    }
}

fn plain(line: &[u8]) -> Option<Fingerprint> {
    let text = std::str::from_utf8(line).ok()?;
    Password::parse(text.to_owned()).ok().map(|password| Fingerprint::of(&password))
}

/// Without a count, it was seen once.
fn hash(line: &[u8]) -> Result<(Fingerprint, u64), &'static str> {
    let line = line.trim_ascii();
    let (digits, count) = match line.iter().position(|byte| *byte == b':').and_then(|at| line.split_at_checked(at)) {
        Some((digits, count)) => (digits.trim_ascii_end(), count.get(1..).unwrap_or_default().trim_ascii()),
        None => (line, &b"1"[..]),
    };
    if digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("is a hash of 128 bits, such as NTLM or MD5: SHA-1 is needed");
    }
    let mut sha1 = [0; DIGITS / 2];
    let is_hash = digits.len() == DIGITS && HEXLOWER_PERMISSIVE.decode_mut(digits, &mut sha1).is_ok();
    let count = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
    match count {
        Some(count) if is_hash => Ok((Fingerprint::of_digest(&sha1), count)),
        Some(_) | None => {
            Err("is not a SHA-1 of 40 hexadecimal digits, alone or with :COUNT; is this a list of --plain passwords?")
        }
    }
}
