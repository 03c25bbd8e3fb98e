//! The time limits of a worker, which are checked once a second while it is active.
//!
//! Serving threads note when a request begins and when something last happened; the main thread
//! compares that with the limits of the group. Nothing here touches Python except the probe, which
//! tests whether GILs can be acquired. It has a thread of its own, since a deadlocked GIL blocks it
//! for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use control::{Life, Replacement};
use engine_abi::LoadedEngine;

use super::life::Event;
use super::vital;

/// How often the limits are checked.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// How often they are checked while nothing happens: hundreds of idle processes must not keep a
/// machine busy.
const REST: Duration = Duration::from_secs(30);

/// When things happened, in milliseconds since the start; 0 is "not yet" or "not now".
#[derive(Debug)]
pub(super) struct Monitor {
    start: Instant,
    threads: Vec<Thread>,
    /// When the first request began.
    first: AtomicU64,
    /// When a request that counts for `inactivity-timeout` last began or ended.
    last: AtomicU64,
    /// Since when the probe waits for a GIL.
    probing: AtomicU64,
    /// Whether a script has been loaded.
    loaded: AtomicBool,
}

/// The request that a thread serves.
#[derive(Debug, Default)]
struct Thread {
    /// When its request began.
    began: AtomicU64,
    /// The request's `daemon_start`. It is written before `began`, and read between two equal
    /// readings of `began`, so both belong to the same request.
    taken: AtomicI64,
}

/// A request that is being served, as the engine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestName {
    /// The number of its thread.
    pub(super) thread: u32,
    /// When it was taken, in microseconds since the epoch.
    pub(super) taken: i64,
}

impl Monitor {
    /// For a worker with this number of threads, which are numbered from one.
    pub(super) fn new(threads: u32) -> Self {
        Self {
            start: Instant::now(),
            threads: (0..threads).map(|_| Thread::default()).collect(),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            probing: AtomicU64::new(0),
            loaded: AtomicBool::new(false),
        }
    }

    /// A thread begins a request.
    pub(super) fn begin(&self, request: RequestName) {
        let now = self.now();
        // This succeeds only for the first of all requests.
        let _ = self
            .first
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        if let Some(thread) = self.thread(request.thread) {
            thread.taken.store(request.taken, Ordering::Release);
            thread.began.store(now, Ordering::Release);
        }
    }

    /// A thread has no request any more.
    pub(super) fn end(&self, thread: u32) {
        if let Some(thread) = self.thread(thread) {
            thread.began.store(0, Ordering::Release);
        }
    }

    /// A script has been loaded.
    pub(super) fn note_loaded(&self) {
        self.loaded.store(true, Ordering::Relaxed);
    }

