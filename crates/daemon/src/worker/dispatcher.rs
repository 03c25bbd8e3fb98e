//! Signals that are the application's: a thread of its own tells Python of them.
//!
//! What an application does about a signal may take long, and other signals end this process, which
//! must not wait for it. Once Python ends, nobody is told of signals any more.

use std::os::raw::c_int;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;

use engine_abi::LoadedEngine;

use super::life::Event;
use super::vital;

/// Tells Python of signals, one after the other.
pub(super) struct Dispatcher {
    signals: Sender<c_int>,
}

impl Dispatcher {
    /// Starts its thread.
    pub(super) fn start(engine: LoadedEngine, events: &Sender<Event>) -> std::io::Result<Self> {
        let (signals, arriving) = channel();
        let dispatch = move || {
            for signal in arriving {
                // SAFETY: Python was started. Once it ends, this call does nothing.
                unsafe { (engine.functions().signal)(signal) };
            }
        };
        let thread = Builder::new()
            .name("wsgi-dispatch".to_owned())
            .stack_size(engine_abi::stack_size());
        vital::spawn(thread, events, dispatch)?;
        Ok(Self { signals })
    }

    /// Has the applications be told of a signal.
    pub(super) fn dispatch(&self, signal: c_int) {
        // The thread waits for as long as there is a sender.
        let _ = self.signals.send(signal);
    }
}
