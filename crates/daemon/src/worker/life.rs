//! The events in the life of a worker, and what it does about them.
//!
//! The main thread waits here for events: a signal, a message from the supervisor, a limit that was
//! reached. All of them lead to a *drain*: take no more requests, let those in flight finish within
//! a time limit, end Python, exit. When that time is over, or the cause is urgent, comes the *last
//! call*: the applications are told of the end, and requests in flight get a last limit.
//!
//! ```text
//!  serving ──(a limit was reached)──> serving, successor wanted ──(supervisor: drain)──┐
//!     └──────(signal, supervisor: drain, supervisor gone)──────────────> draining <────┘
//!                                                               deadline    │ idle
//!                                                        last call <────────┤
//!                                                            └──────────────v
//!                                                                       stopping ── exit
//! ```
//!
//! A worker whose supervisor has died serves until the next supervisor has replaced it
//! ([`orphan`](super::orphan)): httpd needs a moment to notice, and requests must not wait for
//! that.

mod sources;
mod succession;
mod words;

use std::io;
use std::os::fd::AsFd as _;
use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use control::{Channel, FromWorker, Life, Replacement, ToWorker};
use nix::libc::{SIGINT, SIGTERM, SIGUSR1, SIGXCPU};

use super::dispatcher::Dispatcher;
use super::early::Early;
use super::fork::Unshared;
use super::orphan::Orphan;
use super::{describe, python, server::Server, watch::Watch};
use crate::held::HeldProcess;
use crate::log::{Level, Log};
use sources::{watch_control, watch_signals};
use succession::Succession;
use words::Words;

/// An event that concerns the whole process.
#[derive(Debug)]
pub(super) enum Event {
    /// A signal came, from an administrator or the kernel.
    Signal(c_int),
    /// The supervisor sent a message.
    Told(ToWorker),
    /// The supervisor has died.
    Orphaned,
    /// A limit was reached; a successor is needed.
    Replace(Replacement),
    /// The last request in flight ended while draining.
    Idle,
    /// The first request has come after a time without any.
    Busy,
}

/// A drain that is going on.
struct Drain {
    reason: Replacement,
    deadline: Option<Instant>,
    /// Whether the last call was made.
    is_last_call: bool,
}

impl Drain {
    /// Whether its time is over.
    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// Runs a worker that is ready to serve until it ends. `start` is how long it took to get ready.
pub(super) fn run(
    control: Channel,
    log: &Arc<Log>,
    server: &Arc<Server>,
    early: Early,
    start: Duration,
) -> u8 {
    let (sender, events) = channel();
    // The supervisor does not outlive httpd, so while there is a supervisor the pid is httpd's.
    let httpd = Arc::new(HeldProcess::open(server.group().server.pid));
    let control = Arc::new(control);
    let _unshared = Unshared::mark(control.as_fd());
    let watching = Dispatcher::start(server.engine(), &sender)
        .and_then(|dispatcher| watch_signals(sender.clone(), dispatcher))
        .and_then(|()| watch_control(&control, &sender))
        .and_then(|()| Watch::new(server, start, &sender));
    let watch = match watching {
        Ok(watch) => watch,
        Err(error) => {
            let _ = control.send(&FromWorker::Failed(error.into()), &[]);
            return 1;
        }
    };
    early.end();
    let mut words = Words::new(control.clone());
    words.say(FromWorker::Ready);
    let mut course = Course {
        sender,
        server,
        watch,
        succession: Succession::new(words, log, server),
        drain: None,
        early,
        cause: None,
        end: None,
        httpd,
        orphan: None,
    };
    match course.run(&events) {
        Ok(reason) => stop(reason, course.time_to_stop(), log, server, 0),
        Err(error) => {
            let _ = control.send(&FromWorker::Failed(error.into()), &[]);
            let reason = Replacement::ShutdownSignal;
            stop(reason, course.time_to_stop(), log, server, 1)
        }
    }
}

/// The state of the main thread.
struct Course<'s> {
    sender: Sender<Event>,
    server: &'s Arc<Server>,
    watch: Watch,
    succession: Succession<'s>,
    drain: Option<Drain>,
    early: Early,
    /// Why the worker leaves: the first signal, or an urgent limit after it.
    cause: Option<Replacement>,
    /// When the process must have ended, after the last call.
    end: Option<Instant>,
    httpd: Arc<HeldProcess>,
    /// Set once the supervisor has died.
    orphan: Option<Orphan>,
}