    /// A request has begun or ended that counts for `inactivity-timeout`.
    pub(super) fn note_activity(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// The requests that have taken longer than `request-timeout` allows.
    pub(super) fn overdue(&self, life: &Life) -> Vec<RequestName> {
        self.request_limit(life)
            .map_or_else(Vec::new, |limit| self.older_than(limit))
    }

    /// How many of the active requests a worker that drains waits for: those that hang do not
    /// count.
    pub(super) fn awaited(&self, life: &Life, active: u32) -> u32 {
        let limit = match (life.request_timeout, life.interrupt_timeout) {
            (None, None) => return active,
            (limit, more) => limit.unwrap_or_default() + more.unwrap_or_default(),
        };
        let hanging = u32::try_from(self.older_than(limit).len()).unwrap_or(u32::MAX);
        active.saturating_sub(hanging)
    }

    /// The limit that has been exceeded, if one has.
    pub(super) fn passed(&self, life: &Life, active: u32) -> Option<Replacement> {
        let now = self.now();
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        let older = |then: u64, limit: Option<Duration>| {
            then != 0 && limit.is_some_and(|limit| since(then) > limit)
        };
        if older(self.probing.load(Ordering::Relaxed), life.deadlock_timeout) {
            return Some(Replacement::DeadlockTimeout);
        }
        let first = self.first.load(Ordering::Relaxed);
        if !self.loaded.load(Ordering::Relaxed) && older(first, life.startup_timeout) {
            return Some(Replacement::StartupTimeout);
        }
        if active == 0 && older(self.last.load(Ordering::Relaxed), life.inactivity_timeout) {
            return Some(Replacement::InactivityTimeout);
        }
        None
    }

    /// How long it is until the next limit that is running is exceeded.
    pub(super) fn until_limit(&self, life: &Life, active: u32) -> Option<Duration> {
        let now = self.now();
        let left = |then: u64, limit: Option<Duration>| {
            let limit = u64::try_from(limit?.as_millis()).ok()?;
            let passed = then.checked_add(limit)?.checked_add(1)?;
            // Limits that have been exceeded are found by the present check.
            passed
                .checked_sub(now)
                .filter(|left| then != 0 && *left > 0)
        };
        let startup = life.startup_timeout;
        let startup = startup.filter(|_| !self.loaded.load(Ordering::Relaxed));
        let inactivity = life.inactivity_timeout.filter(|_| active == 0);
        let request = self.request_limit(life);
        let threads = self.threads.iter();
        [
            left(self.probing.load(Ordering::Relaxed), life.deadlock_timeout),
            left(self.first.load(Ordering::Relaxed), startup),
            left(self.last.load(Ordering::Relaxed), inactivity),
        ]
        .into_iter()
        .chain(threads.map(|thread| left(thread.began.load(Ordering::Relaxed), request)))
        .flatten()
        .min()
        .map(Duration::from_millis)
    }

    /// How long no limit needs to be checked while no request is served.
    pub(super) fn rest(&self, life: &Life) -> Duration {
        let first = self.first.load(Ordering::Relaxed);
        if first != 0 && life.startup_timeout.is_some() && !self.loaded.load(Ordering::Relaxed) {
            return PERIOD;
        }
        let last = self.last.load(Ordering::Relaxed);
        let inactivity = life.inactivity_timeout.filter(|_| last != 0);
        let idle = Duration::from_millis(self.now().saturating_sub(last));
        let inactivity = inactivity.map(|limit| limit.saturating_sub(idle));
        let limits = [inactivity, life.deadlock_timeout.map(probe_period)];
        let rest = limits.into_iter().flatten().min().unwrap_or(REST);
        rest.clamp(PERIOD, REST)
    }

    /// `request-timeout`, extended by the number of threads: the more threads there are, the more
    /// requests a replacement of the process disturbs because of one that hangs.
    fn request_limit(&self, life: &Life) -> Option<Duration> {
        let threads = u32::try_from(self.threads.len()).unwrap_or(u32::MAX).max(1);
        life.request_timeout
            .map(|limit| limit.mul_f64(1.0 + f64::from(threads).ln()))
    }

    /// Starts a thread that tests at intervals whether each GIL can be acquired, if there is a
    /// `deadlock-timeout`.
    pub(super) fn probe(
        self: &Arc<Self>,
        engine: LoadedEngine,
        limit: Option<Duration>,
        events: &Sender<Event>,
    ) -> std::io::Result<()> {
        let Some(limit) = limit else { return Ok(()) };
        let monitor = self.clone();
        let probe = move || {
            loop {
                thread::sleep(probe_period(limit));
                for nth in 0.. {
                    monitor.probing.store(monitor.now(), Ordering::Relaxed);
                    // SAFETY: Python was started. Once it is ending, this call does not return, or
                    // returns an error.
                    match unsafe { (engine.functions().probe)(nth) } {
                        0 => {}
                        1 => break,
                        _ => return monitor.probing.store(0, Ordering::Relaxed),
                    }
                }
                monitor.probing.store(0, Ordering::Relaxed);
            }
        };
        vital::spawn(Builder::new().name("wsgi-probe".to_owned()), events, probe)
    }

    /// The requests that have run for longer than `limit`.
    fn older_than(&self, limit: Duration) -> Vec<RequestName> {
        let now = self.now();
        let is_older =
            |began: u64| began != 0 && Duration::from_millis(now.saturating_sub(began)) > limit;
        let threads = (1..).zip(&self.threads);
        threads
            .filter_map(|(number, thread)| {
                let began = thread.began.load(Ordering::Acquire);
                let taken = thread.taken.load(Ordering::Acquire);
                let same = thread.began.load(Ordering::Acquire) == began;
                (is_older(began) && same).then_some(RequestName {
                    thread: number,
                    taken,
                })
            })
            .collect()
    }

    /// Threads are numbered from one.
    fn thread(&self, number: u32) -> Option<&Thread> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.threads.get(index)
    }

