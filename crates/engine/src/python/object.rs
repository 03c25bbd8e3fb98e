//! References to Python objects.

use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3_ffi as ffi;

use super::{Attached, Raised, Result};

/// A Python object. `&Object` is a borrowed reference to it.
#[repr(transparent)]
pub(crate) struct Object<'py> {
    // CPython changes objects through our shared references, hence the cell.
    object: std::cell::UnsafeCell<ffi::PyObject>,
    attached: PhantomData<Attached<'py>>,
}

/// An owned reference to an object.
pub(crate) struct Owned<'py> {
    object: NonNull<ffi::PyObject>,
    attached: PhantomData<Attached<'py>>,
}

/// An owned reference that is kept in Rust data, where no attachment spans its life.
///
/// Whoever keeps one makes sure that it is used and dropped only on threads attached to the
/// object's own interpreter. Payloads of objects and the state of an interpreter do so by nature.
/// Dropped on a thread that is not known to be attached, it leaks the object rather than corrupting
/// it.
pub(crate) struct Stored(NonNull<ffi::PyObject>);

// SAFETY: a `Stored` by itself is an address. The object is reachable through `bind`, which needs
// an attached thread, and by dropping, which asks whether the thread is attached.
unsafe impl Send for Stored {}
// SAFETY: as above. What `bind` gives is used on attached threads, several at once where there is
// no GIL: CPython's functions are made for that.
unsafe impl Sync for Stored {}

impl<'py> Object<'py> {
    /// Borrows from a pointer.
    ///
    /// # Safety
    ///
    /// - `object` points to an object that stays alive for `'a`.
    /// - The thread is attached, for `'py`, to the object's interpreter.
    pub(crate) const unsafe fn borrow<'a>(object: *mut ffi::PyObject) -> &'a Self
    where
        'py: 'a,
    {
        // SAFETY: `Object` is transparent over the struct that the pointer points to, and the
        // caller vouches for the lifetime.
        unsafe { &*object.cast_const().cast() }
    }

