//! Ending Python, on the owner's thread.
//!
//! The applications are told, unless they were before; threads of the host that are inside get a part of the time to leave;
//! then, if Python is to be destroyed, each interpreter's threads are joined and its `atexit`
//! functions run, and at last the interpreters are ended, the main one after all others.
//!
//! CPython finalises safely only when nobody else is inside: a thread that attaches afterwards is
//! ended on the spot, by an unwinding that Rust code does not survive, and extension modules crash
//! under it. So if anybody is, a request that does not end or a daemon thread of the application,
//! that last step is left out. An application can hardly tell, and the process ends anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_abi::Level;

use crate::activity;
use crate::interpreter::{self, Interpreter};
use crate::log;
use crate::modules;
use crate::process;
use crate::python::{Attached, Detached, Exception, Object, Owned, Raised, Result, catch};

/// Whether the applications were told.
static ANNOUNCED: AtomicBool = AtomicBool::new(false);

/// Whether the applications were told of the end.
pub(crate) fn is_announced() -> bool {
    ANNOUNCED.load(Ordering::Relaxed)
}

/// Tells the applications of the end, once.
pub(super) fn announce(detached: &mut Detached, reason: &[u8]) {
    // A script that is the whole of its process knows that it ends.
    if ANNOUNCED.swap(true, Ordering::Relaxed) || process::config().is_service() {
        return;
    }
    // Those first that can be told aside: any of the others may keep this thread.
    let mut here = interpreter::all();
    here.retain(|interpreter| !tell_aside(interpreter, reason));
    for interpreter in here {
        tell(detached, interpreter, reason);
    }
}

fn tell(detached: &mut Detached, interpreter: &'static Interpreter, reason: &[u8]) {
    interpreter.attach(detached, |py| {
        modules::publish_stopping(py, interpreter, reason)
    });
}

/// Tells an interpreter on a thread of its own, if its own GIL is in use: it may never be given back, and
/// this thread has more to do. False if that is not so, or threads may enter no more.
fn tell_aside(interpreter: &'static Interpreter, reason: &[u8]) -> bool {
    let inside = Some(interpreter).filter(|one| one.is_own_gil_in_use());
    let Some(inside) = inside.and_then(|_| activity::enter()) else {
        return false;
    };
    let reason = reason.to_vec();
    let aside = std::thread::Builder::new().name("wsgi-stopping".to_owned());
    let told = aside.spawn(move || {
        let _inside = inside;
        // SAFETY: the thread is new; it is attached only inside the function that takes this.
        let mut detached = unsafe { Detached::assume() };
        // Whatever it was, it is no reason not to end.
        let _ = catch(|| tell(&mut detached, interpreter, &reason));
    });
    told.is_ok()
}

/// Ends Python as far as possible; false if threads of the host are still inside.
pub(super) fn end(detached: &mut Detached, reason: &[u8], limit: Duration) -> bool {
    let began = Instant::now();
    announce(detached, reason);
    // The other half is for the applications' own ends.
    let alone = activity::wait_until_left(began + limit / 2);
    if process::config().destroy_interpreter {
        for interpreter in interpreter::all() {
            interpreter.attach(detached, run_hooks);
        }
        if alone {
            // SAFETY: all threads of the host have left, and none may enter any more.
            unsafe { destroy_if_unused(detached) };
        }
    }
    alone
}

/// What CPython does first when it finalises an interpreter.
fn run_hooks(py: Attached<'_>) {
    if let Err(raised) = join_threads(py) {
        report(py, "joining its threads", &raised);
    }
    if let Err(raised) = run_atexit_functions(py) {
        report(py, "its atexit functions", &raised);
    }
    for stream in [c"stdout", c"stderr"] {
        // A stream that the application has replaced by something that cannot be flushed.
        let _ = flush(py, stream);
    }
}

fn join_threads(py: Attached<'_>) -> Result<'_, ()> {
    let threading = py.import(c"threading")?;
    threading.call_method_named(c"_shutdown", [])?;
    // CPython calls it again as it ends the interpreter; from 3.12 on a sub-interpreter objects to that.
    let doc = c"Its threads have been joined.";
    let joined = py.function(c"_shutdown", doc, nothing)?;
    threading.set_attribute(c"_shutdown", &joined)
}

fn nothing<'py>(py: Attached<'py>, _: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    Ok(py.none().owned())
}

fn run_atexit_functions(py: Attached<'_>) -> Result<'_, ()> {
    py.import(c"atexit")?
        .call_method_named(c"_run_exitfuncs", [])
        .map(drop)
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

/// Ends the interpreters, unless there are threads in them that the engine does not know.
///
/// # Safety
///
/// - No other thread of the host is attached to any of them, or ever will be.
unsafe fn destroy_if_unused(detached: &mut Detached) {
    let mut interpreters = interpreter::all();
    interpreters.sort_by_key(|one| one.is_main());
    let mut interpreters = interpreters.iter();
    // SAFETY: as the caller says; the main one comes last, and only after all others have ended.
    let is_unused = unsafe {
        !interpreters.clone().any(|one| one.has_strangers(detached))
            && interpreters.all(|one| one.destroy(detached))
    };
    if !is_unused {
        let text = "Threads of an application are still running; Python is not finalised.";
        log::server(detached, Level::Info, 0, text);
    }
}
