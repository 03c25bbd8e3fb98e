//! What becomes of a worker's descriptors in a process that its application forks.
//!
//! Such a process, one of `multiprocessing` for instance, has copies of all of them. As long as it
//! lives a connection of the worker would stay open when the worker dies, and its client would wait
//! for an answer that nobody gives; and the copy of a thread that serves would go on serving in it.
//! So right after the fork the copies are replaced by a socket that nobody listens to, by a handler
//! that `fork` itself calls. (`subprocess` forks without that, but its programs get none of the
//! descriptors in the first place.)
//!
//! Nor is such a process ours to end in order: the worker's handlers for signals, which it
//! inherits, would tell the worker of what was sent to the child. So in it these signals do again
//! what they do in any process, unless the application has handlers of its own. They are blocked
//! while the process is made, so that none meets the inherited handlers.
//!
//! The handler may do only what a signal handler may, so what it needs is in atomics.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use nix::libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};

use crate::OPEN_FILES;

/// A bit for each descriptor that is to be replaced. Those with greater numbers, which there are
/// only where an administrator allows more of them, are not.
static NUMBERS: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// How many descriptors there is a bit for, divided by 64.
const WORDS: usize = OPEN_FILES.div_ceil(u64::BITS) as usize;

/// What they are replaced by; -1 before there is anything.
static DEAD: AtomicI32 = AtomicI32::new(-1);

/// Whether this process was forked by a worker.
static FORKED: AtomicBool = AtomicBool::new(false);

/// The signals that the worker has handlers for.
const SIGNALS: [i32; 6] = [SIGTERM, SIGINT, SIGUSR1, SIGXCPU, SIGHUP, SIGUSR2];

/// The worker's handler, the same for all signals; 0 before there is one.
static HANDLER: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The signals that a thread that is just forking had blocked before.
    static BLOCKED: Cell<MaybeUninit<libc::sigset_t>> = const { Cell::new(MaybeUninit::uninit()) };
}

/// Has forked processes lose the descriptors that are marked. To be called once, early.
pub(super) fn prepare() -> io::Result<()> {
    let (dead, other) = UnixStream::pair()?;
    drop(other);
    DEAD.store(dead.into_raw_fd(), Ordering::Relaxed);
    // SAFETY: the handler does only what may be done in a child of a process with threads.
    let failed = unsafe { libc::pthread_atfork(Some(before), Some(unblock), Some(in_child)) };
    match failed {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Takes note of the worker's handler, which has just been set for this signal.
pub(super) fn note_handler(signal: i32) {
    HANDLER.store(handler(signal), Ordering::Relaxed);
}

/// The present handler of a signal.
fn handler(signal: i32) -> libc::sighandler_t {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed; where the call succeeds it has written the action.
    unsafe {
        match libc::sigaction(signal, null_mut(), action.as_mut_ptr()) {
            0 => action.assume_init().sa_sigaction,
            _ => libc::SIG_DFL,
        }
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

/// In a thread that is about to fork.
extern "C" fn before() {
    let mut before = MaybeUninit::uninit();
    // SAFETY: the set is initialised before it is used, and both live until the calls return.
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

/// In a thread that has forked, in either process.
extern "C" fn unblock() {
    // SAFETY: `before` has run in this thread, or in the one that this is the copy of.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, BLOCKED.get().as_ptr(), null_mut()) };
}

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
    give_up_signals();
    lose_descriptors();
    unblock();
}

/// Has signals do what they do in any process, where the worker's handler is still set.
fn give_up_signals() {
    let ours = HANDLER.load(Ordering::Relaxed);
    for signal in SIGNALS {
        if ours != libc::SIG_DFL && handler(signal) == ours {
            // SAFETY: the default action is one that any process may choose.
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
            // SAFETY: both are descriptors of this process, which is nobody else's. Whoever uses
            // the replaced one finds a connection that is closed.
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
