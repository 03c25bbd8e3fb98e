//! The sources of events: one thread waits for signals, another for messages of the supervisor.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Builder;

use control::Channel;
use nix::libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::iterator::Signals;

use super::Event;
use crate::worker::dispatcher::Dispatcher;
use crate::worker::vital;

/// Starts the thread that waits for signals. SIGHUP and SIGUSR2 are for the applications.
pub(super) fn watch_signals(events: Sender<Event>, dispatcher: Dispatcher) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGXCPU, SIGHUP, SIGUSR2])?;
    let faults = events.clone();
    let watch = move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP | SIGUSR2 => dispatcher.dispatch(signal),
                _ if events.send(Event::Signal(signal)).is_err() => return,
                _ => {}
            }
        }
    };
    vital::spawn(
        Builder::new().name("wsgi-signals".to_owned()),
        &faults,
        watch,
    )
}

/// Starts the thread that waits for messages of the supervisor, and for its end.
pub(super) fn watch_control(control: &Arc<Channel>, events: &Sender<Event>) -> io::Result<()> {
    let (control, sender) = (control.clone(), events.clone());
    let watch = move || {
        loop {
            let event = match control.receive() {
                Ok((message, _)) => Event::Told(message),
                Err(_) => Event::Orphaned,
            };
            let last = matches!(event, Event::Orphaned);
            if sender.send(event).is_err() || last {
                return;
            }
        }
    };
    vital::spawn(
        Builder::new().name("wsgi-control".to_owned()),
        events,
        watch,
    )
}
