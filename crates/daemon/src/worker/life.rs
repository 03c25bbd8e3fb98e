//! What can happen to a worker, and what it does about it.
//!
//! The main thread waits here for one event after the other: a signal, a word from the supervisor,
//! a limit that was reached. All of them lead to one thing, a *drain*: take no more requests, let
//! those in flight finish within the time they have, end Python, go. When that time is over, or
//! there is a hurry, the applications are told of the end, and what is still in flight has another
//! while.
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
//! A worker whose supervisor is gone serves on until the next supervisor has put another in its
//! place ([`orphan`](super::orphan)): httpd needs a moment to notice, and nobody is to wait for
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

/// What can happen.
#[derive(Debug)]
pub(super) enum Event {
    /// The administrator or the kernel sent a signal.
    Signal(c_int),
    /// The supervisor said something.
    Told(ToWorker),
    /// The supervisor is gone.
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
    /// What is left has no more time than the process has.
    is_last_call: bool,
}

impl Drain {
    /// Whether its time is over.
    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// Runs a worker that is ready to serve, which took so long, until it ends.
pub(super) fn run(
    control: Channel,
    log: &Arc<Log>,
    server: &Arc<Server>,
    early: Early,
    start: Duration,
) -> u8 {
    let (sender, events) = channel();
    // While there is a supervisor, which does not outlive httpd, the number is httpd's.
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
    early.is_over();
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

/// What the main thread knows of how things go.
struct Course<'s> {
    sender: Sender<Event>,
    server: &'s Arc<Server>,
    watch: Watch,
    succession: Succession<'s>,
    drain: Option<Drain>,
    early: Early,
    /// Why it is to leave: what the first signal asked for, or the deadlock that came after it.
    cause: Option<Replacement>,
    /// When the process is to have ended, if that is urgent.
    end: Option<Instant>,
    httpd: Arc<HeldProcess>,
    /// The supervisor is gone.
    orphan: Option<Orphan>,
}

/// What an event leads to.
enum Step {
    GoOn,
    /// Take no more requests, and end when those in flight have.
    Leave(Replacement),
    /// End now.
    End(Replacement),
}

impl Course<'_> {
    /// Waits for events until the process is to end. Returns why; an error if it cannot serve.
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

    /// Something has happened.
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

    /// A signal asks for this.
    fn take_signal(&mut self, reason: Replacement) -> Step {
        if !reason.is_urgent() && !self.server.is_serving() && self.drain.is_none() {
            // It stands by, and is replaced once it serves: `early` has kept the signal.
            return Step::GoOn;
        }
        self.cause.get_or_insert(reason);
        if !reason.is_urgent() {
            return self.be_replaced(reason);
        }
        self.leave_in_a_hurry(reason)
    }

    /// Some time has passed.
    fn look(&mut self) -> Step {
        self.succession.words.go_on();
        let passed = self.watch.look();
        if self.orphan.is_some() {
            // Nobody says when there is a successor, or no httpd.
            self.watch.look_soon();
        }
        let order = self.orphan.as_ref().and_then(Orphan::look);
        // Whoever leaves at its leisure must not outlive httpd. One that is in a hurry already has
        // a deadline, which stands.
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
            // Requests that take too long are not waited for, nor is a process that stands still.
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
        // A signal has asked for a successor, perhaps, but this is why the process ends.
        self.cause = Some(reason);
        self.leave_in_a_hurry(reason)
    }

    /// Asks for a successor and waits for none.
    fn leave_in_a_hurry(&mut self, reason: Replacement) -> Step {
        // Before it is said: whom it took from now on it would not answer.
        self.server.drain();
        // Before this worker leaves, so that nobody waits for it to have left.
        self.succession.ask(reason);
        Step::Leave(reason)
    }

    /// Asks for a successor, and leaves at once if nobody is there who would say when.
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

    /// The applications are told that the process ends, and requests in flight have as long as it
    /// may take for that, but for Python's last moment.
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

/// Says that requests are cut off, if any are.
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

/// Ends the process without running what is registered to run at exit: threads of the
/// application may still be running.
pub(super) fn exit_now(status: c_int) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(status) }
}
