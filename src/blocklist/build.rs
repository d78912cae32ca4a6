//! Making a list: fingerprints in any order, sorted in runs that fit into memory, and merged.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    vec,
};

use aws_lc_rs::digest::{Context, SHA256};

use super::{Fingerprint, HEADER, Header, Info, MAX_BITS};

/// Fingerprints of a run: 128 MiB. 10^9 lines make 60 runs, 8 bytes a line on the disk.
const RUN: usize = 16 * 1024 * 1024;
/// The most entries of a bucket, on average; the fewest are half.
const BUCKET: u64 = 256;
/// Entries between two signs of progress.
const STEP: u64 = 65_536;

/// Makes a list. Runs lie in files without a name in the directory of the list, and are gone with the process.
#[derive(Debug)]
pub struct Builder {
    output: PathBuf,
    run: Vec<u64>,
    room: usize,
    runs: Vec<File>,
    added: u64,
}

impl Builder {
    /// Begins a list in this file, which is not there before it is whole.
    #[must_use]
    pub fn new(output: &Path) -> Self {
        Self::with_room(output, RUN)
    }

    /// The same, with so many fingerprints in memory.
    pub(super) fn with_room(output: &Path, room: usize) -> Self {
        Self { output: output.to_owned(), run: Vec::new(), room, runs: Vec::new(), added: 0 }
    }

    /// Adds a password; it may come twice.
    ///
    /// # Errors
    /// Where the disk is full, or may not be written to.
    pub fn add(&mut self, fingerprint: Fingerprint) -> io::Result<()> {
        self.run.push(fingerprint.0);
        self.added += 1;
        if self.run.len() < self.room { Ok(()) } else { self.spill() }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        self.run.dedup();
        let path = beside(&self.output, &format!("run{}", self.runs.len()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        for fingerprint in self.run.drain(..) {
            writer.write_all(&fingerprint.to_le_bytes())?;
        }
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// Writes the list, which then takes the place of what was there. Tells how much of it is done, from 0 to 1.
    ///
    /// # Errors
    /// Where the disk is full, or may not be written to.
    pub fn finish(mut self, mut progress: impl FnMut(f64)) -> io::Result<Info> {
        self.run.sort_unstable();
        let runs = self.runs.into_iter().map(|file| Run::Spilled(BufReader::with_capacity(1 << 16, file)));
        let merged = Merge::of(runs.chain([Run::Kept(self.run.into_iter())]).collect())?;
        let path = beside(&self.output, "new");
        let written = write(&path, merged, self.added, &mut progress).and_then(|info| {
            fs::rename(&path, &self.output)?;
            Ok(info)
        });
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        written
    }
}

/// A name in the same directory, which the list's own can be renamed from.
fn beside(output: &Path, what: &str) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{what}", std::process::id()));
    output.with_file_name(name)
}

fn write(path: &Path, mut merged: Merge, added: u64, progress: &mut impl FnMut(f64)) -> io::Result<Info> {
    let bits = bits(added);
    let mut content = Content {
        file: BufWriter::with_capacity(1 << 20, File::options().write(true).create(true).truncate(true).open(path)?),
        checksum: Context::new(&SHA256),
    };
    content.file.seek(SeekFrom::Start(HEADER as u64))?;
    // Where each bucket begins.
    let mut index: Vec<u64> = Vec::new();
    let (mut entries, mut read, mut last) = (0_u64, 0_u64, None);
    while let Some(fingerprint) = merged.next()? {
        read += 1;
        if read.is_multiple_of(STEP) {
            #[expect(clippy::cast_precision_loss, reason = "a part of the whole")]
            progress(read as f64 / added as f64);
        }
        let place = Fingerprint(fingerprint).split(bits);
        if last == Some(place) {
            continue;
        }
        last = Some(place);
        let (bucket, rest) = place;
        index.resize(index.len().max(bucket + 1), entries);
        content.write(&rest.to_le_bytes())?;
        entries += 1;
    }
    index.resize((1_usize << bits) + 1, entries);
    for place in index {
        content.write(&place.to_le_bytes())?;
    }
    let header = Header { entries, bits };
    let checksum = content.checksum.finish().as_ref().first_chunk().copied().unwrap_or_default();
    let mut file = content.file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    file.write_all(&header.write(&checksum))?;
    file.sync_all()?;
    Ok(header.info())
}

/// So many that a bucket has at most [`BUCKET`] entries.
fn bits(entries: u64) -> u32 {
    let buckets = entries.div_ceil(BUCKET).max(1);
    buckets.next_power_of_two().trailing_zeros().min(MAX_BITS)
}

/// What follows the header.
struct Content {
    file: BufWriter<File>,
    checksum: Context,
}

impl Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes)
    }
}

/// A sorted run.
enum Run {
    Kept(vec::IntoIter<u64>),
    Spilled(BufReader<File>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<u64>> {
        match self {
            Self::Kept(run) => Ok(run.next()),
            Self::Spilled(file) => {
                let mut bytes = [0; 8];
                match file.read_exact(&mut bytes) {
                    Ok(()) => Ok(Some(u64::from_le_bytes(bytes))),
                    Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                    Err(cause) => Err(cause),
                }
            }
        }
    }
}

/// All runs as one.
struct Merge {
    runs: Vec<Run>,
    /// The next of each run, and which run that is.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Merge {
    fn of(mut runs: Vec<Run>) -> io::Result<Self> {
        let mut heads = BinaryHeap::new();
        for (place, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next()?.map(|head| Reverse((head, place))));
        }
        Ok(Self { runs, heads })
    }

    fn next(&mut self) -> io::Result<Option<u64>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((least, place)) = *head;
        let next = self.runs.get_mut(place).map(Run::next).transpose()?.flatten();
        match next {
            Some(next) => *head = Reverse((next, place)),
            None => {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        Ok(Some(least))
    }
}
