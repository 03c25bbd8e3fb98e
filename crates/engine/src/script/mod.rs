//! Scripts: the files that applications are in.
//!
//! A script is a module of its interpreter, under a name made of its path, and is loaded when it is
//! first asked for and again whenever its file has another modification time. One thread loads, the
//! others wait for it, without the GIL: what the script imports may take as long as it likes and
//! may start threads of its own.
//!
//! ```text
//!            ask ──> current? ──yes──> use it
//!             ^         │no
//!             │         v
//!             │      claimed by another thread? ──yes──> wait, detached ──┐
//!             │         │no                                               │
//!             │         v                                                 │
//!             │      claim, load ──> use it, or fail (500)                │
//!             └───────────────────────────────────────────────────────────┘
//! ```
//!
//! Called by attached threads. The locks here are held for moments, never while Python code runs.

mod load;
mod slot;

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine_abi::{Level, Outcome, Request, Script};

use crate::host::{self, Exchange};
use crate::interpreter::Interpreter;
use crate::interrupt;
use crate::log;
use crate::process;
use crate::python::{Attached, Object, Owned, Result};

pub(crate) use slot::Scripts;
use slot::{Claim, Slot};

/// A script that cannot be used. The cause, if it is a fault, is in the log.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    /// It cannot be loaded.
    #[error("the script cannot be loaded")]
    Load,
    /// It has no callable of the configured name.
    #[error("the script has no such callable")]
    Callable,
    /// The request took too long while it was loaded.
    #[error("the script took too long to load")]
    TimedOut,
    /// It must be loaded anew, and not in this process: so what it imports is new as well.
    #[error("the script must be loaded anew")]
    Stale,
    /// It has called `sys.exit()` in a process that runs nothing else.
    #[error("the script has ended the process")]
    Exited,
}

impl ScriptError {
    /// What becomes of the request.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::TimedOut => Outcome::refused(504),
            // As the reference does: in a child of httpd, as if the script were not there.
            Self::Callable if process::config().is_embedded() => Outcome::refused(404),
            Self::Load | Self::Callable | Self::Exited => Outcome::refused(500),
            Self::Stale => Outcome::stale(),
        }
    }
}

/// The modification time of a script in microseconds since the epoch, as far as it is known.
pub(crate) fn modification_time(script: &Script<'_>) -> Option<i64> {
    if script.mtime >= 0 {
        return Some(script.mtime);
    }
    engine_abi::modification_time(script.path.or_empty())
}

/// The application of a request: its script, loaded if need be, and the callable in it.
pub(crate) fn application<'py>(
    py: Attached<'py>,
    interpreter: &'static Interpreter,
    request: &Request<'_>,
    mtime: Option<i64>,
    exchange: &Arc<Exchange>,
) -> std::result::Result<Owned<'py>, ScriptError> {
    let visit = Visit {
        py,
        interpreter,
        script: &request.script,
        mtime,
        exchange: Some(exchange),
        resource: Some(request.resource.or_empty()),
    };
    let slot = visit.slot()?;
    let module = visit.module(&slot)?;
    tell_first(py);
    visit.callable(&slot, &module, request.callable.or_empty())
}

/// Tells the host that a request has its script, once: from then on the process counts as started.
fn tell_first(py: Attached<'_>) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.load(Ordering::Relaxed) {
        TOLD.store(true, Ordering::Relaxed);
        py.detach(|detached| host::tell_loaded(detached));
    }
}

/// The module that a script is, for its functions beside an application; loaded if need be.
pub(crate) fn module<'py>(
    py: Attached<'py>,
    interpreter: &'static Interpreter,
    script: &Script<'_>,
    mtime: Option<i64>,
    exchange: &Arc<Exchange>,
) -> std::result::Result<Owned<'py>, ScriptError> {
    let visit = Visit {
        py,
        interpreter,
        script,
        mtime,
        exchange: Some(exchange),
        resource: None,
    };
    visit.module(&*visit.slot()?)
}

