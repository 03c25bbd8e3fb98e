//! A dict with the names and values of a record: the payload of an event, a row of a table.

use std::ffi::CStr;

use super::{Attached, Object, Owned, Result};

/// A dict that is being filled, a field at a time.
pub(crate) struct Record<'py>(Owned<'py>);

impl<'py> Record<'py> {
    /// One without fields.
    pub(crate) fn new(py: Attached<'py>) -> Result<'py, Self> {
        py.dict().map(Self)
    }

    /// The attachment under which it is held.
    pub(crate) fn py(&self) -> Attached<'py> {
        self.0.py()
    }

    /// The dict.
    pub(crate) fn as_object(&self) -> &Object<'py> {
        &self.0
    }

    /// The dict, for its next owner.
    pub(crate) fn into_object(self) -> Owned<'py> {
        self.0
    }

    /// A field of any type.
    pub(crate) fn object(&self, name: &CStr, value: &Object<'py>) -> Result<'py, ()> {
        self.0.set_item_named(name, value)
    }

    /// An `int`.
    pub(crate) fn int(&self, name: &CStr, value: impl TryInto<i64>) -> Result<'py, ()> {
        // What is counted never gets that far.
        let value = value.try_into().unwrap_or(i64::MAX);
        self.object(name, &*self.py().int(value)?)
    }

    /// A `float`.
    pub(crate) fn float(&self, name: &CStr, value: f64) -> Result<'py, ()> {
        self.object(name, &*self.py().float(value)?)
    }

    /// A time, given in microseconds, as a `float` of seconds.
    pub(crate) fn seconds(&self, name: &CStr, microseconds: i64) -> Result<'py, ()> {
        self.float(name, microseconds as f64 / 1e6)
    }

    /// A `str` of bytes taken as Latin-1.
    pub(crate) fn latin1(&self, name: &CStr, value: &[u8]) -> Result<'py, ()> {
        self.object(name, &*self.py().latin1(value)?)
    }
}
