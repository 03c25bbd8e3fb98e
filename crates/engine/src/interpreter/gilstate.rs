//! The simplified GIL API on CPython up to 3.11.
//!
//! Extension modules call back from C with `PyGILState_Ensure`: ctypes callbacks, most bindings to
//! C libraries. It asks "which thread state does this thread have?", and up to 3.11 the answer is
//! kept in a thread-specific storage key of pthreads, and is *the first one made on the thread*. On
//! a thread that serves several interpreters that is wrong for all but one: the callback runs in
//! another interpreter, or waits for ever for the GIL that its own thread holds. (Since 3.12, the
//! answer follows the attached thread state, and this file is not compiled.)
//!
//! So we do what 3.12 does: whenever a thread attaches, we store its thread state under that key,
//! and put the old value back when it detaches. CPython has no function for it, but the key is
//! found out for certain, once, on the thread that initialised Python:
//!
//! 1. it is a key whose value on this thread is this thread's thread state;
//! 2. after storing another value, `PyGILState_GetThisThreadState` must answer with that value.
//!
//! A storage key belongs to the process and is valid on all its threads. If no key passes the test
//! (a libpython that keeps the value elsewhere), [`is_known`] says so, and a thread gets its thread
//! state of the main interpreter first, which is then right for `%{GLOBAL}` at least.
//!
//! What keeps this sound: the stored value is a thread state of the very thread, alive until the
//! thread ends, when deleting it clears the key. CPython only ever compares the value and attaches
//! by it; all thread states made by `PyThreadState_New` carry the count that keeps
//! `PyGILState_Release` from deleting them.

use std::ffi::c_void;
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::python::Attached;

static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();

/// Finds the key. To be called once, on the thread that has initialised Python.
pub(super) fn discover(py: Attached<'_>) {
    let state = super::thread::attached_state(py).cast();
    KEY.get_or_init(|| keys().find(|key| is_the_key(*key, state)));
}

/// Whether the key was found.
pub(super) fn is_known() -> bool {
    key().is_some()
}

/// While it lives, the thread's binding is the thread state it was made with.
pub(super) struct Binding {
    before: *const c_void,
}

impl Binding {
    /// Binds the calling thread to `state`.
    pub(super) fn follow(state: *mut ffi::PyThreadState) -> Self {
        let before = key().map_or(std::ptr::null(), |key| replace(key, state.cast()));
        Self { before }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // Nothing is put back where there was nothing: CPython has bound the thread in the
        // meantime, or does so with the next thread state made on it.
        if let (Some(key), false) = (key(), self.before.is_null()) {
            replace(key, self.before);
        }
    }
}

fn key() -> Option<libc::pthread_key_t> {
    KEY.get().copied().flatten()
}

fn keys() -> std::ops::Range<libc::pthread_key_t> {
    // SAFETY: asks for a limit.
    let limit = unsafe { libc::sysconf(libc::_SC_THREAD_KEYS_MAX) };
    // POSIX promises 128; glibc has 1024. A limit that is not said is not worth a long search.
    0..libc::pthread_key_t::try_from(limit)
        .unwrap_or(1024)
        .min(4096)
}

fn is_the_key(key: libc::pthread_key_t, state: *const c_void) -> bool {
    // SAFETY: reading a key is harmless whatever it is: one that does not exist reads as null.
    if unsafe { libc::pthread_getspecific(key) }.cast_const() != state {
        return false;
    }
    let probe = (&raw const KEY).cast::<c_void>();
    replace(key, probe);
    // SAFETY: it compares and hands out a pointer, and nobody looks behind it.
    let answer = unsafe { ffi::PyGILState_GetThisThreadState() };
    replace(key, state);
    answer.cast_const().cast() == probe
}

/// Stores a value, and gives the one that was there.
fn replace(key: libc::pthread_key_t, value: *const c_void) -> *const c_void {
    // SAFETY: the key exists: its value was found not to be null. What CPython expects to find
    // there, a thread state of this thread or, for the moment of the test, any pointer, is stored.
    unsafe {
        let before = libc::pthread_getspecific(key);
        libc::pthread_setspecific(key, value);
        before
    }
}
