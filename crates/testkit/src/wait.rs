//! Waiting for a condition: by polling, up to a deadline, never by a fixed sleep.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen soon. Generous, because the machine
/// may be busy; a passing test never waits it out.
pub const DEADLINE: Duration = Duration::from_secs(30);

const INTERVAL: Duration = Duration::from_millis(5);

/// Polls `attempt` until it yields a value; panics after [`DEADLINE`], naming `what` it waited for.
pub fn wait_until<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    poll(DEADLINE, attempt).unwrap_or_else(|| panic!("waited {DEADLINE:?} in vain for {what}"))
}

/// Asserts that what `attempt` does, which says how long it took, does not always take as long as
/// `bound`. On a busy machine it may, again and again; but what waits by design does so each time.
pub fn assert_soon(bound: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    let soon = poll(DEADLINE, || {
        let time = attempt();
        times.push(time);
        (time < bound).then_some(())
    });
    assert!(soon.is_some(), "each took {bound:?} or longer: {times:?}");
}

/// Polls `attempt` until it yields a value or `patience` is over.
pub(crate) fn poll<T>(patience: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        // The clock is read first, so that a slow machine still gets a last attempt.
        let late = Instant::now() >= deadline;
        if let Some(value) = attempt() {
            return Some(value);
        }
        if late {
            return None;
        }
        thread::sleep(INTERVAL);
    }
}
