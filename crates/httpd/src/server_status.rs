//! The page of mod_status, to which other modules may add. Where that module is not loaded nobody
//! calls the hook.

use std::ffi::c_int;

use httpd_sys as sys;
use httpd_sys::server_status::{
    AP_STATUS_EXTENDED, AP_STATUS_NOTABLE, AP_STATUS_SHORT, STATUS_HOOK, StatusHook,
};

use crate::hook::{Hooks, Order, the_one};
use crate::module::Module;
use crate::panic;
use crate::request::Request;
use crate::status::Status;

/// What page is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How it is written.
    pub form: Form,
    /// Whether it is to tell all: `ExtendedStatus On`, which it is unless said otherwise.
    pub is_extended: bool,
}

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// HTML with tables.
    Html,
    /// HTML without tables: `?notable`.
    HtmlWithoutTables,
    /// Lines for programs, each a key, a colon, a space, and a value: `?auto`.
    Lines,
}

impl<M: Module> Hooks<'_, M> {
    /// Adds to the page of mod_status: the function says what.
    pub fn server_status<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Request<'_>, Page) -> String + Copy + 'static,
    {
        type Any = unsafe extern "C" fn();
        let (after, before) = self.neighbours(order);
        let hook: StatusHook = server_status::<F>;
        // SAFETY: mod_status calls what was registered under this name as a function of the type
        // that the adapter has; the lists live until the hooks are gone.
        unsafe {
            let hook = std::mem::transmute::<StatusHook, Any>(hook);
            sys::apr_optional_hook_add(
                STATUS_HOOK.as_ptr(),
                Some(hook),
                after,
                before,
                order.position(),
            );
        }
    }
}

impl Page {
    fn of(flags: c_int) -> Self {
        let form = match (flags & AP_STATUS_SHORT != 0, flags & AP_STATUS_NOTABLE != 0) {
            (true, _) => Form::Lines,
            (false, true) => Form::HtmlWithoutTables,
            (false, false) => Form::Html,
        };
        Self {
            form,
            is_extended: flags & AP_STATUS_EXTENDED != 0,
        }
    }
}

/// Others may have something to add, whatever becomes of this.
unsafe extern "C" fn server_status<F: Fn(Request<'_>, Page) -> String + Copy + 'static>(
    request: *mut sys::request_rec,
    flags: c_int,
) -> c_int {
    panic::guard((), || {
        // SAFETY: this is the hook's argument; httpd keeps it alive until the hook returns, and
        // processes it on this thread.
        let request = unsafe { Request::from_raw(request) };
        let text = the_one::<F>()(request, Page::of(flags));
        for piece in text.as_bytes().chunks(1 << 20) {
            // A megabyte is a number that C can take.
            let length = c_int::try_from(piece.len()).unwrap_or_default();
            // SAFETY: the request is valid and being answered; the bytes are there until this
            // returns. If the client is gone, mod_status finds out.
            unsafe { sys::ap_rwrite(piece.as_ptr().cast(), length, request.as_ptr()) };
        }
    });
    Status::OK.0
}
