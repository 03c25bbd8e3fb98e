//! Requests that take too long: interrupting them, and logging the stacks of their interpreter.
//!
//! A thread that runs a request in an interpreter has an entry here. Another thread can then raise
//! `mod_wsgi.RequestTimeout` in it. Both do this attached to that interpreter, under the lock of
//! the entry: so between finding that a thread runs a request and raising the exception there, the
//! request cannot end. An exception that was raised too late to be noticed is cleared when the
//! request ends. If it was raised in code of the engine that ignores exceptions, [`heed`] raises it
//! again.

use std::ffi::c_long;
use std::sync::{Arc, Mutex};

use engine_abi::{Level, Request};
use pyo3_ffi as ffi;

use crate::interpreter::{self, Interpreter};
use crate::lock::lock;
use crate::log;
use crate::process;
use crate::python::{Attached, Detached, Object, Place, Raised, Result};

/// What is logged when a request was interrupted and its thread is free again.
pub(crate) const RECOVERED: &str = "Request interrupted by RequestTimeout; thread recovered.";

/// The same, if the client has got a part of the response.
pub(crate) const TRUNCATED: &str =
    "Request interrupted by RequestTimeout after headers sent; response truncated.";

/// The entries of all threads that have run a request and have not ended.
static THREADS: Mutex<Vec<Arc<Thread>>> = Mutex::new(Vec::new());

thread_local! {
    static THREAD: Own = Own::register();
}

/// A request as the host names it: the number of its thread, and when that took the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) thread_id: u32,
    pub(crate) daemon_start: i64,
}

/// A thread of the host.
struct Thread {
    /// The id that CPython has for it.
    ident: c_long,
    running: Mutex<Option<Running>>,
}

/// The request that a thread runs.
#[derive(Clone, Copy)]
struct Running {
    name: Name,
    interpreter: &'static Interpreter,
    /// The key of its stack: see [`interpreter::own_key`].
    key: usize,
    interrupted: bool,
}

/// The calling thread's entry, which is removed when the thread ends.
struct Own(Arc<Thread>);

impl Own {
    fn register() -> Self {
        // SAFETY: asks for the number of the calling thread.
        let ident = unsafe { ffi::PyThread_get_thread_ident() };
        let thread = Arc::new(Thread {
            ident: ident.cast_signed(),
            running: Mutex::new(None),
        });
        lock(&THREADS).push(thread.clone());
        Self(thread)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        lock(&THREADS).retain(|thread| !Arc::ptr_eq(thread, &self.0));
    }
}

/// While it lives, the request that the calling thread runs can be interrupted.
pub(crate) struct Interruptible<'py> {
    py: Attached<'py>,
    thread: Arc<Thread>,
}

impl<'py> Interruptible<'py> {
    /// Makes the request interruptible. `None` in embedded mode, where there is no
    /// `request-timeout`.
    pub(crate) fn begin(
        py: Attached<'py>,
        interpreter: &'static Interpreter,
        request: &Request<'_>,
    ) -> Option<Self> {
        if process::config().is_embedded() {
            return None;
        }
        let thread = THREAD.try_with(|own| own.0.clone()).ok()?;
        *py.lock(&thread.running) = Some(Running {
            name: Name {
                thread_id: request.thread_id,
                daemon_start: request.daemon_start,
            },
            interpreter,
            key: interpreter::own_key(py),
            interrupted: false,
        });
        Some(Self { py, thread })
    }
}

impl Drop for Interruptible<'_> {
    fn drop(&mut self) {
        let running = self.py.lock(&self.thread.running).take();
        if running.is_some_and(|running| running.interrupted) {
            self.thread.raise(self.py, std::ptr::null_mut());
        }
    }
}

impl Thread {
    /// Raises the exception, if the thread still runs that request: it may have ended while the
    /// caller waited for the GIL, but cannot now.
    fn interrupt(&self, py: Attached<'_>, name: Name, interpreter: &Interpreter) -> bool {
        let timeout = interpreter.modules().request_timeout(py);
        let mut running = py.lock(&self.running);
        let Some(running) = running.as_mut().filter(|running| running.name == name) else {
            return false;
        };
        running.interrupted = self.raise(py, timeout.as_ptr());
        running.interrupted
    }

    /// Whether the request that it runs was interrupted.
    fn is_interrupted(&self, py: Attached<'_>) -> bool {
        py.lock(&self.running)
            .is_some_and(|running| running.interrupted)
    }

    /// Has CPython raise an exception in the thread as soon as it runs Python code, or with null
    /// take back one that was not raised yet. False if the thread is not in this interpreter.
    fn raise(&self, _: Attached<'_>, exception: *mut ffi::PyObject) -> bool {
        // SAFETY: the thread is attached; the exception is null or a type that is alive, of which
        // CPython takes a reference of its own.
        unsafe { ffi::PyThreadState_SetAsyncExc(self.ident, exception) > 0 }
    }
}