    /// Milliseconds since the start, at least 1, since 0 is "not yet".
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

/// How often a GIL is tested if acquiring it may take as long as `limit`.
fn probe_period(limit: Duration) -> Duration {
    (limit / 10).clamp(PERIOD, REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::from_nanos(1);
    const LONG: Duration = Duration::from_secs(3600);

    /// A monitor that was started a minute ago, so that times in the past can be told.
    fn monitor() -> Monitor {
        Monitor {
            start: Instant::now() - Duration::from_secs(60),
            ..Monitor::new(2)
        }
    }

    fn life(change: impl FnOnce(&mut Life)) -> Life {
        let mut life = Life::default();
        change(&mut life);
        life
    }

    /// The only request of a thread.
    const fn request(thread: u32) -> RequestName {
        RequestName { thread, taken: 17 }
    }

    #[test]
    fn without_limits_nothing_is_passed() {
        let monitor = monitor();
        let life = Life::default();
        monitor.begin(request(1));
        assert_eq!(monitor.passed(&life, 1), None);
        assert_eq!(monitor.overdue(&life), []);
        assert_eq!(monitor.awaited(&life, 1), 1);
    }

    #[test]
    fn a_request_is_timed_while_it_runs() {
        let monitor = monitor();
        let life = life(|life| life.request_timeout = Some(NO_TIME));
        monitor.begin(request(2));
        monitor.threads[1].began.store(1, Ordering::Relaxed);
        assert_eq!(monitor.overdue(&life), [request(2)]);
        monitor.end(2);
        assert_eq!(monitor.overdue(&life), []);
    }

    #[test]
    fn requests_that_hang_are_not_waited_for() {
        let monitor = monitor();
        monitor.begin(request(1));
        monitor.begin(request(2));
        monitor.threads[1].began.store(1, Ordering::Relaxed);
        let life = life(|life| {
            life.request_timeout = Some(Duration::from_secs(10));
            life.interrupt_timeout = Some(Duration::from_secs(10));
        });
        assert_eq!(monitor.awaited(&life, 2), 1);
    }

    #[test]
    fn more_threads_have_more_time_for_each_request() {
        let life = life(|life| life.request_timeout = Some(Duration::from_secs(10)));
        assert_eq!(
            Monitor::new(1).request_limit(&life),
            Some(Duration::from_secs(10))
        );
        let sixteen = Monitor::new(16).request_limit(&life).unwrap().as_secs_f64();
        assert!((37.7..37.8).contains(&sixteen), "{sixteen}");
    }

    #[test]
    fn inactivity_counts_from_the_last_request_and_only_when_idle() {
        let monitor = monitor();
        let life = life(|life| life.inactivity_timeout = Some(NO_TIME));
        assert_eq!(monitor.passed(&life, 0), None, "no request yet");
        monitor.last.store(1, Ordering::Relaxed);
        assert_eq!(monitor.passed(&life, 1), None, "one is running");
        assert_eq!(
            monitor.passed(&life, 0),
            Some(Replacement::InactivityTimeout)
        );
    }

    #[test]
    fn start_up_is_over_when_a_script_is_loaded() {
        let monitor = monitor();
        let life = life(|life| life.startup_timeout = Some(NO_TIME));
        monitor.first.store(1, Ordering::Relaxed);
        monitor.end(1);
        assert_eq!(monitor.passed(&life, 0), Some(Replacement::StartupTimeout));
        monitor.note_loaded();
        assert_eq!(monitor.passed(&life, 0), None);
    }

    #[test]
    fn who_is_idle_rests_until_there_is_a_limit_to_pass() {
        let monitor = monitor();
        assert_eq!(monitor.rest(&Life::default()), REST);
        let life = life(|life| {
            life.inactivity_timeout = Some(Duration::from_secs(65));
            life.deadlock_timeout = Some(LONG);
        });
        assert_eq!(monitor.rest(&life), REST, "no request yet");
        monitor.last.store(1, Ordering::Relaxed);
        assert!(monitor.rest(&life) <= Duration::from_secs(6));
        monitor.last.store(60_000, Ordering::Relaxed);
        assert_eq!(monitor.rest(&life), REST);
    }

    #[test]
    fn a_limit_is_passed_when_it_is_said_to_be() {
        let monitor = monitor();
        let life = life(|life| {
            life.deadlock_timeout = Some(LONG);
            life.inactivity_timeout = Some(LONG / 2);
            life.request_timeout = Some(LONG / 4);
        });
        assert_eq!(monitor.until_limit(&life, 0), None, "nothing has begun");
        let minute = Duration::from_secs(60);
        let is_about = |left: Option<Duration>, expected: Duration| {
            let expected = expected.saturating_sub(minute);
            left.is_some_and(|left| left <= expected + PERIOD && left + minute > expected)
        };
        monitor.probing.store(1, Ordering::Relaxed);
        assert!(is_about(monitor.until_limit(&life, 0), LONG));
        monitor.last.store(1, Ordering::Relaxed);
        assert!(is_about(monitor.until_limit(&life, 0), LONG / 2));
        assert!(is_about(monitor.until_limit(&life, 1), LONG));
        monitor.threads[0].began.store(1, Ordering::Relaxed);
        let request = monitor.request_limit(&life).unwrap();
        assert!(is_about(monitor.until_limit(&life, 1), request));

        // Whatever the machine does meanwhile: it is passed when that time is over.
        let short = Life {
            deadlock_timeout: Some(minute + PERIOD),
            ..Life::default()
        };
        while let Some(left) = monitor.until_limit(&short, 0) {
            thread::sleep(left);
            assert!(monitor.passed(&short, 0).is_some());
        }
    }

    #[test]
    fn a_probe_that_does_not_come_back_is_a_deadlock() {
        let monitor = monitor();
        monitor.probing.store(1, Ordering::Relaxed);
        let patient = life(|life| life.deadlock_timeout = Some(LONG));
        assert_eq!(monitor.passed(&patient, 0), None);
        let hasty = life(|life| life.deadlock_timeout = Some(NO_TIME));
        assert_eq!(
            monitor.passed(&hasty, 0),
            Some(Replacement::DeadlockTimeout)
        );
    }
}
