//! The interpreters of this process, by application group.
//!
//! Detached threads look them up, under a read lock. Only one thread, Python's owner, creates
//! interpreters, while the threads that need them wait without a GIL: so none is created twice.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use engine_abi::Level;
use pyo3_ffi as ffi;

use super::line::Line;
use super::options::Options;
use super::{GroupName, Interpreter, State, failed, setup, thread};
use crate::log;
use crate::process;
use crate::python::{Attached, Detached};
use crate::runtime;
use crate::script::Scripts;

type Interpreters = HashMap<&'static [u8], &'static Interpreter>;

static INTERPRETERS: RwLock<Option<Interpreters>> = RwLock::new(None);

/// If a process has this many interpreters, the configuration is most likely wrong.
const MANY: usize = 100;

/// Why there is no interpreter for an application group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CreateError {
    /// Python is not running.
    #[error("Python is not running in this process; see the error log for why it did not start")]
    NotRunning,
    /// CPython did not make one.
    #[error("CPython could not create the interpreter")]
    Refused,
    /// It was made, but what applications need in it could not be set up.
    #[error("the interpreter could not be set up: {0}")]
    Setup(String),
    /// It failed recently, and is not tried again yet.
    #[error("{why}; it is tried again in {seconds} s")]
    Recently {
        /// What was wrong.
        why: String,
        /// How long until it is tried again.
        seconds: u64,
    },
}

/// The interpreter of an application group, which is created if necessary.
pub(crate) fn find(detached: &Detached, group: &[u8]) -> Result<&'static Interpreter, CreateError> {
    if let Some(interpreter) = thread::last_used(group).or_else(|| existing(group)) {
        return Ok(interpreter);
    }
    failed::check(group)?;
    let group: Box<[u8]> = group.into();
    let found = runtime::on_owner(detached, move |detached| find_or_create(detached, &group));
    found.unwrap_or(Err(CreateError::NotRunning))
}

/// Runs on the owner. Another thread may have asked for the interpreter first, so that it exists.
fn find_or_create(
    detached: &mut Detached,
    group: &[u8],
) -> Result<&'static Interpreter, CreateError> {
    if let Some(interpreter) = existing(group) {
        return Ok(interpreter);
    }
    failed::check(group)?;
    let created = create(detached, group);
    failed::note(group, &created);
    if created.is_ok() && count() == MANY {
        warn_of_many(detached, group);
    }
    created
}

/// Warns of many interpreters: if clients can choose the name of the group, they can make a process
/// create any number.
fn warn_of_many(detached: &Detached, last: &[u8]) {
    let text = format!(
        "There are {MANY} interpreters in {} now, the last one for application group '{}'. Each takes \
         some megabytes for as long as the process lives. If WSGIApplicationGroup, or an \
         application-group=, makes the name of what clients send, as %{{HOST}} does in a virtual host that \
         answers for any name, let it be %{{SERVER}}, %{{GLOBAL}} or a name; if there are that many \
         applications, share them out among process groups.",
        process::config(),
        String::from_utf8_lossy(last),
    );
    log::server(detached, Level::Warn, 1375, &text);
}

fn count() -> usize {
    read().as_ref().map_or(0, HashMap::len)
}

/// The main interpreter, once Python runs.
pub(crate) fn main() -> Option<&'static Interpreter> {
    existing(b"")
}

/// All interpreters, in an order in which a hanging one delays as few others as possible. Those
/// with their own GIL come first, unless it is in use: then they come last, since attaching to them
/// may block for ever. Between them come those that share the GIL of the main one, which is the
/// last of these.
pub(crate) fn all() -> Vec<&'static Interpreter> {
    let mut all: Vec<_> = read().iter().flat_map(HashMap::values).copied().collect();
    // Once for each, as that may change meanwhile.
    all.sort_by_cached_key(|one| (one.is_own_gil_in_use(), !one.is_apart(), one.is_main()));
    all
}

/// Makes the interpreter that the calling thread has initialised the main one. The thread state it
/// has from that stays its thread state in it.
///
/// # Safety
///
/// - `state` is the thread state of the main interpreter on this thread, which is detached.
pub(crate) unsafe fn adopt_main(
    detached: &mut Detached,
    state: *mut ffi::PyThreadState,
) -> Result<&'static Interpreter, CreateError> {
    // SAFETY: as the caller says.
    unsafe { adopt(detached, b"", &Options::of(process::config(), b""), state) }
}

/// The interpreter with this state, for threads that Python has made.
pub(super) fn with_state(state: State) -> Option<&'static Interpreter> {
    let interpreters = read();
    let mut all = interpreters.iter().flat_map(HashMap::values);
    all.find(|interpreter| interpreter.state == state).copied()
}

fn existing(group: &[u8]) -> Option<&'static Interpreter> {
    read().as_ref()?.get(group).copied()
}