/// What follows from an event.
enum Step {
    GoOn,
    /// Take no more requests, and end when those in flight have.
    Leave(Replacement),
    /// End now.
    End(Replacement),
}

impl Course<'_> {
    /// Handles events until the process is to end. Returns why; an error if it cannot serve.
    fn run(&mut self, events: &Receiver<Event>) -> io::Result<Replacement> {
        loop {
            let deadline = self.drain.as_ref().and_then(|drain| drain.deadline);
            if self.succession.words.has_more() {
                self.watch.look_soon();
            }
            let look = self.watch.next();
            let wake = deadline.map_or(look, |deadline| deadline.min(look));
            let step = match next(events, wake) {
                Some(event) => self.take(event)?,
                None => self.look(),
            };
            match step {
                Step::GoOn => {}
                Step::Leave(reason) => {
                    if let Some(reason) = self.leave(reason) {
                        return Ok(reason);
                    }
                }
                Step::End(reason) => return Ok(reason),
            }
        }
    }

    /// Handles an event.
    fn take(&mut self, event: Event) -> io::Result<Step> {
        Ok(match event {
            Event::Told(ToWorker::Serve { incarnation }) => {
                self.watch.begin();
                self.server.serve(incarnation, self.sender.clone())?;
                for signal in self.early.take() {
                    // The channel is closed only with this process.
                    let _ = self.sender.send(Event::Signal(signal));
                }
                Step::GoOn
            }
            Event::Busy => {
                self.watch.look_soon();
                Step::GoOn
            }
            Event::Told(ToWorker::Start { .. }) => Step::GoOn,
            Event::Told(ToWorker::Drain { reason }) => Step::Leave(reason),
            Event::Orphaned if self.server.is_serving() => {
                self.orphan = Some(Orphan::new(self.server, &self.httpd));
                self.watch.look_soon();
                Step::GoOn
            }
            Event::Orphaned => Step::Leave(Replacement::ShutdownSignal),
            Event::Replace(reason) => self.be_replaced(reason),
            Event::Signal(signal) => match reason_of(signal, &self.server.group().life) {
                Some(reason) => self.take_signal(reason),
                None => Step::GoOn,
            },
            Event::Idle => match &self.drain {
                Some(drain) if self.server.is_idle() => Step::End(drain.reason),
                _ => Step::GoOn,
            },
        })
    }

    /// Handles a signal that asks for this.
    fn take_signal(&mut self, reason: Replacement) -> Step {
        if !reason.is_urgent() && !self.server.is_serving() && self.drain.is_none() {
            // The worker stands by. `early` has kept the signal until it serves.
            return Step::GoOn;
        }
        self.cause.get_or_insert(reason);
        if !reason.is_urgent() {
            return self.be_replaced(reason);
        }
        self.leave_in_a_hurry(reason)
    }

    /// Checks what has changed with time.
    fn look(&mut self) -> Step {
        self.succession.words.go_on();
        let passed = self.watch.look();
        if self.orphan.is_some() {
            // Whether there is a successor, or httpd has ended, has to be polled.
            self.watch.look_soon();
        }
        let order = self.orphan.as_ref().and_then(Orphan::look);
        // A worker that drains without haste must not outlive httpd. After the last call it has a
        // deadline anyway.
        let is_news = |order: &Replacement| match &self.drain {
            None => true,
            Some(drain) => order.is_urgent() && !drain.is_last_call,
        };
        if let Some(reason) = order.filter(is_news) {
            return Step::Leave(reason);
        }
        if let Some(drain) = &self.drain {
            let is_over = drain.is_late() && drain.is_last_call;
            if is_over || self.server.is_idle() {
                return Step::End(drain.reason);
            }
            // Neither requests that take too long are waited for, nor a process that hangs.
            let is_stuck = passed.is_some_and(Replacement::is_urgent);
            if is_stuck || drain.is_late() || self.server.awaited() == 0 {
                self.call_last();
            }
            return Step::GoOn;
        }
        if self.watch.is_nearly_sated() {
            self.succession.prepare();
        }
        let Some(reason) = passed else {
            return Step::GoOn;
        };
        if !reason.is_urgent() {
            return self.be_replaced(reason);
        }
        // Even if a signal asked for a successor before, this is why the process ends.
        self.cause = Some(reason);
        self.leave_in_a_hurry(reason)
    }

    /// Asks for a successor, and leaves without waiting for it.
    fn leave_in_a_hurry(&mut self, reason: Replacement) -> Step {
        // First, since requests that it took from now on would not be answered.
        self.server.drain();
        // Before this worker leaves, so that the successor starts meanwhile.
        self.succession.ask(reason);
        Step::Leave(reason)
    }

    /// Asks for a successor. Leaves at once if there is no supervisor to say when.
    fn be_replaced(&mut self, reason: Replacement) -> Step {
        self.succession.ask(reason);
        let is_told_when = self.orphan.is_none() && self.server.is_serving();
        match is_told_when {
            true => Step::GoOn,
            false => Step::Leave(reason),
        }
    }

    /// Takes no more requests. Returns why the process ends, if nothing is left to wait for.
    fn leave(&mut self, reason: Replacement) -> Option<Replacement> {
        self.server.drain();
        self.watch.look_soon();
        let patience = self.server.group().life.patience(reason);
        // The first reason stands, but an order to stop shortens the time.
        let first = self.cause.unwrap_or(reason);
        let drain = self.drain.get_or_insert_with(|| Drain {
            reason: first,
            deadline: patience.map(|time| Instant::now() + time),
            is_last_call: false,
        });
        if self.server.is_idle() {
            return Some(drain.reason);
        }
        if reason.is_urgent() || self.server.awaited() == 0 {
            self.call_last();
        }
        None
    }

    /// The last call: tells the applications that the process ends. Requests in flight have the
    /// time that the process has left, minus a moment for the end of Python.
    fn call_last(&mut self) {
        let Some(drain) = self.drain.as_mut().filter(|drain| !drain.is_last_call) else {
            return;
        };
        let life = &self.server.group().life;
        let end = Instant::now() + life.stop_limit();
        let end = self.end.map_or(end, |earlier| earlier.min(end));
        self.end = Some(end);
        drain.is_last_call = true;
        drain.deadline = Some(end - life.last_moment());
        python::announce_stop(self.server.engine(), drain.reason.as_str());
    }

    /// How long Python may take to end now.
    fn time_to_stop(&self) -> Duration {
        let life = &self.server.group().life;
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        self.end
            .map_or(life.stop_limit(), left)
            .max(life.last_moment())
    }
}

