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
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_abi::Level;

use crate::activity;
use crate::interpreter::{self, Interpreter};
use crate::log;
use crate::modules;
use crate::process;
use crate::python::{Attached, Detached, Exception, Object, Owned, Raised, Result, catch};

/// How often to look whether an interpreter is done with the news.
const LOOK: Duration = Duration::from_millis(2);

/// Whether the applications were told.
static ANNOUNCED: AtomicBool = AtomicBool::new(false);

/// An interpreter that is told on a thread of its own, and that thread.
type Aside = (&'static Interpreter, JoinHandle<()>);

/// One that is to end, and the thread that tells it of that, if there is one.
type Ending = (&'static Interpreter, Option<JoinHandle<()>>);

/// Those who are told aside.
static ASIDE: Mutex<Vec<Aside>> = Mutex::new(Vec::new());

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

/// Tells an interpreter on a thread of its own, if it shares no GIL with the main one: whatever keeps it from
/// listening, or in a callback, keeps no other. False if that is not so.
fn tell_aside(interpreter: &'static Interpreter, reason: &[u8]) -> bool {
    if interpreter.is_main() || !interpreter.is_apart() {
        return false;
    }
    let reason = reason.to_vec();
    let thread = std::thread::Builder::new().name("wsgi-stopping".to_owned());
    let told = thread.spawn(move || {
        // SAFETY: the thread is new; it is attached only inside the function that takes this.
        let mut detached = unsafe { Detached::assume() };
        // Whatever it was, it is no reason not to end.
        let _ = catch(|| tell(&mut detached, interpreter, &reason));
    });
    let is_told = told.map(|thread| aside().push((interpreter, thread)));
    is_told.is_ok()
}

fn aside() -> MutexGuard<'static, Vec<Aside>> {
    ASIDE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends Python as far as possible; false if threads of the host are still inside.
pub(super) fn end(detached: &mut Detached, reason: &[u8], limit: Duration) -> bool {
    let began = Instant::now();
    announce(detached, reason);
    // The other half is for the applications' own ends.
    let alone = activity::wait_until_left(began + limit / 2);
    let destroy = process::config().destroy_interpreter;
    let mut left = with_those_who_tell();
    // What an interpreter does about the news comes before its end.
    while let Some(interpreter) = next_to_end(&mut left) {
        if destroy {
            interpreter.attach(detached, run_hooks);
        }
    }
    if destroy && alone {
        // SAFETY: all threads of the host have left, and none may enter any more; those are done that told
        // interpreters of the end.
        unsafe { destroy_if_unused(detached) };
    }
    alone
}

/// All interpreters, each with the thread that tells it of the end, if there is one.
fn with_those_who_tell() -> Vec<Ending> {
    let mut aside = std::mem::take(&mut *aside());
    let with_aside = |one: &'static Interpreter| {
        let place = aside.iter().position(|(told, _)| std::ptr::eq(*told, one));
        (one, place.map(|place| aside.swap_remove(place).1))
    };
    interpreter::all().into_iter().map(with_aside).collect()
}

/// Takes the next one that is done with the news, as soon as there is one. One that never is keeps those alone that are
/// not either, until whoever waits for this thread waits no more.
fn next_to_end(left: &mut Vec<Ending>) -> Option<&'static Interpreter> {
    while !left.is_empty() {
        let is_done = |(_, aside): &Ending| aside.as_ref().is_none_or(JoinHandle::is_finished);
        if let Some(place) = left.iter().position(is_done) {
            return Some(left.remove(place).0);
        }
        std::thread::sleep(LOOK);
    }
    None
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
