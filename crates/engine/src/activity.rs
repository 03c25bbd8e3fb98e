//! Who is inside Python: the count that says when Python may be finalised.
//!
//! CPython cannot be finalised under the feet of a thread: one that attaches afterwards is ended on
//! the spot, with whatever it holds. So every thread of the host passes here before it attaches,
//! and the end of Python waits, up to its deadline, until all of them have left and lets none enter
//! any more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Set in [`COUNT`] once nobody may enter.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// How many are inside.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static LEFT: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// A thread's stay inside Python.
#[derive(Debug)]
pub(crate) struct Inside(());

/// Enters, unless Python is ending.
pub(crate) fn enter() -> Option<Inside> {
    // `Acquire` pairs with the `Release` of whoever started Python on another thread.
    if COUNT.fetch_add(1, Ordering::AcqRel) & CLOSED == 0 {
        return Some(Inside(()));
    }
    leave();
    None
}

/// Counts one that leaves, or was turned away. Only the end of Python waits; while nobody does,
/// leaving is one atomic operation.
fn leave() {
    if COUNT.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
        let (lock, left) = &LEFT;
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        left.notify_all();
    }
}

/// Lets nobody enter any more; false if that was so already.
pub(crate) fn close() -> bool {
    COUNT.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
}

/// Waits until all have left; false if some are still inside at the deadline.
pub(crate) fn wait_until_left(deadline: Instant) -> bool {
    let (lock, left) = &LEFT;
    let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if COUNT.load(Ordering::Acquire) & !CLOSED == 0 {
            return true;
        }
        let Some(rest) = deadline.checked_duration_since(Instant::now()) else {
            return false;
        };
        guard = left
            .wait_timeout(guard, rest)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        leave();
    }
}
