//! Interpreters: one for each application group.
//!
//! The group with the empty name is the main interpreter; every other is a sub-interpreter, which
//! is made when it is first needed and kept for the life of the process. Everything that the engine
//! keeps for an interpreter belongs to its [`Interpreter`]; there is no Python object in a static.
//!
//! - [`registry`]: finding and creating them, any thread
//! - [`failed`]: groups whose interpreter could not be made
//! - [`states`]: the thread states of an interpreter, and which of them the engine has made
//! - [`mod@line`]: the queue of requests that wait for a GIL to begin
//! - [`thread`]: attaching the calling thread, and what a thread keeps for that
//! - [`gilstate`]: what CPython up to 3.11 needs so that extension modules see the right
//!   interpreter
//! - [`options`]: the options of an interpreter
//! - [`setup`]: what is put into a new interpreter

mod failed;
#[cfg(not(Py_3_12))]
mod gilstate;
mod line;
mod options;
mod registry;
mod setup;
mod states;
mod thread;

use std::fmt;

use pyo3_ffi as ffi;

use crate::hook;
use crate::log;
use crate::modules::Modules;
use crate::process;
use crate::python::{Attached, Detached, Owned, Raised, Result};
use crate::script::Scripts;
use crate::wsgi;

pub(crate) use line::newcomers;
use line::{Line, Newcomer};
pub(crate) use registry::{CreateError, adopt_main, all, find};
pub(crate) use setup::{NO_INTERVAL, set_switch_interval};
#[cfg(not(Py_3_12))]
pub(crate) use thread::is_own_state;
pub(crate) use thread::{attached_state, own_key};

/// Prepares the threads of the process for extension modules that use the simplified GIL API. To be
/// called once, on the thread that has initialised Python.
pub(crate) fn watch_gil_state(_py: Attached<'_>) {
    #[cfg(not(Py_3_12))]
    gilstate::discover(_py);
}

/// The line for the GIL that the main interpreter shares with others.
static SHARED_LINE: Line = Line::new();

/// An interpreter and what the engine keeps for it. Never dropped.
pub(crate) struct Interpreter {
    group: Box<[u8]>,
    /// The line for its own GIL, if it has one.
    own_line: Option<Line>,
    state: State,
    contents: Contents,
    scripts: Scripts,
}

/// What the engine keeps of the Python objects in an interpreter.
pub(crate) struct Contents {
    pub(crate) modules: Modules,
    pub(crate) log: log::Streams,
    pub(crate) wsgi: wsgi::State,
    pub(crate) hook: hook::State,
    pub(crate) names: Names,
}

/// CPython's interpreter: what a thread state is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(*mut ffi::PyInterpreterState);

// SAFETY: the pointer is used to make thread states, which CPython allows on any thread, and to
// compare.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

impl Interpreter {
    /// The interpreter that the thread is attached to; `None` in one that is not the engine's: an
    /// application can make interpreters of its own.
    pub(crate) fn current(py: Attached<'_>) -> Option<&'static Self> {
        thread::current(py)
    }

    /// The same for what only interpreters of the engine's can do.
    pub(crate) fn require(py: Attached<'_>) -> Result<'_, &'static Self> {
        Self::current(py)
            .ok_or_else(|| Raised::runtime_error(py, "this interpreter is not one of mod_wsgi's"))
    }

    /// The application group; empty for the main interpreter.
    pub(crate) fn group(&self) -> &[u8] {
        &self.group
    }

    /// Whether it is the main one.
    pub(crate) fn is_main(&self) -> bool {
        self.group.is_empty()
    }

    /// Whether it has a GIL of its own.
    pub(crate) fn has_own_gil(&self) -> bool {
        self.own_line.is_some()
    }

    /// Whether its threads can run while a thread of the main interpreter holds the GIL.
    pub(crate) fn is_apart(&self) -> bool {
        self.has_own_gil() || process::config().free_threading
    }

    /// Whether it has its own GIL, and a thread of the host has that or waits for it.
    pub(crate) fn is_own_gil_in_use(&self) -> bool {
        self.own_line.as_ref().is_some_and(Line::is_in_use)
    }

    /// Runs a request with the calling thread attached to this interpreter, after requests that
    /// came before it (see [`mod@line`]).
    pub(crate) fn attach_in_line<R>(
        &'static self,
        detached: &mut Detached,
        request: impl for<'py> FnOnce(Attached<'py>) -> R,
    ) -> R {
        let Some(line) = self.line() else {
            return self.attach(detached, request);
        };
        let newcomer = Newcomer::count();
        let first = line.stand();
        self.attach(detached, |py| {
            drop((newcomer, first));
            let _begun = line.begin();
            request(py)
        })
    }

    /// The line for its GIL, if there is one.
    fn line(&self) -> Option<&Line> {
        let line = self.own_line.as_ref().unwrap_or(&SHARED_LINE);
        (!process::config().free_threading).then_some(line)
    }

    /// The state of the WSGI layer.
    pub(crate) fn wsgi(&self) -> &wsgi::State {
        &self.contents.wsgi
    }

    /// The state of the layer that calls scripts beside applications.
    pub(crate) fn hook(&self) -> &hook::State {
        &self.contents.hook
    }

    /// The log streams.
    pub(crate) fn log(&self) -> &log::Streams {
        &self.contents.log
    }

    /// The engine's own modules.
    pub(crate) fn modules(&self) -> &Modules {
        &self.contents.modules
    }

    /// The scripts that are loaded.
    pub(crate) fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// `sys.modules` and other things that are looked up often.
    pub(crate) fn names(&self) -> &Names {
        &self.contents.names
    }
}

/// For messages, with the place: `sub-interpreter 'example.com|/blog' in embedded mode`, `main
/// interpreter of daemon process 'site'`.
impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = process::config();
        let word = if place.is_embedded() { "in" } else { "of" };
        write!(f, "{} {word} {place}", GroupName(&self.group))
    }
}

/// An application group's interpreter, for messages: `main interpreter`, `sub-interpreter 'blog'`.
pub(crate) struct GroupName<'a>(pub(crate) &'a [u8]);

impl fmt::Display for GroupName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("main interpreter");
        }
        write!(f, "sub-interpreter '{}'", String::from_utf8_lossy(self.0))
    }
}

/// Objects of an interpreter that the engine looks up on every request.
pub(crate) struct Names {
    /// The dict `sys.modules`.
    pub(crate) modules: crate::python::Stored,
    /// `__mtime__`
    pub(crate) mtime: crate::python::Stored,
    /// `reload_required`
    pub(crate) reload_required: crate::python::Stored,
}

impl Names {
    fn create<'py>(py: Attached<'py>) -> Result<'py, Self> {
        let modules: Owned<'py> = py.import(c"sys")?.attribute_named(c"modules")?;
        Ok(Self {
            modules: modules.into_stored(),
            mtime: py.intern(c"__mtime__")?,
            reload_required: py.intern(c"reload_required")?,
        })
    }
}
