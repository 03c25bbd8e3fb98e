//! The C ABI between a *host* and an *engine*.
//!
//! An engine is a shared library that holds Python and everything an application can observe. A
//! host is the process that loads it: a child of httpd in embedded mode, a worker in daemon mode.
//! The two are built apart, possibly by different compilers, so everything that crosses this
//! boundary is `#[repr(C)]`, every table starts with its version, and nothing is owned by the side
//! that did not make it.
//!
//! The engine exports one symbol, [`ENTRY_SYMBOL`]. The host calls it with the version of the ABI
//! it speaks and gets the engine's table of functions, an [`Engine`]. It starts Python by giving
//! the engine its own table, a [`Host`], and a [`ProcessConfig`]. From then on any thread of the
//! host may call [`Engine::handle`] with a [`Request`]; during that call, and only during it, the
//! engine may call back with the request's [`RequestHandle`]. The same is true of
//! [`Engine::call`], which calls functions that decide about a request before an application has
//! it.
//!
//! # Rules for both sides
//!
//! - Nothing unwinds across the boundary. A panic is caught on the side where it happens.
//! - Borrowed data ([`Bytes`], [`Slice`]) is valid until the function that received it returns.
//! - The engine never calls into the host while it holds a GIL, but for [`Host::try_send`]. So every
//!   other host function may block, and that one must not.
//! - For one request the engine makes at most one call into the host at a time, although not
//!   always from the thread that called [`Engine::handle`]: an application may read its input on
//!   a thread of its own. The engine serialises such calls. Exceptions are [`Host::log_beside`],
//!   [`Host::log_level`] and [`Host::await_body`], which come at any time, and [`Host::read_body`] of a
//!   host that [is duplex](Host::is_duplex), which may come beside the others.
//! - A host that has another request handled while it sends a part of a response, on the same thread,
//!   may be called for the outer request meanwhile: by [`Host::log`], but not to read or to send.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::marker::PhantomData;

mod call;
mod installed;
mod loader;
mod scoreboard;

pub use call::{Call, Called, Returned, ServerCalls};
pub use installed::{EngineFile, Engines, EnginesError, PythonVersion};
pub use loader::{LoadError, LoadedEngine};
pub use scoreboard::{Scoreboard, ScoreboardProcess, ScoreboardWorker, TakeScoreboard};

/// The version of this ABI. It changes whenever a table, a struct or a rule of this file does.
pub const ABI_VERSION: u32 = 2;

/// The name of the one symbol an engine exports, of type [`EntryFn`].
pub const ENTRY_SYMBOL: &CStr = c"wsgi_engine_entry";

/// The engine's entry point: takes the host's [`ABI_VERSION`], returns the engine's table, which
/// lives as long as the process, or null if the engine does not speak that version.
pub type EntryFn = unsafe extern "C" fn(abi_version: u32) -> *const Engine;

/// Bytes borrowed from the other side. A null pointer means "absent", which differs from empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    ptr: *const u8,
    len: usize,
    borrow: PhantomData<&'a [u8]>,
}

// SAFETY: a `Bytes<'a>` is a `&'a [u8]` (or nothing) in a fixed layout, and `&[u8]` is `Send`.
unsafe impl Send for Bytes<'_> {}
// SAFETY: as above; shared bytes are `Sync`.
unsafe impl Sync for Bytes<'_> {}

impl<'a> Bytes<'a> {
    /// The absent value.
    pub const NONE: Self = Self {
        ptr: std::ptr::null(),
        len: 0,
        borrow: PhantomData,
    };

    /// Borrows `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            borrow: PhantomData,
        }
    }

    /// The bytes, or `None` if they are absent.
    pub const fn get(self) -> Option<&'a [u8]> {
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: the pointer is not null, so this was made by `new` from a slice that lives for
        // 'a, on this side or, under the rules of this file, on the other.
        Some(unsafe { std::slice::from_raw_parts(self.ptr, self.len) })
    }

    /// The bytes, or an empty slice if they are absent.
    pub const fn or_empty(self) -> &'a [u8] {
        match self.get() {
            Some(bytes) => bytes,
            None => &[],
        }
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes)
    }
}

