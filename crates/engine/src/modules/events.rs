//! Events: what an application can subscribe to, and how it is told.
//!
//! A callback is called as `callback(name, **payload)`, in the interpreter where the event happens,
//! on the thread where it happens, with the GIL. One that raises is reported; the others are still
//! called, and a request goes on as if nothing had been, unless it was interrupted meanwhile
//! because it takes too long. Payloads are made by whoever publishes, who asks
//! [`Events::are_wanted`] first: an event that nobody waits for costs nothing.

use engine_abi::Level;

use super::signals;
use crate::interpreter::Interpreter;
use crate::interrupt;
use crate::log;
use crate::process;
use crate::python::{Attached, Exception, Object, Owned, Raised, Record, Result, Stored};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An application is about to be called.
    RequestStarted,
    /// It has called `start_response`.
    ResponseStarted,
    /// It is done, whether it has failed or not.
    RequestFinished,
    /// It has raised an exception.
    RequestException,
    /// The process got a signal that is left to applications.
    ProcessSignal,
    /// The process is about to end.
    ProcessStopping,
}

/// The callbacks of an interpreter: the very lists that `mod_wsgi` shows.
pub(crate) struct Events {
    all: Stored,
    shutdown: Stored,
    signals: Stored,
}

impl Event {
    /// What the callbacks are called with first.
    const fn name(self) -> &'static str {
        match self {
            Self::RequestStarted => "request_started",
            Self::ResponseStarted => "response_started",
            Self::RequestFinished => "request_finished",
            Self::RequestException => "request_exception",
            Self::ProcessSignal => "process_signal",
            Self::ProcessStopping => "process_stopping",
        }
    }
}

impl Events {
    /// Adds the lists, and the functions that add to them, to the module.
    pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, Self> {
        let py = module.py();
        let doc = c"subscribe_events(callback, /)\n--\n\n\
            Call callback(name, **payload) at every event; returns the callback.";
        let subscribe = py.function(c"subscribe_events", doc, subscribe_events)?;
        module.set_attribute(c"subscribe_events", &subscribe)?;
        let doc = c"subscribe_shutdown(callback, /)\n--\n\n\
            Call callback(name, **payload) when the process is about to end; returns the callback.";
        let subscribe = py.function(c"subscribe_shutdown", doc, subscribe_shutdown)?;
        module.set_attribute(c"subscribe_shutdown", &subscribe)?;
        let doc = c"subscribe_signals(callback, /)\n--\n\n\
            Call callback(name, **payload) when a process of a group gets SIGHUP or SIGUSR2; returns \
            the callback.";
        let subscribe = py.function(c"subscribe_signals", doc, subscribe_signals)?;
        module.set_attribute(c"subscribe_signals", &subscribe)?;
        let list = |name| {
            let list = py.list(&[])?;
            module.set_attribute(name, &list)?;
            Ok(list.into_stored())
        };
        Ok(Self {
            all: list(c"event_callbacks")?,
            shutdown: list(c"shutdown_callbacks")?,
            signals: list(c"signal_callbacks")?,
        })
    }

    /// Whether anybody wants to know of what happens to requests.
    pub(crate) fn are_wanted(&self, py: Attached<'_>) -> bool {
        self.all.bind(py).list_length() > 0
    }

    /// Calls the callbacks. What they return, if it is a dict, becomes part of the payload. Raises
    /// only what interrupts the request that the thread runs.
    pub(crate) fn publish<'py>(&self, event: Event, payload: &Record<'py>) -> Result<'py, ()> {
        let py = payload.py();
        // A callback may change the lists.
        let mut callbacks = self.all.bind(py).list_items();
        match event {
            Event::ProcessSignal => callbacks.extend(self.signals.bind(py).list_items()),
            Event::ProcessStopping => callbacks.extend(self.shutdown.bind(py).list_items()),
            _ => {}
        }
        for callback in callbacks {
            if let Err(raised) = interrupt::heed(py, || call(&callback, event, payload))? {
                interrupt::heed(py, || report(py, event, &raised))?;
            }
        }
        Ok(())
    }
}

/// Tells the interpreter's applications that the process is about to end.
pub(crate) fn publish_stopping(py: Attached<'_>, interpreter: &Interpreter, reason: &[u8]) {
    publish_with(py, interpreter, Event::ProcessStopping, |payload| {
        payload.latin1(c"shutdown_reason", reason)
    });
}

/// Tells the interpreter's applications of a signal.
pub(crate) fn publish_signal(py: Attached<'_>, interpreter: &Interpreter, number: i32) {
    let name = match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGUSR2 => "SIGUSR2",
        _ => "",
    };
    publish_with(py, interpreter, Event::ProcessSignal, |payload| {
        payload.latin1(c"signame", name.as_bytes())?;
        payload.int(c"signum", number)
    });
}

fn publish_with<'py>(
    py: Attached<'py>,
    interpreter: &Interpreter,
    event: Event,
    fill: impl FnOnce(&Record<'py>) -> Result<'py, ()>,
) {
    let payload = Record::new(py).and_then(|payload| {
        fill(&payload)?;
        Ok(payload)
    });
    let published =
        payload.and_then(|payload| interpreter.modules().events().publish(event, &payload));
    if let Err(raised) = published {
        report(py, event, &raised);
    }
}

fn call<'py>(callback: &Object<'py>, event: Event, payload: &Record<'py>) -> Result<'py, ()> {
    let py = callback.py();
    let name = py.text(event.name())?;
    let arguments = py.tuple(&[&name])?;
    let returned = callback.call_with_keywords(&arguments, Some(payload.as_object()))?;
    if returned.is_dict() {
        payload.as_object().update(&returned)?;
    }
    Ok(())
}

/// Reports that an event could not be published, or what a callback has raised.
pub(crate) fn report(py: Attached<'_>, event: Event, raised: &Raised<'_>) {
    let id = if raised.is(Exception::SystemExit) {
        190
    } else {
        112
    };
    let (kind, event) = (raised.value().type_name(), event.name());
    let head = format!("{kind} exception raised by event callback for '{event}'.");
    log::callback_exception(py, id, &head, raised);
}

fn subscribe_events<'py>(py: Attached<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    subscribe(py, "subscribe_events", arguments, |events| &events.all)
}

fn subscribe_shutdown<'py>(
    py: Attached<'py>,
    arguments: &[&Object<'py>],
) -> Result<'py, Owned<'py>> {
    subscribe(py, "subscribe_shutdown", arguments, |events| {
        &events.shutdown
    })
}

/// A child of httpd keeps its signals to itself, so there the callback is not kept either.
fn subscribe_signals<'py>(
    py: Attached<'py>,
    arguments: &[&Object<'py>],
) -> Result<'py, Owned<'py>> {
    if let (true, [callback]) = (process::config().is_embedded(), arguments) {
        let text = "Ignoring subscription to signals in embedded mode: signals are the server's here; \
            use a process group.";
        log::notice(py, Level::Info, 0, text);
        signals::report_stack(py);
        return Ok(callback.owned());
    }
    subscribe(py, "subscribe_signals", arguments, |events| &events.signals)
}

fn subscribe<'py>(
    py: Attached<'py>,
    function: &str,
    arguments: &[&Object<'py>],
    list: impl FnOnce(&Events) -> &Stored,
) -> Result<'py, Owned<'py>> {
    let [callback] = arguments else {
        let message = format!("{function}() takes 1 argument, {} given", arguments.len());
        return Err(Raised::type_error(py, &message));
    };
    let interpreter = Interpreter::require(py)?;
    list(interpreter.modules().events())
        .bind(py)
        .append(callback)?;
    Ok(callback.owned())
}
