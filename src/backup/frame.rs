//! Frames: the file's pieces, each of which is vouched for in its place.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use super::BackupError;
use crate::crypto::keyring::Chain;

/// What a file begins with.
pub(super) const MAGIC: [u8; 16] = *b"rekey backup\r\n\x1a\n";
/// The longest body. A frame of rows is much shorter, unless a single row is longer.
const MAX_BODY: usize = 64 << 20;
/// The longest header.
pub(super) const MAX_HEADER: usize = 1 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header = b'H' as isize,
    Table = b'T' as isize,
    Rows = b'R' as isize,
    Trailer = b'E' as isize,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Header, Self::Table, Self::Rows, Self::Trailer];

    const fn byte(self) -> u8 {
        self as u8
    }
}

/// Writes frames.
pub(super) struct Writer<W> {
    to: W,
    chain: Chain,
    digest: Context,
    pub(super) bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(to: W, chain: Chain) -> io::Result<Self> {
        let mut writer = Self { to, chain, digest: Context::new(&SHA256), bytes: 0 };
        writer.put(&MAGIC)?;
        Ok(writer)
    }

    pub(super) fn frame(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other("a row is too long for a backup");
        let length = u32::try_from(body.len()).map_err(too_long)?.to_be_bytes();
        let tag = self.chain.next(&[&[kind.byte()], &length, body]).to_vec();
        for piece in [&[kind.byte()], length.as_slice(), body, &tag] {
            self.put(piece)?;
        }
        Ok(())
    }

    /// SHA-256 of all that was written, in hexadecimal digits.
    pub(super) fn checksum(&self) -> String {
        HEXLOWER.encode(self.digest.clone().finish().as_ref())
    }

    pub(super) fn end(mut self) -> io::Result<u64> {
        self.to.flush()?;
        Ok(self.bytes)
    }

    fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        self.digest.update(piece);
        self.bytes += piece.len() as u64;
        self.to.write_all(piece)
    }
}

/// Reads frames.
pub(super) struct Reader<R> {
    from: R,
    digest: Context,
    pub(super) bytes: u64,
}

/// A frame as it stands there, before it is known whose it is.
pub(super) struct Frame {
    kind: u8,
    length: [u8; 4],
    pub(super) body: Vec<u8>,
    tag: [u8; Chain::TAG],
    /// SHA-256 of all before it.
    pub(super) checksum_before: String,
}

impl Frame {
    /// What it holds, where it is the next one of this chain.
    pub(super) fn open(&self, chain: &mut Chain) -> Result<Kind, BackupError> {
        if !chain.matches_next(&[&[self.kind], &self.length, &self.body], &self.tag) {
            return Err(BackupError::file("it was altered, or is another keyring's that has a key of the same id"));
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.byte() == self.kind);
        kind.ok_or_else(|| BackupError::file("it holds what this version of rekey does not know"))
    }
}

impl<R: Read> Reader<R> {
    pub(super) fn begin(from: R) -> Result<Self, BackupError> {
        let mut reader = Self { from, digest: Context::new(&SHA256), bytes: 0 };
        let mut magic = [0; MAGIC.len()];
        reader.take(&mut magic)?;
        if magic != MAGIC {
            return Err(BackupError::file("it is no backup of rekey"));
        }
        Ok(reader)
    }

    /// The next frame, of which at most so long a body is read.
    pub(super) fn frame(&mut self, longest: Option<usize>) -> Result<Frame, BackupError> {
        let checksum_before = || HEXLOWER.encode(self.digest.clone().finish().as_ref());
        let checksum_before = checksum_before();
        let (mut kind, mut length, mut tag) = ([0; 1], [0; 4], [0; Chain::TAG]);
        self.take(&mut kind)?;
        self.take(&mut length)?;
        let size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if size > longest.unwrap_or(MAX_BODY) {
            return Err(BackupError::file("it was altered: a part is longer than any that is written"));
        }
        // Grows as it is read: a length that is not true costs no memory.
        let mut body = Vec::new();
        let read = self.from.by_ref().take(size as u64).read_to_end(&mut body)?;
        if read < size {
            return Err(cut_off());
        }
        self.count(&body);
        self.take(&mut tag)?;
        let [kind] = kind;
        Ok(Frame { kind, length, body, tag, checksum_before })
    }

    /// Nothing may follow.
    pub(super) fn end(mut self) -> Result<u64, BackupError> {
        if self.from.read(&mut [0])? > 0 {
            return Err(BackupError::file("something follows its end"));
        }
        Ok(self.bytes)
    }

    fn take(&mut self, piece: &mut [u8]) -> Result<(), BackupError> {
        self.from
            .read_exact(piece)
            .map_err(|cause| if cause.kind() == io::ErrorKind::UnexpectedEof { cut_off() } else { cause.into() })?;
        self.count(piece);
        Ok(())
    }

    fn count(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.bytes += piece.len() as u64;
    }
}

fn cut_off() -> BackupError {
    BackupError::file("it is cut off: its end is missing")
}