    /// The pointer that the C API takes; borrowed.
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.object.get()
    }

    /// The attachment under which this object is held.
    pub(crate) const fn py(&self) -> Attached<'py> {
        // SAFETY: an `Object<'py>` only exists while the thread is attached for 'py.
        unsafe { Attached::assume() }
    }

    /// A new owned reference.
    pub(crate) fn owned(&self) -> Owned<'py> {
        // SAFETY: the object is alive and the thread is attached.
        unsafe {
            ffi::Py_INCREF(self.as_ptr());
            Owned::assume(self.as_ptr())
        }
    }

    /// A new owned reference to keep in Rust data.
    pub(crate) fn stored(&self) -> Stored {
        self.owned().into_stored()
    }

    /// Whether this is `None`.
    pub(crate) fn is_none(&self) -> bool {
        // SAFETY: `Py_None` has no precondition once Python runs.
        self.as_ptr() == unsafe { ffi::Py_None() }
    }

    /// Whether the two are the same object.
    pub(crate) fn is(&self, other: &Object<'_>) -> bool {
        self.as_ptr() == other.as_ptr()
    }

    /// Whether the object is true in a condition.
    pub(crate) fn is_true(&self) -> Result<'py, bool> {
        // SAFETY: the object is alive and the thread is attached.
        self.py()
            .truth(unsafe { ffi::PyObject_IsTrue(self.as_ptr()) })
    }

    /// How many references there are.
    pub(crate) fn reference_count(&self) -> isize {
        // SAFETY: the object is alive and the thread is attached.
        unsafe { ffi::Py_REFCNT(self.as_ptr()) }
    }

    /// Whether nobody has given the object attributes of their own or refers to it weakly. False
    /// where CPython does not keep the two in the object itself.
    pub(crate) fn is_untouched(&self) -> bool {
        let is_null_at = |offset: ffi::Py_ssize_t| {
            // SAFETY: where a type names such an offset, its instances have a pointer there.
            offset > 0 && unsafe { *self.as_ptr().byte_offset(offset).cast::<*mut ()>() }.is_null()
        };
        // SAFETY: every object has a type, that lives as long as it.
        let kind = unsafe { &*ffi::Py_TYPE(self.as_ptr()) };
        is_null_at(kind.tp_dictoffset) && is_null_at(kind.tp_weaklistoffset)
    }

    /// The name of the object's type, for messages: `int`.
    pub(crate) fn type_name(&self) -> String {
        // SAFETY: every object has a type, and a type has a NUL-terminated name that lives as
        // long as it.
        let name = unsafe { CStr::from_ptr((*ffi::Py_TYPE(self.as_ptr())).tp_name) };
        let name = name.to_string_lossy();
        name.rsplit('.').next().unwrap_or(&name).to_owned()
    }

    /// The object's type.
    pub(crate) fn type_object(&self) -> &Self {
        // SAFETY: an object keeps its type alive.
        unsafe { Self::borrow(ffi::Py_TYPE(self.as_ptr()).cast()) }
    }

    /// The attribute `name`, where speed is no concern.
    pub(crate) fn attribute_named(&self, name: &CStr) -> Result<'py, Owned<'py>> {
        // SAFETY: the object is alive, the name NUL-terminated, the thread attached.
        unsafe {
            Owned::steal(
                self.py(),
                ffi::PyObject_GetAttrString(self.as_ptr(), name.as_ptr()),
            )
        }
    }

    /// The attribute `name`, or `None` if the object has none of that name. Does not make an
    /// `AttributeError` for it where CPython can do without.
    pub(crate) fn attribute_if_any(&self, name: &Self) -> Result<'py, Option<Owned<'py>>> {
        let mut value = std::ptr::null_mut();
        // SAFETY: both objects are alive and the thread is attached; `value` takes a new reference.
        let found = unsafe { optional_attribute(self.as_ptr(), name.as_ptr(), &raw mut value) };
        self.py().check(found)?;
        // SAFETY: the reference is new or NULL.
        unsafe { Owned::steal_optional(self.py(), value) }
    }

    /// What a module defines under `name`; `None` for other types. Up to 3.11, asking a module for
    /// an attribute it does not have makes an exception, at a quarter of the cost of a request.
    pub(crate) fn module_item(&self, name: &Self) -> Result<'py, Option<Owned<'py>>> {
        // SAFETY: the object is alive, and a module by the check; a module has a dict, which is
        // borrowed, and alive as long as the module.
        unsafe {
            if ffi::PyModule_Check(self.as_ptr()) == 0 {
                return Ok(None);
            }
            Self::borrow(ffi::PyModule_GetDict(self.as_ptr())).item(name)
        }
    }

    /// Sets the attribute `name`.
    pub(crate) fn set_attribute(&self, name: &CStr, value: &Self) -> Result<'py, ()> {
        // SAFETY: both objects are alive, the name is NUL-terminated, the thread attached.
        let status =
            unsafe { ffi::PyObject_SetAttrString(self.as_ptr(), name.as_ptr(), value.as_ptr()) };
        self.py().check(status)
    }

    /// `str(object)`.
    pub(crate) fn str(&self) -> Result<'py, Owned<'py>> {
        // SAFETY: the object is alive and the thread is attached.
        unsafe { Owned::steal(self.py(), ffi::PyObject_Str(self.as_ptr())) }
    }

    /// `repr(object)`.
    pub(crate) fn repr(&self) -> Result<'py, Owned<'py>> {
        // SAFETY: the object is alive and the thread is attached.
        unsafe { Owned::steal(self.py(), ffi::PyObject_Repr(self.as_ptr())) }
    }

    /// `iter(object)`.
    pub(crate) fn iter(&self) -> Result<'py, Owned<'py>> {
        // SAFETY: the object is alive and the thread is attached.
        unsafe { Owned::steal(self.py(), ffi::PyObject_GetIter(self.as_ptr())) }
    }

    /// The next item of an iterator, `None` at its end.
    pub(crate) fn next(&self) -> Result<'py, Option<Owned<'py>>> {
        // SAFETY: the object is alive and the thread is attached; a non-iterator raises.
        unsafe {
            let item = ffi::PyIter_Next(self.as_ptr());
            Owned::steal_optional(self.py(), item)
        }
    }

    /// The value of an `int`.
    pub(crate) fn to_i64(&self) -> Result<'py, i64> {
        // SAFETY: the object is alive and the thread is attached; another type raises.
        let value = unsafe { ffi::PyLong_AsLongLong(self.as_ptr()) };
        match value {
            -1 => Raised::take_if_any(self.py()).map_or(Ok(value), Err),
            _ => Ok(value),
        }
    }

    /// The value of an `int`, or of what stands for one as an index, as a C size.
    pub(crate) fn to_size(&self) -> Result<'py, isize> {
        let overflow = super::Exception::OverflowError.as_ptr();
        // SAFETY: the object is alive and the thread is attached; another type raises.
        let value = unsafe { ffi::PyNumber_AsSsize_t(self.as_ptr(), overflow) };
        match value {
            -1 => Raised::take_if_any(self.py()).map_or(Ok(value), Err),
            _ => Ok(value),
        }
    }

    /// Whether the object is an `int`.
    pub(crate) fn is_int(&self) -> bool {
        // SAFETY: the object is alive.
        unsafe { ffi::PyLong_Check(self.as_ptr()) != 0 }
    }

    /// What `isinstance` answers, which believes the object's `__class__`.
    pub(crate) fn claims_to_be(&self, class: &Object<'_>) -> Result<'py, bool> {
        // SAFETY: both objects are alive and the thread is attached.
        let status = unsafe { ffi::PyObject_IsInstance(self.as_ptr(), class.as_ptr()) };
        self.py().truth(status)
    }

    /// Whether the object is an instance of a type or a subtype of it.
    pub(crate) fn is_instance_of(&self, type_object: &Object<'_>) -> bool {
        // SAFETY: both objects are alive; the callers pass types, which `PyObject_TypeCheck` walks
        // by identity only.
        unsafe { ffi::PyObject_TypeCheck(self.as_ptr(), type_object.as_ptr().cast()) != 0 }
    }
}

