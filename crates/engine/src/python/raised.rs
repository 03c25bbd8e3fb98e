//! Python exceptions as Rust errors.

use std::ffi::{CStr, CString};

use pyo3_ffi as ffi;

use super::{Attached, Object, Owned};

/// A result whose error is a Python exception.
pub(crate) type Result<'py, T> = std::result::Result<T, Raised<'py>>;

/// A Python exception, taken from the interpreter: nothing is set there any more.
pub(crate) struct Raised<'py> {
    value: Owned<'py>,
}

/// The built-in exceptions that the engine raises or asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exception {
    /// `AttributeError`
    AttributeError,
    /// `BaseException`
    Base,
    /// `ConnectionResetError`
    ConnectionResetError,
    /// `Exception`
    General,
    /// `KeyError`
    KeyError,
    /// `MemoryError`
    MemoryError,
    /// `ModuleNotFoundError`
    ModuleNotFoundError,
    /// `OSError`
    OsError,
    /// `OverflowError`
    OverflowError,
    /// `RuntimeError`
    RuntimeError,
    /// `SystemError`
    SystemError,
    /// `SystemExit`
    SystemExit,
    /// `TimeoutError`
    TimeoutError,
    /// `TypeError`
    TypeError,
    /// `ValueError`
    ValueError,
}

impl<'py> Raised<'py> {
    /// A new exception.
    pub(crate) fn new(py: Attached<'py>, exception: Exception, message: &str) -> Self {
        // A NUL cannot be part of a C string; nothing we say has one, what we quote might.
        let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
        // SAFETY: the type is an exception type, the message NUL-terminated, the thread attached.
        unsafe { ffi::PyErr_SetString(exception.as_ptr(), message.as_ptr()) };
        Self::take(py)
    }

    /// A new exception without arguments.
    pub(crate) fn bare(py: Attached<'py>, exception: Exception) -> Self {
        // SAFETY: the type is an exception type, the thread attached.
        unsafe { ffi::PyErr_SetNone(exception.as_ptr()) };
        Self::take(py)
    }

    /// A `TypeError`.
    pub(crate) fn type_error(py: Attached<'py>, message: &str) -> Self {
        Self::new(py, Exception::TypeError, message)
    }

    /// A `ValueError`.
    pub(crate) fn value_error(py: Attached<'py>, message: &str) -> Self {
        Self::new(py, Exception::ValueError, message)
    }

    /// A `RuntimeError`.
    pub(crate) fn runtime_error(py: Attached<'py>, message: &str) -> Self {
        Self::new(py, Exception::RuntimeError, message)
    }

    /// An `OSError`.
    pub(crate) fn os_error(py: Attached<'py>, message: &str) -> Self {
        Self::new(py, Exception::OsError, message)
    }

    /// What `open()` raises when the system refuses it: an `OSError`, or the subclass for the
    /// cause.
    pub(crate) fn os_error_of_file(error: &std::io::Error, file: &Object<'py>) -> Self {
        let py = file.py();
        let Some(errno) = error.raw_os_error() else {
            return Self::os_error(py, &error.to_string());
        };
        // SAFETY: `errno` is this thread's own, the file name alive, the thread attached.
        unsafe {
            *libc::__errno_location() = errno;
            ffi::PyErr_SetFromErrnoWithFilenameObject(Exception::OsError.as_ptr(), file.as_ptr());
        }
        Self::take(py)
    }

    /// The exception that a C function has just set.
    pub(crate) fn take(py: Attached<'py>) -> Self {
        Self::take_if_any(py).unwrap_or_else(|| {
            let message = "an operation failed without saying why";
            Self::new(py, Exception::SystemError, message)
        })
    }

    /// The exception that is set, if one is.
    pub(crate) fn take_if_any(_: Attached<'py>) -> Option<Self> {
        let value = take_set_exception();
        if value.is_null() {
            return None;
        }
        // SAFETY: the reference is new, and the thread is attached.
        let value = unsafe { Owned::assume(value) };
        Some(Self { value })
    }

