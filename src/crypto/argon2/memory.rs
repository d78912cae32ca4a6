//! Memory for hashing: on huge pages where the system has them, and wiped when it goes.

use std::{
    alloc::{self, Layout},
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use ::argon2::{Block, Error, Result};
use zeroize::Zeroize as _;

/// A huge page of x86-64, and of AArch64 with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Blocks of 1 KiB, zeroed at first. Argon2 jumps about in them: on huge pages it finds its way with few page walks.
pub struct Memory {
    blocks: NonNull<Block>,
    count: usize,
    layout: Layout,
}

impl Memory {
    /// As many blocks.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(count: usize) -> Result<Self> {
        let size = count.max(1).checked_mul(Block::SIZE).and_then(|size| size.checked_next_multiple_of(HUGE_PAGE));
        let layout = size.and_then(|size| Layout::from_size_align(size, HUGE_PAGE).ok()).ok_or(Error::OutOfMemory)?;
        // SAFETY: at least a page is asked for, not nothing.
        let bytes = NonNull::new(unsafe { alloc::alloc(layout) }).ok_or(Error::OutOfMemory)?;
        #[cfg(target_os = "linux")]
        // Advice: where it is not taken (a kernel without huge pages), ordinary ones do. It comes before the first
        // touch, which is what decides about a page.
        // SAFETY: whole pages of our own; the advice does not change what they hold.
        let _ignored =
            unsafe { rustix::mm::madvise(bytes.as_ptr().cast(), layout.size(), rustix::mm::Advice::LinuxHugepage) };
        // SAFETY: all of it is ours, and no one else knows of it yet.
        unsafe { bytes.write_bytes(0, layout.size()) };
        Ok(Self { blocks: bytes.cast(), count, layout })
    }
}

impl Deref for Memory {
    type Target = [Block];

    fn deref(&self) -> &[Block] {
        // SAFETY: as many blocks were allocated, aligned to more than a block's bounds, and set to zero, which is one
        // of a block's values.
        unsafe { slice::from_raw_parts(self.blocks.as_ptr(), self.count) }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [Block] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.blocks.as_ptr(), self.count) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.iter_mut().for_each(Block::zeroize);
        // SAFETY: allocated with this layout, and nothing borrows it any more.
        unsafe { alloc::dealloc(self.blocks.as_ptr().cast(), self.layout) };
    }
}

// SAFETY: it owns its blocks, as a `Vec` does.
unsafe impl Send for Memory {}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("blocks", &self.count).finish_non_exhaustive()
    }
}