impl<'a> From<&'a str> for Bytes<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl<'a> From<Option<&'a [u8]>> for Bytes<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Self::NONE, Self::new)
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().map(String::from_utf8_lossy).fmt(f)
    }
}

/// An array borrowed from the other side.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice<'a, T> {
    ptr: *const T,
    len: usize,
    borrow: PhantomData<&'a [T]>,
}

impl<'a, T> Slice<'a, T> {
    /// Borrows `items`.
    pub const fn new(items: &'a [T]) -> Self {
        Self {
            ptr: items.as_ptr(),
            len: items.len(),
            borrow: PhantomData,
        }
    }

    /// The items.
    pub const fn get(self) -> &'a [T] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: a non-null pointer was set by `new` from a slice that lives for 'a, on this
        // side or, under the rules of this file, on the other.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Slice<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: &[T] = if self.ptr.is_null() {
            &[]
        } else {
            // SAFETY: as in `get`.
            unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
        };
        items.fmt(f)
    }
}

/// A name and its value: an environ variable or a response header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The name.
    pub name: Bytes<'a>,
    /// The value. Absent in an environ means `None`.
    pub value: Bytes<'a>,
}

/// What the host calls a request; opaque to the engine. Null stands for "no request".
pub type RequestHandle = *mut c_void;

/// The levels of httpd's `LogLevel` (`APLOG_*` in `http_log.h`), most severe first.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server is unusable.
    Emerg = 0,
    /// Action must be taken at once.
    Alert = 1,
    /// A critical condition.
    Crit = 2,
    /// An error: something failed.
    Error = 3,
    /// Something an administrator should look at.
    Warn = 4,
    /// Normal but significant.
    Notice = 5,
    /// Informational: the life cycle of interpreters and scripts.
    Info = 6,
    /// For debugging.
    Debug = 7,
    /// For debugging, a line for every request.
    Trace1 = 8,
}

/// One line for the error log. The text has no newline.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Its level.
    pub level: Level,
    /// Its stable id: 174 is printed as `WSGI0174`. Zero for lines without one.
    pub id: u16,
    /// Whether the line names the script (`[script PATH]`), which the host then adds.
    pub names_script: bool,
    /// The text, without id and script; arbitrary bytes, usually UTF-8.
    pub text: Bytes<'a>,
    /// The source file to name as the origin of the line, if `LogLevel` or `ErrorLogFormat` ask
    /// for it.
    pub file: Bytes<'a>,
    /// The line in that file; zero if unknown.
    pub line: u32,
}