    /// The exception that `value`, an exception object, is.
    pub(crate) fn from_value(value: Owned<'py>) -> Self {
        // SAFETY: the object is alive.
        if unsafe { ffi::PyExceptionInstance_Check(value.as_ptr()) } != 0 {
            return Self { value };
        }
        let message = "exceptions must derive from BaseException";
        Self::type_error(value.py(), message)
    }

    /// The exception that `value` is, or one of type `kind` that is made of it: up to Python 2 an
    /// exception could be raised in such pieces, and `exc_info` is as old.
    pub(crate) fn from_pieces(kind: &Object<'py>, value: &Object<'py>) -> Self {
        let (kind, pieces) = (kind.as_ptr(), value.as_ptr());
        // SAFETY: the objects are alive and the thread is attached.
        unsafe {
            if ffi::PyExceptionInstance_Check(pieces) == 0 && ffi::PyExceptionClass_Check(kind) != 0
            {
                ffi::PyErr_SetObject(kind, pieces);
                return Self::take(value.py());
            }
        }
        Self::from_value(value.owned())
    }

    /// Sets the exception in the interpreter, as a C function does before it returns NULL.
    pub(crate) fn restore(self) {
        set_exception(self.value);
    }

    /// Whether it is an instance of `exception`.
    pub(crate) fn is(&self, exception: Exception) -> bool {
        // SAFETY: both objects are alive and the thread is attached.
        unsafe { ffi::PyErr_GivenExceptionMatches(self.value.as_ptr(), exception.as_ptr()) != 0 }
    }

    /// Runs `f` as if in an `except` block that has caught the exception.
    pub(crate) fn while_handled<R>(&self, f: impl FnOnce() -> R) -> R {
        let value = self.value();
        let traceback = value.attribute_named(c"__traceback__");
        let _handling = Handling::begin(value, traceback.as_deref().ok());
        f()
    }

    /// `(type, value, traceback)`, as `sys.exc_info()` gives it.
    pub(crate) fn exc_info(&self) -> Result<'py, Owned<'py>> {
        let (value, py) = (self.value(), self.value().py());
        let traceback = value.attribute_named(c"__traceback__")?;
        py.tuple(&[value.type_object(), value, &traceback])
    }

    /// The exception object.
    pub(crate) fn value(&self) -> &Object<'py> {
        &self.value
    }
}

impl Exception {
    /// The type object; borrowed, alive as long as Python is.
    pub(crate) fn as_ptr(self) -> *mut ffi::PyObject {
        // SAFETY: the statics are set once Python is initialised and never change.
        unsafe {
            match self {
                Self::AttributeError => ffi::PyExc_AttributeError,
                Self::Base => ffi::PyExc_BaseException,
                Self::ConnectionResetError => ffi::PyExc_ConnectionResetError,
                Self::General => ffi::PyExc_Exception,
                Self::KeyError => ffi::PyExc_KeyError,
                Self::MemoryError => ffi::PyExc_MemoryError,
                Self::ModuleNotFoundError => ffi::PyExc_ModuleNotFoundError,
                Self::OsError => ffi::PyExc_OSError,
                Self::OverflowError => ffi::PyExc_OverflowError,
                Self::RuntimeError => ffi::PyExc_RuntimeError,
                Self::SystemError => ffi::PyExc_SystemError,
                Self::SystemExit => ffi::PyExc_SystemExit,
                Self::TimeoutError => ffi::PyExc_TimeoutError,
                Self::TypeError => ffi::PyExc_TypeError,
                Self::ValueError => ffi::PyExc_ValueError,
            }
        }
    }
}

