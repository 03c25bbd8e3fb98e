//! Ending Python, on the owner's thread.
//!
//! The applications are told, unless they were before. Threads of the host that are inside get a
//! part of the time to leave. Then, if Python is to be destroyed, the threads of each interpreter
//! are joined and its `atexit` functions run (see [`hooks`]), and finally the interpreters are
//! ended, the main one after all others.
//!
//! CPython finalises safely only if no other thread is inside: a thread that attaches afterwards is
//! ended by a forced unwinding, which Rust code and some extension modules do not survive. So if a
//! thread is still inside, such as a request that does not end or a daemon thread of the
//! application, the last step is left out. Applications hardly notice, and the process ends anyway.

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

/// An interpreter that is told on a separate thread, and that thread.
type Aside = (&'static Interpreter, JoinHandle<()>);

/// The interpreters that are told on separate threads.
static ASIDE: Mutex<Vec<Aside>> = Mutex::new(Vec::new());

/// Whether the applications were told of the end.
pub(crate) fn is_announced() -> bool {
    ANNOUNCED.load(Ordering::Relaxed)
}

/// Tells the applications of the end, once.
pub(super) fn announce(detached: &mut Detached, reason: &[u8]) {
    // A service script ends the process itself.
    if ANNOUNCED.swap(true, Ordering::Relaxed) || process::config().is_service() {
        return;
    }
    // Separate threads are started first, since the callbacks of the other interpreters may block
    // this thread.
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

/// Tells an interpreter on a separate thread, if it does not share the GIL of the main one: if its
/// GIL or a callback blocks, others are not delayed. False if it shares the GIL, or no thread can
/// be started.
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