/// What the engine needs of the process it runs in. All functions may be called from any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// Whether the body of a request may be read while its response is being sent.
    pub is_duplex: bool,
    /// Writes a line to the request's log, or the server's log if `request` is null.
    pub log: unsafe extern "C" fn(request: RequestHandle, line: *const LogLine<'_>),
    /// The same for a request, not null, for which another thread is making a call: what that one
    /// uses must not be touched, nor waited for.
    pub log_beside: unsafe extern "C" fn(request: RequestHandle, line: *const LogLine<'_>),
    /// The most verbose level that is logged for this request, or the server if null.
    pub log_level: unsafe extern "C" fn(request: RequestHandle) -> c_int,
    /// Reads some of the request's body into `buffer`: blocks until at least one byte is there.
    /// Returns the number of bytes, 0 at the end of the body, or a negative [`ReadError`]. With a
    /// zero `len` nothing is read, but a waiting client is told to continue. Rather than to block, it
    /// may return [`Host::NOT_YET`].
    pub read_body:
        unsafe extern "C" fn(request: RequestHandle, buffer: *mut u8, len: usize) -> isize,
    /// After [`Host::NOT_YET`]: blocks until there may be more of the body, or for a while.
    pub await_body: unsafe extern "C" fn(request: RequestHandle),
    /// Sends a part of the response; see [`Part`].
    pub send: unsafe extern "C" fn(request: RequestHandle, part: *const Part<'_>) -> Sent,
    /// Sends a part as far as that needs no waiting: for a thread that has a GIL and would rather keep
    /// it. Where sending may always wait, there is no such function.
    pub try_send:
        Option<unsafe extern "C" fn(request: RequestHandle, part: *const Part<'_>) -> Sent>,
    /// Lends httpd's scoreboard: calls `take` with it and with `taker`, once, before it returns; or
    /// not at all, if there is none.
    pub scoreboard: unsafe extern "C" fn(take: TakeScoreboard, taker: *mut c_void),
    /// A script was loaded to its end.
    pub loaded: unsafe extern "C" fn(),
}

impl Host {
    /// What [`Host::read_body`] returns where nothing is here, and others may use the request while
    /// [`Host::await_body`] waits for it.
    pub const NOT_YET: isize = isize::MIN;
}

/// Why [`Host::read_body`] failed. After a failure every further read fails alike.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The client went away or the connection broke.
    Disconnected = -1,
    /// The client sent nothing for longer than the server waits.
    TimedOut = -2,
    /// The body is larger than `LimitRequestBody` allows.
    TooLarge = -3,
    /// The body's framing is broken, or an input filter refused it.
    Malformed = -4,
}

impl ReadError {
    /// The error that a negative result of [`Host::read_body`] stands for; a number of a later
    /// version reads as [`ReadError::Malformed`].
    pub const fn from_result(result: isize) -> Option<Self> {
        match result {
            0.. => None,
            -1 => Some(Self::Disconnected),
            -2 => Some(Self::TimedOut),
            -3 => Some(Self::TooLarge),
            _ => Some(Self::Malformed),
        }
    }
}

/// How a [`Host::send`] went.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent(pub i32);

impl Sent {
    /// The part is on its way, or buffered where the host will send it.
    pub const OK: Self = Self(0);
    /// The client is gone or the connection failed; nothing more can be sent.
    pub const GONE: Self = Self(1);
    /// Only of [`Host::try_send`]: the part was taken, but is not on its way. [`Host::send`] must be
    /// called with a part without data, to wait for it.
    pub const PENDING: Self = Self(2);
    /// Only of [`Host::try_send`]: nothing was taken.
    pub const REFUSED: Self = Self(3);
}

/// The head of a response, validated by the engine: no byte in it can split a response.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The status code, 100..=999.
    pub status: u16,
    /// The status as the application gave it, code and reason: `200 OK`.
    pub status_line: Bytes<'a>,
    /// The headers, in the application's order, duplicates kept.
    pub headers: Slice<'a, Pair<'a>>,
}

/// A region of an open file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FileRegion {
    /// The descriptor. It stays the engine's; the host duplicates it if it keeps it past the call.
    pub fd: c_int,
    /// The offset of the first byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
}

/// A part of a response: the head (in the first part), then data or a file, then perhaps the end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The head, in a response's first part only; null otherwise.
    pub head: *const Head<'a>,
    /// Data, in pieces. They may be large; the host copies what it cannot send at once.
    pub data: Slice<'a, Bytes<'a>>,
    /// A region of a file to send after the data, or null.
    pub file: *const FileRegion,
    /// Whether the client must be able to see this part before the engine goes on.
    pub flush: bool,
    /// Whether the response is complete with this part. A response that never gets such a part
    /// is one that failed, and must look so to the client.
    pub end: bool,
}