/// The next event, or `None` when the deadline has come.
fn next(events: &Receiver<Event>, deadline: Instant) -> Option<Event> {
    match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(event) => Some(event),
        Err(RecvTimeoutError::Timeout) => None,
        // This process holds a sender itself, so the channel never closes.
        Err(RecvTimeoutError::Disconnected) => Some(Event::Orphaned),
    }
}

/// What a signal asks for.
fn reason_of(signal: c_int, life: &Life) -> Option<Replacement> {
    match signal {
        SIGTERM | SIGINT => Some(Replacement::ShutdownSignal),
        SIGUSR1 if life.eviction_timeout.is_some() => Some(Replacement::EvictionSignal),
        SIGUSR1 => Some(Replacement::GracefulSignal),
        SIGXCPU => Some(Replacement::CpuTimeLimit),
        _ => None,
    }
}

/// Logs that requests are cut off, if any are.
fn report_cut_off(log: &Log, server: &Server, reason: Replacement) {
    if server.active() == 0 {
        return;
    }
    log.line(
        Level::Error,
        1216,
        format_args!(
            "A worker of {} has to end ({}), and its time is over: {} request(s) are cut off.",
            describe(server.group()),
            reason.as_str(),
            server.active()
        ),
    );
}

/// Ends Python and the process.
fn stop(reason: Replacement, limit: Duration, log: &Log, server: &Server, status: c_int) -> u8 {
    let group = server.group();
    report_cut_off(log, server, reason);
    log.line(
        Level::Info,
        0,
        format_args!(
            "Stopping a worker of {} ({}).",
            describe(group),
            reason.as_str()
        ),
    );
    python::stop(server.engine(), group, reason.as_str(), limit, log);
    exit_now(status)
}

/// Ends the process without running `atexit` functions of C: threads of the application may still
/// be running.
pub(super) fn exit_now(status: c_int) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(status) }
}
