//! The error log.
//!
//! A [`Log`] is a place lines go to: that of a request or of a server. Ask [`Log::enabled`] before
//! a line is made, for most are never written.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ptr;

use httpd_sys as sys;

use crate::module::Module;
use crate::request::Request;
use crate::server::Server;
use crate::text;

/// One of the levels of `LogLevel`, `APLOG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(c_int);

impl Level {
    /// A critical condition.
    pub const CRIT: Self = Self(sys::APLOG_CRIT);
    /// Something must be done at once.
    pub const ALERT: Self = Self(sys::APLOG_ALERT);
    /// An error.
    pub const ERROR: Self = Self(sys::APLOG_ERR);
    /// A warning.
    pub const WARN: Self = Self(sys::APLOG_WARNING);
    /// Normal but significant.
    pub const NOTICE: Self = Self(sys::APLOG_NOTICE);
    /// Informational.
    pub const INFO: Self = Self(sys::APLOG_INFO);

    /// The level of this number, 0 (emergency) to 15 (trace 8); one beyond is the nearest.
    pub fn from_number(number: u8) -> Self {
        Self(c_int::from(number).min(sys::APLOG_TRACE8))
    }

    /// Its number.
    pub fn number(self) -> c_int {
        self.0
    }
}

/// A place to write log lines to, as lines of the module.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    target: Target,
    /// Whether what is logged happened elsewhere.
    is_relayed: bool,
    module_index: c_int,
    lifetime: PhantomData<&'a ()>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Request(*mut sys::request_rec),
    /// Null is httpd before it has a server: lines go to stderr.
    Server(*const sys::server_rec),
}

/// The source line to name as the origin of a log line, where the configuration asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The file.
    pub file: &'a CStr,
    /// The line in it.
    pub line: c_int,
}

impl<'a> Log<'a> {
    /// The log of a request.
    pub fn of_request<M: Module>(request: Request<'a>) -> Self {
        Self::new::<M>(Target::Request(request.as_ptr()))
    }

    /// The log of a server.
    pub fn of_server<M: Module>(server: Server<'a>) -> Self {
        Self::new::<M>(Target::Server(server.as_ptr()))
    }

    /// The log of a server that may not exist yet.
    ///
    /// # Safety
    ///
    /// `server` must be null or point to a server that lives throughout `'a`.
    pub unsafe fn of_server_raw<M: Module>(server: *const sys::server_rec) -> Self {
        Self::new::<M>(Target::Server(server))
    }

    fn new<M: Module>(target: Target) -> Self {
        Self {
            target,
            is_relayed: false,
            module_index: M::record().index(),
            lifetime: PhantomData,
        }
    }

    /// The same for lines that come from another process: in httpd's own format of lines, these say
    /// `[remote ADDRESS]` where a line of the process that has the client says `[client ADDRESS]`.
    pub fn relayed(self) -> Self {
        Self {
            is_relayed: true,
            ..self
        }
    }

    /// Whether lines of this level are written.
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.level()
    }

    /// The most verbose level that can be written. Of `notice` and above, httpd decides itself.
    pub fn level(&self) -> Level {
        Level(self.configured_level().0.max(sys::APLOG_NOTICE))
    }

    /// The level that `LogLevel` sets.
    pub fn configured_level(&self) -> Level {
        // SAFETY: the target lives throughout 'a; the module's index is httpd's own number for
        // it, and that of a module that is not loaded yet stands for "any module".
        let number = unsafe {
            match self.target {
                Target::Request(request) => {
                    sys::ap_get_request_module_loglevel(request, self.module_index)
                }
                Target::Server(server) if server.is_null() => sys::APLOG_TRACE8,
                Target::Server(server) => {
                    sys::ap_get_server_module_loglevel(server, self.module_index)
                }
            }
        };
        Level(number)
    }

    /// Writes a line, if its level is enabled. Control characters in it are escaped by httpd.
    pub fn write(&self, level: Level, origin: Option<Origin<'_>>, line: &CStr) {
        if !self.enabled(level) {
            return;
        }
        let file = text::as_ptr_or_null(origin.map(|origin| origin.file));
        let number = origin.map_or(0, |origin| origin.line);
        const VERBATIM: *const c_char = c"%s".as_ptr();
        // SAFETY: the target lives throughout 'a. The text is an argument of a fixed format and
        // never a format itself.
        let write = || unsafe {
            match self.target {
                Target::Request(request) => sys::ap_log_rerror_(
                    file,
                    number,
                    self.module_index,
                    level.0,
                    sys::APR_SUCCESS,
                    request,
                    VERBATIM,
                    line.as_ptr(),
                ),
                Target::Server(server) => sys::ap_log_error_(
                    file,
                    number,
                    self.module_index,
                    level.0 | startup_flag(server),
                    sys::APR_SUCCESS,
                    server,
                    VERBATIM,
                    line.as_ptr(),
                ),
            }
        };
        match self.target {
            Target::Request(request) if self.is_relayed => without_scoreboard(request, write),
            _ => write(),
        }
    }
}

/// Does something while the request's connection has no place in the scoreboard, by which httpd
/// tells a client's connection from others.
fn without_scoreboard(request: *mut sys::request_rec, act: impl FnOnce()) {
    // SAFETY: the request is valid, and so is its connection; nobody but the thread that processes
    // the request uses them. Nothing here unwinds.
    unsafe {
        let place = &raw mut (*(*request).connection).sbh;
        let kept = place.replace(ptr::null_mut());
        act();
        place.write(kept);
    }
}

/// Lines written before there is an error log go to stderr, bare, as httpd prints its own.
fn startup_flag(server: *const sys::server_rec) -> c_int {
    if ptr::eq(server, ptr::null()) {
        sys::APLOG_STARTUP
    } else {
        0
    }
}
