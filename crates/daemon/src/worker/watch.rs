//! What the main thread checks when the next limit expires, and apart from that once a second, or
//! less often while nothing happens: limits of the worker, and requests that hang.
//!
//! If the group has an `interrupt-timeout`, a request that takes longer than `request-timeout` is
//! interrupted: an exception is raised in its thread. Without that option, or if the request still
//! runs when that time is over, the worker is replaced.
//!
//! Another thread does what needs Python: a request that hangs may hold the GIL, and the main
//! thread must not wait for it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use control::Replacement;
use engine_abi::LoadedEngine;

use super::life::Event;
use super::monitor::{PERIOD, RequestName};
use super::server::Server;
use super::vital;

/// The state of these checks.
pub(super) struct Watch {
    server: Arc<Server>,
    next: Instant,
    /// When the next chores are due, which are done once a second at most.
    chores: Instant,
    /// When `restart-interval` is over.
    restart: Option<Instant>,
    /// How long the worker took to start. A successor is expected to take as long.
    start: Duration,
    /// How many requests it had served at the last chores.
    served: u64,
    /// How many of these came since the chores before.
    rate: u64,
    /// The limit that was exceeded: a successor has been asked for.
    passed: Passed,
    /// The requests that were interrupted, and when.
    interrupted: Vec<(RequestName, Instant)>,
    python: Sender<Order>,
    /// Requests among them that ran in no interpreter at that moment.
    missed: Receiver<RequestName>,
}

/// What the thread with Python is to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    Interrupt(RequestName),
    LogStacks(RequestName),
}

impl Watch {
    /// Begins to watch a worker. `start` is how long it took to start.
    pub(super) fn new(
        server: &Arc<Server>,
        start: Duration,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let life = &server.group().life;
        let (python, orders) = channel();
        let (misses, missed) = channel();
        if life.request_timeout.is_some() {
            let engine = server.engine();
            let thread = Builder::new().name("wsgi-interrupt".to_owned());
            vital::spawn(thread, events, move || obey(engine, &orders, &misses))?;
        }
        Ok(Self {
            server: server.clone(),
            next: now + PERIOD,
            chores: now,
            restart: None,
            start,
            served: 0,
            rate: 0,
            passed: Passed::default(),
            interrupted: Vec::new(),
            python,
            missed,
        })
    }

    /// The worker serves from now on.
    pub(super) fn begin(&mut self) {
        let interval = self.server.group().life.restart_interval;
        self.restart = interval.map(|time| Instant::now() + time);
        self.look_soon();
    }

    /// How long there is nothing to check.
    fn pause(&self, now: Instant) -> Duration {
        let rest = self.server.idle_interval().unwrap_or(PERIOD);
        let until = |time: Instant| time.saturating_duration_since(now);
        let restart = self.restart.filter(|_| self.passed.is_none()).map(until);
        let limit = self.server.group().life.interrupt_timeout;
        let interrupted = self.interrupted.iter();
        let interrupted = interrupted.filter_map(|(_, when)| Some(until(*when + limit?)));
        let limits = interrupted.chain(restart).chain(self.server.until_limit());
        // Limits that have expired are found by the present check.
        limits
            .filter(|limit| !limit.is_zero())
            .fold(rest, Duration::min)
    }

    /// Checks again within a second, since something is going on.
    pub(super) fn look_soon(&mut self) {
        self.next = self.next.min(Instant::now() + PERIOD);
    }

    /// When to check next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Checks everything that is due. Returns the limit that is exceeded, if that is new.
    pub(super) fn look(&mut self) -> Option<Replacement> {
        let now = Instant::now();
        if now < self.next {
            return None;
        }
        // Computed first, so that a limit that expires during the checks is not missed.
        self.next = now + self.pause(now);
        if self.chores <= now {
            self.do_chores(now);
        }
        let hanging = self.look_at_requests(now);
        if let Some(request) = hanging.filter(|_| self.passed.is_none()) {
            self.order(Order::LogStacks(request));
        }
        let old = self.restart.is_some_and(|restart| restart <= now);
        let reason = self
            .server
            .passed_limit()
            .or(hanging.map(|_| Replacement::RequestTimeout))
            .or(old.then_some(Replacement::RestartInterval));
        self.passed.note(reason)
    }

    /// Does the chores.
    fn do_chores(&mut self, now: Instant) {
        self.chores = now + PERIOD;
        self.server.send_away();
        self.server.count_places();
        self.server.reopen();
        let served = self.server.served();
        self.rate = served - std::mem::replace(&mut self.served, served);
    }