/// How an application is run in this process. Set once, at [`Engine::start`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProcessConfig<'a> {
    /// The process group; empty in embedded mode.
    pub process_group: Bytes<'a>,
    /// `WSGIPythonHome` / `python-home`.
    pub python_home: Bytes<'a>,
    /// `WSGIPythonPath` / `python-path`: directories joined by colons.
    pub python_path: Bytes<'a>,
    /// `WSGIPythonEggs` / `python-eggs`.
    pub python_eggs: Bytes<'a>,
    /// `WSGIPythonWarnings`, one entry per use.
    pub python_warnings: Slice<'a, Bytes<'a>>,
    /// `WSGIPythonOptimize`.
    pub python_optimize: c_int,
    /// `WSGIPythonHashSeed`: a seed of 0..=4294967295, or -1 for Python's own choice.
    pub python_hash_seed: i64,
    /// `WSGIDontWriteBytecode`.
    pub dont_write_bytecode: bool,
    /// `WSGIDestroyInterpreter`.
    pub destroy_interpreter: bool,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: bool,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: bool,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: bool,
    /// `WSGISwitchInterval`, in seconds; 0 for Python's own choice.
    pub switch_interval: f64,
    /// `WSGIPerInterpreterGIL`: whether sub-interpreters have a GIL of their own, if Python can.
    pub per_interpreter_gil: bool,
    /// What is said of some interpreters only. A later section wins over those before it.
    pub sections: Slice<'a, InterpreterSection<'a>>,
    /// `WSGICaseSensitivity`.
    pub case_sensitive: bool,
    /// `WSGIServerMetrics` / `server-metrics`: whether `mod_wsgi.server_metrics()` tells anything.
    pub server_metrics: bool,
    /// `wsgi.multithread`: whether requests run on several threads of this process.
    pub multithread: bool,
    /// `wsgi.multiprocess`: whether equivalent processes run beside this one.
    pub multiprocess: bool,
    /// `wsgi.run_once`.
    pub run_once: bool,
    /// `mod_wsgi.maximum_processes`.
    pub maximum_processes: u32,
    /// `mod_wsgi.threads_per_process`. With 0 the process serves no requests but runs scripts, by
    /// [`Engine::run`].
    pub threads_per_process: u32,
    /// What the `apache` module tells.
    pub server: ServerInfo<'a>,
}

/// What a `<WSGIInterpreterOptions>` section says of interpreters.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct InterpreterSection<'a> {
    /// The application group it is for, empty being the main interpreter's; absent if for all.
    pub application_group: Bytes<'a>,
    /// `WSGIPythonPath`: directories joined by colons, to come before all others.
    pub python_path: Bytes<'a>,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: Switch,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: Switch,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: Switch,
    /// `WSGIPerInterpreterGIL`.
    pub per_interpreter_gil: Switch,
    /// `WSGISwitchInterval`, in seconds; 0 if it says nothing of that.
    pub switch_interval: f64,
}

/// A switch of which nothing may be said.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(u8);

impl Switch {
    /// The switch, or `None` if nothing is said of it.
    pub const fn get(self) -> Option<bool> {
        match self.0 {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        }
    }
}

impl From<Option<bool>> for Switch {
    fn from(said: Option<bool>) -> Self {
        Self(said.map_or(0, |on| 1 + u8::from(on)))
    }
}

/// The httpd this process belongs to, as `apache.*` shows it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServerInfo<'a> {
    /// Major, minor and patch of the httpd the module was compiled against.
    pub version: [u32; 3],
    /// `apache.description`.
    pub description: Bytes<'a>,
    /// `apache.build_date`.
    pub build_date: Bytes<'a>,
    /// `apache.mpm_name`: `event`, `worker`, `prefork`.
    pub mpm_name: Bytes<'a>,
    /// `apache.maximum_processes`.
    pub maximum_processes: u32,
    /// `apache.threads_per_process`.
    pub threads_per_process: u32,
}

/// A script and where it runs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// The path of the script file.
    pub path: Bytes<'a>,
    /// The application group: empty is the main interpreter.
    pub application_group: Bytes<'a>,
    /// The file's modification time in microseconds since the epoch, or -1 if the host does not
    /// know it and the engine shall ask the file system.
    pub mtime: i64,
    /// `WSGIScriptReloading`: whether a changed script is loaded anew. In embedded mode that is
    /// done at once; in daemon mode it is for another process to do, see [`Outcome::STALE`].
    pub reload: bool,
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
    /// one that has ended, if it can, so that there are not more numbers than there are threads at once.
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
    /// Nothing was run, because Python is ending. In daemon mode another process serves the request;
    /// otherwise the host answers with `status`.
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

