//! The numbers of the threads that serve requests in this child: `mod_wsgi.thread_id`.
//!
//! They are counted from 1 as they first serve one. The number of a thread that ends is given to
//! the next one that begins: mod_http2 has a pool of threads that come and go, and by their numbers
//! applications keep what they know of threads.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use httpd::process::Mpm;

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers {
    highest: 0,
    free: BTreeSet::new(),
});

/// The numbers that were given out, and those of them that came back.
struct Numbers {
    highest: u32,
    free: BTreeSet<u32>,
}

/// A thread's number, until the thread ends. That of a child with one thread is 0.
#[derive(Debug)]
pub(super) struct ThreadNumber(pub(super) u32);

impl ThreadNumber {
    /// A number for the calling thread: the lowest that is free.
    pub(super) fn take() -> Self {
        if !Mpm::query().is_threaded {
            return Self(0);
        }
        let mut numbers = lock();
        let free = numbers.free.pop_first();
        Self(free.unwrap_or_else(|| {
            numbers.highest += 1;
            numbers.highest
        }))
    }
}

impl Drop for ThreadNumber {
    fn drop(&mut self) {
        if self.0 > 0 {
            lock().free.insert(self.0);
        }
    }
}

fn lock() -> MutexGuard<'static, Numbers> {
    // A panic while the guard is held has changed nothing half-way.
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}
