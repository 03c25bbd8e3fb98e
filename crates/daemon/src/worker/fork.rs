//! A worker's descriptors and signal handlers in a process that its application forks.
//!
//! Such a process, of `multiprocessing` for instance, has copies of all descriptors. If the worker
//! died, its connections would stay open in that process, and clients would wait for an answer that
//! never comes; and if a serving thread forks, its copy would go on to serve. So a handler that
//! `fork` itself calls (`pthread_atfork`) replaces the copies by a closed socket. (`subprocess`
//! forks without calling it, but its programs inherit none of the descriptors anyway.)
//!
//! The new process also inherits the worker's signal handlers, which would report its signals to
//! the worker. So these signals get their default actions again, unless the application has set
//! handlers of its own. They are blocked during the fork, so that none reaches the inherited
//! handlers.
//!
//! The handler may do only what a signal handler may do, so its data is in atomics.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use nix::libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};

use crate::OPEN_FILES;

/// A bit for each descriptor that is to be replaced. Descriptors with greater numbers, which exist
/// only if an administrator allows more open files, are not replaced.
static NUMBERS: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// The number of words in [`NUMBERS`].
const WORDS: usize = OPEN_FILES.div_ceil(u64::BITS) as usize;

/// The closed socket that replaces them; -1 before [`prepare`].
static DEAD: AtomicI32 = AtomicI32::new(-1);

/// Whether this process was forked by a worker.
static FORKED: AtomicBool = AtomicBool::new(false);

/// The signals that the worker has handlers for.
const SIGNALS: [i32; 6] = [SIGTERM, SIGINT, SIGUSR1, SIGXCPU, SIGHUP, SIGUSR2];

/// The worker's handler, which is the same for all signals; 0 before [`note_handler`].
static HANDLER: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The signals that were blocked in this thread before it began to fork.
    static BLOCKED: Cell<MaybeUninit<libc::sigset_t>> = const { Cell::new(MaybeUninit::uninit()) };
}

/// Has forked processes lose the marked descriptors. To be called once, before any are marked.
pub(super) fn prepare() -> io::Result<()> {
    let (dead, other) = UnixStream::pair()?;
    drop(other);
    DEAD.store(dead.into_raw_fd(), Ordering::Relaxed);
    // SAFETY: the handlers call only functions that are async-signal-safe, as POSIX requires in the
    // child of a process with threads.
    let failed = unsafe { libc::pthread_atfork(Some(before), Some(unblock), Some(in_child)) };
    match failed {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Records the worker's handler, which has just been set for this signal.
pub(super) fn note_handler(signal: i32) {
    HANDLER.store(handler(signal), Ordering::Relaxed);
}

/// The present handler of a signal.
fn handler(signal: i32) -> libc::sighandler_t {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call changes nothing; if it succeeds it has written the old
    // one.
    unsafe {
        match libc::sigaction(signal, null_mut(), action.as_mut_ptr()) {
            0 => action.assume_init().sa_sigaction,
            _ => libc::SIG_DFL,
        }
    }
}

/// Whether this process was forked by a worker, and so must not serve the worker's requests.
pub(super) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Marks a descriptor that forked processes lose. Must be dropped before the descriptor is closed.
#[derive(Debug)]
pub(super) struct Unshared(RawFd);

impl Unshared {
    /// Marks a descriptor, which must stay open as long as the mark exists.
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

/// Runs in the thread that is about to fork.
extern "C" fn before() {
    let mut before = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set before it is used; both sets live until the calls
    // return.
    unsafe {
        let mut signals = MaybeUninit::uninit();
        libc::sigemptyset(signals.as_mut_ptr());
        for signal in SIGNALS {
            libc::sigaddset(signals.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), before.as_mut_ptr());
    }
    BLOCKED.set(before);
}

/// Runs in the thread that has forked, in both processes.
extern "C" fn unblock() {
    // SAFETY: `before` has run in this thread, or in the thread that this is a copy of, and has
    // initialised the set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, BLOCKED.get().as_ptr(), null_mut()) };
}

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
    give_up_signals();
    lose_descriptors();
    unblock();
}

/// Restores the default action of the signals that still have the worker's handler.
fn give_up_signals() {
    let ours = HANDLER.load(Ordering::Relaxed);
    for signal in SIGNALS {
        if ours != libc::SIG_DFL && handler(signal) == ours {
            // SAFETY: `signal` is async-signal-safe, and the default action needs no handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

fn lose_descriptors() {
    let dead = DEAD.load(Ordering::Relaxed);
    for (index, word) in (0..).zip(&NUMBERS) {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != 0 {
            let number = index * 64 + bits.trailing_zeros().cast_signed();
            // SAFETY: `dup3` is async-signal-safe. Both are descriptors of this new process; code
            // that uses the replaced one finds a closed connection.
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