impl<'py> Owned<'py> {
    /// Takes over a new reference, or the exception that stands behind a NULL.
    ///
    /// # Safety
    ///
    /// - `object` is a new reference, or NULL with an exception set.
    pub(crate) unsafe fn steal(py: Attached<'py>, object: *mut ffi::PyObject) -> Result<'py, Self> {
        match NonNull::new(object) {
            Some(object) => Ok(Self {
                object,
                attached: PhantomData,
            }),
            None => Err(Raised::take(py)),
        }
    }

    /// Takes over a new reference, if there is one or an exception.
    ///
    /// # Safety
    ///
    /// - `object` is a new reference, or NULL, with an exception set or not.
    pub(crate) unsafe fn steal_optional(
        py: Attached<'py>,
        object: *mut ffi::PyObject,
    ) -> Result<'py, Option<Self>> {
        match NonNull::new(object) {
            Some(object) => Ok(Some(Self {
                object,
                attached: PhantomData,
            })),
            None => Raised::take_if_any(py).map_or(Ok(None), Err),
        }
    }

    /// Takes over a new reference.
    ///
    /// # Safety
    ///
    /// - `object` is a new reference and not NULL.
    /// - The thread is attached for `'py`.
    pub(crate) const unsafe fn assume(object: *mut ffi::PyObject) -> Self {
        Self {
            // SAFETY: not NULL, says the caller.
            object: unsafe { NonNull::new_unchecked(object) },
            attached: PhantomData,
        }
    }

    /// Gives the reference away, to a C function that steals it or returns it.
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        ManuallyDrop::new(self).object.as_ptr()
    }

    /// The same reference, to keep in Rust data.
    pub(crate) fn into_stored(self) -> Stored {
        Stored(ManuallyDrop::new(self).object)
    }
}

impl<'py> Deref for Owned<'py> {
    type Target = Object<'py>;

    fn deref(&self) -> &Object<'py> {
        // SAFETY: the reference keeps the object alive, 'py the attachment.
        unsafe { Object::borrow(self.object.as_ptr()) }
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and 'py says that the thread is attached.
        unsafe { ffi::Py_DECREF(self.object.as_ptr()) };
    }
}

impl Stored {
    /// The object, on a thread that is attached to the object's interpreter.
    pub(crate) const fn bind<'a, 'py: 'a>(&'a self, _: Attached<'py>) -> &'a Object<'py> {
        // SAFETY: the reference keeps the object alive; the interpreter is the right one by the
        // contract of the type.
        unsafe { Object::borrow(self.0.as_ptr()) }
    }

    /// The pointer that the C API takes; borrowed.
    pub(crate) const fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if is_attached() {
            // SAFETY: the reference is ours and the thread is attached, to the object's
            // interpreter by the contract of the type.
            unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
        }
    }
}

