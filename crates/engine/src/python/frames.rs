//! Where a thread is in its Python code.
//!
//! The frames are walked without running any Python: this is for threads that misbehave, and what
//! `traceback` does reads files and may be replaced by the application.

use std::ffi::CStr;
use std::fmt;

use pyo3_ffi as ffi;

use super::{Attached, Object, Owned};

/// A place in Python code: `file "/srv/app.wsgi", line 12, in application`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: String,
    line: i32,
    function: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, function) = (&self.file, self.line, &self.function);
        write!(f, "file \"{file}\", line {line}, in {function}")
    }
}

impl<'py> Attached<'py> {
    /// Where the thread with this state is, innermost first; nothing if it runs no Python code.
    ///
    /// # Safety
    ///
    /// - `state` is a thread state of the interpreter that this thread is attached to, and alive.
    pub(crate) unsafe fn places(self, state: *mut ffi::PyThreadState) -> Vec<Place> {
        /// Recursion without end is deep, and the log is read by people.
        const DEEPEST: usize = 100;

        // SAFETY: the state is alive, and its thread does not run while this one has the GIL. The
        // reference is new or NULL.
        let mut frame = unsafe { self.frame(ffi::PyThreadState_GetFrame(state)) };
        let mut places = Vec::new();
        while let Some(inner) = frame.take().filter(|_| places.len() < DEEPEST) {
            places.push(Place::of(&inner));
            // SAFETY: the object is a frame, and alive; the reference is new or NULL.
            frame = unsafe { self.frame(ffi::PyFrame_GetBack(inner.as_ptr().cast())) };
        }
        places
    }

    /// Runs `f` with the garbage collector of this interpreter switched off.
    pub(crate) fn without_collections<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the thread is attached.
        let was_on = unsafe { ffi::PyGC_Disable() } != 0;
        let result = f();
        if was_on {
            // SAFETY: as above.
            unsafe { ffi::PyGC_Enable() };
        }
        result
    }

    /// # Safety
    ///
    /// - `frame` is a new reference or NULL.
    unsafe fn frame(self, frame: *mut ffi::PyFrameObject) -> Option<Owned<'py>> {
        // SAFETY: as the caller says; a frame is an object.
        let frame = unsafe { Owned::steal_optional(self, frame.cast()) };
        frame.ok().flatten()
    }
}

impl Place {
    fn of(frame: &Object<'_>) -> Self {
        let py = frame.py();
        // SAFETY: the object is a frame, and alive. Every frame has code, to which the reference is
        // new.
        let (line, code) = unsafe {
            let frame = frame.as_ptr().cast();
            let code = ffi::PyFrame_GetCode(frame).cast();
            (
                ffi::PyFrame_GetLineNumber(frame),
                Owned::steal_optional(py, code),
            )
        };
        let code = code.ok().flatten();
        let text = |name: &CStr| {
            let text = code
                .as_ref()
                .and_then(|code| code.attribute_named(name).ok());
            text.map_or_else(|| "?".to_owned(), |text| text.to_text_lossy())
        };
        Self {
            file: text(c"co_filename"),
            line,
            function: text(c"co_name"),
        }
    }
}
