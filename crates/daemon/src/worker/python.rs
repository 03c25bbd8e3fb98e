//! Starting and ending Python through the engine, and the host's functions that concern no request.

use std::ffi::{OsString, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use control::{GroupSpec, InterpreterSection, PreloadScript, ScoreboardReader};
use engine_abi::{
    ABI_VERSION, Bytes, Host, LoadedEngine, LogLine, ProcessConfig, RequestHandle, Script,
    ServerInfo, Slice, TakeScoreboard,
};

use super::exchange;
use super::scripts::Scripts;
use super::{StartError, describe};
use crate::log::{Level, Log};

/// Where lines outside a request go. Set before the engine starts, for the life of the process.
static PROCESS_LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// The link to httpd's scoreboard, if the group may use it.
static SCOREBOARD: OnceLock<ScoreboardReader> = OnceLock::new();

/// Whether a script was loaded.
static LOADED: AtomicBool = AtomicBool::new(false);

/// What this process offers the engine.
static HOST: Host = Host {
    abi_version: ABI_VERSION,
    is_duplex: true,
    log,
    // The same function: it never waits for a thread that is sending.
    log_beside: log,
    log_level,
    read_body: exchange::read_body,
    await_body: exchange::await_body,
    send: exchange::send,
    try_send: Some(exchange::try_send),
    scoreboard,
    loaded,
};

/// Whether a script was loaded since the start.
pub(super) fn has_loaded() -> bool {
    LOADED.load(Ordering::Relaxed)
}

/// Starts Python as the group describes it.
pub(super) fn start(
    engine: LoadedEngine,
    group: &GroupSpec,
    log: &Arc<Log>,
    scoreboard: Option<ScoreboardReader>,
) -> Result<(), StartError> {
    // A worker has one log for its whole life, so a second value cannot come.
    let _ = PROCESS_LOG.set(log.clone());
    if let Some(scoreboard) = scoreboard {
        let _ = SCOREBOARD.set(scoreboard);
    }
    let python = &group.python;
    let warnings: Vec<_> = python
        .warnings
        .iter()
        .map(|entry| bytes(Some(entry)))
        .collect();
    let sections: Vec<_> = python.sections.iter().map(section).collect();
    let config = ProcessConfig {
        process_group: Bytes::from(group.name.as_str()),
        python_home: bytes(python.home.as_ref()),
        python_path: bytes(python.path.as_ref()),
        home: bytes(home_on_path(group)),
        python_eggs: bytes(python.eggs.as_ref()),
        python_warnings: Slice::new(&warnings),
        python_optimize: python.optimize,
        python_hash_seed: python.hash_seed.map_or(-1, i64::from),
        dont_write_bytecode: python.dont_write_bytecode,
        destroy_interpreter: python.destroy_interpreter,
        restrict_stdin: python.restrict_stdin,
        restrict_stdout: python.restrict_stdout,
        keep_stdout: false,
        restrict_signal: python.restrict_signal,
        switch_interval: python.default_switch_interval.unwrap_or_default(),
        per_interpreter_gil: python.per_interpreter_gil,
        free_threading: python.free_threading,
        sections: Slice::new(&sections),
        case_sensitive: python.case_sensitive,
        server_metrics: python.server_metrics,
        multithread: group.threads != 1,
        multiprocess: group.multiprocess,
        run_once: group.threads == 1 && group.life.maximum_requests == Some(1),
        maximum_processes: group.processes,
        threads_per_process: group.threads,
        server: ServerInfo {
            version: group.server.version,
            description: Bytes::from(group.server.description.as_str()),
            build_date: Bytes::from(group.server.build_date.as_str()),
            mpm_name: Bytes::from(group.server.mpm_name.as_str()),
            maximum_processes: group.server.maximum_processes,
            threads_per_process: group.server.threads_per_process,
        },
    };
    // SAFETY: the host's table is a static, the configuration lives until the call returns, and
    // this is the only start in this process.
    let started = unsafe { (engine.functions().start)(&raw const HOST, &raw const config) };
    if started == 0 {
        Ok(())
    } else {
        Err(StartError::Python)
    }
}

fn section(section: &InterpreterSection) -> engine_abi::InterpreterSection<'_> {
    engine_abi::InterpreterSection {
        application_group: bytes(section.application_group.as_ref()),
        python_path: bytes(section.python_path.as_ref()),
        restrict_stdin: section.restrict_stdin.into(),
        restrict_stdout: section.restrict_stdout.into(),
        restrict_signal: section.restrict_signal.into(),
        per_interpreter_gil: section.per_interpreter_gil.into(),
        switch_interval: section.switch_interval.unwrap_or_default(),
    }
}