/// What a host asks of Python. Functions that return [`c_int`] return 0 on success; the cause of
/// a failure is in the log by then.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// `PY_VERSION_HEX` of the Python this engine is built for.
    pub python_version: u32,
    /// The engine's tag, for messages: `cp311`. A NUL-terminated string.
    pub tag: *const c_char,
    /// Starts Python, once in a process. Returns when it is ready. The host's table must live as
    /// long as the process.
    pub start: unsafe extern "C" fn(host: *const Host, config: *const ProcessConfig<'_>) -> c_int,
    /// Loads a script before its first request.
    pub preload: unsafe extern "C" fn(script: *const Script<'_>) -> c_int,
    /// Runs a script on Python's main thread, where it may handle signals: this thread blocks none,
    /// and the host's should block all. Returns when the script has ended, with 0 if it came to its
    /// end or called `sys.exit`.
    pub run: unsafe extern "C" fn(script: *const Script<'_>) -> c_int,
    /// Serves a request on the calling thread.
    pub handle: unsafe extern "C" fn(request: *const Request<'_>, handle: RequestHandle) -> Outcome,
    /// Calls functions of a script on the calling thread.
    pub call: unsafe extern "C" fn(call: *const Call<'_>, handle: RequestHandle) -> Called,
    /// Sets how often Python threads take turns, in the interpreters that are there: the option
    /// `switch-interval` of a process group, in seconds.
    pub set_switch_interval: unsafe extern "C" fn(seconds: f64) -> c_int,
    /// Tries whether Python still runs: returns 0 when it has had the GIL of the main interpreter,
    /// which it waits for; and another value when Python has ended.
    pub probe: unsafe extern "C" fn() -> c_int,
    /// How many threads wait for a GIL at this moment, of those that serve requests.
    pub gil_waiters: unsafe extern "C" fn() -> u32,
    /// Raises `mod_wsgi.RequestTimeout` in the thread that runs a request inside an interpreter: the
    /// request of this [`Request::thread_id`] and [`Request::daemon_start`]. Waits for the GIL of
    /// that interpreter; logs where the thread is. Returns 0 when it was raised, and another value
    /// if no thread runs that request any more.
    pub interrupt: unsafe extern "C" fn(thread_id: u32, daemon_start: i64) -> c_int,
    /// Logs where all threads of the interpreter are that runs a request, named as for
    /// [`Engine::interrupt`].
    pub log_stacks: unsafe extern "C" fn(thread_id: u32, daemon_start: i64) -> c_int,
    /// Tells the applications, in every interpreter, of a signal that the process got and that is
    /// theirs. Does nothing once Python ends.
    pub signal: unsafe extern "C" fn(number: c_int),
    /// Ends Python: publishes the end to the applications, runs their `atexit` functions and
    /// joins their threads, in every interpreter. Returns when that is done or `deadline_ms`
    /// have passed, then with a non-zero value. No request may be served afterwards; those
    /// still being served keep Python from being finalised.
    pub stop: unsafe extern "C" fn(reason: Bytes<'_>, deadline_ms: u32) -> c_int,
}

// SAFETY: the table is immutable: functions that any thread may call, and a pointer to a string
// constant.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_bytes_are_not_empty_bytes() {
        assert_eq!(Bytes::NONE.get(), None);
        assert_eq!(Bytes::new(b"").get(), Some(&b""[..]));
        assert_eq!(Bytes::NONE.or_empty(), b"");
    }

    #[test]
    fn switches_are_on_off_or_unsaid() {
        for said in [None, Some(false), Some(true)] {
            assert_eq!(Switch::from(said).get(), said);
        }
    }

    #[test]
    fn read_results_map_to_errors() {
        assert_eq!(ReadError::from_result(0), None);
        assert_eq!(ReadError::from_result(17), None);
        assert_eq!(ReadError::from_result(-2), Some(ReadError::TimedOut));
        assert_eq!(ReadError::from_result(-99), Some(ReadError::Malformed));
    }
}
