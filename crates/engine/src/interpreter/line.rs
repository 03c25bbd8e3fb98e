//! The line for a GIL: the queue in which requests wait to begin.
//!
//! CPython does not give a GIL to the thread that has waited longest: a thread that asks just when
//! the GIL is released gets it before one that has to be woken first, and waiting threads wake up
//! every few milliseconds to request it again. If requests compute, some are served at once and
//! others wait ten times as long as they should. So at most one request at a time waits for a GIL
//! to begin, and the others sleep in line behind it, in the order in which they came.
//!
//! A request that has begun does not line up again: when it comes back from a database, for
//! example, it takes the GIL as soon as it can.
//!
//! Short requests do not line up. Being woken twice, once as the first in line and once with the
//! GIL, takes longer than they do, and the unfairness between them is too small to notice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Instant;

use engine_abi::RequestTime;

use crate::lock::lock;
use crate::meter::waiting_in_line;

/// How many requests wait for a GIL to begin.
static NEWCOMERS: AtomicU32 = AtomicU32::new(0);

/// How many requests wait for a GIL to begin.
pub(crate) fn newcomers() -> u32 {
    NEWCOMERS.load(Ordering::Relaxed)
}

/// The line for one GIL.
#[derive(Debug)]
pub(super) struct Line {
    order: Mutex<Order>,
    /// How long requests take on average once they have the GIL.
    request_time: RequestTime,
    /// How many threads use the GIL, where that is counted.
    users: AtomicU32,
}

#[derive(Debug)]
struct Order {
    /// Whether there is a first, which waits for the GIL.
    has_first: bool,
    /// The others, in the order they came.
    others: VecDeque<Arc<Place>>,
}

/// The place of a thread behind the first.
#[derive(Debug)]
struct Place {
    thread: Thread,
    /// Whether it is the first now.
    is_first: AtomicBool,
}

/// The position of the first in line, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct First<'l>(&'l Line);

/// A request that waits for a GIL to begin, until this is dropped.
#[derive(Debug)]
pub(super) struct Newcomer(());

/// A thread of the host that uses the GIL, until this is dropped: it has the GIL, waits for it, or
/// will take it again.
#[derive(Debug)]
pub(super) struct User<'l>(&'l Line);

/// A request that has begun. Its duration is added to the average when this is dropped.
#[derive(Debug)]
pub(super) struct Begun<'l> {
    line: &'l Line,
    since: Instant,
}

impl Line {
    /// An empty line.
    pub(super) const fn new() -> Self {
        Self {
            order: Mutex::new(Order {
                has_first: false,
                others: VecDeque::new(),
            }),
            request_time: RequestTime::new(),
            users: AtomicU32::new(0),
        }
    }

    /// Counts the calling thread among those that use the GIL.
    pub(super) fn enter(&self) -> User<'_> {
        self.users.fetch_add(1, Ordering::Relaxed);
        User(self)
    }

    /// Whether any thread uses the GIL.
    pub(super) fn is_in_use(&self) -> bool {
        self.users.load(Ordering::Relaxed) > 0
    }

    /// Waits until the calling thread, which must not have a GIL, is the first. `None` if requests
    /// are short, without waiting.
    pub(super) fn stand(&self) -> Option<First<'_>> {
        if self.request_time.is_short() {
            return None;
        }
        // The lock is not held while the thread waits.
        let place = self.order().join();
        if let Some(place) = place {
            waiting_in_line(|| place.wait());
        }
        Some(First(self))
    }

    /// Notes that a request begins. The calling thread has the GIL.
    pub(super) fn begin(&self) -> Begun<'_> {
        Begun {
            line: self,
            since: Instant::now(),
        }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        lock(&self.order)
    }
}

impl Newcomer {
    /// Counts a waiting request.
    pub(super) fn count() -> Self {
        NEWCOMERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Order {
    /// Joins the line. Returns the place of the calling thread, unless it is the first.
    fn join(&mut self) -> Option<Arc<Place>> {
        if !std::mem::replace(&mut self.has_first, true) {
            return None;
        }
        let place = Arc::new(Place {
            thread: thread::current(),
            is_first: AtomicBool::new(false),
        });
        self.others.push_back(Arc::clone(&place));
        Some(place)
    }

    /// The first leaves: returns the place of the next one.
    fn advance(&mut self) -> Option<Arc<Place>> {
        let next = self.others.pop_front();
        self.has_first = next.is_some();
        next
    }
}

impl Place {
    fn wait(&self) {
        while !self.is_first.load(Ordering::Acquire) {
            thread::park();
        }
    }

    fn call(&self) {
        self.is_first.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        let next = self.0.order().advance();
        if let Some(next) = next {
            next.call();
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        NEWCOMERS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.line.request_time.add(self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use super::*;

    /// How long a test waits for what must come.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// A line for requests that take long.
    fn line() -> Line {
        let line = Line::new();
        line.request_time.add(RequestTime::SHORT * 10);
        line
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < DEADLINE, "waited for {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn who_came_first_is_first() {
        let line = line();
        let served = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let first = line.stand();
            assert!(first.is_some());
            for number in 0..20 {
                let (line, served) = (&line, &served);
                scope.spawn(move || {
                    let _first = line.stand();
                    served.lock().unwrap().push(number);
                });
                wait_until("the next", || line.order().others.len() == number + 1);
            }
            assert!(served.lock().unwrap().is_empty());
            drop(first);
        });
        assert_eq!(served.into_inner().unwrap(), Vec::from_iter(0..20));
        assert!(!line.order().has_first);
    }

    #[test]
    fn one_is_first_at_a_time() {
        let line = line();
        let firsts = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _first = line.stand();
                        assert_eq!(firsts.fetch_add(1, Ordering::SeqCst), 0);
                        firsts.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_of_the_first_keeps_nobody() {
        let line = line();
        let panicked = thread::scope(|scope| {
            let first = scope.spawn(|| {
                let _first = line.stand();
                panic!("of the first");
            });
            first.join()
        });
        assert!(panicked.is_err());
        assert!(line.stand().is_some());
    }

    #[test]
    fn short_requests_do_not_line_up() {
        let line = Line::new();
        assert!(line.stand().is_none());
        line.request_time.add(RequestTime::SHORT * 10);
        assert!(line.stand().is_some());
        for _ in 0..100 {
            drop(line.begin());
        }
        assert!(line.stand().is_none());
    }
}
