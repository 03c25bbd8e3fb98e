//! Attaching the calling thread to an interpreter.
//!
//! A thread state is made once for every pair of thread and interpreter and kept until the thread
//! ends: making one for every request costs more than all the rest of the engine, and would lose
//! the application's `threading.local` data between requests.
//!
//! Threads come and go in a host (httpd's mod_http2 has a pool that shrinks), so a thread that ends
//! takes its thread states with it.

use std::cell::{Cell, RefCell};

use pyo3_ffi as ffi;

use super::line::Line;
use super::{Interpreter, State, registry, states};
use crate::activity;
use crate::meter::waiting_for_gil;
use crate::python::{Attached, Detached, Place, catch};

#[cfg(not(Py_3_12))]
use super::gilstate;

/// What a thread keeps.
struct Thread {
    /// The interpreter it is attached to.
    current: Cell<Option<&'static Interpreter>>,
    /// The one it was attached to last, with its thread state: the next is likely the same.
    last: Cell<Option<Pair>>,
    /// All of its thread states.
    states: RefCell<Vec<Pair>>,
}

/// An interpreter, and this thread's state in it.
#[derive(Clone, Copy)]
struct Pair {
    interpreter: &'static Interpreter,
    state: *mut ffi::PyThreadState,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            current: Cell::new(None),
            last: Cell::new(None),
            states: RefCell::new(Vec::new()),
        }
    };
}

impl Interpreter {
    /// Runs `f` with the calling thread attached to this interpreter.
    pub(crate) fn attach<R>(
        &'static self,
        detached: &mut Detached,
        f: impl for<'py> FnOnce(Attached<'py>) -> R,
    ) -> R {
        let state = THREAD.with(|thread| thread.state_in(self));
        let _current = Current::set(Some(self));
        let _user = self.own_line.as_ref().map(Line::enter);
        // SAFETY: the state was made for this thread, and the thread is detached.
        unsafe { attach_state(detached, state, f) }
    }

    /// Whether there are threads in this interpreter that the engine does not know: Python's own,
    /// and those of extension modules.
    ///
    /// # Safety
    ///
    /// - No other thread of the host is attached to this interpreter, or ever will be.
    pub(crate) unsafe fn has_strangers(&'static self, detached: &mut Detached) -> bool {
        // SAFETY: as the caller says.
        self.attach(detached, |py| unsafe {
            states::has_strangers(py, self.state)
        })
    }

    /// Where each thread of this interpreter is that runs Python code, by its [`own_key`]. To be
    /// asked where there is a GIL only: without one a stack changes while it is looked at.
    #[cfg(Py_3_12)]
    pub(crate) fn stacks(&self, py: Attached<'_>) -> Vec<(usize, Vec<Place>)> {
        // A collection could run Python code, which could let a thread end.
        py.without_collections(|| {
            let states = states::states_of(py, self.state).into_iter();
            // SAFETY: the states are of this interpreter, to which the thread is attached; as the
            // GIL is not released in between, they stay alive.
            let stacks = states.map(|state| (state.addr(), unsafe { py.places(state) }));
            stacks.filter(|(_, places)| !places.is_empty()).collect()
        })
    }

    /// The same up to 3.11, which shows others a thread state that is being made before it can be
    /// looked at, and with whose one GIL `sys._current_frames()` is safe: all threads of the
    /// process, each by its number.
    #[cfg(not(Py_3_12))]
    pub(crate) fn stacks(&self, py: Attached<'_>) -> Vec<(usize, Vec<Place>)> {
        py.without_collections(|| {
            // Without memory there is nothing to be told.
            let frames = py.current_frames().unwrap_or_default();
            let own = frames
                .iter()
                .filter(|(_, frame)| py.is_of_this_interpreter(frame));
            own.map(|(ident, frame)| (*ident, py.places_from(frame)))
                .collect()
        })
    }

    /// Ends the interpreter for good; false if a thread that the engine does not know has come into
    /// it.
    ///
    /// # Safety
    ///
    /// - No other thread of the host is attached to any interpreter, or ever will be.
    /// - The main interpreter is the last to be ended, once all others are.
    pub(crate) unsafe fn destroy(&'static self, detached: &mut Detached) -> bool {
        let Some(main) = registry::main() else {
            return false;
        };
        let state = THREAD.with(|thread| thread.state_in(self));
        if std::ptr::eq(self, main) {
            // SAFETY: the state is this thread's, and nobody else is inside.
            unsafe {
                std::mem::forget(Attachment::begin(state));
                ffi::Py_FinalizeEx();
            }
            return true;
        }
        // SAFETY: as the caller says.
        unsafe { end_sub_interpreter(detached, main, state) }
    }
}

