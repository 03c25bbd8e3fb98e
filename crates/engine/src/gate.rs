//! A gate: a count of who is inside, which in the end lets nobody in any more.
//!
//! Passing it is one atomic operation each way. Only whoever closes it waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::lock::lock;

/// Set in the count once nobody may enter.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    /// How many are inside.
    count: AtomicUsize,
    left: (Mutex<()>, Condvar),
}

/// A stay behind a gate.
#[derive(Debug)]
pub(crate) struct Inside<'g>(&'g Gate);

impl Gate {
    /// An open one.
    pub(crate) const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            left: (Mutex::new(()), Condvar::new()),
        }
    }

    /// Enters, unless the gate is closed.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        // `Acquire` pairs with the `Release` of whoever left, or made what is inside.
        let inside = Inside(self);
        let is_closed = self.count.fetch_add(1, Ordering::AcqRel) & CLOSED != 0;
        // One that was turned away leaves as others do: the closer may have seen it.
        (!is_closed).then_some(inside)
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.count.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether more than one is inside.
    pub(crate) fn is_shared(&self) -> bool {
        self.count.load(Ordering::Relaxed) & !CLOSED > 1
    }

    /// Lets nobody enter any more; false if that was so already.
    pub(crate) fn close(&self) -> bool {
        self.count.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }

    /// Waits until all have left that were inside when it was closed; false if some still are at
    /// the deadline.
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

    /// Whether nobody is inside.
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
            // Under the lock, so that it cannot come between the closer's look and its sleep.
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
