//! How Python is run in this process: the host's [`ProcessConfig`], kept for the process's life.
//!
//! Set once, when the engine starts, before there is an interpreter; read on any thread.

use std::fmt;
use std::sync::OnceLock;

use engine_abi::{Bytes, InterpreterSection, ProcessConfig, ServerInfo};

use crate::meter::now;
use crate::metrics;

static PROCESS: OnceLock<Process> = OnceLock::new();
static NOT_STARTED: Process = Process::new();

/// The process's configuration; the defaults before the engine is started.
pub(crate) fn config() -> &'static Process {
    PROCESS.get().unwrap_or(&NOT_STARTED)
}

/// Keeps the configuration; false if there is one already.
pub(crate) fn configure(process: Process) -> bool {
    PROCESS.set(process).is_ok()
}

/// An owned [`ProcessConfig`]; the fields mean the same.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) process_group: Vec<u8>,
    pub(crate) python_home: Vec<u8>,
    pub(crate) python_path: Vec<u8>,
    pub(crate) home: Vec<u8>,
    /// Empty where it is said to be.
    pub(crate) python_eggs: Option<Vec<u8>>,
    pub(crate) python_warnings: Vec<Vec<u8>>,
    pub(crate) python_optimize: i32,
    pub(crate) python_hash_seed: Option<u32>,
    pub(crate) dont_write_bytecode: bool,
    pub(crate) destroy_interpreter: bool,
    pub(crate) restrict_stdin: bool,
    pub(crate) restrict_stdout: bool,
    pub(crate) keep_stdout: bool,
    pub(crate) restrict_signal: bool,
    pub(crate) switch_interval: Option<f64>,
    pub(crate) per_interpreter_gil: bool,
    /// Never true where Python cannot do without a GIL.
    pub(crate) free_threading: bool,
    pub(crate) sections: Vec<Section>,
    pub(crate) case_sensitive: bool,
    pub(crate) server_metrics: bool,
    pub(crate) multithread: bool,
    pub(crate) multiprocess: bool,
    pub(crate) run_once: bool,
    pub(crate) maximum_processes: u32,
    pub(crate) threads_per_process: u32,
    pub(crate) server: Server,
    /// When the process was started, in microseconds since the epoch.
    pub(crate) started_at: i64,
}

/// An owned [`ServerInfo`]; the fields mean the same.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) version: [u32; 3],
    pub(crate) description: Vec<u8>,
    pub(crate) build_date: Vec<u8>,
    pub(crate) mpm_name: Vec<u8>,
    pub(crate) maximum_processes: u32,
    pub(crate) threads_per_process: u32,
}

/// An owned [`InterpreterSection`]; the fields mean the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) application_group: Option<Vec<u8>>,
    pub(crate) python_path: Option<Vec<u8>>,
    pub(crate) restrict_stdin: Option<bool>,
    pub(crate) restrict_stdout: Option<bool>,
    pub(crate) restrict_signal: Option<bool>,
    pub(crate) per_interpreter_gil: Option<bool>,
    pub(crate) switch_interval: Option<f64>,
}

impl Process {
    pub(crate) const fn new() -> Self {
        Self {
            process_group: Vec::new(),
            python_home: Vec::new(),
            python_path: Vec::new(),
            home: Vec::new(),
            python_eggs: None,
            python_warnings: Vec::new(),
            python_optimize: 0,
            python_hash_seed: None,
            dont_write_bytecode: false,
            destroy_interpreter: true,
            restrict_stdin: false,
            restrict_stdout: false,
            keep_stdout: false,
            restrict_signal: true,
            switch_interval: None,
            per_interpreter_gil: false,
            free_threading: false,
            sections: Vec::new(),
            case_sensitive: true,
            server_metrics: false,
            multithread: false,
            multiprocess: false,
            run_once: false,
            maximum_processes: 1,
            threads_per_process: 1,
            server: Server::new(),
            started_at: 0,
        }
    }

    /// Whether the process serves no requests, but runs a script on Python's main thread.
    pub(crate) fn is_service(&self) -> bool {
        !self.is_embedded() && self.threads_per_process == 0
    }

    /// Whether the process is a child of httpd, rather than a worker of the daemon.
    pub(crate) fn is_embedded(&self) -> bool {
        self.process_group.is_empty()
    }
}

impl Server {
    const fn new() -> Self {
        Self {
            version: [0; 3],
            description: Vec::new(),
            build_date: Vec::new(),
            mpm_name: Vec::new(),
            maximum_processes: 1,
            threads_per_process: 1,
        }
    }
}

/// Where the process is, for messages: `embedded mode`, `daemon process 'blog'`.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_embedded() {
            return f.write_str("embedded mode");
        }
        let group = String::from_utf8_lossy(&self.process_group);
        write!(f, "daemon process '{group}'")
    }
}

impl From<&ProcessConfig<'_>> for Process {
    fn from(config: &ProcessConfig<'_>) -> Self {
        let owned = |bytes: Bytes<'_>| bytes.or_empty().to_vec();
        Self {
            process_group: owned(config.process_group),
            python_home: owned(config.python_home),
            python_path: owned(config.python_path),
            home: owned(config.home),
            python_eggs: config.python_eggs.get().map(<[u8]>::to_vec),
            python_warnings: config
                .python_warnings
                .get()
                .iter()
                .copied()
                .map(owned)
                .collect(),
            python_optimize: config.python_optimize.max(0),
            python_hash_seed: u32::try_from(config.python_hash_seed).ok(),
            dont_write_bytecode: config.dont_write_bytecode,
            destroy_interpreter: config.destroy_interpreter,
            restrict_stdin: config.restrict_stdin,
            restrict_stdout: config.restrict_stdout,
            keep_stdout: config.keep_stdout,
            restrict_signal: config.restrict_signal,
            switch_interval: seconds(config.switch_interval),
            per_interpreter_gil: config.per_interpreter_gil,
            free_threading: cfg!(Py_GIL_DISABLED) && config.free_threading,
            sections: config.sections.get().iter().map(Section::from).collect(),
            case_sensitive: config.case_sensitive,
            server_metrics: config.server_metrics,
            multithread: config.multithread,
            multiprocess: config.multiprocess,
            run_once: config.run_once,
            maximum_processes: config.maximum_processes,
            threads_per_process: config.threads_per_process,
            server: Server::from(&config.server),
            started_at: metrics::started_at().unwrap_or_else(now),
        }
    }
}

impl From<&InterpreterSection<'_>> for Section {
    fn from(section: &InterpreterSection<'_>) -> Self {
        let owned = |bytes: Bytes<'_>| bytes.get().map(<[u8]>::to_vec);
        Self {
            application_group: owned(section.application_group),
            python_path: owned(section.python_path),
            restrict_stdin: section.restrict_stdin.get(),
            restrict_stdout: section.restrict_stdout.get(),
            restrict_signal: section.restrict_signal.get(),
            per_interpreter_gil: section.per_interpreter_gil.get(),
            switch_interval: seconds(section.switch_interval),
        }
    }
}

/// An interval; 0 stands for none.
fn seconds(seconds: f64) -> Option<f64> {
    (seconds > 0.0).then_some(seconds)
}

impl From<&ServerInfo<'_>> for Server {
    fn from(server: &ServerInfo<'_>) -> Self {
        let owned = |bytes: Bytes<'_>| bytes.or_empty().to_vec();
        Self {
            version: server.version,
            description: owned(server.description),
            build_date: owned(server.build_date),
            mpm_name: owned(server.mpm_name),
            maximum_processes: server.maximum_processes,
            threads_per_process: server.threads_per_process,
        }
    }
}
