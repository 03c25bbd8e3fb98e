//! Which signals threads of Python block.

use std::mem::MaybeUninit;
use std::ptr;

/// What a thread is told of its own fault.
const FAULTS: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// The signals that a thread blocks.
#[derive(Clone, Copy)]
pub(super) struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// No signal.
    pub(super) fn none() -> Self {
        Self::made_by(libc::sigemptyset)
    }

    /// Every signal but those by which the system tells a thread of its own fault: it would end the
    /// process without the handler of `faulthandler` or httpd if the thread blocked them.
    pub(super) fn all() -> Self {
        let mut mask = Self::made_by(libc::sigfillset);
        for fault in FAULTS {
            // SAFETY: takes a signal that there is out of a set that is initialised; it does not
            // fail then.
            unsafe { libc::sigdelset(&raw mut mask.0, fault) };
        }
        mask
    }

    /// Those that the calling thread blocks.
    pub(super) fn of_this_thread() -> Self {
        let mut mask = Self::none();
        // SAFETY: without a new mask the call only writes the one there is, to a place that lives
        // until it returns. It does not fail then.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), &raw mut mask.0) };
        mask
    }

    /// Has the calling thread block these and no others. Returns those that it has blocked until
    /// now.
    pub(super) fn set(self) -> Self {
        let mut before = Self::none();
        // SAFETY: both masks live until the call returns; it changes what this thread blocks alone,
        // and fails only for another operation.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, &raw mut before.0) };
        before
    }

    /// Has the calling thread block these while it does something, and so have what it starts
    /// meanwhile.
    pub(super) fn during<R>(self, act: impl FnOnce() -> R) -> R {
        struct Restore(SignalMask);
        impl Drop for Restore {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        let _restore = Restore(self.set());
        act()
    }

    fn made_by(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> libc::c_int) -> Self {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: each of libc's two functions for that initialises the set, and does not fail.
        unsafe {
            fill(mask.as_mut_ptr());
            Self(mask.assume_init())
        }
    }
}
