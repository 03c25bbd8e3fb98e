//! Calling objects, without building a tuple of the arguments.

use std::ptr::null_mut;

use pyo3_ffi as ffi;

use super::{Object, Owned, Result};

impl<'py> Object<'py> {
    /// `object(*arguments)`.
    pub(crate) fn call(&self, arguments: &[&Self]) -> Result<'py, Owned<'py>> {
        let count = arguments.len();
        // SAFETY: the objects are alive and the thread attached. `&Object` is laid out like the
        // pointer it is, so the slice is an array of `count` pointers.
        let result = unsafe {
            ffi::PyObject_Vectorcall(self.as_ptr(), arguments.as_ptr().cast(), count, null_mut())
        };
        // SAFETY: the reference is new or an exception is set.
        unsafe { Owned::steal(self.py(), result) }
    }

    /// `object.name(*arguments)`, where speed is no concern.
    pub(crate) fn call_method_named<const N: usize>(
        &self,
        name: &std::ffi::CStr,
        arguments: [&Self; N],
    ) -> Result<'py, Owned<'py>> {
        self.attribute_named(name)?.call(&arguments)
    }

    /// `object(*arguments, **keywords)`: a tuple and perhaps a dict.
    pub(crate) fn call_with_keywords(
        &self,
        arguments: &Self,
        keywords: Option<&Self>,
    ) -> Result<'py, Owned<'py>> {
        let keywords = keywords.map_or(null_mut(), Self::as_ptr);
        // SAFETY: the objects are alive and the thread attached; other types raise.
        let result = unsafe { ffi::PyObject_Call(self.as_ptr(), arguments.as_ptr(), keywords) };
        // SAFETY: the reference is new or an exception is set.
        unsafe { Owned::steal(self.py(), result) }
    }
}
