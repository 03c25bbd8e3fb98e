//! Threads that a worker needs to work: if one of them panics, another worker takes over.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::thread::Builder;

use nix::libc::SIGTERM;

use super::life::Event;

/// Starts such a thread. After a panic the worker ends as after SIGTERM: requests in flight have
/// `shutdown-timeout`, and the supervisor starts another worker. The hook of
/// [`fault`](crate::fault) logs the panic.
pub(super) fn spawn(
    thread: Builder,
    events: &Sender<Event>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let events = events.clone();
    let on_fault = move || {
        // Sending cannot fail: the main thread ends only with the process.
        let _ = events.send(Event::Signal(SIGTERM));
    };
    spawn_with(thread, on_fault, body)
}

/// Starts such a thread. After a panic, `on_fault` has to end the worker.
pub(super) fn spawn_with(
    thread: Builder,
    on_fault: impl FnOnce() + Send + 'static,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let life = move || {
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            on_fault();
        }
    };
    thread.spawn(life).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_fault_has_the_worker_leave_and_an_end_has_not() {
        let (events, happened) = channel();
        spawn(Builder::new(), &events, || ()).unwrap();
        spawn(Builder::new(), &events, || panic!("injected")).unwrap();
        drop(events);
        // Until both threads have ended.
        let happened: Vec<_> = happened.iter().collect();
        assert!(
            matches!(happened.as_slice(), [Event::Signal(SIGTERM)]),
            "{happened:?}"
        );
    }
}