    /// Interrupts a request that takes too long; one at a time. Returns a request that hangs
    /// although it was interrupted, or that cannot be.
    fn look_at_requests(&mut self, now: Instant) -> Option<RequestName> {
        let overdue = self.server.overdue();
        let Some(limit) = self.server.group().life.interrupt_timeout else {
            return overdue.first().copied();
        };
        self.interrupted
            .retain(|(request, _)| overdue.contains(request));
        // One that waited for the GIL to begin, for one, runs by now.
        for request in self.missed.try_iter() {
            if overdue.contains(&request) {
                self.order(Order::Interrupt(request));
            }
        }
        let is_new =
            |request: &&RequestName| !self.interrupted.iter().any(|(known, _)| known == *request);
        if let Some(request) = overdue.iter().find(is_new) {
            self.order(Order::Interrupt(*request));
            self.interrupted.push((*request, now));
        }
        let hangs = self
            .interrupted
            .iter()
            .find(|(_, when)| now.saturating_duration_since(*when) >= limit);
        hangs.map(|(request, _)| *request)
    }

    /// Whether `maximum-requests` will be reached before a successor can start, if requests come as
    /// fast as in the last second.
    pub(super) fn is_nearly_sated(&self) -> bool {
        let served = self.served;
        let soon = served + self.rate * (self.start.as_secs() + 3);
        let maximum = self.server.group().life.maximum_requests;
        // If requests are rare, they may wait for the successor.
        self.rate > 1 && maximum.is_some_and(|maximum| (served..soon).contains(&maximum))
    }

    fn order(&self, order: Order) {
        // Without `request-timeout` there is no thread, and no orders. Otherwise it ends only with
        // the process.
        let _ = self.python.send(order);
    }
}

/// The limit that was exceeded.
#[derive(Debug, Default)]
struct Passed(Option<Replacement>);

impl Passed {
    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Notes a limit. Returns it if it is new: if it is the first, or if it is urgent and the first
    /// was not.
    fn note(&mut self, reason: Option<Replacement>) -> Option<Replacement> {
        let is_news = |reason: &Replacement| match self.0 {
            None => true,
            Some(first) => reason.is_urgent() && !first.is_urgent(),
        };
        let news = reason.filter(is_news);
        self.0 = news.or(self.0);
        news
    }
}

/// The thread that carries out orders in Python. Reports the requests that it could not interrupt.
fn obey(engine: LoadedEngine, orders: &Receiver<Order>, misses: &Sender<RequestName>) {
    let functions = engine.functions();
    for order in orders {
        match order {
            Order::Interrupt(request) => {
                // SAFETY: Python was started. Once it is ending, or if the request is over, the
                // function does nothing.
                let status = unsafe { (functions.interrupt)(request.thread, request.taken) };
                if status != 0 {
                    // The main thread ends only with the process.
                    let _ = misses.send(request);
                }
            }
            Order::LogStacks(RequestName { thread, taken }) => {
                // SAFETY: as above; that the request is over already does no harm.
                let _ = unsafe { (functions.log_stacks)(thread, taken) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::raw::c_int;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use engine_abi::Engine;

    use super::*;
    use crate::testing;
    use crate::worker::server::tests::{ENGINE, server_of};

    /// How often an engine was asked to interrupt a request.
    static TRIES: AtomicU32 = AtomicU32::new(0);

    /// One that finds the request in an interpreter at the third attempt only.
    static LATE: Engine = {
        unsafe extern "C" fn interrupt(_: u32, _: i64) -> c_int {
            match TRIES.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => -1,
                _ => 0,
            }
        }
        Engine {
            interrupt,
            ..ENGINE
        }
    };

    #[test]
    fn a_request_that_runs_in_no_interpreter_yet_is_interrupted_when_it_does() {
        let mut group = testing::group("interrupted");
        group.life.request_timeout = Some(Duration::from_nanos(1));
        group.life.interrupt_timeout = Some(Duration::from_secs(3600));
        let (server, _) = server_of(&LATE, group, testing::log().0);
        let (events, _) = channel();
        let mut watch = Watch::new(&server, Duration::ZERO, &events).unwrap();
        server.note_begin(RequestName {
            thread: 1,
            taken: 17,
        });
        let begin = Instant::now();
        while TRIES.load(Ordering::SeqCst) < 3 {
            assert!(begin.elapsed() < Duration::from_secs(30));
            assert_eq!(watch.look_at_requests(Instant::now()), None);
            thread::sleep(Duration::from_millis(1));
        }
        // All that was missed has been seen by now, and this was not.
        drop(std::mem::replace(&mut watch.python, channel().0));
        assert_eq!(watch.missed.iter().count(), 0);
        assert_eq!(TRIES.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_cannot_wait_is_told_even_if_a_successor_is_awaited() {
        let mut passed = Passed::default();
        assert_eq!(passed.note(None), None);
        let old = Some(Replacement::RestartInterval);
        assert_eq!(passed.note(old), old);
        assert_eq!(passed.note(old), None);
        let stuck = Some(Replacement::DeadlockTimeout);
        assert_eq!(passed.note(stuck), stuck);
        assert_eq!(passed.note(stuck), None);
    }
}