impl<'py> Attached<'py> {
    /// A new exception type; `name` is its full name.
    pub(crate) fn exception_type(
        self,
        name: &CStr,
        doc: &CStr,
        base: Exception,
    ) -> Result<'py, Owned<'py>> {
        let (name, doc) = (name.as_ptr(), doc.as_ptr());
        // SAFETY: the texts are NUL-terminated, and copied; the base is an exception; the thread is
        // attached.
        let made = unsafe {
            ffi::PyErr_NewExceptionWithDoc(name, doc, base.as_ptr(), std::ptr::null_mut())
        };
        // SAFETY: the reference is new or an exception is set.
        unsafe { Owned::steal(self, made) }
    }

    /// Warns with a `DeprecationWarning`, which a filter may turn into an exception.
    pub(crate) fn warn_deprecated(self, message: &CStr) -> Result<'py, ()> {
        // SAFETY: the category is a warning, the message NUL-terminated, the thread attached.
        let status =
            unsafe { ffi::PyErr_WarnEx(ffi::PyExc_DeprecationWarning, message.as_ptr(), 1) };
        self.check(status)
    }
}

/// While it lives, the thread handles an exception: `sys.exc_info()` tells of it.
struct Handling {
    /// Type, value and traceback of the one that was handled before; null where there was none.
    before: [*mut ffi::PyObject; 3],
}

impl Handling {
    fn begin<'py>(value: &Object<'py>, traceback: Option<&Object<'py>>) -> Self {
        let mut before = [std::ptr::null_mut(); 3];
        let [kind, handled, trace] = &mut before;
        let traceback = traceback.unwrap_or(value.py().none());
        // SAFETY: the thread is attached. The first call gives new references, or null; the second
        // steals three.
        unsafe {
            ffi::PyErr_GetExcInfo(kind, handled, trace);
            ffi::PyErr_SetExcInfo(
                value.type_object().owned().into_ptr(),
                value.owned().into_ptr(),
                traceback.owned().into_ptr(),
            );
        }
        Self { before }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let [kind, value, traceback] = self.before;
        // SAFETY: `begin` ran on this thread, which is still attached; the references are ours, and
        // stolen here.
        unsafe { ffi::PyErr_SetExcInfo(kind, value, traceback) };
    }
}

#[cfg(Py_3_12)]
fn take_set_exception() -> *mut ffi::PyObject {
    // SAFETY: only called on an attached thread.
    unsafe { ffi::PyErr_GetRaisedException() }
}

#[cfg(Py_3_12)]
fn set_exception(value: Owned<'_>) {
    // SAFETY: the thread is attached; the function steals the reference.
    unsafe { ffi::PyErr_SetRaisedException(value.into_ptr()) };
}

/// Up to 3.11 an exception is set as three pieces, not all of which need to be there.
#[cfg(not(Py_3_12))]
fn take_set_exception() -> *mut ffi::PyObject {
    use std::ptr::null_mut;

    let (mut kind, mut value, mut traceback) = (null_mut(), null_mut(), null_mut());
    // SAFETY: only called on an attached thread. The pieces become ours; normalising keeps that
    // so and makes `value` an instance. The traceback is attached to it, and its reference and the
    // type's given back.
    unsafe {
        ffi::PyErr_Fetch(&raw mut kind, &raw mut value, &raw mut traceback);
        if kind.is_null() {
            return null_mut();
        }
        ffi::PyErr_NormalizeException(&raw mut kind, &raw mut value, &raw mut traceback);
        if !traceback.is_null() && !value.is_null() {
            ffi::PyException_SetTraceback(value, traceback);
        }
        ffi::Py_XDECREF(traceback);
        ffi::Py_XDECREF(kind);
        value
    }
}

#[cfg(not(Py_3_12))]
fn set_exception(value: Owned<'_>) {
    // SAFETY: the thread is attached; the function steals the references, of which we make the
    // type's here, and the traceback's is new or NULL.
    unsafe {
        let kind = value.type_object().owned().into_ptr();
        let traceback = ffi::PyException_GetTraceback(value.as_ptr());
        ffi::PyErr_Restore(kind, value.into_ptr(), traceback);
    }
}
