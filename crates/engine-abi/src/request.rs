//! A request for an application, the script that has the application, and how it ended.

use std::ffi::{OsStr, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use crate::{Bytes, Pair, Slice};

/// A script and where it runs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// The path of the script file.
    pub path: Bytes<'a>,
    /// The application group: empty is the main interpreter.
    pub application_group: Bytes<'a>,
    /// The file's [`modification_time`], or [`UNKNOWN_MTIME`](Self::UNKNOWN_MTIME) if the host does
    /// not know it and the engine shall ask the file system. So it does for any time before the
    /// epoch.
    pub mtime: i64,
    /// `WSGIScriptReloading`: whether a changed script is loaded anew. In embedded mode that is
    /// done at once; in daemon mode it is for another process to do, see [`Outcome::STALE`].
    pub reload: bool,
}

impl Script<'_> {
    /// The modification time that the host does not know.
    pub const UNKNOWN_MTIME: i64 = -1;
}

/// The modification time of a file in microseconds since the epoch, as host and engine count it;
/// `None` if there is no such file.
pub fn modification_time(path: &[u8]) -> Option<i64> {
    let metadata = fs::metadata(OsStr::from_bytes(path)).ok()?;
    // A file system may say anything.
    let seconds = metadata.mtime().saturating_mul(1_000_000);
    Some(seconds.saturating_add(metadata.mtime_nsec() / 1_000))
}

/// A request for an application.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The environ as far as it is made of strings: CGI variables, headers, `mod_wsgi.*` and
    /// whatever `SetEnv` added. The engine adds what has other types.
    pub environ: Slice<'a, Pair<'a>>,
    /// The script.
    pub script: Script<'a>,
    /// The name of the callable in the script.
    pub callable: Bytes<'a>,
    /// What was asked for, as `reload_required(resource)` gets it: `r->filename`.
    pub resource: Bytes<'a>,
    /// Whether `https` is the scheme of the request.
    pub https: bool,
    /// The length of the body where the client stated it, -1 otherwise. A hint, never a limit:
    /// input filters may change the length.
    pub content_length: i64,
    /// `mod_wsgi.thread_id`. No two threads have the same at a time; one that begins gets that of
    /// one that has ended, if it can, so that there are not more numbers than there are threads at
    /// once.
    pub thread_id: u32,
    /// `mod_wsgi.request_start`, in microseconds since the epoch.
    pub request_start: i64,
    /// `mod_wsgi.queue_start`, likewise; 0 in embedded mode.
    pub queue_start: i64,
    /// `mod_wsgi.daemon_start`, likewise; 0 in embedded mode. In daemon mode no two requests of one
    /// thread have the same.
    pub daemon_start: i64,
    /// How often a worker was asked to take the request; 0 in embedded mode.
    pub daemon_connects: u32,
    /// How often it was turned away because a worker was being replaced.
    pub daemon_restarts: u32,
    /// The `request_rec`, for `apache.request_rec`, or null if the application may not have it.
    pub request_rec: *mut c_void,
}

impl<'a> Request<'a> {
    /// The value of an environ variable. Of several with one name the last counts.
    pub fn variable(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut variables = self.environ.get().iter().rev();
        let found = variables.find(|variable| variable.name.or_empty() == name)?;
        found.value.get()
    }
}

/// How a request ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One of the constants of this type.
    pub kind: u32,
    /// With [`Outcome::REFUSED`]: the HTTP status of the error response that the host shall send.
    pub status: u16,
}

impl Outcome {
    /// The response was sent whole, or the client went away first. Nothing is left to do.
    pub const COMPLETE: u32 = 0;
    /// Nothing was sent. The host answers with `status`; the cause is in the log.
    pub const REFUSED: u32 = 1;
    /// The head was sent, then the application failed. The host must let the client see that the
    /// response is cut short; the cause is in the log.
    pub const TRUNCATED: u32 = 2;
    /// In daemon mode: nothing was run, because the script must be loaded anew. The host has a
    /// fresh process serve the request.
    pub const STALE: u32 = 3;
    /// Nothing was run, because Python is ending. In daemon mode another process serves the
    /// request; otherwise the host answers with `status`.
    pub const ENDING: u32 = 4;

    /// The response is complete.
    pub const fn complete() -> Self {
        Self {
            kind: Self::COMPLETE,
            status: 0,
        }
    }

    /// Nothing was sent; answer with `status`.
    pub const fn refused(status: u16) -> Self {
        Self {
            kind: Self::REFUSED,
            status,
        }
    }

    /// The response was cut short.
    pub const fn truncated() -> Self {
        Self {
            kind: Self::TRUNCATED,
            status: 0,
        }
    }

    /// Nothing was run; Python is ending.
    pub const fn ending() -> Self {
        Self {
            kind: Self::ENDING,
            status: 503,
        }
    }

    /// Nothing was run; the script must be loaded anew.
    pub const fn stale() -> Self {
        Self {
            kind: Self::STALE,
            status: 0,
        }
    }
}
