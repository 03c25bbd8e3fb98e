//! Calling objects, without building a tuple of the arguments.

use std::ptr::null_mut;

use pyo3_ffi as ffi;

use super::{Object, Owned, Result};

/// The most arguments of a method that the engine calls, `self` included.
const MOST_ARGUMENTS: usize = 6;

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

    /// `object.name(*arguments)`.
    pub(crate) fn call_method<const N: usize>(
        &self,
        name: &Self,
        arguments: [&Self; N],
    ) -> Result<'py, Owned<'py>> {
        const { assert!(N < MOST_ARGUMENTS) };
        let mut all = [self; MOST_ARGUMENTS];
        for (place, argument) in all.iter_mut().skip(1).zip(arguments) {
            *place = argument;
        }
        // SAFETY: as in `call`; the first of the N + 1 arguments is the object itself.
        let result = unsafe {
            ffi::PyObject_VectorcallMethod(name.as_ptr(), all.as_ptr().cast(), N + 1, null_mut())
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
