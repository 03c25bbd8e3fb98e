//! `str` and `bytes`.

use std::ffi::{CStr, c_char};

use pyo3_ffi as ffi;

use super::{Attached, Object, Owned, Raised, Result, Stored};

impl<'py> Attached<'py> {
    /// A `str` of bytes taken as Latin-1: PEP 3333's native strings.
    pub(crate) fn latin1(self, bytes: &[u8]) -> Result<'py, Owned<'py>> {
        let (data, length) = raw_parts(bytes);
        // SAFETY: the pointer and the length describe a slice; the thread is attached.
        unsafe {
            Owned::steal(
                self,
                ffi::PyUnicode_DecodeLatin1(data, length, std::ptr::null()),
            )
        }
    }

    /// A `str`.
    pub(crate) fn text(self, text: &str) -> Result<'py, Owned<'py>> {
        let (data, length) = raw_parts(text.as_bytes());
        // SAFETY: the pointer and the length describe a slice; the thread is attached.
        unsafe { Owned::steal(self, ffi::PyUnicode_FromStringAndSize(data, length)) }
    }

    /// A `str` of bytes that name a file: the file system's encoding with `surrogateescape`.
    pub(crate) fn path(self, bytes: &[u8]) -> Result<'py, Owned<'py>> {
        let (data, length) = raw_parts(bytes);
        // SAFETY: the pointer and the length describe a slice; the thread is attached.
        unsafe { Owned::steal(self, ffi::PyUnicode_DecodeFSDefaultAndSize(data, length)) }
    }

    /// A `str` of UTF-8. What is not UTF-8 becomes lone surrogates (`surrogateescape`), so different
    /// bytes become different strings.
    pub(crate) fn utf8_escaped(self, bytes: &[u8]) -> Result<'py, Owned<'py>> {
        let (data, length) = raw_parts(bytes);
        let errors = c"surrogateescape".as_ptr();
        // SAFETY: the pointer and the length describe a slice; the thread is attached.
        unsafe { Owned::steal(self, ffi::PyUnicode_DecodeUTF8(data, length, errors)) }
    }

    /// A `bytes`.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<'py, Owned<'py>> {
        let (data, length) = raw_parts(bytes);
        // SAFETY: the pointer and the length describe a slice; the thread is attached.
        unsafe { Owned::steal(self, ffi::PyBytes_FromStringAndSize(data, length)) }
    }

    /// An interned `str`, for the state of an interpreter: names that are looked up often.
    pub(crate) fn intern(self, text: &CStr) -> Result<'py, Stored> {
        // SAFETY: the text is NUL-terminated; the thread is attached.
        let object = unsafe { ffi::PyUnicode_InternFromString(text.as_ptr()) };
        // SAFETY: the reference is new or an exception is set.
        Ok(unsafe { Owned::steal(self, object) }?.into_stored())
    }
}

impl<'py> Object<'py> {
    /// Whether this is a `str`.
    pub(crate) fn is_str(&self) -> bool {
        // SAFETY: the object is alive.
        unsafe { ffi::PyUnicode_Check(self.as_ptr()) != 0 }
    }

    /// The content of a `bytes`, `None` for other types.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        // SAFETY: the object is alive; it is a `bytes`, whose content never changes, by the check.
        unsafe {
            if ffi::PyBytes_Check(self.as_ptr()) == 0 {
                return None;
            }
            let data = ffi::PyBytes_AS_STRING(self.as_ptr());
            let length = ffi::PyBytes_Size(self.as_ptr()).unsigned_abs();
            Some(std::slice::from_raw_parts(data.cast(), length))
        }
    }

    /// A `bytes` with the content of any bytes-like object; other types raise `TypeError`.
    pub(crate) fn to_bytes_like(&self) -> Result<'py, Owned<'py>> {
        // SAFETY: the object is alive and the thread attached. Without the check, `bytes` would
        // also be made of a list of numbers.
        unsafe {
            if ffi::PyObject_CheckBuffer(self.as_ptr()) == 0 {
                let kind = self.type_name();
                let message = format!("a bytes-like object is required, not '{kind}'");
                return Err(Raised::type_error(self.py(), &message));
            }
            Owned::steal(self.py(), ffi::PyBytes_FromObject(self.as_ptr()))
        }
    }

    /// The text of a `str`. Raises if it has lone surrogates, or is no `str`.
    pub(crate) fn as_text(&self) -> Result<'py, &str> {
        let mut length = 0;
        // SAFETY: the object is alive and the thread attached; another type raises.
        let data = unsafe { ffi::PyUnicode_AsUTF8AndSize(self.as_ptr(), &raw mut length) };
        if data.is_null() {
            return Err(Raised::take(self.py()));
        }
        // SAFETY: CPython keeps the UTF-8 form of a `str` as long as the `str`, and promises that
        // it is valid.
        unsafe {
            let bytes = std::slice::from_raw_parts(data.cast(), length.unsigned_abs());
            Ok(std::str::from_utf8_unchecked(bytes))
        }
    }

    /// The text of a `str` for a message: surrogates are escaped, other types give their `repr`.
    pub(crate) fn to_text_lossy(&self) -> String {
        if !self.is_str() {
            let shown = self.repr().map(|repr| repr.to_text_lossy());
            return shown.unwrap_or_else(|_| format!("<{}>", self.type_name()));
        }
        let (encoding, errors) = (c"utf-8", c"backslashreplace");
        self.encode(encoding, errors).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(bytes.as_bytes().unwrap_or_default()).into_owned(),
        )
    }

    /// `str.encode(encoding, errors)`, a `bytes`.
    pub(crate) fn encode(&self, encoding: &CStr, errors: &CStr) -> Result<'py, Owned<'py>> {
        let (encoding, errors) = (encoding.as_ptr(), errors.as_ptr());
        // SAFETY: the object is alive, the strings NUL-terminated, the thread attached.
        let bytes = unsafe { ffi::PyUnicode_AsEncodedString(self.as_ptr(), encoding, errors) };
        // SAFETY: the reference is new or an exception is set.
        unsafe { Owned::steal(self.py(), bytes) }
    }

    /// The `bytes` of a `str` that has Latin-1 characters only; others raise `UnicodeEncodeError`.
    pub(crate) fn to_latin1(&self) -> Result<'py, Owned<'py>> {
        // SAFETY: the object is alive and the thread attached; another type raises.
        unsafe { Owned::steal(self.py(), ffi::PyUnicode_AsLatin1String(self.as_ptr())) }
    }

    /// The characters of a `str` that has Latin-1 characters only, one byte each, without a copy.
    pub(crate) fn as_latin1(&self) -> Option<&[u8]> {
        // SAFETY: the object is alive, and a `str` by the check. Such a `str` is stored as one byte
        // a character, and never changes.
        unsafe {
            let kind = ffi::PyUnicode_1BYTE_KIND;
            if !self.is_str() || ffi::PyUnicode_KIND(self.as_ptr()) != kind {
                return None;
            }
            let data = ffi::PyUnicode_DATA(self.as_ptr());
            let length = ffi::PyUnicode_GET_LENGTH(self.as_ptr()).unsigned_abs();
            Some(std::slice::from_raw_parts(data.cast(), length))
        }
    }
}

/// A slice as the C API takes it.
fn raw_parts(bytes: &[u8]) -> (*const c_char, ffi::Py_ssize_t) {
    // A slice is never longer than `isize::MAX` bytes.
    (bytes.as_ptr().cast(), bytes.len().cast_signed())
}
