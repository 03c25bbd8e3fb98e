//! Locks that a panic does not break.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. A panic elsewhere, while the guard was held, has left the value whole: a change that is
/// made under a lock of the engine happens or does not. Where that is not so, as with the body of a
/// request, this is not for it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
