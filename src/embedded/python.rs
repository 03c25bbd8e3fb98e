//! Python in this child of httpd: started when first needed, ended when the child ends.
//!
//! A child that serves no embedded application never loads an engine. Scripts that are to be
//! preloaded start it as the child starts, otherwise the first request does, on whichever thread
//! has it; others wait. What cannot be started is not tried again in this child.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::sync::OnceLock;

use engine_abi::{
    Bytes, Engine, EnginesError, InterpreterSection, LoadError, LoadedEngine, NO_MAIN_INTERPRETER,
    ProcessConfig, Script, ServerInfo, Slice,
};
use httpd::process::{self, Mpm};
use httpd::{Level, Pool, Server};
use wsgi_config::interpreter_options::Section;
use wsgi_config::value::HashSeed;

use super::host::HOST;
use crate::Wsgi;
use crate::config::{self, Preload, ProcessWide};
use crate::engines;
use crate::log::{self, Id};

/// How long applications may take to end, when the child does. httpd kills children that are
/// still there some ten seconds after it asked them to go.
const STOP_DEADLINE_MS: u32 = 5_000;

/// Python, once it was tried to start it; `None` if that failed.
static ENGINE: OnceLock<Option<&'static Engine>> = OnceLock::new();

thread_local! {
    /// Whether this thread is in the engine.
    static SERVING: Cell<bool> = const { Cell::new(false) };
}

/// The engine, started; `None` if this child has to do without.
pub(super) fn engine() -> Option<&'static Engine> {
    *ENGINE.get_or_init(|| process::with_base_server(start).flatten())
}

/// Remembers that the calling thread is in the engine while `body` runs.
pub(super) fn while_serving<T>(body: impl FnOnce() -> T) -> T {
    let before = SERVING.replace(true);
    let result = body();
    SERVING.set(before);
    result
}

/// As a child starts: loads the scripts that are to be preloaded, and sees to it that Python ends
/// before the child does.
pub(crate) fn child_init(pool: Pool<'_>, base: Server<'_>) {
    pool.place(StopAtExit);
    let here = || config::preloads(base).filter(|script| script.process_group.is_empty());
    // Where no application runs, one that says so by `WSGIImportScript` is for hooks.
    if super::is_restricted(base) && !here().any(Preload::is_import) {
        return;
    }
    for preload in here() {
        let Some(engine) = engine() else { return };
        load(engine, preload);
    }
}

/// Loads a script before its first request. If that fails, the first request tries again; the
/// cause is in the log.
fn load(engine: &Engine, preload: &Preload) {
    let script = Script {
        path: Bytes::new(preload.script.to_bytes()),
        application_group: Bytes::new(preload.application_group.to_bytes()),
        mtime: Script::UNKNOWN_MTIME,
        reload: true,
    };
    // Some versions of httpd let a child be told to end already now, by a signal.
    while_serving(|| {
        // SAFETY: the engine was started; the script is valid until the call returns.
        let _logged = unsafe { (engine.preload)(&raw const script) };
    });
}

fn start(base: Server<'_>) -> Option<&'static Engine> {
    let started = try_start(base.config::<Wsgi>().process());
    if let Err(error) = &started {
        log::server(base, Level::CRIT, error.id(), error);
    }
    started.ok()
}

/// Why there is no Python in this process.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Engines(#[from] EnginesError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("Python could not be started in this process; the message before has the reason")]
    Python,
    #[error(
        "Python's main interpreter cannot be used in this process; the message before has the reason"
    )]
    Interpreter,
}

impl StartError {
    fn id(&self) -> Id {
        match self {
            Self::Interpreter => Id(2),
            _ => Id(1),
        }
    }
}

