//! The C functions behind a [`Class`]: what CPython calls, and what calls the Rust function.
//!
//! Each is generic over the Rust function it calls, which it knows by type alone: a function item
//! has no size, so its type says all. Each catches panics and turns results into what C expects.
//!
//! CPython's promises, on which the `SAFETY` comments here lean: a slot or method is called on an
//! attached thread; its arguments are alive until it returns; `self` is an instance of the type
//! that the slot or method belongs to, or of a subtype.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use pyo3_ffi as ffi;

use super::catch;
use super::class::Layout;
use super::{Attached, Class, Exception, Instance, Object, Owned, Panicked, Raised, Result, Visit};

/// Names a shape of Rust functions that can stand behind a C function.
macro_rules! shape {
    ($(#[$doc:meta])* $name:ident<$($class:ident)?>: $($function:tt)+) => {
        $(#[$doc])*
        pub(crate) trait $name<$($class: Class)?>:
            $($function)+ + Copy + 'static
        {
        }

        impl<$($class: Class,)? F> $name<$($class)?> for F where
            F: $($function)+ + Copy + 'static
        {
        }
    };
}

shape! {
    /// A method: the instance and the positional arguments.
    Method<T>: for<'py> Fn(&Instance<'py, T>, &[&Object<'py>]) -> Result<'py, Owned<'py>>
}
shape! {
    /// A method whose arguments may be named: the instance, the tuple of positional ones, the dict
    /// of the others, if any.
    KeywordMethod<T>: for<'py> Fn(
        &Instance<'py, T>,
        &Object<'py>,
        Option<&Object<'py>>,
    ) -> Result<'py, Owned<'py>>
}
shape! {
    /// What is computed from the instance alone: an attribute, or a method without arguments.
    Getter<T>: for<'py> Fn(&Instance<'py, T>) -> Result<'py, Owned<'py>>
}
shape! {
    /// The next item of an instance, if there is one.
    Next<T>: for<'py> Fn(&Instance<'py, T>) -> Result<'py, Option<Owned<'py>>>
}
shape! {
    /// The attribute of an instance, by name.
    Lookup<T>: for<'py> Fn(&Instance<'py, T>, &Object<'py>) -> Result<'py, Owned<'py>>
}
shape! {
    /// A constructor: the tuple of positional arguments, and the dict of the others, if any.
    New<T>: for<'py> Fn(&Object<'py>, Option<&Object<'py>>) -> Result<'py, T>
}
shape! {
    /// `__init__`: the instance, the tuple of positional arguments, the dict of the others, if any.
    Init<T>: for<'py> Fn(
        &Instance<'py, T>,
        &Object<'py>,
        Option<&Object<'py>>,
    ) -> Result<'py, ()>
}
shape! {
    /// A plain function: the positional arguments.
    Function<>: for<'py> Fn(Attached<'py>, &[&Object<'py>]) -> Result<'py, Owned<'py>>
}

shape! {
    /// A method of a class that is not a [`Class`]: the object and the positional arguments.
    ObjectMethod<>: for<'py> Fn(&Object<'py>, &[&Object<'py>]) -> Result<'py, Owned<'py>>
}

pub(super) unsafe extern "C" fn method<T: Class, F: Method<T>>(
    this: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: `this` and the `count` arguments are what CPython promises.
    let (this, arguments) = unsafe {
        (
            Instance::<T>::borrow(this),
            borrow_array(arguments, count.unsigned_abs()),
        )
    };
    answer(this.py(), || summon::<F>()(this, arguments))
}

pub(super) unsafe extern "C" fn keyword_method<T: Class, F: KeywordMethod<T>>(
    this: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `this` is what CPython promises, which passes a tuple, and a dict or NULL.
    let (this, arguments, keywords) = unsafe {
        let keywords = (!keywords.is_null()).then(|| Object::borrow(keywords));
        (
            Instance::<T>::borrow(this),
            Object::borrow(arguments),
            keywords,
        )
    };
    answer(this.py(), || summon::<F>()(this, arguments, keywords))
}

pub(super) unsafe extern "C" fn plain_method<T: Class, F: Getter<T>>(
    this: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `this` is what CPython promises.
    let this = unsafe { Instance::<T>::borrow(this) };
    answer(this.py(), || summon::<F>()(this))
}

pub(super) unsafe extern "C" fn call<T: Class, F: Method<T>>(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `this` and the arguments are what CPython promises; the flag is masked out.
    let (this, arguments) = unsafe {
        let count = ffi::PyVectorcall_NARGS(count).unsigned_abs();
        (Instance::<T>::borrow(this), borrow_array(arguments, count))
    };
    answer(this.py(), || {
        if !keywords.is_null() {
            let message = "only positional arguments are accepted";
            return Err(Raised::type_error(this.py(), message));
        }
        summon::<F>()(this, arguments)
    })
}

pub(super) unsafe extern "C" fn function<F: Function>(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls on an attached thread, with `count` arguments.
    let (py, arguments) = unsafe {
        (
            Attached::assume(),
            borrow_array(arguments, count.unsigned_abs()),
        )
    };
    answer(py, || summon::<F>()(py, arguments))
}

pub(super) unsafe extern "C" fn object_method<F: ObjectMethod>(
    this: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: `this` and the `count` arguments are what CPython promises.
    let (this, arguments) = unsafe {
        (
            Object::borrow(this),
            borrow_array(arguments, count.unsigned_abs()),
        )
    };
    answer(this.py(), || summon::<F>()(this, arguments))
}

pub(super) unsafe extern "C" fn getter<T: Class, F: Getter<T>>(
    this: *mut ffi::PyObject,
    _: *mut c_void,
) -> *mut ffi::PyObject {
    // SAFETY: `this` is what CPython promises.
    let this = unsafe { Instance::<T>::borrow(this) };
    answer(this.py(), || summon::<F>()(this))
}

pub(super) unsafe extern "C" fn iter<T: Class, F: Getter<T>>(
    this: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `this` is what CPython promises.
    let this = unsafe { Instance::<T>::borrow(this) };
    answer(this.py(), || summon::<F>()(this))
}

pub(super) unsafe extern "C" fn next<T: Class, F: Next<T>>(
    this: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `this` is what CPython promises.
    let this = unsafe { Instance::<T>::borrow(this) };
    // For `tp_iternext`, NULL without an exception is the end.
    match settle(this.py(), catch(|| summon::<F>()(this))) {
        Some(Some(item)) => item.into_ptr(),
        Some(None) | None => null_mut(),
    }
}

pub(super) unsafe extern "C" fn lookup<T: Class, F: Lookup<T>>(
    this: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `this` and the name are what CPython promises.
    let (this, name) = unsafe { (Instance::<T>::borrow(this), Object::borrow(name)) };
    answer(this.py(), || summon::<F>()(this, name))
}

pub(super) unsafe extern "C" fn new<T: Class, F: New<T>>(
    subtype: *mut ffi::PyTypeObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes a tuple, and a dict or NULL.
    let (arguments, keywords) = unsafe {
        let keywords = (!keywords.is_null()).then(|| Object::borrow(keywords));
        (Object::borrow(arguments), keywords)
    };
    answer(arguments.py(), || {
        let payload = summon::<F>()(arguments, keywords)?;
        // SAFETY: `tp_new` is called with the type itself or a subtype.
        unsafe { allocate(arguments.py(), subtype, payload, None) }
    })
}

pub(super) unsafe extern "C" fn init<T: Class, F: Init<T>>(
    this: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> c_int {
    // SAFETY: CPython passes an instance, a tuple, and a dict or NULL.
    let (this, arguments, keywords) = unsafe {
        let keywords = (!keywords.is_null()).then(|| Object::borrow(keywords));
        (Instance::borrow(this), Object::borrow(arguments), keywords)
    };
    let result = catch(|| summon::<F>()(this, arguments, keywords));
    settle(this.py(), result).map_or(-1, |()| 0)
}

pub(super) unsafe extern "C" fn dealloc<T: Class>(this: *mut ffi::PyObject) {
    // SAFETY: nobody else refers to the object any more, but weakly; who does is told first. It is
    // taken from the garbage collector before it falls apart; its payload was written when it was
    // made and is dropped once; the type, of which each instance holds a reference, goes last.
    unsafe {
        let kind = ffi::Py_TYPE(this);
        if T::COLLECTED {
            ffi::PyObject_GC_UnTrack(this.cast());
        }
        let layout: *mut Layout<T> = this.cast();
        // Without a GIL others may write there meanwhile, so it is left to CPython to look.
        if T::WEAKLY_REFERRED && (cfg!(Py_GIL_DISABLED) || !(*layout).weak_references.is_null()) {
            ffi::PyObject_ClearWeakRefs(this);
        }
        // A panic here has nobody to be told to; the payload counts as dropped.
        let _ = catch(|| (&raw mut (*layout).payload).drop_in_place());
        if let Some(free) = (*kind).tp_free {
            free(this.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

pub(super) unsafe extern "C" fn traverse<T: Class>(
    this: *mut ffi::PyObject,
    function: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    let mut visit = Visit {
        function,
        argument,
        result: 0,
    };
    // SAFETY: `this` is what CPython promises; an instance of a heap type refers to its type.
    let this = unsafe { Instance::<T>::borrow(this) };
    // SAFETY: as above.
    visit.pointer(unsafe { ffi::Py_TYPE(this.as_object().as_ptr()).cast() });
    // After a panic the object counts as referring to less: it lives longer, at worst for ever.
    let _ = catch(|| T::traverse(this, &mut visit));
    visit.result
}

pub(super) unsafe extern "C" fn clear<T: Class>(this: *mut ffi::PyObject) -> c_int {
    // SAFETY: `this` is what CPython promises.
    let this = unsafe { Instance::<T>::borrow(this) };
    let _ = catch(|| T::clear(this));
    0
}

/// Makes an instance of `kind`.
///
/// # Safety
///
/// - `kind` is the type of the class `T`, or a subtype of it.
pub(super) unsafe fn allocate<'py, T: Class>(
    py: Attached<'py>,
    kind: *mut ffi::PyTypeObject,
    payload: T,
    call: Option<ffi::vectorcallfunc>,
) -> Result<'py, Owned<'py>> {
    // SAFETY: the type is complete, the thread attached; the reference is new or an exception set.
    // `tp_alloc` gives memory that is zeroed, except for the object's head: there are no weak
    // references. The garbage collector, of whichever thread, comes only where this one lets it:
    // not before the payload is there.
    unsafe {
        let allocate = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
        let object = Owned::steal(py, allocate(kind, 0))?;
        let layout: *mut Layout<T> = object.as_ptr().cast();
        (&raw mut (*layout).payload).write(payload);
        (&raw mut (*layout).call).write(call);
        Ok(object)
    }
}

/// The function of type `F`, of which the type is all there is.
fn summon<F: Copy + 'static>() -> &'static F {
    const {
        assert!(
            size_of::<F>() == 0,
            "only functions and closures without captures"
        )
    };
    // SAFETY: a value without size is read from any aligned pointer. One exists: it was passed to
    // the `Definition` that named the type `F`, and `F` is `Copy` and `'static`.
    unsafe { NonNull::dangling().as_ref() }
}

/// An array of references as a slice of borrowed objects.
///
/// # Safety
///
/// - `objects` points to `count` references to objects that stay alive for `'a`.
/// - The thread is attached for `'py`.
unsafe fn borrow_array<'a, 'py: 'a>(
    objects: *const *mut ffi::PyObject,
    count: usize,
) -> &'a [&'a Object<'py>] {
    if count == 0 {
        return &[];
    }
    // SAFETY: `&Object` is laid out like the pointer it is; the rest is the caller's promise.
    unsafe { std::slice::from_raw_parts(objects.cast(), count) }
}

/// Runs `f` and makes a C function's answer of its result: a new reference, or NULL and an
/// exception.
fn answer<'py>(
    py: Attached<'py>,
    f: impl FnOnce() -> Result<'py, Owned<'py>>,
) -> *mut ffi::PyObject {
    settle(py, catch(f)).map_or(null_mut(), Owned::into_ptr)
}

/// The value, or `None` with the exception set.
fn settle<'py, R>(
    py: Attached<'py>,
    result: std::result::Result<Result<'py, R>, Panicked>,
) -> Option<R> {
    match result {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(raised)) => raised.restore(),
        Err(panicked) => {
            Raised::new(py, Exception::SystemError, &panicked.to_string()).restore();
        }
    }
    None
}
