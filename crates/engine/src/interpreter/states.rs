//! The thread states of an interpreter: which there are, and which of them were made here.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, MutexGuard};

use pyo3_ffi as ffi;

use super::State;
use super::thread::attached_state;
use crate::lock::lock;
use crate::python::Attached;

/// All thread states that were made here, of all threads.
static MADE: Mutex<Vec<Made>> = Mutex::new(Vec::new());

/// A thread state that was made here: its address, and its interpreter.
struct Made {
    state: usize,
    interpreter: State,
}

/// The thread states of the interpreter that the thread is attached to.
#[cfg(Py_3_12)]
pub(super) fn states_of(py: Attached<'_>, interpreter: State) -> Vec<*mut ffi::PyThreadState> {
    let next_of = |state: &*mut ffi::PyThreadState| {
        // SAFETY: the interpreter's GIL keeps states from being taken out of the list. One that is
        // made without it comes in at the head, as the last step of making it.
        let next = unsafe { ffi::PyThreadState_Next(*state) };
        (!next.is_null()).then_some(next)
    };
    // There is one at least, that of the calling thread.
    std::iter::successors(Some(first_of(py, interpreter)), next_of).collect()
}

/// Whether there are threads in the interpreter, to which this one is attached, that the engine
/// does not know: Python's own, and those of extension modules. One that has gone from the list may
/// still be on its last steps out of CPython, which nobody can wait for; CPython goes by the list
/// as well.
///
/// # Safety
///
/// - No other thread of the host is attached to that interpreter, or ever will be.
pub(super) unsafe fn has_strangers(py: Attached<'_>, interpreter: State) -> bool {
    let own = attached_state(py);
    let first = first_of(py, interpreter);
    let mut state = first;
    while !state.is_null() {
        if state != own && !is_made(state) {
            return true;
        }
        // SAFETY: a stranger's state may be freed at any moment, with a GIL or without. This one is
        // no stranger's: it was made here and is deleted only here, which nobody does meanwhile, as
        // the caller says. And nobody looks behind the next one until it is known to be ours as
        // well.
        state = unsafe { ffi::PyThreadState_Next(state) };
    }
    // A stranger may have started another meanwhile, and gone. A new state becomes the first of the
    // list, and one that goes takes only itself out: so if the first is still the same, whoever is
    // there was there all the time, and has been looked at.
    fence(Ordering::Acquire);
    first_of(py, interpreter) != first
}

/// The state that the interpreter's list begins with: the one that was made last.
fn first_of(_: Attached<'_>, interpreter: State) -> *mut ffi::PyThreadState {
    // SAFETY: the thread is attached to the interpreter, so it exists.
    unsafe { ffi::PyInterpreterState_ThreadHead(interpreter.0) }
}

fn is_made(state: *mut ffi::PyThreadState) -> bool {
    made().iter().any(|made| made.state == state.addr())
}

/// Remembers a thread state that was made here.
pub(super) fn note_made(interpreter: State, state: *mut ffi::PyThreadState) {
    let state = state.expose_provenance();
    made().push(Made { state, interpreter });
}

/// Forgets a thread state, which is about to be deleted.
pub(super) fn forget_made(state: *mut ffi::PyThreadState) {
    made().retain(|made| made.state != state.addr());
}

/// Forgets all thread states of an interpreter, which are about to be deleted, and says which these
/// are.
pub(super) fn forget_made_in(interpreter: State) -> Vec<*mut ffi::PyThreadState> {
    let mut made = made();
    let forgotten = made.extract_if(.., |made| made.interpreter == interpreter);
    let states = forgotten.map(|made| std::ptr::with_exposed_provenance_mut(made.state));
    states.collect()
}

fn made() -> MutexGuard<'static, Vec<Made>> {
    lock(&MADE)
}
