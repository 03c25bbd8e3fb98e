//! Memory that processes share, of a size that is sealed.
//!
//! Were one of them able to shrink it, the next to touch what is gone would die of SIGBUS. So would
//! whoever is the first to touch a page for which the system has no memory: a part is to be
//! [secured](Sealed::secure) before.

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

/// What keeps the memory as large as it is, for everybody and for ever.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// A multiple of the size of a page, whatever that is here, in bytes.
const PAGES: usize = 64 << 10;

/// A mapping of such memory into this process, until it is dropped.
#[derive(Debug)]
pub(crate) struct Sealed {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: the mapping belongs to this value and stays where it is until the drop. What is done with
// the bytes is for those to answer who do it.
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
    /// Maps the first `length` bytes of memory that may be another process's work.
    ///
    /// # Errors
    ///
    /// When the descriptor is of something else, too small for that, or might become so.
    pub(crate) fn map(memory: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(length)
            .ok_or_else(|| io::Error::other("there is no memory of no size"))?;
        // First, for it waits for nobody: what else a file is asked may be answered by another
        // machine or a process.
        let seals = match fcntl(memory, FcntlArg::F_GET_SEALS) {
            // What is no memory has no seals.
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
        // Of huge pages there may be too few when they are touched, which ends in SIGBUS as well.
        if fstatfs(memory)?.filesystem_type() != TMPFS_MAGIC {
            return Err(io::Error::other(
                "the shared memory has pages of another size",
            ));
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice. The file has all
        // these bytes, and the seals keep everybody from shrinking it.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0) }?;
        Ok(Self {
            start: start.cast(),
            length,
        })
    }

    /// Where it is.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes it has.
    pub(crate) fn length(&self) -> usize {
        self.length.get()
    }

    /// Has the system find the memory of a part, of which what comes before it was secured: `Err`
    /// if it has none (`vm.overcommit_memory=2`), which whoever touches the part would die of.
    /// Linux before 5.14 finds it only then.
    pub(crate) fn secure(&self, part: Range<usize>) -> nix::Result<()> {
        let start = part.start / PAGES * PAGES;
        let length = part.end.min(self.length()).saturating_sub(start);
        if length == 0 {
            return Ok(());
        }
        // SAFETY: the part begins inside the mapping, with a page, and ends there. What is in its
        // pages stays as it is.
        let secured = unsafe {
            let start = self.start.byte_add(start).cast();
            madvise(start, length, MmapAdvise::MADV_POPULATE_WRITE)
        };
        match secured {
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(_) => Err(Errno::ENOMEM),
        }
    }

    /// Gives the memory of its first `length` bytes back, a whole number of pages. There are zeros
    /// then, for everybody.
    pub(crate) fn clear(&self, length: usize) -> nix::Result<()> {
        let length = length.min(self.length());
        // SAFETY: a part of the mapping, of which nobody has a reference.
        unsafe { madvise(self.start.cast(), length, MmapAdvise::MADV_REMOVE) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // SAFETY: this is the mapping of `map`, with its length, and no borrow outlives `self`.
        // Unmapping a whole mapping does not fail.
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