/// Runs what does without whatever fails in it. That the request of the calling thread is
/// interrupted meanwhile is no such failure: then this raises.
pub(crate) fn heed<'py, R>(py: Attached<'py>, f: impl FnOnce() -> R) -> Result<'py, R> {
    let own = own_if_interruptible();
    let is_interrupted = || own.as_ref().is_some_and(|own| own.is_interrupted(py));
    let was_interrupted = is_interrupted();
    let result = f();
    match (&own, Interpreter::current(py)) {
        (Some(own), Some(interpreter)) if !was_interrupted && is_interrupted() => {
            // It may not have been noticed yet.
            own.raise(py, std::ptr::null_mut());
            let timeout = interpreter.modules().request_timeout(py);
            Err(Raised::from_value(timeout.call(&[])?))
        }
        _ => Ok(result),
    }
}

/// Whether an exception is that of a request that takes too long.
pub(crate) fn is_timeout(interpreter: &Interpreter, raised: &Raised<'_>) -> bool {
    let value: &Object<'_> = raised.value();
    value.is_instance_of(interpreter.modules().request_timeout(value.py()))
}

/// The calling thread, where requests can be interrupted.
fn own_if_interruptible() -> Option<Arc<Thread>> {
    if process::config().is_embedded() {
        return None;
    }
    THREAD.try_with(|own| own.0.clone()).ok()
}

/// Raises `mod_wsgi.RequestTimeout` in the thread that runs a request, and logs where it is; false
/// if no thread runs that request inside an interpreter.
pub(crate) fn interrupt(detached: &mut Detached, name: Name) -> bool {
    let Some((thread, running)) = find(name) else {
        return false;
    };
    let interpreter = running.interpreter;
    let has_stacks = !process::config().free_threading;
    let places = interpreter.attach(detached, |py| {
        let stacks = has_stacks.then(|| interpreter.stacks(py));
        let mut stacks = stacks.into_iter().flatten();
        let own = stacks.find(|(key, _)| *key == running.key);
        thread
            .interrupt(py, name, interpreter)
            .then(|| own.map_or_else(Vec::new, |(_, places)| places))
    });
    let Some(places) = places else { return false };
    let (number, process) = (name.thread_id, process::config());
    if has_stacks {
        let text = format!(
            "Dumping stack trace for thread {number} of {process}, whose request takes longer than \
             request-timeout, before injecting RequestTimeout to unwind it."
        );
        info(detached, &text);
        log_stack(detached, &format!("Thread {number}"), &places);
    }
    let text = format!("Injected RequestTimeout into thread {number} of {process}.");
    info(detached, &text);
    true
}

/// Logs the stacks of all threads of the interpreter that runs a request. False if no interpreter
/// runs it, or there is no GIL: then stacks change while they are read.
pub(crate) fn log_stacks(detached: &mut Detached, name: Name) -> bool {
    let Some((_, Running { interpreter, .. })) = find(name) else {
        return false;
    };
    if process::config().free_threading {
        let text = format!(
            "Free-threading is active in this process: there are no stack traces of {interpreter}."
        );
        info(detached, &text);
        return false;
    }
    let stacks = interpreter.attach(detached, |py| interpreter.stacks(py));
    info(
        detached,
        &format!("Dumping stack trace for active Python threads of {interpreter}."),
    );
    for (key, places) in stacks {
        let who = number_of(key).map_or_else(
            || "A thread of the application".to_owned(),
            |number| format!("Thread {number}"),
        );
        log_stack(detached, &who, &places);
    }
    true
}

/// The thread that runs a request.
fn find(name: Name) -> Option<(Arc<Thread>, Running)> {
    threads().into_iter().find_map(|thread| {
        let running = lock(&thread.running).filter(|running| running.name == name)?;
        Some((thread, running))
    })
}

/// A copy of the list, so that attached threads need not wait for it while this thread looks at the
/// entries.
fn threads() -> Vec<Arc<Thread>> {
    lock(&THREADS).clone()
}

/// The number of the thread that runs a request and whose stack has this key.
fn number_of(key: usize) -> Option<u32> {
    threads().iter().find_map(|thread| {
        let running = lock(&thread.running).filter(|running| running.key == key)?;
        Some(running.name.thread_id)
    })
}

fn log_stack(detached: &Detached, who: &str, places: &[Place]) {
    let mut lead = format!("{who} executing");
    for place in places {
        info(detached, &format!("{lead} {place}"));
        "called from".clone_into(&mut lead);
    }
}

fn info(detached: &Detached, text: &str) {
    log::server(detached, Level::Info, 0, text);
}
