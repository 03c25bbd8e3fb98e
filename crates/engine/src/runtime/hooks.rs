//! What CPython does first when it finalises an interpreter: its threads are joined, and its
//! `atexit` functions run.
//!
//! The owner does it, as `threading` expects of the main thread. A thread of an application may
//! have no end, and then joining it has none. So when there is little time left another thread
//! takes over, and runs the `atexit` functions of all interpreters in which they have not been run.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::interpreter::Interpreter;
use crate::lock::lock;
use crate::log;
use crate::python::{Attached, Detached, Exception, Object, Owned, Raised, Result, catch};

/// How often to check whether an interpreter's callbacks for the end of the process have returned.
const LOOK: Duration = Duration::from_millis(2);

/// An interpreter that is to end, and the separate thread that runs its callbacks, if there is one.
pub(super) type Ending = (&'static Interpreter, Option<JoinHandle<()>>);

/// The interpreters whose `atexit` functions have not been run.
#[derive(Default)]
struct Left {
    endings: Vec<Ending>,
    /// The one whose threads the owner joins.
    joining: Option<&'static Interpreter>,
}

/// Runs the hooks of all these interpreters, of each one after its callbacks have returned. At the
/// deadline, another thread runs the remaining `atexit` functions and then calls `given_up`, while
/// this call goes on for as long as joining takes.
pub(super) fn run(
    detached: &mut Detached,
    endings: Vec<Ending>,
    deadline: Instant,
    given_up: impl FnOnce() + Send + 'static,
) {
    let left = Arc::new(Mutex::new(Left {
        endings,
        joining: None,
    }));
    let stand_in = StandIn::appoint(&left, deadline, given_up);
    while let Some(interpreter) = begin_next(&left) {
        interpreter.attach(detached, join_threads);
        if lock(&left).joining.take().is_some() {
            interpreter.attach(detached, run_atexit_functions);
        }
    }
    drop(stand_in);
}

/// A thread that takes over at the deadline. Dropping this waits for what the thread has begun.
struct StandIn {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    fn appoint(
        left: &Arc<Mutex<Left>>,
        deadline: Instant,
        given_up: impl FnOnce() + Send + 'static,
    ) -> Self {
        let left = Arc::clone(left);
        let (done, is_done) = channel();
        let take_over = move || {
            let time = deadline.saturating_duration_since(Instant::now());
            if is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                // SAFETY: the thread is new; it is attached only inside the function that takes
                // this.
                let mut detached = unsafe { Detached::assume() };
                let is_joining = lock(&left).joining.is_some();
                // Whatever it was, it is no reason not to end.
                let _ = catch(|| finish(&mut detached, &left));
                // Functions that still run have the rest of the time.
                if is_joining {
                    given_up();
                }
            }
        };
        // If the thread cannot be started, there is no deadline for joining.
        let thread = Builder::new()
            .name("wsgi-atexit".to_owned())
            .stack_size(super::stack_size());
        Self {
            done: Some(done),
            thread: thread.spawn(take_over).ok(),
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            // It has caught what it had to.
            let _ = thread.join();
        }
    }
}

/// Runs the `atexit` functions that have not been run, except those of interpreters whose callbacks
/// have not returned.
fn finish(detached: &mut Detached, left: &Mutex<Left>) {
    loop {
        let next = {
            let mut left = lock(left);
            let joining = left.joining.take();
            joining.or_else(|| take_told(&mut left.endings))
        };
        let Some(interpreter) = next else {
            return;
        };
        interpreter.attach(detached, run_atexit_functions);
    }
}

/// Waits for the next interpreter whose callbacks for the end of the process have returned. If the
/// callbacks of some never return, this waits for ever, after all others; the stand-in then ends
/// the wait of the host.
fn begin_next(left: &Mutex<Left>) -> Option<&'static Interpreter> {
    loop {
        let mut left = lock(left);
        if left.endings.is_empty() {
            return None;
        }
        left.joining = take_told(&mut left.endings);
        if left.joining.is_some() {
            return left.joining;
        }
        drop(left);
        std::thread::sleep(LOOK);
    }
}

/// Takes an interpreter whose callbacks have returned.
fn take_told(endings: &mut Vec<Ending>) -> Option<&'static Interpreter> {
    let is_told = |(_, aside): &Ending| aside.as_ref().is_none_or(JoinHandle::is_finished);
    let place = endings.iter().position(is_told)?;
    Some(endings.remove(place).0)
}

fn join_threads(py: Attached<'_>) {
    if let Err(raised) = call_shutdown(py) {
        report(py, "joining its threads", &raised);
    }
}

fn call_shutdown(py: Attached<'_>) -> Result<'_, ()> {
    let threading = py.import(c"threading")?;
    #[cfg(not(Py_3_13))]
    // Where a library has replaced parts of `threading`, as gevent does, it is for that to know.
    drop(become_main_thread(&threading));
    threading.call_method_named(c"_shutdown", [])?;
    // CPython calls it again as it ends the interpreter; from 3.12 on a sub-interpreter objects to
    // that.
    let doc = c"Its threads have been joined.";
    let joined = py.function(c"_shutdown", doc, nothing)?;
    threading.set_attribute(c"_shutdown", &joined)
}

/// Has the calling thread stand for what `threading` calls the main thread, which may be one of the
/// host's that waits for this one: so `threading` takes it to have ended, as at the end of any
/// program, and whoever waits for that goes on. From 3.13 on there is nothing of that in a
/// sub-interpreter.
#[cfg(not(Py_3_13))]
fn become_main_thread<'py>(threading: &Object<'py>) -> Result<'py, ()> {
    let py = threading.py();
    let main = threading.attribute_named(c"_main_thread")?;
    let lock = main.attribute_named(c"_tstate_lock")?;
    if lock.is_none() || !lock.call_method_named(c"locked", [])?.is_true()? {
        // That thread has ended, and `threading` would take itself to be done.
        let lock = threading.call_method_named(c"Lock", [])?;
        lock.call_method_named(c"acquire", [])?;
        main.set_attribute(c"_tstate_lock", &lock)?;
        main.set_attribute(c"_is_stopped", py.bool(false))?;
    }
    let own = threading.call_method_named(c"get_ident", [])?;
    main.set_attribute(c"_ident", &own)
}

fn nothing<'py>(py: Attached<'py>, _: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    Ok(py.none().owned())
}

fn run_atexit_functions(py: Attached<'_>) {
    let run = py
        .import(c"atexit")
        .and_then(|atexit| atexit.call_method_named(c"_run_exitfuncs", []));
    if let Err(raised) = run {
        report(py, "its atexit functions", &raised);
    }
    for stream in [c"stdout", c"stderr"] {
        // A stream that the application has replaced by something that cannot be flushed.
        let _ = flush(py, stream);
    }
}

fn flush<'py>(py: Attached<'py>, stream: &std::ffi::CStr) -> Result<'py, ()> {
    let stream = py.import(c"sys")?.attribute_named(stream)?;
    stream.call_method_named(c"flush", []).map(drop)
}

fn report(py: Attached<'_>, what: &str, raised: &Raised<'_>) {
    let id = if raised.is(Exception::SystemExit) {
        97
    } else {
        98
    };
    let kind = raised.value().type_name();
    let place = Interpreter::current(py).map_or_else(String::new, ToString::to_string);
    let head = format!("{kind} exception raised by {what} during shutdown of {place}.");
    log::server_exception(py, id, &head, raised);
}