/// Loads a script before its first request.
pub(crate) fn preload(
    py: Attached<'_>,
    interpreter: &'static Interpreter,
    script: &Script<'_>,
) -> std::result::Result<(), ScriptError> {
    let visit = Visit {
        py,
        interpreter,
        script,
        mtime: modification_time(script),
        exchange: None,
        resource: None,
    };
    visit.module(&*visit.slot()?).map(drop)
}

/// What is to be done with a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// It is used.
    Current,
    /// The script is loaded anew.
    Outdated,
    /// It is not loaded to its end.
    Unfinished,
}

/// A script, and who asks for it.
struct Visit<'a, 'py> {
    py: Attached<'py>,
    interpreter: &'static Interpreter,
    script: &'a Script<'a>,
    mtime: Option<i64>,
    /// The request; none while preloading.
    exchange: Option<&'a Arc<Exchange>>,
    /// What the script is asked about; none if it is not asked.
    resource: Option<&'a [u8]>,
}

impl<'py> Visit<'_, 'py> {
    fn path(&self) -> &[u8] {
        self.script.path.or_empty()
    }

    fn slot(&self) -> std::result::Result<Arc<Slot>, ScriptError> {
        let slot = self.interpreter.scripts().slot(self.py, self.path());
        slot.map_err(|raised| self.report(&raised))
    }

    /// The script's module, up to date.
    fn module(&self, slot: &Slot) -> std::result::Result<Owned<'py>, ScriptError> {
        loop {
            let judged = self.loaded(slot);
            if let Some(module) = &judged {
                match self.judge(slot, module)? {
                    Judgement::Current => return Ok(module.owned()),
                    Judgement::Outdated if self.is_reloaded_elsewhere() => {
                        return Err(ScriptError::Stale);
                    }
                    Judgement::Outdated | Judgement::Unfinished => {}
                }
            }
            let Claim::Ours(_claim) = slot.claim(self.py) else {
                // Another thread was loading it.
                continue;
            };
            // Unless another thread has loaded it since we judged it.
            if is_same(judged.as_deref(), self.loaded(slot).as_deref()) {
                return self.load(slot, judged.is_some());
            }
        }
    }

    /// The module in `sys.modules`: an application can take it out to have it loaded anew.
    fn loaded(&self, slot: &Slot) -> Option<Owned<'py>> {
        let modules = self.interpreter.names().modules.bind(self.py);
        modules.item(slot.module_name(self.py)).ok().flatten()
    }

    /// Whether the module can be used. Where scripts are loaded anew, one that has taken its stamp
    /// away is.
    fn judge(
        &self,
        slot: &Slot,
        module: &Object<'py>,
    ) -> std::result::Result<Judgement, ScriptError> {
        let stamp = match self.stamp(module) {
            None if slot.is_loading() => return Ok(Judgement::Unfinished),
            // Since then its loading may have come to its end, or failed.
            None if !is_same(self.loaded(slot).as_deref(), Some(module)) => {
                return Ok(Judgement::Unfinished);
            }
            None => self.stamp(module),
            stamp => stamp,
        };
        let is_kept = !self.script.reload;
        let is_unchanged = || stamp.is_some_and(|stamp| self.is_unchanged(stamp));
        if is_kept || (is_unchanged() && !self.is_reload_required(module)?) {
            Ok(Judgement::Current)
        } else {
            Ok(Judgement::Outdated)
        }
    }

    /// Whether it is for another process to load the script anew. At the start of a process nothing
    /// of the script has been used yet.
    fn is_reloaded_elsewhere(&self) -> bool {
        self.resource.is_some() && !process::config().is_embedded()
    }

    /// The modification time that a module is stamped with when it is loaded. A module that another
    /// thread is still executing is in `sys.modules` already, but has none.
    fn stamp(&self, module: &Object<'py>) -> Option<i64> {
        let stamp = module.module_item(self.interpreter.names().mtime.bind(self.py));
        stamp.ok().flatten().and_then(|mtime| mtime.to_i64().ok())
    }

    /// Whether the file is the one that was loaded. The request may have looked at it before
    /// another thread loaded a newer one, so a difference is verified.
    fn is_unchanged(&self, loaded: i64) -> bool {
        let path = self.path();
        self.mtime == Some(loaded)
            || self.py.detach(|_| engine_abi::modification_time(path)) == Some(loaded)
    }

    /// Asks the script itself: a script can define `reload_required(resource)`.
    fn is_reload_required(&self, module: &Object<'py>) -> std::result::Result<bool, ScriptError> {
        let Some(resource) = self.resource else {
            return Ok(false);
        };
        let name = self.interpreter.names().reload_required.bind(self.py);
        let Ok(Some(hook)) = module.module_item(name) else {
            return Ok(false);
        };
        let answer = interrupt::heed(self.py, || self.ask_reload_required(&hook, resource));
        let answer = answer.map_err(|timeout| self.report(&timeout))?;
        Ok(answer.unwrap_or_else(|raised| {
            self.log_exception(&raised);
            false
        }))
    }

    fn ask_reload_required(&self, hook: &Object<'py>, resource: &[u8]) -> Result<'py, bool> {
        hook.call(&[&*self.py.path(resource)?])?.is_true()
    }

    fn callable(
        &self,
        slot: &Slot,
        module: &Object<'py>,
        name: &[u8],
    ) -> std::result::Result<Owned<'py>, ScriptError> {
        let callable = slot.callable_name(self.py, name);
        let callable = callable.and_then(|name| module.module_item(&name));
        match callable {
            Ok(Some(callable)) => Ok(callable),
            Ok(None) => Err(self.report_missing_callable(module, name)),
            Err(raised) => Err(self.report(&raised)),
        }
    }

    fn report_missing_callable(&self, module: &Object<'py>, name: &[u8]) -> ScriptError {
        /// What applications are called where nobody expects another name.
        const USUAL: [&str; 2] = ["application", "app"];
        let has = |usual: &&str| {
            let usual = self
                .py
                .text(usual)
                .and_then(|usual| module.module_item(&usual));
            usual.is_ok_and(|there| there.is_some())
        };
        let meant = USUAL.iter().find(|usual| has(usual));
        let meant = meant.map_or_else(String::new, |meant| {
            format!(" There is an '{meant}': WSGICallableObject {meant} names that.")
        });
        let (path, name) = (lossy(self.path()), lossy(name));
        let text = format!(
            "Target WSGI script '{path}' does not contain WSGI application '{name}'.{meant}"
        );
        self.log_line(Level::Error, 89, &text);
        ScriptError::Callable
    }

    /// Logs a failure that has no words of its own.
    fn report(&self, raised: &crate::python::Raised<'py>) -> ScriptError {
        if interrupt::is_timeout(self.interpreter, raised) {
            self.log_line(Level::Info, 0, interrupt::RECOVERED);
            return ScriptError::TimedOut;
        }
        self.log_exception(raised);
        ScriptError::Load
    }

    fn log_line(&self, level: Level, id: u16, text: &str) {
        match self.exchange {
            Some(exchange) => log::line(self.py, exchange, level, id, text),
            None => log::notice(self.py, level, id, text),
        }
    }

    fn log_exception(&self, raised: &crate::python::Raised<'py>) {
        match self.exchange {
            Some(exchange) => log::exception(self.py, exchange, self.path(), raised),
            None => log::script_exception(self.py, self.path(), raised),
        }
    }
}

fn is_same(a: Option<&Object<'_>>, b: Option<&Object<'_>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is(b),
        (None, None) => true,
        _ => false,
    }
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A source text as CPython's compiler takes it: what follows a NUL is ignored.
fn c_source(mut source: Vec<u8>) -> CString {
    if let Some(end) = source.iter().position(|byte| *byte == 0) {
        source.truncate(end);
    }
    CString::new(source).unwrap_or_default()
}