/// Ends a sub-interpreter, unless there are threads in it that the engine does not know; false if
/// so.
///
/// # Safety
///
/// - `state` was made for this thread, in the interpreter to end.
/// - No other thread of the host is attached to that interpreter, or ever will be.
pub(super) unsafe fn end_sub_interpreter(
    detached: &mut Detached,
    main: &'static Interpreter,
    state: *mut ffi::PyThreadState,
) -> bool {
    main.attach(detached, |py| {
        let outer = attached_state(py);
        #[cfg(not(Py_3_12))]
        let _binding = gilstate::Binding::follow(state);
        // SAFETY: the thread is attached, and goes over to its state in the other interpreter, with
        // the GIL there, and back. The rest is as the caller says.
        unsafe {
            ffi::PyThreadState_Swap(state);
            let is_ended = end_attached(Attached::assume());
            ffi::PyThreadState_Swap(outer);
            is_ended
        }
    })
}

/// Ends the sub-interpreter that the thread is attached to, unless there are threads in it that the
/// engine does not know.
///
/// # Safety
///
/// - The thread is attached by a state that was made for it. Once the interpreter has ended, it is
///   attached to none.
/// - No other thread of the host is attached to that interpreter, or ever will be.
unsafe fn end_attached(py: Attached<'_>) -> bool {
    let state = attached_state(py);
    // SAFETY: a thread state belongs to an interpreter as long as it exists.
    let interpreter = State(unsafe { ffi::PyThreadState_GetInterpreter(state) });
    let mut others = states::forget_made_in(interpreter);
    others.retain(|other| *other != state);
    // SAFETY: the states were made here, they are idle, and their threads will not use them again.
    // Nothing else knows of them.
    unsafe {
        for other in &others {
            ffi::PyThreadState_Clear(*other);
        }
        delete(interpreter, state, &others);
    }
    // SAFETY: as the caller says. CPython ends the process unless this is the interpreter's only
    // state, and what was just cleared may have run code of the application: hence the question
    // comes last.
    unsafe {
        let is_last = !states::has_strangers(py, interpreter);
        if is_last {
            ffi::Py_EndInterpreter(state);
        }
        is_last
    }
}

/// Deletes thread states that other threads had, and that were cleared.
///
/// CPython takes it that each is deleted by its own thread, and has the calling one forget which
/// state its simplified GIL API is bound to. Callbacks from C that find their interpreter by it
/// would then find the main one, and wait for a GIL that this thread has. So it is attached by
/// another state meanwhile, which goes with them: that of its own is bound again as it is attached
/// again.
///
/// # Safety
///
/// - The thread is attached by `own`, in this interpreter.
/// - Nobody uses the others any more.
#[cfg(Py_3_12)]
unsafe fn delete(
    interpreter: State,
    own: *mut ffi::PyThreadState,
    others: &[*mut ffi::PyThreadState],
) {
    if others.is_empty() {
        return;
    }
    let aside = make_state(interpreter);
    states::forget_made(aside);
    // SAFETY: as the caller says. The state aside is this thread's, and by its deletion the thread
    // is detached.
    unsafe {
        ffi::PyThreadState_Swap(aside);
        for other in others {
            ffi::PyThreadState_Delete(*other);
        }
        ffi::PyThreadState_Clear(aside);
        ffi::PyThreadState_DeleteCurrent();
        ffi::PyEval_RestoreThread(own);
    }
}

/// The same up to 3.11, which looks whose state it is.
///
/// # Safety
///
/// - The thread is attached to this interpreter.
/// - Nobody uses the others any more.
#[cfg(not(Py_3_12))]
unsafe fn delete(_: State, _: *mut ffi::PyThreadState, others: &[*mut ffi::PyThreadState]) {
    for other in others {
        // SAFETY: as the caller says.
        unsafe { ffi::PyThreadState_Delete(*other) };
    }
}

/// The interpreter that this thread was attached to last, if it is that of `group`.
pub(super) fn last_used(group: &[u8]) -> Option<&'static Interpreter> {
    let last = THREAD.with(|thread| thread.last.get())?.interpreter;
    (last.group() == group).then_some(last)
}

/// Runs `f` with the calling thread attached by this state.
///
/// # Safety
///
/// - `state` was made for this thread and is not attached.
pub(super) unsafe fn attach_state<R>(
    _: &mut Detached,
    state: *mut ffi::PyThreadState,
    f: impl for<'py> FnOnce(Attached<'py>) -> R,
) -> R {
    // SAFETY: as the caller says; the attachment ends before we return.
    let (_attachment, py) = unsafe { (Attachment::begin(state), Attached::assume()) };
    f(py)
}

/// The thread state by which this thread is attached.
pub(crate) fn attached_state(_: Attached<'_>) -> *mut ffi::PyThreadState {
    // SAFETY: the thread is attached.
    unsafe { ffi::PyThreadState_Get() }
}

/// What [`Interpreter::stacks`] knows the calling thread by.
#[cfg(Py_3_12)]
pub(crate) fn own_key(py: Attached<'_>) -> usize {
    attached_state(py).addr()
}

/// The same up to 3.11.
#[cfg(not(Py_3_12))]
pub(crate) fn own_key(_: Attached<'_>) -> usize {
    // SAFETY: asks for the number of the calling thread, which is as wide as a pointer.
    unsafe { ffi::PyThread_get_thread_ident() as usize }
}