/// Whether the calling thread is attached to an interpreter.
#[cfg(Py_3_12)]
fn is_attached() -> bool {
    // SAFETY: may be asked on any thread at any time.
    unsafe { !ffi::compat::PyThreadState_GetUnchecked().is_null() }
}

/// The same up to 3.11, where CPython only knows which thread state is attached in the process:
/// that must be one of this thread's. The simplified GIL API knows one of these, the engine all
/// that it made.
#[cfg(not(Py_3_12))]
fn is_attached() -> bool {
    // SAFETY: both may be asked on any thread at any time, and neither pointer is looked behind.
    let (attached, bound) = unsafe {
        let attached = ffi::compat::PyThreadState_GetUnchecked();
        (attached, ffi::PyGILState_GetThisThreadState())
    };
    !attached.is_null() && (attached == bound || crate::interpreter::is_own_state(attached))
}

#[cfg(Py_3_13)]
use ffi::PyObject_GetOptionalAttr as optional_attribute;

#[cfg(not(Py_3_13))]
unsafe extern "C" {
    /// `PyObject_GetOptionalAttr` by its name before 3.13: the same function, exported by every
    /// CPython since 3.7.
    #[link_name = "_PyObject_LookupAttr"]
    fn optional_attribute(
        object: *mut ffi::PyObject,
        name: *mut ffi::PyObject,
        value: *mut *mut ffi::PyObject,
    ) -> c_int;
}

impl<'py> Attached<'py> {
    /// `None`.
    pub(crate) fn none(self) -> &'py Object<'py> {
        // SAFETY: `None` lives as long as the process.
        unsafe { Object::borrow(ffi::Py_None()) }
    }

    /// `True` or `False`.
    pub(crate) fn bool(self, value: bool) -> &'py Object<'py> {
        // SAFETY: both live as long as the process.
        unsafe {
            Object::borrow(if value {
                ffi::Py_True()
            } else {
                ffi::Py_False()
            })
        }
    }

    /// An `int`.
    pub(crate) fn int(self, value: i64) -> Result<'py, Owned<'py>> {
        // SAFETY: the thread is attached.
        unsafe { Owned::steal(self, ffi::PyLong_FromLongLong(value)) }
    }

    /// A `float`.
    pub(crate) fn float(self, value: f64) -> Result<'py, Owned<'py>> {
        // SAFETY: the thread is attached.
        unsafe { Owned::steal(self, ffi::PyFloat_FromDouble(value)) }
    }

    /// Imports a module; for `a.b`, gives `a.b`.
    pub(crate) fn import(self, name: &CStr) -> Result<'py, Owned<'py>> {
        // SAFETY: the name is NUL-terminated and the thread is attached.
        unsafe { Owned::steal(self, ffi::PyImport_ImportModule(name.as_ptr())) }
    }

    /// Turns the -1 of a C function into the exception it stands for.
    pub(crate) fn check(self, status: c_int) -> Result<'py, ()> {
        if status < 0 {
            return Err(Raised::take(self));
        }
        Ok(())
    }

    /// Turns the 1, 0 or -1 of a C function that asks a question into its answer.
    pub(crate) fn truth(self, status: c_int) -> Result<'py, bool> {
        self.check(status)?;
        Ok(status != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn what_a_detached_thread_drops_is_leaked_and_not_corrupted() {
        // SAFETY: no other test of this process starts Python. This thread is attached by that.
        let py = unsafe {
            ffi::Py_InitializeEx(0);
            Attached::assume()
        };
        let Ok(object) = py.list(&[]) else {
            panic!("there is memory for a list");
        };
        let (dropped_detached, dropped_attached) = (object.stored(), object.stored());
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        py.detach(|_| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // SAFETY: Python runs.
                    let state = unsafe { ffi::PyGILState_Ensure() };
                    begin.wait();
                    end.wait();
                    // SAFETY: as it was ensured.
                    unsafe { ffi::PyGILState_Release(state) };
                });
                begin.wait();
                drop(dropped_detached);
                end.wait();
            });
        });
        assert_eq!(object.reference_count(), 3);
        drop(dropped_attached);
        assert_eq!(object.reference_count(), 2);
    }
}
