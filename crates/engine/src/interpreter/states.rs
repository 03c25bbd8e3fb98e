//! The thread states of an interpreter: which there are, and which of them were made here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3_ffi as ffi;

use super::State;
use super::thread::attached_state;
use crate::process;
use crate::python::Attached;

/// All thread states that were made here, of all threads.
static MADE: Mutex<Vec<Made>> = Mutex::new(Vec::new());

/// A thread state that was made here: its address, and its interpreter.
pub(super) struct Made {
    pub(super) state: usize,
    pub(super) interpreter: State,
}

/// The thread states of the interpreter that the thread is attached to.
pub(super) fn states_of(_: Attached<'_>, interpreter: State) -> Vec<*mut ffi::PyThreadState> {
    // SAFETY: the interpreter exists, and its GIL keeps states from being taken out of the list. One
    // that is made without it comes in at the head, from 3.12 on as the last step of making it. Up to
    // 3.11 this is only asked when nobody makes any.
    let mut next = unsafe { ffi::PyInterpreterState_ThreadHead(interpreter.0) };
    let mut states = Vec::new();
    while !next.is_null() {
        states.push(next);
        // SAFETY: as above.
        next = unsafe { ffi::PyThreadState_Next(next) };
    }
    states
}

/// Whether there are threads in the interpreter, to which this one is attached, that the engine does
/// not know.
pub(super) fn has_strangers(py: Attached<'_>, interpreter: State) -> bool {
    if process::config().free_threading {
        // Nothing keeps the list of states as it is while it is walked. CPython counts the threads
        // that Python code has started, and stops all that run Python code to look at them. Without
        // an answer there may be some.
        return py.runs_threads().unwrap_or(true);
    }
    let own = attached_state(py);
    let mut states = states_of(py, interpreter).into_iter();
    states.any(|state| state != own && !is_made(state))
}

fn is_made(state: *mut ffi::PyThreadState) -> bool {
    made().iter().any(|made| made.state == state.addr())
}

/// The thread states in an interpreter that were made here.
pub(super) fn made_in(interpreter: State) -> impl Iterator<Item = *mut ffi::PyThreadState> {
    let made = made();
    let states = made.iter().filter(|made| made.interpreter == interpreter);
    let states: Vec<_> = states.map(|made| made.state).collect();
    states
        .into_iter()
        .map(std::ptr::with_exposed_provenance_mut)
}

pub(super) fn made() -> MutexGuard<'static, Vec<Made>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn note_made(interpreter: State, state: *mut ffi::PyThreadState) {
    let state = state.expose_provenance();
    made().push(Made { state, interpreter });
}
