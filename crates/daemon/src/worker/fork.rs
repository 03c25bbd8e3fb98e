//! What becomes of a worker's descriptors in a process that its application forks.
//!
//! Such a process, one of `multiprocessing` for instance, has copies of all of them. As long as it
//! lives a connection of the worker would stay open when the worker dies, and its client would wait
//! for an answer that nobody gives; and the copy of a thread that serves would go on serving in it.
//! So right after the fork the copies are replaced by a socket that nobody listens to, by a handler
//! that `fork` itself calls. (`subprocess` forks without that, but its programs get none of the
//! descriptors in the first place.)
//!
//! The handler may do only what a signal handler may, so what it needs is in atomics.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// A bit for each descriptor that is to be replaced. Those with greater numbers are not.
static NUMBERS: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// How many descriptors there is a bit for, divided by 64.
const WORDS: usize = 1024;

/// What they are replaced by; -1 before there is anything.
static DEAD: AtomicI32 = AtomicI32::new(-1);

/// Whether this process was forked by a worker.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Has forked processes lose the descriptors that are marked. To be called once, early.
pub(super) fn prepare() -> io::Result<()> {
    let (dead, other) = UnixStream::pair()?;
    drop(other);
    DEAD.store(dead.into_raw_fd(), Ordering::Relaxed);
    // SAFETY: the handler does only what may be done in a child of a process with threads.
    let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    match failed {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Whether this process was forked by a worker, so that no request is its own.
pub(super) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// A descriptor that forked processes lose, until this is dropped: before the descriptor is closed.
#[derive(Debug)]
pub(super) struct Unshared(RawFd);

impl Unshared {
    /// Marks a descriptor, which stays open longer than the mark is kept.
    pub(super) fn mark(descriptor: BorrowedFd<'_>) -> Self {
        let number = descriptor.as_raw_fd();
        if let Some((word, bit)) = place(number) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Self(number)
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        if let Some((word, bit)) = place(self.0) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

fn place(number: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(number).ok()?;
    Some((NUMBERS.get(number / 64)?, 1 << (number % 64)))
}

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
    let dead = DEAD.load(Ordering::Relaxed);
    for (index, word) in (0..).zip(&NUMBERS) {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != 0 {
            let number = index * 64 + bits.trailing_zeros().cast_signed();
            // SAFETY: both are descriptors of this process, which is nobody else's. Whoever uses the
            // replaced one finds a connection that is closed.
            unsafe { libc::dup3(dead, number, libc::O_CLOEXEC) };
            bits &= bits - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_mark_goes_with_its_owner() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let (word, bit) = place(socket.as_raw_fd()).unwrap();
        let mark = Unshared::mark(socket.as_fd());
        assert_ne!(word.load(Ordering::Relaxed) & bit, 0);
        drop(mark);
        assert_eq!(word.load(Ordering::Relaxed) & bit, 0);
        assert!(place(-1).is_none() && place(i32::MAX).is_none());
    }
}
