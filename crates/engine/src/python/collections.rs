//! `tuple`, `list` and `dict`.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use super::{Attached, Exception, Object, Owned, Result};

impl<'py> Attached<'py> {
    /// A `tuple`.
    pub(crate) fn tuple(self, items: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
        let length = items.len().cast_signed();
        // SAFETY: the thread is attached; the reference is new or an exception is set.
        let tuple = unsafe { Owned::steal(self, ffi::PyTuple_New(length)) }?;
        for (index, item) in items.iter().enumerate() {
            // SAFETY: the tuple is new, unshared, and has this index; the item's reference is
            // stolen.
            unsafe {
                let item = item.owned().into_ptr();
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index.cast_signed(), item);
            }
        }
        Ok(tuple)
    }

    /// A `tuple` of numbers, as versions are.
    pub(crate) fn numbers(self, numbers: &[u32]) -> Result<'py, Owned<'py>> {
        let numbers = numbers.iter().map(|&number| self.int(number.into()));
        let numbers = numbers.collect::<Result<'py, Vec<_>>>()?;
        self.tuple(&numbers.iter().map(|number| &**number).collect::<Vec<_>>())
    }

    /// A `list`.
    pub(crate) fn list(self, items: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
        let length = items.len().cast_signed();
        // SAFETY: the thread is attached; the reference is new or an exception is set.
        let list = unsafe { Owned::steal(self, ffi::PyList_New(length)) }?;
        for (index, item) in items.iter().enumerate() {
            // SAFETY: the list is new, unshared, and has this index; the item's reference is
            // stolen.
            unsafe {
                let item = item.owned().into_ptr();
                ffi::PyList_SET_ITEM(list.as_ptr(), index.cast_signed(), item);
            }
        }
        Ok(list)
    }

    /// An empty `dict`.
    pub(crate) fn dict(self) -> Result<'py, Owned<'py>> {
        // SAFETY: the thread is attached; the reference is new or an exception is set.
        unsafe { Owned::steal(self, ffi::PyDict_New()) }
    }
}

impl<'py> Object<'py> {
    /// The items of a `tuple`, `None` for other types.
    pub(crate) fn as_tuple(&self) -> Option<&[&Self]> {
        // SAFETY: the object is alive, and a tuple by the check. A tuple that others can see is
        // complete and never changes, so its items are references that live as long as it; and
        // `&Object` is laid out like the pointer it is.
        unsafe {
            if ffi::PyTuple_Check(self.as_ptr()) == 0 {
                return None;
            }
            let tuple: *mut ffi::PyTupleObject = self.as_ptr().cast();
            let items = (&raw const (*tuple).ob_item).cast::<&Self>();
            let length = ffi::PyTuple_GET_SIZE(self.as_ptr()).unsigned_abs();
            Some(std::slice::from_raw_parts(items, length))
        }
    }