/// Sets `switch-interval`, if the group has one, in the interpreters that exist once scripts have
/// been loaded. Logs failures.
pub(super) fn set_switch_interval(engine: LoadedEngine, group: &GroupSpec) {
    if let Some(seconds) = group.python.switch_interval {
        // SAFETY: Python was started.
        unsafe { (engine.functions().set_switch_interval)(seconds) };
    }
}

/// Loads scripts before the first request. If one fails, that is logged, and it is tried again at
/// its first request. Their modification times go to `loaded`, since the files may change later.
pub(super) fn preload(engine: LoadedEngine, scripts: &[PreloadScript], loaded: &Scripts) {
    for script in scripts {
        let script = Script {
            path: bytes(Some(&script.path)),
            application_group: bytes(Some(&script.application_group)),
            mtime: loaded.mtime(script.path.as_bytes()),
            reload: script.reload,
        };
        // SAFETY: the script lives until the call returns, and Python was started.
        unsafe { (engine.functions().preload)(&raw const script) };
    }
}

/// Runs a script to its end, on Python's main thread. Returns whether it succeeded; logs failures.
pub(super) fn run(engine: LoadedEngine, script: &PreloadScript) -> bool {
    let script = Script {
        path: bytes(Some(&script.path)),
        application_group: bytes(Some(&script.application_group)),
        mtime: Script::UNKNOWN_MTIME,
        reload: false,
    };
    // SAFETY: the script lives until the call returns, and Python was started.
    unsafe { (engine.functions().run)(&raw const script) == 0 }
}

/// Tells the applications that the process is about to end, without waiting for their callbacks.
pub(super) fn announce_stop(engine: LoadedEngine, reason: &str) {
    // SAFETY: Python was started, and the reason lives until the call returns.
    unsafe { (engine.functions().announce_stop)(Bytes::from(reason)) };
}

/// Ends Python within a limit. Logs if that is not possible.
pub(super) fn stop(
    engine: LoadedEngine,
    group: &GroupSpec,
    reason: &str,
    limit: Duration,
    log: &Log,
) {
    let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: Python was started, and the reason lives until the call returns.
    if unsafe { (engine.functions().stop)(Bytes::from(reason), milliseconds) } != 0 {
        let text = format_args!(
            "Python did not end within {limit:?} in a worker of {}; the worker ends without it.",
            describe(group)
        );
        log.line(Level::Warn, 1217, text);
    }
}

/// `home`, where it was configured.
fn home_on_path(group: &GroupSpec) -> Option<&OsString> {
    let identity = &group.identity;
    identity.home.as_ref().filter(|_| identity.home_on_path)
}

fn bytes(text: Option<&OsString>) -> Bytes<'_> {
    text.map_or(Bytes::NONE, |text| Bytes::new(text.as_bytes()))
}

unsafe extern "C" fn log(request: RequestHandle, line: *const LogLine<'_>) {
    // A panic must not unwind into the engine, and cannot be logged, since logging caused it.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the engine passes a line that lives until this function returns.
        let line = unsafe { &*line };
        // SAFETY: a handle that is not null is that of a request that the engine is handling.
        let is_sent = !request.is_null() && unsafe { exchange::log(request, line) };
        if !is_sent && let Some(log) = PROCESS_LOG.get() {
            log.line(
                line.level,
                line.id,
                String::from_utf8_lossy(line.text.or_empty()),
            );
        }
    }));
}

/// [`Host::scoreboard`]. A worker does not map httpd's scoreboard, but may have a link to ask for a
/// copy.
unsafe extern "C" fn scoreboard(take: TakeScoreboard, taker: *mut c_void) {
    // A panic must not unwind into the engine. Then no scoreboard is lent.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let copy = SCOREBOARD.get().map(ScoreboardReader::read);
        if let Some(Ok(copy)) = copy {
            // SAFETY: the engine has passed `take` and `taker` for each other, and `lent` lives
            // until `take` returns.
            copy.lend(|lent| unsafe { take(taker, lent) });
        }
    }));
}

unsafe extern "C" fn loaded() {
    LOADED.store(true, Ordering::Relaxed);
}

unsafe extern "C" fn log_level(request: RequestHandle) -> c_int {
    if request.is_null() {
        return PROCESS_LOG.get().map_or(0, |log| c_int::from(log.level()));
    }
    // SAFETY: a handle that is not null is that of a request that the engine is handling.
    c_int::from(unsafe { exchange::log_level(request) })
}
