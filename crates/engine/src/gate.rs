//! A gate: counts the threads inside a section, and can be closed so that no more enter.
//!
//! Entering and leaving are one atomic operation each. Only the thread that closes the gate waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::lock::lock;

/// The bit of the count that says that the gate is closed.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    /// How many threads are inside, and [`CLOSED`].
    count: AtomicUsize,
    left: (Mutex<()>, Condvar),
}

/// A stay behind a gate.
#[derive(Debug)]
pub(crate) struct Inside<'g>(&'g Gate);

impl Gate {
    /// An open gate.
    pub(crate) const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            left: (Mutex::new(()), Condvar::new()),
        }
    }

    /// Enters, unless the gate is closed.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        // `Acquire` pairs with the `Release` of threads that have left.
        let inside = Inside(self);
        let is_closed = self.count.fetch_add(1, Ordering::AcqRel) & CLOSED != 0;
        // If the gate is closed, dropping `inside` leaves properly: the closing thread may have
        // seen the count.
        (!is_closed).then_some(inside)
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.count.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether more than one thread is inside.
    pub(crate) fn is_shared(&self) -> bool {
        self.count.load(Ordering::Relaxed) & !CLOSED > 1
    }

    /// Closes the gate; false if it was closed already.
    pub(crate) fn close(&self) -> bool {
        self.count.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }

    /// Waits until all threads that were inside when the gate was closed have left; false if some
    /// are still inside at the deadline.
    pub(crate) fn wait_until_left(&self, deadline: Option<Instant>) -> bool {
        if self.is_left() {
            return true;
        }
        let mut guard = self.lock();
        while !self.is_left() {
            let Some(deadline) = deadline else {
                let woken = self.left.1.wait(guard);
                guard = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(rest) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            let woken = self.left.1.wait_timeout(guard, rest);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether no thread is inside.
    pub(crate) fn is_left(&self) -> bool {
        self.count.load(Ordering::Acquire) & !CLOSED == 0
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        lock(&self.left.0)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            // Under the lock, so that this cannot happen between the check of the closing thread
            // and its sleep.
            let _guard = self.0.lock();
            self.0.left.1.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_closed_gate_lets_nobody_in_and_waits_for_those_inside() {
        let gate = Gate::new();
        let inside = gate.enter();
        assert!(inside.is_some() && !gate.is_closed());
        assert!(gate.close());
        assert!(!gate.close());
        assert!(gate.enter().is_none() && gate.is_closed());
        assert!(!gate.wait_until_left(Some(Instant::now() + Duration::from_millis(1))));
        std::thread::scope(|scope| {
            scope.spawn(move || drop(inside));
            assert!(gate.wait_until_left(None));
        });
    }
}