/// Remembers a thread state that was made for this thread.
pub(super) fn keep_state(interpreter: &'static Interpreter, state: *mut ffi::PyThreadState) {
    states::note_made(interpreter.state, state);
    THREAD.with(|thread| thread.states.borrow_mut().push(Pair { interpreter, state }));
}

/// Whether a thread state was made for this thread, by the engine. It is not looked behind.
#[cfg(not(Py_3_12))]
pub(crate) fn is_own_state(state: *const ffi::PyThreadState) -> bool {
    let is_it = |pair: &Pair| std::ptr::eq(pair.state, state);
    // Of a thread that is ending, nothing is known any more.
    THREAD
        .try_with(|thread| thread.states.borrow().iter().any(is_it))
        .unwrap_or(false)
}

/// The interpreter that this thread is attached to.
pub(super) fn current(_: Attached<'_>) -> Option<&'static Interpreter> {
    // SAFETY: the thread is attached.
    let state = State(unsafe { ffi::PyInterpreterState_Get() });
    let known = THREAD
        .try_with(|thread| thread.current.get())
        .ok()
        .flatten();
    // A thread that Python has made attaches without us, so what we know of it is verified.
    known
        .filter(|interpreter| interpreter.state == state)
        .or_else(|| {
            let found = registry::with_state(state)?;
            let _ = THREAD.try_with(|thread| thread.current.set(Some(found)));
            Some(found)
        })
}

impl Thread {
    fn state_in(&self, interpreter: &'static Interpreter) -> *mut ffi::PyThreadState {
        let is_it = |pair: &Pair| std::ptr::eq(pair.interpreter, interpreter);
        if let Some(last) = self.last.get().filter(is_it) {
            return last.state;
        }
        let known = self.states.borrow().iter().copied().find(is_it);
        let pair = known.unwrap_or_else(|| self.new_state(interpreter));
        self.last.set(Some(pair));
        pair.state
    }

    fn new_state(&self, interpreter: &'static Interpreter) -> Pair {
        #[cfg(not(Py_3_12))]
        self.bind_to_main_first();
        let state = make_state(interpreter.state);
        let pair = Pair { interpreter, state };
        self.states.borrow_mut().push(pair);
        pair
    }

    /// Where the binding of the simplified GIL API cannot be moved, it should at least be right
    /// for the main interpreter, whose applications are the ones that need it.
    #[cfg(not(Py_3_12))]
    fn bind_to_main_first(&self) {
        if gilstate::is_known() || !self.states.borrow().is_empty() {
            return;
        }
        if let Some(interpreter) = registry::main() {
            let state = make_state(interpreter.state);
            self.states.borrow_mut().push(Pair { interpreter, state });
        }
    }
}

impl Drop for Thread {
    /// The thread ends. Unless Python does so too, its thread states are given back.
    fn drop(&mut self) {
        // Then it is the process that ends, and from inside Python: by `exit` in a signal handler,
        // or in a process that was forked here. To attach once more would take for ever.
        if self.current.get().is_some() {
            return;
        }
        let Some(_inside) = activity::enter() else {
            return;
        };
        for pair in self.states.take() {
            states::forget_made(pair.state);
            // SAFETY: the state was made for this thread, which is detached: it is about to end.
            // The attachment is ended by the deletion.
            let _ = catch(|| unsafe {
                std::mem::forget(Attachment::begin(pair.state));
                ffi::PyThreadState_Clear(pair.state);
                ffi::PyThreadState_DeleteCurrent();
            });
        }
    }
}

fn make_state(interpreter: State) -> *mut ffi::PyThreadState {
    // SAFETY: interpreters are ended only when no thread may enter Python any more. The GIL is not
    // needed.
    let state = unsafe { ffi::PyThreadState_New(interpreter.0) };
    if state.is_null() {
        // As Rust does when there is no memory left, for CPython has no other reason.
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<ffi::PyThreadState>());
    }
    states::note_made(interpreter, state);
    state
}

/// A thread's attachment; ends when dropped, also when a panic passes by.
struct Attachment {
    #[cfg(not(Py_3_12))]
    _binding: gilstate::Binding,
}

impl Attachment {
    /// # Safety
    ///
    /// - `state` was made for this thread, which is detached, and lives longer than the attachment.
    unsafe fn begin(state: *mut ffi::PyThreadState) -> Self {
        // SAFETY: as the caller says.
        waiting_for_gil(|| unsafe { ffi::PyEval_RestoreThread(state) });
        Self {
            #[cfg(not(Py_3_12))]
            _binding: gilstate::Binding::follow(state),
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: the thread is attached since `begin`.
        unsafe { ffi::PyEval_SaveThread() };
    }
}

/// Says which interpreter the thread is attached to, for as long as it lives.
struct Current(Option<&'static Interpreter>);

impl Current {
    fn set(interpreter: Option<&'static Interpreter>) -> Self {
        Self(THREAD.with(|thread| thread.current.replace(interpreter)))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let _ = THREAD.try_with(|thread| thread.current.set(self.0));
    }
}
