//! Panics: none may unwind into httpd, and each belongs in the error log, not on stderr.

use std::any::Any;
use std::ffi::CString;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use httpd_sys as sys;

use crate::log::{Level, Log};
use crate::module::Module;

/// Runs `body`, which C called. A panic ends here: it is in the log already (see [`install`]), and
/// the caller gets `failure`.
pub fn guard<T>(failure: T, body: impl FnOnce() -> T) -> T {
    // What `body` was changing may be half done when it panics, but it is never used to make
    // memory accesses, only to answer one request or read one directive.
    panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(failure)
}

/// Sends the messages of panics to the server's error log, behind `prefix`.
///
/// The hook is that of this library's own copy of `std`: other libraries of the process, although
/// they be written in Rust, have their own. So it need not be taken back when httpd unloads us.
pub fn install<M: Module>(prefix: &'static str) {
    panic::set_hook(Box::new(move |info| {
        let text = format!("{prefix}{}", describe(info));
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        // SAFETY: httpd sets this before children exist, and it is null or a server that lives as
        // long as the configuration. A log line needs no more.
        let log = unsafe { Log::of_server_raw::<M>(sys::ap_server_conf) };
        log.write(Level::CRIT, None, &text);
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = message(info.payload());
    match info.location() {
        Some(location) => format!("panicked at {location}: {message}"),
        None => format!("panicked: {message}"),
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
