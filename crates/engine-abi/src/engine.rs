//! What an engine does for its host.

use std::ffi::{c_char, c_int};

use crate::{Bytes, Call, Called, Host, Outcome, ProcessConfig, Request, RequestHandle, Script};

/// What [`Engine::start`] returns where Python was initialised, but no application can run in it:
/// the main interpreter could not be set up.
pub const NO_MAIN_INTERPRETER: c_int = 2;

/// What a host asks of Python. Functions that return [`c_int`] return 0 on success; the cause of
/// a failure is in the log by then.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// [`ABI_VERSION`](crate::ABI_VERSION).
    pub abi_version: u32,
    /// The engine's tag, as wheels have it: `cp311`, or `cp313t` for a free-threaded build. A
    /// NUL-terminated string.
    pub tag: *const c_char,
    /// Starts Python, once in a process. Returns when it is ready, or [`NO_MAIN_INTERPRETER`], or
    /// another value when it cannot be initialised. The host's table must live as long as the
    /// process.
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
    /// Waits for the `nth` GIL of the process, of which there may be several: 0 when it was
    /// acquired (and released), 1 if there are not so many, another value if Python has ended.
    pub probe: unsafe extern "C" fn(nth: u32) -> c_int,
    /// How many requests wait for a GIL at this moment in order to begin: not those that have given
    /// theirs away and want it back.
    pub newcomers: unsafe extern "C" fn() -> u32,
    /// Raises `mod_wsgi.RequestTimeout` in the thread that runs a request inside an interpreter:
    /// the request of this [`Request::thread_id`] and [`Request::daemon_start`]. Waits for the GIL
    /// of that interpreter; logs where the thread is. Returns 0 when it was raised, and another
    /// value if no thread runs that request any more.
    pub interrupt: unsafe extern "C" fn(thread_id: u32, daemon_start: i64) -> c_int,
    /// Logs where all threads of the interpreter are that runs a request, named as for
    /// [`Engine::interrupt`].
    pub log_stacks: unsafe extern "C" fn(thread_id: u32, daemon_start: i64) -> c_int,
    /// Tells the applications, in every interpreter, of a signal that the process got and that is
    /// theirs. Does nothing once they were told of the end.
    pub signal: unsafe extern "C" fn(number: c_int),
    /// Tells the applications, in every interpreter, that the process is about to end, while
    /// requests are still being served: they may end sooner for it. Does not wait for that, and a
    /// second time does nothing.
    pub announce_stop: unsafe extern "C" fn(reason: Bytes<'_>),
    /// Ends Python: tells the applications, if that was not done yet, runs their `atexit` functions
    /// and joins their threads, in every interpreter. Returns when that is done or `deadline_ms`
    /// have passed, then with a non-zero value. No request may be served afterwards; those still
    /// being served keep Python from being finalised.
    pub stop: unsafe extern "C" fn(reason: Bytes<'_>, deadline_ms: u32) -> c_int,
}

// SAFETY: the table is immutable: functions that any thread may call, and a pointer to a string
// constant.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}
