//! Strings as C has them, borrowed for as long as the pool lives that holds them.

use std::ffi::{CStr, c_char};

/// Borrows a C string; `None` stands for null.
///
/// # Safety
///
/// - `text` must be null or point to a NUL-terminated string.
/// - That string must neither be freed nor changed during `'a`.
pub(crate) unsafe fn borrow<'a>(text: *const c_char) -> Option<&'a CStr> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and the rest is what the caller promises.
    Some(unsafe { CStr::from_ptr(text) })
}

/// The pointer C wants for a string that may be missing.
pub(crate) fn as_ptr_or_null(text: Option<&CStr>) -> *const c_char {
    text.map_or(std::ptr::null(), CStr::as_ptr)
}
