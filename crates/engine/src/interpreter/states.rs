//! The thread states of an interpreter, and which of them the engine has made.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, MutexGuard};

use pyo3_ffi as ffi;

use super::State;
use super::thread::attached_state;
use crate::lock::lock;
use crate::python::Attached;

/// All thread states that the engine has made, of all threads.
static MADE: Mutex<Vec<Made>> = Mutex::new(Vec::new());

/// A thread state that the engine has made: its address, and its interpreter.
struct Made {
    state: usize,
    interpreter: State,
}

/// The thread states of the interpreter that the thread is attached to.
#[cfg(Py_3_12)]
pub(super) fn states_of(py: Attached<'_>, interpreter: State) -> Vec<*mut ffi::PyThreadState> {
    let next_of = |state: &*mut ffi::PyThreadState| {
        // SAFETY: states are removed from the list only with the interpreter's GIL, which this
        // thread holds. A state that is made without the GIL is inserted at the head, when it is
        // complete.
        let next = unsafe { ffi::PyThreadState_Next(*state) };
        (!next.is_null()).then_some(next)
    };
    // There is at least one, that of the calling thread.
    std::iter::successors(Some(first_of(py, interpreter)), next_of).collect()
}

/// Whether the interpreter, to which this thread is attached, has threads that the engine does not
/// know: threads of Python, or of extension modules. A thread that has been removed from the list
/// may still be leaving CPython, and cannot be waited for; CPython itself relies on the list as
/// well.
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
        // SAFETY: the state of an unknown thread may be freed at any time, with a GIL or without.
        // This state was made by the engine, which is the only one to delete it, and does not do so
        // meanwhile, as the caller promises. The next state is not dereferenced before it is known
        // to be the engine's as well.
        state = unsafe { ffi::PyThreadState_Next(state) };
    }
    // An unknown thread may have started another meanwhile, and ended. A new state is inserted at
    // the head of the list, and a removal affects no others: so if the head is still the same, all
    // states in the list were there all the time, and have been checked.
    fence(Ordering::Acquire);
    first_of(py, interpreter) != first
}

/// The head of the interpreter's list of states: the one that was made last.
fn first_of(_: Attached<'_>, interpreter: State) -> *mut ffi::PyThreadState {
    // SAFETY: the thread is attached to the interpreter, so it exists.
    unsafe { ffi::PyInterpreterState_ThreadHead(interpreter.0) }
}

fn is_made(state: *mut ffi::PyThreadState) -> bool {
    made().iter().any(|made| made.state == state.addr())
}

/// Remembers a thread state that the engine has made.
pub(super) fn note_made(interpreter: State, state: *mut ffi::PyThreadState) {
    let state = state.expose_provenance();
    made().push(Made { state, interpreter });
}

/// Forgets a thread state, which is about to be deleted.
pub(super) fn forget_made(state: *mut ffi::PyThreadState) {
    made().retain(|made| made.state != state.addr());
}

/// Forgets all thread states of an interpreter, which are about to be deleted, and returns them.
pub(super) fn forget_made_in(interpreter: State) -> Vec<*mut ffi::PyThreadState> {
    let mut made = made();
    let forgotten = made.extract_if(.., |made| made.interpreter == interpreter);
    let states = forgotten.map(|made| std::ptr::with_exposed_provenance_mut(made.state));
    states.collect()
}

fn made() -> MutexGuard<'static, Vec<Made>> {
    lock(&MADE)
}
