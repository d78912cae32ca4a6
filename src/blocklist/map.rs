//! A file as memory.

use std::{fs::File, io};

use memmap2::Mmap;

/// Maps a whole file, for reading.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the bytes are only ever read as bytes, in which every pattern is a value; nothing is taken from them but
    // numbers that are checked against the length. Somebody who writes to the file meanwhile could change what is read,
    // and who cuts it off could end the process, but neither is anybody but its owner: the builder renames a new file to
    // the name of the old, and README and `rekey blocklist --help` say to do so too.
    #[expect(unsafe_code, reason = "to map a file is unsafe in every library that does; see above")]
    unsafe {
        Mmap::map(file)
    }
}
