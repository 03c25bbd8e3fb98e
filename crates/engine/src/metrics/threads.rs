//! The threads that serve requests, by the number that applications know them by.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::lock::lock;
use crate::meter::now;

/// All threads that have served a request, or rather their numbers: a host gives the number of a
/// thread that has ended to another. So they are few, and none is ever taken out.
static THREADS: Mutex<Vec<&'static Thread>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Cell<Option<&'static Thread>> = const { Cell::new(None) };
}

/// A thread that serves requests, with what others of its number have done before.
#[derive(Debug)]
pub(crate) struct Thread {
    id: u32,
    /// How many requests it has begun.
    begun: AtomicU64,
    /// How many of them it has finished.
    finished: AtomicU64,
    /// When it began the request that it serves, in microseconds since the epoch; 0 if it is idle.
    since: AtomicI64,
    /// How long it has served all the others, in microseconds.
    busy: AtomicI64,
}

/// A thread that is serving a request, as long as this lives.
#[derive(Debug)]
pub(crate) struct Busy {
    thread: &'static Thread,
    /// What it did before: a request inside a request.
    outer: i64,
}

/// The calling thread begins a request.
pub(crate) fn enter(id: u32) -> Busy {
    let own = OWN.get().filter(|thread| thread.id == id);
    let thread = own.unwrap_or_else(|| register(id));
    thread.begun.fetch_add(1, Ordering::Relaxed);
    let outer = thread.since.load(Ordering::Relaxed);
    if outer == 0 {
        thread.since.store(now(), Ordering::Relaxed);
    }
    Busy { thread, outer }
}

/// All threads that have served a request, by number.
pub(crate) fn threads() -> Vec<&'static Thread> {
    let mut threads = lock(&THREADS).clone();
    threads.sort_by_key(|thread| thread.id);
    threads
}

fn register(id: u32) -> &'static Thread {
    let mut threads = lock(&THREADS);
    let known = threads.iter().find(|thread| thread.id == id).copied();
    let thread = known.unwrap_or_else(|| {
        let thread: &'static Thread = Box::leak(Box::new(Thread::new(id)));
        threads.push(thread);
        thread
    });
    OWN.set(Some(thread));
    thread
}

impl Thread {
    const fn new(id: u32) -> Self {
        Self {
            id,
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            since: AtomicI64::new(0),
            busy: AtomicI64::new(0),
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// How many requests it has begun, and how many of them it has finished.
    pub(crate) fn counts(&self) -> (u64, u64) {
        // In this order, and written in the other, so that none is finished before it has begun.
        let finished = self.finished.load(Ordering::Acquire);
        (self.begun.load(Ordering::Relaxed), finished)
    }

    /// Since when it serves a request, in microseconds since the epoch.
    pub(crate) fn busy_since(&self) -> Option<i64> {
        Some(self.since.load(Ordering::Relaxed)).filter(|since| *since != 0)
    }

    /// How long it has served requests, in microseconds, at this time.
    pub(crate) fn busy_time(&self, now: i64) -> i64 {
        let current = self.busy_since().map_or(0, |since| (now - since).max(0));
        self.busy.load(Ordering::Relaxed) + current
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let thread = self.thread;
        thread.finished.fetch_add(1, Ordering::Release);
        if self.outer != 0 {
            return;
        }
        let since = thread.since.swap(0, Ordering::Relaxed);
        let busy = (now() - since).max(0);
        thread.busy.fetch_add(busy, Ordering::Relaxed);
    }
}
