//! Turns: actions that only one thread does at a time, and that a thread must not begin again while
//! it does them.
//!
//! The host may call the engine again on the same thread while it sends a part of a response: a
//! filter of httpd may make a request inside the request (`<!--#include virtual=…-->`). With an
//! ordinary lock the thread would deadlock.

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::lock::lock;

/// A turn, which only one thread has at a time.
#[derive(Debug)]
pub(crate) struct Turn {
    lock: Mutex<()>,
    /// The key of the thread that has it; 0 if none does.
    owner: AtomicUsize,
}

/// Identifies a thread, as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadKey(usize);

/// Holds the turn as long as it lives.
#[derive(Debug)]
pub(crate) struct Taken<'t> {
    turn: &'t Turn,
    _guard: MutexGuard<'t, ()>,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) enum Whose<'t> {
    /// The calling thread's, from now on.
    Free {
        /// Gives it back.
        _taken: Taken<'t>,
    },
    /// The calling thread's already.
    Own,
    /// Another thread's.
    Other,
}

impl Turn {
    /// A turn that no thread has.
    pub(crate) const fn new() -> Self {
        Self {
            lock: Mutex::new(()),
            owner: AtomicUsize::new(0),
        }
    }

    /// Waits for the turn; `None` if the calling thread has it already.
    pub(crate) fn take(&self) -> Option<Taken<'_>> {
        if self.is_own() {
            return None;
        }
        Some(self.begin(lock(&self.lock)))
    }

    /// Takes the turn if no thread has it.
    pub(crate) fn try_take(&self) -> Whose<'_> {
        if self.is_own() {
            return Whose::Own;
        }
        match self.lock.try_lock() {
            Ok(guard) => self.begin(guard).into(),
            Err(TryLockError::Poisoned(guard)) => self.begin(guard.into_inner()).into(),
            Err(TryLockError::WouldBlock) => Whose::Other,
        }
    }

    /// Whether the calling thread has it. No other thread can make that true or false.
    pub(crate) fn is_own(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == ThreadKey::of_this_thread().0
    }

    fn begin<'t>(&'t self, guard: MutexGuard<'t, ()>) -> Taken<'t> {
        let ThreadKey(key) = ThreadKey::of_this_thread();
        self.owner.store(key, Ordering::Relaxed);
        Taken {
            turn: self,
            _guard: guard,
        }
    }
}

impl<'t> From<Taken<'t>> for Whose<'t> {
    fn from(taken: Taken<'t>) -> Self {
        Self::Free { _taken: taken }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.turn.owner.store(0, Ordering::Relaxed);
    }
}

impl ThreadKey {
    /// The key of the calling thread: an address in its own memory.
    pub(crate) fn of_this_thread() -> Self {
        thread_local! {
            static HERE: u8 = const { 0 };
        }
        Self(HERE.with(|here| ptr::from_ref(here).addr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_thread_s_at_a_time_and_taken_once() {
        let turn = Turn::new();
        let taken = turn.take();
        assert!(taken.is_some() && turn.is_own());
        assert!(turn.take().is_none());
        assert!(matches!(turn.try_take(), Whose::Own));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!turn.is_own());
                assert!(matches!(turn.try_take(), Whose::Other));
            });
        });
        drop(taken);
        assert!(!turn.is_own());
        assert!(matches!(turn.try_take(), Whose::Free { .. }));
    }
}
