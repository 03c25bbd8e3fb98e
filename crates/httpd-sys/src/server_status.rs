//! The optional hook of `mod_status.h`. Such hooks are declared by macros that bindgen does not
//! see.

use std::ffi::{CStr, c_int};

use crate::request_rec;

/// The name of the hook that mod_status calls for each page.
pub const STATUS_HOOK: &CStr = c"status_hook";

/// `AP_STATUS_SHORT`: no HTML is wanted, but lines for programs.
pub const AP_STATUS_SHORT: c_int = 0x1;

/// `AP_STATUS_NOTABLE`: HTML without tables.
pub const AP_STATUS_NOTABLE: c_int = 0x2;

/// `AP_STATUS_EXTENDED`: `ExtendedStatus On` applies.
pub const AP_STATUS_EXTENDED: c_int = 0x4;

/// `APR_DECLARE_EXTERNAL_HOOK(ap, STATUS, int, status_hook, (request_rec *r, int flags))`
pub type StatusHook = unsafe extern "C" fn(*mut request_rec, c_int) -> c_int;
