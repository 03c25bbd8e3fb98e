//! What a request moves: how often, how much, and how long it takes.
//!
//! Counted where the host is called, on whichever thread does it, and read by events and metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A request's body and its response.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) input: Flow,
    pub(crate) output: Flow,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    count: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What a [`Flow`] has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// The number of reads or writes.
    pub(crate) count: u64,
    /// The number of bytes.
    pub(crate) bytes: u64,
    /// The time it took.
    pub(crate) time: Duration,
}

impl Traffic {
    pub(crate) const fn new() -> Self {
        Self {
            input: Flow::new(),
            output: Flow::new(),
        }
    }
}

impl Flow {
    const fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Counts `count` reads or writes of `bytes` in all.
    pub(crate) fn count(&self, count: usize, bytes: u64) {
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Runs `f`, and counts the time it takes.
    pub(crate) fn time<R>(&self, f: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = f();
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    /// What it has come to so far.
    pub(crate) fn moved(&self) -> Moved {
        Moved {
            count: self.count.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}
