//! Heap types whose instances carry a Rust value.
//!
//! A [`Class`] is made into a type once in every interpreter: static types, and one type shared by
//! several interpreters, leak state between them. Its methods are ordinary Rust functions; the C
//! functions that CPython calls are in [`super::slots`].

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Deref;

use pyo3_ffi as ffi;

use super::slots::{self, Getter, Init, KeywordMethod, Lookup, Method, New, Next};
use super::{Attached, Object, Owned, Result, Stored};

/// A Rust type whose values are Python objects.
///
/// Methods get the value as a shared reference, since Python shares objects freely, and where there
/// is no GIL they run on several threads at once. What changes is behind locks or atomic. Do not
/// keep a lock while Python code runs or the thread is detached.
pub(crate) trait Class: Send + Sync + Sized + 'static {
    /// The full name: `mod_wsgi.Input`.
    const NAME: &'static CStr;
    /// `__doc__`.
    const DOC: &'static CStr;
    /// Whether Python code may derive from the type.
    const SUBCLASSABLE: bool = false;
    /// Whether there can be weak references to instances.
    const WEAKLY_REFERRED: bool = false;
    /// Whether instances can be part of a reference cycle. Then `traverse` and `clear` know all
    /// the objects that an instance holds.
    const COLLECTED: bool = false;

    /// Names the methods and the like.
    fn define(definition: Definition<Self>) -> Definition<Self>;

    /// Shows every object held to the garbage collector, without touching them.
    fn traverse(&self, _visit: &mut Visit) {}

    /// Lets go of every object held.
    fn clear(&self) {}
}

/// An object that is an instance of the class `T`.
#[repr(transparent)]
pub(crate) struct Instance<'py, T> {
    object: Object<'py>,
    payload: PhantomData<T>,
}

/// The type of a class in one interpreter.
pub(crate) struct Type<T> {
    object: Stored,
    call: Option<ffi::vectorcallfunc>,
    class: PhantomData<fn() -> T>,
}

/// What a class consists of; see [`Class::define`].
pub(crate) struct Definition<T> {
    methods: Vec<ffi::PyMethodDef>,
    getters: Vec<ffi::PyGetSetDef>,
    slots: Vec<ffi::PyType_Slot>,
    call: Option<ffi::vectorcallfunc>,
    flags: std::ffi::c_ulong,
    class: PhantomData<T>,
}

/// The garbage collector, visiting an instance.
pub(crate) struct Visit {
    pub(super) function: ffi::visitproc,
    pub(super) argument: *mut c_void,
    pub(super) result: c_int,
}

/// How an instance lies in memory.
#[repr(C)]
pub(super) struct Layout<T> {
    object: ffi::PyObject,
    /// Where CPython looks for the function that a call of the instance calls.
    pub(super) call: Option<ffi::vectorcallfunc>,
    /// Where CPython keeps the weak references to the instance; null while there are none.
    pub(super) weak_references: *mut ffi::PyObject,
    pub(super) payload: T,
}

impl<'py, T: Class> Instance<'py, T> {
    /// Borrows from a pointer.
    ///
    /// # Safety
    ///
    /// - As for [`Object::borrow`], and the object is an instance of `T`'s type or a subtype.
    pub(super) unsafe fn borrow<'a>(object: *mut ffi::PyObject) -> &'a Self
    where
        'py: 'a,
    {
        // SAFETY: `Instance` is transparent over `Object`; the rest is the caller's promise.
        unsafe { &*object.cast_const().cast() }
    }

    /// The instance as an object.
    pub(crate) const fn as_object(&self) -> &Object<'py> {
        &self.object
    }

    /// The attachment under which the instance is held.
    pub(crate) const fn py(&self) -> Attached<'py> {
        self.object.py()
    }
}

impl<T: Class> Deref for Instance<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        let layout: *mut Layout<T> = self.object.as_ptr().cast();
        // SAFETY: an instance is laid out so, and its payload lives until it is deallocated.
        unsafe { &(*layout).payload }
    }
}

