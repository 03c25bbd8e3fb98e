//! Proof, as types, of whether the calling thread is attached to an interpreter.
//!
//! A thread is either attached, then it may touch objects, or detached, then it may block and call
//! the host. [`Attached`] and [`Detached`] stand for the two. Neither can be sent to another
//! thread, and each is unusable while the other holds.
//!
//! Who is attached holds the GIL, if there is one: then no two threads of an interpreter are
//! attached at once. A free-threaded Python can do without. So being attached keeps nobody else
//! out, anywhere in the engine: what threads share is locked or atomic.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, TryLockError};

use pyo3_ffi as ffi;

use crate::handoff;
use crate::lock::lock;
use crate::meter::waiting_for_gil;

/// Not `Send`, not `Sync`: what is true of a thread is true of no other.
type ThisThread = PhantomData<*mut ()>;

/// Proof that this thread is attached to an interpreter: it holds the GIL, if there is one.
///
/// The lifetime is invariant: two attachments never have the same, so the objects of one are of
/// no use in the other.
#[derive(Clone, Copy)]
pub(crate) struct Attached<'py> {
    brand: PhantomData<fn(&'py ()) -> &'py ()>,
    thread: ThisThread,
}

/// Proof that this thread is not attached to any interpreter.
pub(crate) struct Detached {
    thread: ThisThread,
}

impl<'py> Attached<'py> {
    /// Vouches that this thread is attached.
    ///
    /// # Safety
    ///
    /// - This thread must be attached to an interpreter for as long as `'py`, except inside
    ///   [`Attached::detach`].
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            brand: PhantomData,
            thread: PhantomData,
        }
    }

    /// Runs `f` detached: with the GIL released.
    ///
    /// `f` is `Send`, although it runs on this very thread, because that keeps objects and other
    /// proofs of attachment out of it.
    pub(crate) fn detach<R>(self, f: impl FnOnce(&mut Detached) -> R + Send) -> R {
        // SAFETY: `self` proves that this thread is attached; `Reattach` undoes it.
        let state = unsafe { ffi::PyEval_SaveThread() };
        let _reattach = Reattach(state);
        // SAFETY: the thread has just been detached and is attached again only after `f`.
        f(&mut unsafe { Detached::assume() })
    }

    /// The same, and stays detached until another thread that wants the GIL can have taken it.
    /// Where interpreters have GILs of their own, that may have been another GIL.
    pub(crate) fn give_way<R>(self, f: impl FnOnce(&mut Detached) -> R + Send) -> R {
        let count = handoff::count();
        self.detach(|detached| {
            let result = f(detached);
            handoff::stay_away(count);
            result
        })
    }

    /// Locks what a thread may hold while it comes to be detached, and would then wait for this
    /// one: for its GIL, or, when all threads of the interpreter are to be stopped, until it stops.
    /// So this thread waits detached.
    pub(crate) fn lock<T: Send>(self, mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        loop {
            match mutex.try_lock() {
                Ok(guard) => return guard,
                // What a panic has left is for the owner of the lock to make the best of.
                Err(TryLockError::Poisoned(guard)) => return guard.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
            self.detach(|_| drop(lock(mutex)));
        }
    }
}

impl Detached {
    /// Vouches that this thread is detached.
    ///
    /// # Safety
    ///
    /// - This thread must not be attached to an interpreter while the value is reachable.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            thread: PhantomData,
        }
    }
}

/// Takes the GIL back, also when a panic passes by.
struct Reattach(*mut ffi::PyThreadState);

impl Drop for Reattach {
    fn drop(&mut self) {
        // SAFETY: this is the thread state that `PyEval_SaveThread` has given on this thread.
        waiting_for_gil(|| unsafe { ffi::PyEval_RestoreThread(self.0) });
    }
}
