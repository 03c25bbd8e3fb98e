//! Memory that processes share, whose size is sealed.
//!
//! If one process could shrink it, another that touches the removed part would die of SIGBUS. The
//! same happens when a page is touched for the first time and the system has no memory for it; so
//! each part must be [secured](Sealed::secure) before it is used.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

/// The seals that keep the size of the memory, for all processes and for ever.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// A multiple of the page size of any Linux system, in bytes.
const PAGES: usize = 64 << 10;

/// A mapping of such memory into this process, until it is dropped.
#[derive(Debug)]
pub(crate) struct Sealed {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: the mapping is owned by this value, is not bound to a thread, and stays until the drop.
// This type never reads or writes the bytes; code that does must ensure that it may.
unsafe impl Send for Sealed {}
// SAFETY: as above.
unsafe impl Sync for Sealed {}

/// New memory, of zeros.
pub(crate) fn create(name: &std::ffi::CStr, length: usize) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(name, flags)?;
    let length = i64::try_from(length).map_err(io::Error::other)?;
    nix::unistd::ftruncate(&memory, length)?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(memory)
}

impl Sealed {
    /// Maps the first `length` bytes of memory that another process may have made.
    ///
    /// # Errors
    ///
    /// When the descriptor is not of such memory, or the memory is too small or might become so.
    pub(crate) fn map(memory: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(length)
            .ok_or_else(|| io::Error::other("there is no memory of no size"))?;
        // First, since this never blocks: other calls on a file may have to be answered by another
        // machine or process.
        let seals = match fcntl(memory, FcntlArg::F_GET_SEALS) {
            // Other kinds of files have no seals.
            Err(Errno::EINVAL) => 0,
            seals => seals?,
        };
        if !SealFlag::from_bits_retain(seals).contains(SEALS) {
            return Err(io::Error::other("the shared memory is not sealed"));
        }
        let size = nix::sys::stat::fstat(memory)?.st_size;
        if usize::try_from(size).map_or(true, |size| size < length.get()) {
            return Err(io::Error::other("the shared memory is too small"));
        }
        // With huge pages there may be too few when they are touched, which causes SIGBUS as well.
        if fstatfs(memory)?.filesystem_type() != TMPFS_MAGIC {
            return Err(io::Error::other(
                "the shared memory has pages of another size",
            ));
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses overlaps no other. The file
        // has all these bytes, and the seals prevent every process from shrinking it.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0) }?;
        Ok(Self {
            start: start.cast(),
            length,
        })
    }

    /// The address of the mapping.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The length of the mapping, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.length.get()
    }

    /// Has the system allocate the memory of a part; everything before the part must have been
    /// secured. `Err` if there is no memory (`vm.overcommit_memory=2`): then touching the part
    /// would cause SIGBUS. Before Linux 5.14 this does nothing, and memory is allocated when it is
    /// touched.
    pub(crate) fn secure(&self, part: Range<usize>) -> nix::Result<()> {
        let start = part.start / PAGES * PAGES;
        let length = part.end.min(self.length()).saturating_sub(start);
        if length == 0 {
            return Ok(());
        }
        // SAFETY: the part is inside the mapping and begins at a page. The call does not change the
        // content of the pages.
        let secured = unsafe {
            let start = self.start.byte_add(start).cast();
            madvise(start, length, MmapAdvise::MADV_POPULATE_WRITE)
        };
        match secured {
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(_) => Err(Errno::ENOMEM),
        }
    }

    /// Frees the memory of the first `length` bytes, a whole number of pages. All processes read
    /// zeros there afterwards.
    pub(crate) fn clear(&self, length: usize) -> nix::Result<()> {
        let length = length.min(self.length());
        // SAFETY: the range is inside the mapping, and there are no references into it.
        unsafe { madvise(self.start.cast(), length, MmapAdvise::MADV_REMOVE) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` made, with its length, and no reference into it
        // outlives `self`. Unmapping a whole mapping cannot fail.
        let _ = unsafe { munmap(self.start.cast(), self.length()) };
    }
}

/// Memory that is not sealed, for tests.
#[cfg(test)]
pub(crate) fn create_unsealed(length: i64) -> OwnedFd {
    let memory = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    nix::unistd::ftruncate(&memory, length).unwrap();
    memory
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn what_is_not_sealed_or_too_small_is_refused() {
        let unsealed = create_unsealed(4096);
        assert!(Sealed::map(unsealed.as_fd(), 4096).is_err());
        let sealed = create(c"test", 4096).unwrap();
        assert!(Sealed::map(sealed.as_fd(), 4096).is_ok());
        assert!(Sealed::map(sealed.as_fd(), 4097).is_err());
        assert!(Sealed::map(sealed.as_fd(), 0).is_err());
        assert!(nix::unistd::ftruncate(&sealed, 0).is_err());
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(Sealed::map(file.as_fd(), 1).is_err());
    }
}
