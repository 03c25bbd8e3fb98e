//! Tables: lists of names and values, whose names compare without regard to case.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use httpd_sys as sys;

use crate::text;

/// A table whose strings live at least for `'t`.
///
/// The lifetime is invariant: shortened, it would let strings into the table that die before it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Table<'t> {
    raw: NonNull<sys::apr_table_t>,
    lifetime: PhantomData<fn(&'t ()) -> &'t ()>,
    one_thread: PhantomData<*mut ()>,
}

impl<'t> Table<'t> {
    /// Wraps a table of httpd's.
    ///
    /// # Safety
    ///
    /// - `raw` must point to a table that lives throughout `'t`, as do the strings in it.
    /// - Only the calling thread may use it during `'t`.
    pub unsafe fn from_raw(raw: *mut sys::apr_table_t) -> Self {
        Self {
            // SAFETY: the caller passes a table, which is not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            lifetime: PhantomData,
            one_thread: PhantomData,
        }
    }

    /// The value of a name, of several the first.
    pub fn get(self, name: &CStr) -> Option<&'t CStr> {
        // SAFETY: the table and its strings live for 't by the promise of `from_raw`.
        unsafe { text::borrow(sys::apr_table_get(self.raw.as_ptr(), name.as_ptr())) }
    }

    /// Whether the table has this name.
    pub fn contains(self, name: &CStr) -> bool {
        self.get(name).is_some()
    }

    /// Sets a name to a value, in place of all it has. Neither is copied.
    pub fn set(self, name: &'t CStr, value: &'t CStr) {
        // SAFETY: the table is valid, and the strings live as long as it does.
        unsafe { sys::apr_table_setn(self.raw.as_ptr(), name.as_ptr(), value.as_ptr()) }
    }

    /// Adds a name and its value beside those it has. Neither is copied.
    pub fn add(self, name: &'t CStr, value: &'t CStr) {
        // SAFETY: as in `set`.
        unsafe { sys::apr_table_addn(self.raw.as_ptr(), name.as_ptr(), value.as_ptr()) }
    }

    /// Appends a value to those under a name, as `a, b`.
    pub fn merge(self, name: &'t CStr, value: &'t CStr) {
        // SAFETY: the table is valid, and both strings live as long as it does.
        unsafe { sys::apr_table_mergen(self.raw.as_ptr(), name.as_ptr(), value.as_ptr()) }
    }

    /// Takes a name and all its values out.
    pub fn unset(self, name: &CStr) {
        // SAFETY: the table is valid; the name is only compared.
        unsafe { sys::apr_table_unset(self.raw.as_ptr(), name.as_ptr()) }
    }

    /// How many entries it has.
    pub fn len(self) -> usize {
        self.entries().1
    }

    /// Whether it has no entries.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The entries it has now, in order; a value may be missing. What is changed meanwhile may or
    /// may not be seen.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (&'t CStr, Option<&'t CStr>)> {
        let (first, length) = self.entries();
        (0..length).map(move |index| {
            // SAFETY: within the array as it was, which stays in the table's pool when the table
            // outgrows it. Entries once made stay initialised, and strings live for 't.
            unsafe {
                let entry = first.add(index).read();
                let name = text::borrow(entry.key).unwrap_or_default();
                (name, text::borrow(entry.val))
            }
        })
    }

    /// The array of entries and its length.
    fn entries(self) -> (*const sys::apr_table_entry_t, usize) {
        // SAFETY: the elements of a valid table are an array of `nelts` entries.
        unsafe {
            let array = sys::apr_table_elts(self.raw.as_ptr());
            let length = usize::try_from((*array).nelts).unwrap_or_default();
            ((*array).elts.cast(), length)
        }
    }
}