    /// The items of a `list` or a `tuple`, `None` for other types. That includes their subtypes,
    /// which may iterate over something else.
    pub(crate) fn exact_items(&self) -> Option<Vec<Owned<'py>>> {
        // SAFETY: the object is alive.
        let (is_list, is_tuple) = unsafe {
            let object = self.as_ptr();
            (
                ffi::PyList_CheckExact(object) != 0,
                ffi::PyTuple_CheckExact(object) != 0,
            )
        };
        if is_list {
            let items = 0..self.list_length();
            return Some(items.map_while(|index| self.list_item(index)).collect());
        }
        let items = self.as_tuple().filter(|_| is_tuple)?;
        Some(items.iter().map(|item| item.owned()).collect())
    }

    /// Whether this is a `list`.
    pub(crate) fn is_list(&self) -> bool {
        // SAFETY: the object is alive.
        unsafe { ffi::PyList_Check(self.as_ptr()) != 0 }
    }

    /// The number of items of a `list`, zero for other types.
    pub(crate) fn list_length(&self) -> usize {
        if !self.is_list() {
            return 0;
        }
        // SAFETY: it is a list. The function, not what the header does itself: another thread may
        // be changing the list.
        unsafe { ffi::PyList_Size(self.as_ptr()).unsigned_abs() }
    }

    /// An item of a `list`; owned, because a list may change at any time.
    pub(crate) fn list_item(&self, index: usize) -> Option<Owned<'py>> {
        if index >= self.list_length() {
            return None;
        }
        // SAFETY: it is a list. The reference is new; or there is no such index any more, as
        // another thread has changed the list since, and an exception is set.
        let item = unsafe {
            let item = ffi::compat::PyList_GetItemRef(self.as_ptr(), index.cast_signed());
            Owned::steal(self.py(), item)
        };
        item.ok()
    }

    /// The items of a `list` at this moment, none for other types.
    pub(crate) fn list_items(&self) -> Vec<Owned<'py>> {
        (0..self.list_length())
            .filter_map(|index| self.list_item(index))
            .collect()
    }

    /// `list.append(item)`.
    pub(crate) fn append(&self, item: &Self) -> Result<'py, ()> {
        // SAFETY: both objects are alive and the thread attached; another type raises.
        let status = unsafe { ffi::PyList_Append(self.as_ptr(), item.as_ptr()) };
        self.py().check(status)
    }

    /// `list[:] = items`
    pub(crate) fn replace_list(&self, items: &Self) -> Result<'py, ()> {
        let end = ffi::PY_SSIZE_T_MAX;
        // SAFETY: both objects are alive and the thread attached; another type raises.
        let status = unsafe { ffi::PyList_SetSlice(self.as_ptr(), 0, end, items.as_ptr()) };
        self.py().check(status)
    }

    /// `dict[key] = value`.
    pub(crate) fn set_item(&self, key: &Self, value: &Self) -> Result<'py, ()> {
        let (key, value) = (key.as_ptr(), value.as_ptr());
        // SAFETY: the objects are alive and the thread attached; another type raises.
        let status = unsafe { ffi::PyDict_SetItem(self.as_ptr(), key, value) };
        self.py().check(status)
    }

    /// `dict[key] = value`, where speed is no concern.
    pub(crate) fn set_item_named(&self, key: &CStr, value: &Self) -> Result<'py, ()> {
        let (key, value) = (key.as_ptr(), value.as_ptr());
        // SAFETY: the objects are alive, the key NUL-terminated, the thread attached; another type
        // raises.
        let status = unsafe { ffi::PyDict_SetItemString(self.as_ptr(), key, value) };
        self.py().check(status)
    }

    /// `dict.get(key)`; owned, because a dict may change at any time.
    pub(crate) fn item(&self, key: &Self) -> Result<'py, Option<Owned<'py>>> {
        let mut value = std::ptr::null_mut();
        // SAFETY: both objects are alive and the thread attached; another type raises. The
        // reference is new, or null where there is none.
        unsafe {
            let (dict, key) = (self.as_ptr(), key.as_ptr());
            let found = ffi::compat::PyDict_GetItemRef(dict, key, &raw mut value);
            self.py().check(found)?;
            Owned::steal_optional(self.py(), value)
        }
    }

    /// `dict.pop(key, None)`.
    pub(crate) fn remove_item(&self, key: &Self) -> Result<'py, ()> {
        if self.item(key)?.is_none() {
            return Ok(());
        }
        // SAFETY: both objects are alive and the thread attached.
        let status = unsafe { ffi::PyDict_DelItem(self.as_ptr(), key.as_ptr()) };
        match self.py().check(status) {
            // Another thread was faster.
            Err(raised) if raised.is(Exception::KeyError) => Ok(()),
            removed => removed,
        }
    }

    /// Whether this is a `dict`.
    pub(crate) fn is_dict(&self) -> bool {
        // SAFETY: the object is alive.
        unsafe { ffi::PyDict_Check(self.as_ptr()) != 0 }
    }

    /// `dict.update(other)`.
    pub(crate) fn update(&self, other: &Self) -> Result<'py, ()> {
        // SAFETY: both objects are alive and the thread attached; other types raise.
        let status = unsafe { ffi::PyDict_Update(self.as_ptr(), other.as_ptr()) };
        self.py().check(status)
    }

    /// `dict.copy()`.
    pub(crate) fn copy_dict(&self) -> Result<'py, Owned<'py>> {
        // SAFETY: the object is alive and the thread attached; another type raises.
        unsafe { Owned::steal(self.py(), ffi::PyDict_Copy(self.as_ptr())) }
    }
}