impl<T: Class> Type<T> {
    /// Makes the type, as part of `module`.
    pub(crate) fn create<'py>(module: &Object<'py>) -> Result<'py, Self> {
        let py = module.py();
        let definition = T::define(Definition::new());
        let call = definition.call;
        let mut spec = definition.into_spec();
        // SAFETY: the spec is complete, its arrays end with a zeroed item, and what the type keeps
        // of them (methods, getters) lives for ever. CPython copies the slots.
        let object = unsafe {
            ffi::PyType_FromModuleAndSpec(module.as_ptr(), &raw mut spec.spec, std::ptr::null_mut())
        };
        // SAFETY: the reference is new or an exception is set.
        let object = unsafe { Owned::steal(py, object) }?.into_stored();
        Ok(Self {
            object,
            call,
            class: PhantomData,
        })
    }

    /// The type as an object.
    pub(crate) const fn as_object<'a, 'py: 'a>(&'a self, py: Attached<'py>) -> &'a Object<'py> {
        self.object.bind(py)
    }

    /// A new instance with this value.
    pub(crate) fn instantiate<'py>(
        &self,
        py: Attached<'py>,
        payload: T,
    ) -> Result<'py, Owned<'py>> {
        // SAFETY: the type is one that `create` has made, and no subtype.
        unsafe { slots::allocate(py, self.object.as_ptr().cast(), payload, self.call) }
    }

    /// The object as an instance of the class, if it is one.
    pub(crate) fn downcast<'a, 'py>(
        &self,
        object: &'a Object<'py>,
    ) -> Option<&'a Instance<'py, T>> {
        let is_instance = object.is_instance_of(self.as_object(object.py()));
        // SAFETY: it is an instance, by the check.
        is_instance.then(|| unsafe { Instance::borrow(object.as_ptr()) })
    }
}

impl<T: Class> Definition<T> {
    const fn new() -> Self {
        Self {
            methods: Vec::new(),
            getters: Vec::new(),
            slots: Vec::new(),
            call: None,
            flags: ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_IMMUTABLETYPE,
            class: PhantomData,
        }
    }

    /// A method with positional arguments.
    pub(crate) fn method<F: Method<T>>(
        self,
        name: &'static CStr,
        doc: &'static CStr,
        _: F,
    ) -> Self {
        let call = ffi::PyMethodDefPointer {
            PyCFunctionFast: slots::method::<T, F>,
        };
        self.with_method(name, doc, call, ffi::METH_FASTCALL)
    }

    /// A method whose arguments may be named.
    pub(crate) fn keyword_method<F: KeywordMethod<T>>(
        self,
        name: &'static CStr,
        doc: &'static CStr,
        _: F,
    ) -> Self {
        let call = ffi::PyMethodDefPointer {
            PyCFunctionWithKeywords: slots::keyword_method::<T, F>,
        };
        self.with_method(name, doc, call, ffi::METH_VARARGS | ffi::METH_KEYWORDS)
    }

    /// A method without arguments.
    pub(crate) fn plain_method<F: Getter<T>>(
        self,
        name: &'static CStr,
        doc: &'static CStr,
        _: F,
    ) -> Self {
        let call = ffi::PyMethodDefPointer {
            PyCFunction: slots::plain_method::<T, F>,
        };
        self.with_method(name, doc, call, ffi::METH_NOARGS)
    }

