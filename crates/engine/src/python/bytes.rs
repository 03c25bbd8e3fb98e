//! A `bytes` object that is still being filled.

use std::ffi::c_int;
use std::ptr::NonNull;

use pyo3_ffi as ffi;

use super::{Attached, Owned, Raised, Result};

unsafe extern "C" {
    /// Part of CPython's API since ever, but not of the bindings.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// A `bytes` that nobody else has seen yet. Its content is plain memory until it is finished, and
/// may be written on a detached thread; its size is a matter of Python's.
pub(crate) struct UnfinishedBytes<'py> {
    /// Null after a failed resize.
    object: *mut ffi::PyObject,
    memory: Memory,
    py: Attached<'py>,
}

/// The memory of an [`UnfinishedBytes`], filled from its start.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    size: usize,
    filled: usize,
    /// How much holds defined values; never less than `filled`.
    defined: usize,
}

// SAFETY: the memory belongs to an object that nobody else refers to. No other thread touches it.
unsafe impl Send for Memory {}

impl<'py> UnfinishedBytes<'py> {
    /// An object with room for `size` bytes.
    pub(crate) fn new(py: Attached<'py>, size: usize) -> Result<'py, Self> {
        let size = isize::try_from(size).unwrap_or(isize::MAX);
        // SAFETY: the thread is attached. Without a value to copy the content stays undefined.
        let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
        if object.is_null() {
            return Err(Raised::take(py));
        }
        let memory = Memory {
            start: content(object),
            size: size.unsigned_abs(),
            filled: 0,
            defined: 0,
        };
        Ok(Self { object, memory, py })
    }

    /// Where the content goes.
    pub(crate) const fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Gives the object another size, not smaller than what is filled.
    pub(crate) fn resize(&mut self, size: usize) -> Result<'py, ()> {
        let size = isize::try_from(size.max(self.memory.filled)).unwrap_or(isize::MAX);
        // SAFETY: the object is a `bytes`, referred to from here only, and the thread attached.
        // A failure frees it and sets the pointer to null.
        let status = unsafe { _PyBytes_Resize(&raw mut self.object, size) };
        self.py.check(status)?;
        self.memory.start = content(self.object);
        self.memory.size = size.unsigned_abs();
        self.memory.defined = self.memory.defined.min(self.memory.size);
        Ok(())
    }

    /// The object, as long as what was filled.
    pub(crate) fn finish(mut self) -> Result<'py, Owned<'py>> {
        if self.memory.filled < self.memory.size {
            self.resize(self.memory.filled)?;
        }
        let object = std::mem::replace(&mut self.object, std::ptr::null_mut());
        // SAFETY: not null, for a failed resize has returned; the only reference, and ours.
        Ok(unsafe { Owned::assume(object) })
    }
}

impl Drop for UnfinishedBytes<'_> {
    fn drop(&mut self) {
        // SAFETY: null, or the only reference; 'py says that the thread is attached.
        unsafe { ffi::Py_XDECREF(self.object) };
    }
}

impl Memory {
    /// How much is lent at a time: little enough to stay in the cache, where the zeros that go
    /// before the content cost next to nothing.
    const ROOM: usize = 64 * 1024;

    /// The next room to fill; empty when there is none.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let end = self.size.min(self.filled.saturating_add(Self::ROOM));
        // SAFETY: `filled <= defined` and `end <= size`, so all of this lies within the object's
        // content, which is ours alone; every byte has been written before it is lent.
        unsafe {
            if self.defined < end {
                let undefined = self.start.add(self.defined);
                undefined.write_bytes(0, end - self.defined);
                self.defined = end;
            }
            let room = self.start.add(self.filled).as_ptr();
            std::slice::from_raw_parts_mut(room, end - self.filled)
        }
    }

    /// Keeps the first `length` bytes of the room.
    pub(crate) fn keep(&mut self, length: usize) {
        self.filled = self.filled.saturating_add(length).min(self.defined);
    }
}

/// The content of a `bytes`.
fn content(object: *mut ffi::PyObject) -> NonNull<u8> {
    // SAFETY: the object is a `bytes`, whose content lies within it and so is not at null.
    unsafe { NonNull::new_unchecked(ffi::PyBytes_AS_STRING(object).cast_mut().cast()) }
}
