//! The process that a host starts Python in, as far as applications notice it.

use std::ffi::c_int;

use crate::{Bytes, Slice};

/// How an application is run in this process. Set once, at [`Engine::start`](crate::Engine::start).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProcessConfig<'a> {
    /// The process group; empty in embedded mode.
    pub process_group: Bytes<'a>,
    /// `WSGIPythonHome` / `python-home`.
    pub python_home: Bytes<'a>,
    /// `WSGIPythonPath` / `python-path`: directories joined by colons.
    pub python_path: Bytes<'a>,
    /// `home`, which comes first on `sys.path`, before what sections add.
    pub home: Bytes<'a>,
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
    /// Whether `sys.stdout` is not replaced: httpd is a single process, which is being debugged.
    pub keep_stdout: bool,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: bool,
    /// `WSGISwitchInterval`, in seconds; 0 for Python's own choice.
    pub switch_interval: f64,
    /// `WSGIPerInterpreterGIL`: whether sub-interpreters have a GIL of their own, if Python can.
    pub per_interpreter_gil: bool,
    /// `WSGIFreeThreading`: whether Python runs without a GIL, if it can. A Python that can
    /// otherwise runs with one.
    pub free_threading: bool,
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
    /// [`Engine::run`](crate::Engine::run).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_on_off_or_unsaid() {
        for said in [None, Some(false), Some(true)] {
            assert_eq!(Switch::from(said).get(), said);
        }
    }
}