    fn with_method(
        mut self,
        name: &'static CStr,
        doc: &'static CStr,
        call: ffi::PyMethodDefPointer,
        flags: c_int,
    ) -> Self {
        self.methods.push(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: call,
            ml_flags: flags,
            ml_doc: doc.as_ptr(),
        });
        self
    }

    /// A read-only attribute.
    pub(crate) fn getter<F: Getter<T>>(
        mut self,
        name: &'static CStr,
        doc: &'static CStr,
        _: F,
    ) -> Self {
        self.getters.push(ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(slots::getter::<T, F>),
            set: None,
            doc: doc.as_ptr(),
            closure: std::ptr::null_mut(),
        });
        self
    }

    /// What a call of an instance does; positional arguments only.
    pub(crate) fn call<F: Method<T>>(mut self, _: F) -> Self {
        self.call = Some(slots::call::<T, F>);
        self.slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void)
    }

    /// What a call of the type does. Without it, Python code cannot make instances.
    pub(crate) fn constructor<F: New<T>>(self, _: F) -> Self {
        self.slot(ffi::Py_tp_new, slots::new::<T, F> as *mut c_void)
    }

    /// `__init__`. Python code may call it again, and subtypes may have their own, so it is the
    /// place to look at arguments, while the constructor makes an instance from any.
    pub(crate) fn initializer<F: Init<T>>(self, _: F) -> Self {
        self.slot(ffi::Py_tp_init, slots::init::<T, F> as *mut c_void)
    }

    /// `__iter__`, giving the instance itself.
    pub(crate) fn iter_self(self) -> Self {
        self.slot(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void)
    }

    /// `__iter__`.
    pub(crate) fn iter<F: Getter<T>>(self, _: F) -> Self {
        self.slot(ffi::Py_tp_iter, slots::iter::<T, F> as *mut c_void)
    }

    /// `__next__`; `None` ends the iteration.
    pub(crate) fn next<F: Next<T>>(self, _: F) -> Self {
        self.slot(ffi::Py_tp_iternext, slots::next::<T, F> as *mut c_void)
    }

    /// `__getattribute__`, in place of every other attribute.
    pub(crate) fn lookup<F: Lookup<T>>(self, _: F) -> Self {
        self.slot(ffi::Py_tp_getattro, slots::lookup::<T, F> as *mut c_void)
    }

    fn slot(mut self, slot: c_int, pfunc: *mut c_void) -> Self {
        self.slots.push(ffi::PyType_Slot { slot, pfunc });
        self
    }

    fn has_slot(&self, slot: c_int) -> bool {
        self.slots.iter().any(|defined| defined.slot == slot)
    }

    fn into_spec(mut self) -> Spec {
        self = self.slot(ffi::Py_tp_dealloc, slots::dealloc::<T> as *mut c_void);
        self = self.slot(ffi::Py_tp_doc, T::DOC.as_ptr() as *mut c_void);
        self.add_flags();
        if T::COLLECTED {
            self = self.slot(ffi::Py_tp_traverse, slots::traverse::<T> as *mut c_void);
            self = self.slot(ffi::Py_tp_clear, slots::clear::<T> as *mut c_void);
        }
        self.add_tables();
        self.slots.push(ffi::PyType_Slot::default());
        Spec::new::<T>(self.flags, self.slots)
    }

    fn add_flags(&mut self) {
        if T::SUBCLASSABLE {
            self.flags |= ffi::Py_TPFLAGS_BASETYPE;
        }
        if T::COLLECTED {
            self.flags |= ffi::Py_TPFLAGS_HAVE_GC;
        }
        if self.call.is_some() {
            self.flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
        }
        if !self.has_slot(ffi::Py_tp_new) {
            self.flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        }
    }

    /// Adds the methods, the getters and the places of what CPython looks for in an instance. A
    /// type refers to these tables for as long as it lives, which is as long as its interpreter:
    /// they are never freed.
    fn add_tables(&mut self) {
        let mut methods = std::mem::take(&mut self.methods);
        methods.push(ffi::PyMethodDef::default());
        let mut getters = std::mem::take(&mut self.getters);
        getters.push(ffi::PyGetSetDef::default());
        let mut members = Vec::new();
        members.extend(self.call.map(|_| call_offset::<T>()));
        members.extend(T::WEAKLY_REFERRED.then(weak_references_offset::<T>));
        members.push(no_member());
        for (slot, pfunc) in [
            (ffi::Py_tp_methods, leak(methods)),
            (ffi::Py_tp_getset, leak(getters)),
            (ffi::Py_tp_members, leak(members)),
        ] {
            self.slots.push(ffi::PyType_Slot { slot, pfunc });
        }
    }
}

impl Visit {
    /// Shows an object.
    pub(crate) fn object(&mut self, object: &Stored) {
        self.pointer(object.as_ptr());
    }

    pub(super) fn pointer(&mut self, object: *mut ffi::PyObject) {
        if self.result == 0 {
            // SAFETY: the function and the argument came together from the garbage collector, and
            // the object is one that the visited instance refers to.
            self.result = unsafe { (self.function)(object, self.argument) };
        }
    }
}

/// A type's specification together with the slots it points to.
struct Spec {
    spec: ffi::PyType_Spec,
    _slots: Vec<ffi::PyType_Slot>,
}

impl Spec {
    fn new<T: Class>(flags: std::ffi::c_ulong, mut slots: Vec<ffi::PyType_Slot>) -> Self {
        let spec = ffi::PyType_Spec {
            name: T::NAME.as_ptr(),
            basicsize: const { size_of::<Layout<T>>() as c_int },
            itemsize: 0,
            flags: flags as c_uint,
            slots: slots.as_mut_ptr(),
        };
        Self {
            spec,
            _slots: slots,
        }
    }
}

fn leak<E>(table: Vec<E>) -> *mut c_void {
    Box::leak(table.into_boxed_slice()).as_mut_ptr().cast()
}

fn call_offset<T>() -> ffi::PyMemberDef {
    let offset = const { offset_of!(Layout<T>, call).cast_signed() };
    offset_member(c"__vectorcalloffset__", offset)
}

fn weak_references_offset<T>() -> ffi::PyMemberDef {
    let offset = const { offset_of!(Layout<T>, weak_references).cast_signed() };
    offset_member(c"__weaklistoffset__", offset)
}

const fn offset_member(name: &'static CStr, offset: isize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset,
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    }
}

fn no_member() -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: std::ptr::null(),
        type_code: 0,
        offset: 0,
        flags: 0,
        doc: std::ptr::null(),
    }
}