fn read() -> RwLockReadGuard<'static, Option<Interpreters>> {
    INTERPRETERS.read().unwrap_or_else(PoisonError::into_inner)
}

fn create(detached: &mut Detached, group: &[u8]) -> Result<&'static Interpreter, CreateError> {
    let main = main().ok_or(CreateError::NotRunning)?;
    let process = process::config();
    let mut options = Options::of(process, group);
    if options.own_gil && process.free_threading {
        let text = format!(
            "Skipping per-interpreter GIL for {} in {process}: free-threading is active in this process, \
             so there is no GIL to have one of.",
            GroupName(group)
        );
        log::server(detached, Level::Warn, 202, &text);
        options.own_gil = false;
    }
    let gil = if options.own_gil { " with own GIL" } else { "" };
    let text = format!("Creating {} in {process}{gil}.", GroupName(group));
    log::server(detached, Level::Info, 0, &text);
    let state = new_interpreter(detached, main, options.own_gil)?;
    // SAFETY: CPython has made the thread state for this thread, which is detached again. If
    // setting the interpreter up fails, no other thread knows of it, so it can be ended.
    unsafe {
        adopt(detached, group, &options, state).inspect_err(|_| {
            thread::end_sub_interpreter(detached, main, state);
        })
    }
}

/// Makes a sub-interpreter, and a thread state of it for this thread.
fn new_interpreter(
    detached: &mut Detached,
    main: &'static Interpreter,
    own_gil: bool,
) -> Result<*mut ffi::PyThreadState, CreateError> {
    main.attach(detached, |py| {
        let outer = thread::attached_state(py);
        let state = if own_gil {
            make_isolated(py)
        } else {
            make_shared(py)
        };
        if state.is_null() {
            return Err(CreateError::Refused);
        }
        // SAFETY: the thread is attached by the new thread state, and goes back to the outer one,
        // with the GIL of its interpreter.
        unsafe { ffi::PyThreadState_Swap(outer) };
        Ok(state)
    })
}

/// Makes an interpreter that shares the GIL of the process, and attaches the thread to it; null,
/// and the thread stays where it is, if CPython refuses.
#[cfg(Py_3_12)]
fn make_shared(py: Attached<'_>) -> *mut ffi::PyThreadState {
    // What `Py_NewInterpreter` does, but that ends the process where CPython fails.
    make_as(py, &ffi::_PyInterpreterConfig_LEGACY_INIT)
}

/// Earlier versions end the process where they fail.
#[cfg(not(Py_3_12))]
fn make_shared(_: Attached<'_>) -> *mut ffi::PyThreadState {
    // SAFETY: the thread is attached.
    unsafe { ffi::Py_NewInterpreter() }
}

/// The same for an interpreter with a GIL of its own, isolated as CPython wants it for that: no
/// `fork` and no `exec`, no daemon threads, and only extension modules that say they can.
#[cfg(Py_3_12)]
fn make_isolated(py: Attached<'_>) -> *mut ffi::PyThreadState {
    make_as(py, &ffi::_PyInterpreterConfig_INIT)
}

/// Earlier versions have none; see [`Options::own_gil`].
#[cfg(not(Py_3_12))]
fn make_isolated(py: Attached<'_>) -> *mut ffi::PyThreadState {
    make_shared(py)
}

#[cfg(Py_3_12)]
fn make_as(_: Attached<'_>, config: &ffi::PyInterpreterConfig) -> *mut ffi::PyThreadState {
    let mut state = std::ptr::null_mut();
    // SAFETY: the thread is attached; both pointers are valid during the call, which leaves the
    // state null if it fails.
    unsafe { ffi::Py_NewInterpreterFromConfig(&raw mut state, config) };
    state
}

/// Sets an interpreter up and enters it into the registry.
///
/// # Safety
///
/// - `state` is a thread state of the interpreter, made for this thread, which is detached.
unsafe fn adopt(
    detached: &mut Detached,
    group: &[u8],
    options: &Options<'_>,
    state: *mut ffi::PyThreadState,
) -> Result<&'static Interpreter, CreateError> {
    // SAFETY: as the caller says.
    let contents = unsafe {
        thread::attach_state(detached, state, |py| {
            setup::furnish(py, group, options)
                .map_err(|raised| CreateError::Setup(raised.summary()))
        })
    }?;
    // SAFETY: a thread state belongs to an interpreter as long as it exists.
    let interpreter_state = State(unsafe { ffi::PyThreadState_GetInterpreter(state) });
    let interpreter: &'static Interpreter = Box::leak(Box::new(Interpreter {
        group: group.into(),
        own_line: options.own_gil.then(Line::new),
        state: interpreter_state,
        contents,
        scripts: Scripts::default(),
    }));
    thread::keep_state(interpreter, state);
    let mut interpreters = INTERPRETERS.write().unwrap_or_else(PoisonError::into_inner);
    interpreters
        .get_or_insert_default()
        .insert(&interpreter.group, interpreter);
    Ok(interpreter)
}