fn try_start(config: &ProcessWide) -> Result<&'static Engine, StartError> {
    let file = engines::of(config)?;
    let engine = LoadedEngine::load(&file.path)?.functions();
    let filters = config.python_warnings.iter();
    let warnings: Vec<_> = filters
        .map(|filter| Bytes::new(filter.to_bytes()))
        .collect();
    let sections = config.interpreters.in_process_group(b"");
    let sections: Vec<_> = sections.into_iter().map(section).collect();
    let config = process_config(config, &warnings, &sections);
    // SAFETY: the engine is started once in this process, as `ENGINE` is set once; the host's
    // table is static, and the configuration valid until the call returns.
    match unsafe { (engine.start)(&raw const HOST, &raw const config) } {
        0 => Ok(engine),
        NO_MAIN_INTERPRETER => Err(StartError::Interpreter),
        _ => Err(StartError::Python),
    }
}

fn process_config<'a>(
    config: &'a ProcessWide,
    warnings: &'a [Bytes<'a>],
    sections: &'a [InterpreterSection<'a>],
) -> ProcessConfig<'a> {
    let mpm = Mpm::query();
    let outside = config.interpreters.outside();
    let optional = |text: &'a Option<CString>| Bytes::from(text.as_deref().map(CStr::to_bytes));
    ProcessConfig {
        process_group: Bytes::new(b""),
        python_home: optional(&config.python_home),
        python_path: Bytes::from(outside.python_path.as_deref()),
        home: Bytes::NONE,
        python_eggs: optional(&config.python_eggs),
        python_warnings: Slice::new(warnings),
        python_optimize: config.python_optimize,
        python_hash_seed: match config.python_hash_seed {
            HashSeed::Random => -1,
            HashSeed::Fixed(seed) => seed.into(),
        },
        dont_write_bytecode: config.dont_write_bytecode,
        destroy_interpreter: config.destroy_interpreter,
        restrict_stdin: outside.restrict_stdin.unwrap_or(false),
        restrict_stdout: outside.restrict_stdout.unwrap_or(false),
        keep_stdout: process::is_the_only_one(),
        restrict_signal: outside.restrict_signal.unwrap_or(true),
        switch_interval: outside.switch_interval.unwrap_or_default(),
        per_interpreter_gil: outside.per_interpreter_gil.unwrap_or(false),
        free_threading: config.interpreters.free_threading(b""),
        sections: Slice::new(sections),
        case_sensitive: config.case_sensitive,
        server_metrics: config.server_metrics,
        multithread: mpm.is_threaded && mpm.max_threads != 1,
        multiprocess: mpm.is_forked && mpm.max_daemons != 1,
        run_once: false,
        maximum_processes: mpm.max_daemons,
        threads_per_process: mpm.max_threads,
        server: ServerInfo {
            version: process::COMPILED_VERSION,
            description: Bytes::new(process::description().to_bytes()),
            build_date: Bytes::new(process::build_date().to_bytes()),
            mpm_name: Bytes::new(process::mpm_name().to_bytes()),
            maximum_processes: mpm.max_daemons,
            threads_per_process: mpm.max_threads,
        },
    }
}

fn section(section: &Section) -> InterpreterSection<'_> {
    InterpreterSection {
        application_group: Bytes::from(section.selector.application_group.as_deref()),
        python_path: Bytes::from(section.python_path.as_deref()),
        restrict_stdin: section.restrict_stdin.into(),
        restrict_stdout: section.restrict_stdout.into(),
        restrict_signal: section.restrict_signal.into(),
        per_interpreter_gil: section.per_interpreter_gil.into(),
        switch_interval: section.switch_interval.unwrap_or_default(),
    }
}

/// Ends Python, when dropped: with the pool of the child.
#[derive(Debug)]
struct StopAtExit;

impl Drop for StopAtExit {
    fn drop(&mut self) {
        let Some(Some(engine)) = ENGINE.get() else {
            return;
        };
        // A process may end in the middle of a request: a child with one thread does so from inside
        // a signal handler, and code of an application may call `exit`, most of all in a process
        // that it has forked. Then this thread is in Python already, and cannot end it.
        if SERVING.get() {
            return;
        }
        // SAFETY: the engine was started, and this is dropped once.
        let _logged = unsafe { (engine.stop)(Bytes::new(b""), STOP_DEADLINE_MS) };
    }
}
