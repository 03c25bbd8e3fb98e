//! Where a thread is in its Python code.
//!
//! The frames are walked without running any Python code: this is for threads that misbehave, and
//! what `traceback` does reads files and may be replaced by the application.

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
    #[cfg(Py_3_12)]
    pub(crate) unsafe fn places(self, state: *mut ffi::PyThreadState) -> Vec<Place> {
        // SAFETY: the state is alive, and its thread does not run while this one has the GIL. The
        // reference is new or NULL.
        let frame = unsafe { self.frame(ffi::PyThreadState_GetFrame(state)) };
        frame.map_or_else(Vec::new, |frame| self.places_from(&frame))
    }

    /// The places from this frame outwards.
    pub(crate) fn places_from(self, innermost: &Object<'py>) -> Vec<Place> {
        /// Recursion without end is deep, and the log is read by people.
        const DEEPEST: usize = 100;

        let frames = self.frames_from(innermost).take(DEEPEST);
        frames.map(|frame| Place::of(&frame)).collect()
    }

    /// The innermost frame of each thread of the process that runs Python code, by the number of
    /// the thread; in whatever interpreter, so only where all of them share a GIL.
    #[cfg(not(Py_3_12))]
    pub(crate) fn current_frames(self) -> super::Result<'py, Vec<(usize, Owned<'py>)>> {
        let sys = self.import(c"sys")?;
        let frames = sys.call_method_named(c"_current_frames", [])?;
        let items = frames.call_method_named(c"items", [])?.iter()?;
        let mut found = Vec::new();
        while let Some(item) = items.next()? {
            if let Some([ident, frame]) = item.as_tuple() {
                // The number of a thread is one of pthreads', and may use all bits.
                found.push((ident.to_i64()?.cast_unsigned() as usize, frame.owned()));
            }
        }
        Ok(found)
    }

    /// Whether a thread has begun in the interpreter that this thread is attached to: its outermost
    /// frame, as all code there, has the builtins of that interpreter.
    #[cfg(not(Py_3_12))]
    pub(crate) fn is_of_this_interpreter(self, innermost: &Object<'py>) -> bool {
        let outermost = self.frames_from(innermost).last();
        let builtins = outermost.and_then(|frame| frame.attribute_named(c"f_builtins").ok());
        // SAFETY: the thread is attached; the reference is borrowed, and only compared.
        builtins.is_some_and(|builtins| builtins.as_ptr() == unsafe { ffi::PyEval_GetBuiltins() })
    }

    /// A frame and those that it was called from.
    fn frames_from(self, innermost: &Object<'py>) -> impl Iterator<Item = Owned<'py>> {
        std::iter::successors(Some(innermost.owned()), move |frame| {
            // SAFETY: the object is a frame, and alive; the reference is new or NULL.
            unsafe { self.frame(ffi::PyFrame_GetBack(frame.as_ptr().cast())) }
        })
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
