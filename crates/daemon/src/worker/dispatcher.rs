//! Signals for the application: a thread of their own passes them to Python.
//!
//! The application's callback may take long, and signals that end this process must not wait for
//! it. Once Python is ending, signals are no longer passed on.

use std::os::raw::c_int;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;

use engine_abi::LoadedEngine;

use super::life::Event;
use super::vital;

/// Passes signals to Python, one after the other.
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

    /// Has a signal passed to the applications.
    pub(super) fn dispatch(&self, signal: c_int) {
        // The thread receives as long as there is a sender.
        let _ = self.signals.send(signal);
    }
}
