//! Built-in functions, and classes that are made as Python code would make them.
//!
//! What CPython keeps of a definition is never freed: one is made for each interpreter, not for
//! each request.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use super::slots::{self, Function, ObjectMethod};
use super::{Attached, Object, Owned, Raised, Result};

impl<'py> Object<'py> {
    /// Adds a method to a class; other objects raise. The definition of the method is never freed.
    pub(crate) fn add_method<F: ObjectMethod>(
        &self,
        name: &'static CStr,
        doc: &'static CStr,
        _: F,
    ) -> Result<'py, ()> {
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunctionFast: slots::object_method::<F>,
            },
            ml_flags: ffi::METH_FASTCALL,
            ml_doc: doc.as_ptr(),
        }));
        // SAFETY: the object is alive.
        if unsafe { ffi::PyType_Check(self.as_ptr()) } == 0 {
            return Err(Raised::type_error(self.py(), "only a class has methods"));
        }
        // SAFETY: the object is a type; the definition lives for ever and matches its flags; the
        // thread is attached. The reference is new or an exception is set.
        let method = unsafe {
            let method = ffi::PyDescr_NewMethod(self.as_ptr().cast(), definition);
            Owned::steal(self.py(), method)
        }?;
        self.set_attribute(name, &method)
    }
}

impl<'py> Attached<'py> {
    /// A class that is derived from another in the way of Python code: `class name(base)`.
    pub(crate) fn subclass(
        self,
        name: &str,
        module: &str,
        base: &Object<'py>,
        doc: &str,
    ) -> Result<'py, Owned<'py>> {
        let namespace = self.dict()?;
        namespace.set_item_named(c"__module__", &*self.text(module)?)?;
        namespace.set_item_named(c"__doc__", &*self.text(doc)?)?;
        let (name, bases) = (self.text(name)?, self.tuple(&[base])?);
        base.type_object().call(&[&name, &bases, &namespace])
    }

    /// A built-in function with positional arguments. Its definition is never freed, so make one
    /// per interpreter, not one per request.
    pub(crate) fn function<F: Function>(
        self,
        name: &'static CStr,
        doc: &'static CStr,
        _: F,
    ) -> Result<'py, Owned<'py>> {
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunctionFast: slots::function::<F>,
            },
            ml_flags: ffi::METH_FASTCALL,
            ml_doc: doc.as_ptr(),
        }));
        let nothing = std::ptr::null_mut();
        // SAFETY: the definition lives for ever and matches its flags; the thread is attached.
        unsafe { Owned::steal(self, ffi::PyCFunction_NewEx(definition, nothing, nothing)) }
    }
}
