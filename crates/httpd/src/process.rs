//! The process this is, and the server program it runs.

use std::ffi::{CStr, OsStr, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use httpd_sys as sys;

use crate::pool::Pool;
use crate::server::Server;
use crate::text;

/// The directory that modules were installed to where this was built.
pub const LIBEXECDIR: &str = sys::LIBEXECDIR;

/// What httpd is doing with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It only says whether its configuration is right (`-t`).
    Test,
    /// It only shows something of its configuration (`-S`, `-M`, …).
    Dump,
    /// It reads its configuration for the first time, to see whether it could start.
    Rehearsal,
    /// It is going to run with it.
    Run,
    /// It runs with it, and reads a `.htaccess` file at most.
    Serving,
}

/// What httpd is doing with the configuration that it has just read, or reads.
pub fn phase() -> Phase {
    // SAFETY: plain questions.
    let (state, mode) = unsafe {
        (
            sys::ap_state_query(sys::AP_SQ_MAIN_STATE),
            sys::ap_state_query(sys::AP_SQ_RUN_MODE),
        )
    };
    match (state, mode) {
        (_, sys::AP_SQ_RM_CONFIG_TEST) => Phase::Test,
        (_, sys::AP_SQ_RM_CONFIG_DUMP) => Phase::Dump,
        (sys::AP_SQ_MS_CREATE_PRE_CONFIG, _) => Phase::Rehearsal,
        (sys::AP_SQ_MS_RUN_MPM, _) => Phase::Serving,
        _ => Phase::Run,
    }
}

/// Whether one process is parent and child at once: `httpd -X`, for debuggers.
pub fn is_the_only_one() -> bool {
    let defines = [c"ONE_PROCESS", c"DEBUG"];
    // SAFETY: a plain question about a NUL-terminated name.
    defines.map(|name| unsafe { sys::ap_exists_config_define(name.as_ptr()) }) != [0, 0]
}

/// Whether httpd is ending, rather than reading another configuration.
pub fn is_ending() -> bool {
    // SAFETY: a plain question.
    unsafe { sys::ap_state_query(sys::AP_SQ_MAIN_STATE) == sys::AP_SQ_MS_EXITING }
}

/// Closes the sockets that httpd listens on, so that another httpd can. In the parent, when it is
/// ending and its children are gone.
pub fn close_listeners() {
    // SAFETY: the sockets are those of the process's pool, which is still there, and nobody uses
    // them.
    unsafe { sys::ap_close_listeners() }
}

/// What the MPM says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mpm {
    /// Whether a child serves requests on several threads.
    pub is_threaded: bool,
    /// Whether there is more than one child.
    pub is_forked: bool,
    /// The most children there can be.
    pub max_daemons: u32,
    /// The threads of each.
    pub max_threads: u32,
}

impl Mpm {
    /// Asks it.
    pub fn query() -> Self {
        Self {
            is_threaded: query(sys::AP_MPMQ_IS_THREADED) != sys::AP_MPMQ_NOT_SUPPORTED,
            is_forked: query(sys::AP_MPMQ_IS_FORKED) != sys::AP_MPMQ_NOT_SUPPORTED,
            max_daemons: at_least_one(query(sys::AP_MPMQ_MAX_DAEMONS)),
            max_threads: at_least_one(query(sys::AP_MPMQ_MAX_THREADS)),
        }
    }
}

fn query(code: c_int) -> c_int {
    let mut answer = 0;
    // SAFETY: the place for the answer is writable.
    let status = unsafe { sys::ap_mpm_query(code, &raw mut answer) };
    if status == sys::APR_SUCCESS {
        answer
    } else {
        0
    }
}

fn at_least_one(number: c_int) -> u32 {
    u32::try_from(number).unwrap_or_default().max(1)
}

/// The name of the MPM: `event`.
pub fn mpm_name() -> &'static CStr {
    // SAFETY: a string of the MPM's, which is not unloaded while modules run.
    unsafe { text::borrow(sys::ap_show_mpm()) }.unwrap_or_default()
}

/// The version of the httpd whose headers this was compiled with.
pub const COMPILED_VERSION: [u32; 3] = [
    sys::AP_SERVER_MAJORVERSION_NUMBER as u32,
    sys::AP_SERVER_MINORVERSION_NUMBER as u32,
    sys::AP_SERVER_PATCHLEVEL_NUMBER as u32,
];

/// Whether the running httpd is of this version or a later one. It may be another than the one
/// this was compiled with.
pub fn runs_on(version: [u32; 3]) -> bool {
    let mut running = sys::ap_version_t::default();
    // SAFETY: the place for the answer is writable.
    unsafe { sys::ap_get_server_revision(&raw mut running) };
    let running = [running.major, running.minor, running.patch];
    running.map(|part| u32::try_from(part).unwrap_or_default()) >= version
}

/// The name of httpd's program, without its directory.
pub fn name() -> &'static CStr {
    // SAFETY: httpd sets it before it reads a configuration, and keeps it as long as it lives.
    unsafe {
        match sys::ap_server_argv0 {
            name if name.is_null() => c"httpd",
            name => CStr::from_ptr(name),
        }
    }
}

/// All the server says of itself: `Apache/2.4.66 (Debian) mod_wsgi/…`.
pub fn description() -> &'static CStr {
    // SAFETY: a string that stays the same while children run.
    unsafe { text::borrow(sys::ap_get_server_description()) }.unwrap_or_default()
}

/// When httpd was built.
pub fn build_date() -> &'static CStr {
    // SAFETY: a constant of httpd's.
    unsafe { text::borrow(sys::ap_get_server_built()) }.unwrap_or_default()
}

/// A path of this name in the directory for what a running server keeps: `DefaultRuntimeDir`.
pub fn runtime_path(pool: Pool<'_>, name: &CStr) -> PathBuf {
    // SAFETY: both are valid; the result lives in the pool.
    path(unsafe { text::borrow(sys::ap_runtime_dir_relative(pool.as_ptr(), name.as_ptr())) })
        .unwrap_or_else(|| Path::new("/run").join(OsStr::from_bytes(name.to_bytes())))
}

/// A path that is relative to `ServerRoot`, or absolute; `None` if it is no path.
pub fn server_root_relative(pool: Pool<'_>, name: &CStr) -> Option<PathBuf> {
    // SAFETY: both are valid; the result lives in the pool.
    path(unsafe { text::borrow(sys::ap_server_root_relative(pool.as_ptr(), name.as_ptr())) })
}

fn path(text: Option<&CStr>) -> Option<PathBuf> {
    text.map(|text| PathBuf::from(OsStr::from_bytes(text.to_bytes())))
}

/// Adds a component to what the server says of itself, until the next configuration.
pub fn add_version_component(pool: Pool<'_>, component: &CStr) {
    // SAFETY: both are valid; httpd copies the string.
    unsafe { sys::ap_add_version_component(pool.as_ptr(), component.as_ptr()) }
}

/// Calls `body` with the base server of the configuration in force, if there is one yet: for code
/// that runs outside of any hook.
pub fn with_base_server<T>(body: impl FnOnce(Server<'_>) -> T) -> Option<T> {
    // SAFETY: httpd sets it once a configuration is read, and in a child it never changes.
    let server = unsafe { sys::ap_server_conf };
    (!server.is_null()).then(|| {
        // SAFETY: not null, and complete: it is set after the configuration was read. It lives at
        // least until this returns, since only the thread that reads configurations frees one.
        body(unsafe { Server::from_raw(server) })
    })
}
