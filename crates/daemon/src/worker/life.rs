//! What can happen to a worker, and what it does about it.
//!
//! The main thread waits here for one event after the other: a signal, a word from the
//! supervisor, a limit that was reached. All of them lead to one thing, a *drain*: take no more
//! requests, let those in flight finish within the time they have, end Python, go.
//!
//! ```text
//!  serving ──(a limit was reached)──> serving, successor wanted ──(supervisor: drain)──┐
//!     └──────(signal, supervisor: drain, supervisor gone)──────────────> draining <────┘
//!                                                                           │ idle, or deadline
//!                                                                           v
//!                                                                       stopping ── exit
//! ```

use std::os::fd::AsFd as _;
use std::os::raw::c_int;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use control::{Channel, FromWorker, Life, Replacement, ToWorker};
use nix::libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::iterator::Signals;

use super::dispatcher::Dispatcher;
use super::fork::Unshared;
use super::{describe, python, server::Server, watch::Watch};
use crate::log::{Level, Log};

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
}

/// A drain that is going on.
struct Drain {
    reason: Replacement,
    deadline: Option<Instant>,
}

impl Drain {
    /// Whether nothing is waited for any more.
    fn is_over(&self, server: &Server) -> bool {
        let late = self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now());
        late || server.awaited() == 0
    }
}

/// Runs a worker that is ready to serve until it ends.
pub(super) fn run(control: Channel, log: &Arc<Log>, server: &Arc<Server>) -> ExitCode {
    let (sender, events) = channel();
    let control = Arc::new(control);
    let _unshared = Unshared::mark(control.as_fd());
    let watching = Dispatcher::start(server.engine())
        .and_then(|dispatcher| watch_signals(sender.clone(), dispatcher))
        .and_then(|()| watch_control(&control, &sender))
        .and_then(|()| Watch::new(server));
    let mut watch = match watching {
        Ok(watch) => watch,
        Err(error) => {
            let _ = control.send(&FromWorker::Failed(error.to_string()), &[]);
            return ExitCode::from(1);
        }
    };
    // If the supervisor is gone, that is an event too.
    let _ = control.send(&FromWorker::Ready, &[]);
    match wait(&control, &events, &sender, &mut watch, log, server) {
        Ok(reason) => stop(reason, log, server, 0),
        Err(error) => {
            let _ = control.send(&FromWorker::Failed(error.to_string()), &[]);
            stop(Replacement::ShutdownSignal, log, server, 1)
        }
    }
}

/// Waits for events until the process is to end. Returns why; an error if it cannot serve.
fn wait(
    control: &Channel,
    events: &Receiver<Event>,
    sender: &Sender<Event>,
    watch: &mut Watch,
    log: &Log,
    server: &Arc<Server>,
) -> std::io::Result<Replacement> {
    let life = &server.group().life;
    let mut drain: Option<Drain> = None;
    let mut succession = Succession::default();
    loop {
        let deadline = drain.as_ref().and_then(|drain| drain.deadline);
        let wake = deadline.map_or(watch.next(), |deadline| deadline.min(watch.next()));
        let reason = match next(events, wake) {
            Some(Event::Told(ToWorker::Serve)) => {
                server.serve(sender.clone())?;
                continue;
            }
            Some(Event::Told(ToWorker::Start { .. })) => continue,
            Some(Event::Told(ToWorker::Drain { reason })) => reason,
            Some(Event::Orphaned) => Replacement::ShutdownSignal,
            Some(Event::Replace(reason)) => {
                succession.ask(control, log, server, reason);
                continue;
            }
            Some(Event::Signal(signal)) => match reason_of(signal, life) {
                Some(reason) => {
                    // Before this worker leaves, so that nobody waits for it to have left.
                    succession.ask(control, log, server, reason);
                    if !reason.is_urgent() {
                        continue;
                    }
                    reason
                }
                None => continue,
            },
            Some(Event::Idle) => match drain {
                Some(drain) if server.active() == 0 => return Ok(drain.reason),
                _ => continue,
            },
            None => {
                let passed = watch.look();
                match &drain {
                    Some(drain) if drain.is_over(server) => return Ok(drain.reason),
                    Some(_) => {}
                    None => {
                        if let Some(reason) = passed {
                            succession.ask(control, log, server, reason);
                        }
                    }
                }
                continue;
            }
        };
        // The first reason stands, but an order to stop shortens the time.
        let reason = drain.map_or(reason, |drain| drain.reason.more_urgent(reason));
        server.drain();
        if server.awaited() == 0 {
            return Ok(reason);
        }
        drain = Some(Drain {
            reason,
            deadline: life.patience(reason).map(|t| Instant::now() + t),
        });
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

/// Whether a successor was asked for.
#[derive(Debug, Default)]
struct Succession {
    asked: bool,
}

impl Succession {
    /// Asks the supervisor for a successor, which then tells this worker to drain. Once is enough,
    /// unless this worker cannot wait for it any more.
    fn ask(&mut self, control: &Channel, log: &Log, server: &Server, reason: Replacement) {
        if std::mem::replace(&mut self.asked, true) && !reason.is_urgent() {
            return;
        }
        let group = describe(server.group());
        let reason_word = reason.as_str();
        log.line(
            Level::Info,
            0,
            format_args!("A worker of {group} is to be replaced ({reason_word})."),
        );
        // If the supervisor is gone, that is an event of its own.
        let _ = control.send(&FromWorker::Replace(reason), &[]);
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
            "{} request(s) did not end in the time that a worker of {} had ({}); they are cut off.",
            server.active(),
            describe(server.group()),
            reason.as_str()
        ),
    );
}

/// Ends Python and the process.
fn stop(reason: Replacement, log: &Log, server: &Server, status: c_int) -> ExitCode {
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
    let limit = group.life.stop_limit();
    if !python::stop(server.engine(), reason.as_str(), limit) {
        log.line(
            Level::Warn,
            1217,
            format_args!(
                "Python did not end within {limit:?} in a worker of {}; the worker ends without it.",
                describe(group)
            ),
        );
    }
    exit_now(status)
}

/// Ends the process without running what is registered to run at exit: threads of the
/// application may still be running.
pub(super) fn exit_now(status: c_int) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(status) }
}

/// Watches for signals. Two of them are the applications', the others this process's.
fn watch_signals(events: Sender<Event>, dispatcher: Dispatcher) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGXCPU, SIGHUP, SIGUSR2])?;
    let watch = move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP | SIGUSR2 => dispatcher.dispatch(signal),
                _ if events.send(Event::Signal(signal)).is_err() => return,
                _ => {}
            }
        }
    };
    thread::Builder::new()
        .name("wsgi-signals".to_owned())
        .spawn(watch)
        .map(drop)
}

fn watch_control(control: &Arc<Channel>, events: &Sender<Event>) -> std::io::Result<()> {
    let (control, events) = (control.clone(), events.clone());
    let watch = move || {
        loop {
            let event = match control.receive() {
                Ok((message, _)) => Event::Told(message),
                Err(_) => Event::Orphaned,
            };
            let last = matches!(event, Event::Orphaned);
            if events.send(event).is_err() || last {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("wsgi-control".to_owned())
        .spawn(watch)
        .map(drop)
}
