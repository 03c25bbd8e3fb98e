//! Ending Python, on the owner's thread.
//!
//! The applications are told, unless they were before; threads of the host that are inside get a
//! part of the time to leave; then, if Python is to be destroyed, each interpreter's threads are
//! joined and its `atexit` functions run (see [`hooks`]), and at last the interpreters are ended,
//! the main one after all others.
//!
//! CPython finalises safely only when nobody else is inside: a thread that attaches afterwards is
//! ended on the spot, by an unwinding that Rust code does not survive, and extension modules crash
//! under it. So if anybody is, a request that does not end or a daemon thread of the application,
//! that last step is left out. An application can hardly tell, and the process ends anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_abi::Level;

use crate::activity;
use crate::interpreter::{self, Interpreter};
use crate::lock::lock;
use crate::log;
use crate::modules;
use crate::process;
use crate::python::{Detached, catch};
use crate::runtime::hooks::{self, Ending};

/// Whether the applications were told.
static ANNOUNCED: AtomicBool = AtomicBool::new(false);

/// An interpreter that is told on a thread of its own, and that thread.
type Aside = (&'static Interpreter, JoinHandle<()>);

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

/// Tells an interpreter on a thread of its own, if it shares no GIL with the main one: whatever
/// keeps it from listening, or in a callback, keeps no other. False if that is not so.
fn tell_aside(interpreter: &'static Interpreter, reason: &[u8]) -> bool {
    if interpreter.is_main() || !interpreter.is_apart() {
        return false;
    }
    let reason = reason.to_vec();
    let thread = std::thread::Builder::new()
        .name("wsgi-stopping".to_owned())
        .stack_size(super::stack_size());
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
    lock(&ASIDE)
}

/// Ends Python as far as possible; false if threads of the host are still inside. `given_up` is
/// told if that cannot be before the limit, once the applications have had their ends.
pub(super) fn end(
    detached: &mut Detached,
    reason: &[u8],
    limit: Duration,
    given_up: impl FnOnce() + Send + 'static,
) -> bool {
    let began = Instant::now();
    announce(detached, reason);
    // The other half is for the applications' own ends.
    let alone = activity::wait_until_left(began + limit / 2);
    let destroy = process::config().destroy_interpreter;
    let endings = with_those_who_tell();
    if destroy {
        // The last quarter is for the `atexit` functions of those that have threads without an end.
        hooks::run(detached, endings, began + limit * 3 / 4, given_up);
        if alone {
            // SAFETY: all threads of the host have left, and none may enter any more; those are
            // done that told interpreters of the end, or ran their hooks.
            unsafe { destroy_if_unused(detached) };
        }
    } else {
        for thread in endings.into_iter().filter_map(|(_, aside)| aside) {
            // It has caught what it had to.
            let _ = thread.join();
        }
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
