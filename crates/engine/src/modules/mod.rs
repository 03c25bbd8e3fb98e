//! The modules that only exist inside the server: `mod_wsgi` and `apache`.
//!
//! Made for every new interpreter, by the thread that makes it, before any script runs there.

mod apache;
mod events;
mod library;
mod log_handler;
mod metrics;
mod requests;
mod restricted;
mod server_metrics;
mod signals;
mod timeout;

use std::ffi::CStr;

use engine_abi::{COMPATIBLE_VERSION, Level};
use pyo3_ffi as ffi;

use crate::log;
use crate::process;
use crate::python::{Attached, Object, Owned, Result, Stored};

pub(crate) use events::{
    Event, Events, publish_signal, publish_stopping, report as report_event_failure,
};
pub(crate) use library::keep_library;
pub(crate) use requests::{Deciding, Served, Serving};
pub(crate) use restricted::restrict;
pub(crate) use signals::{exit_on_sigterm, intercept_signals};

/// The modules of an interpreter.
pub(crate) struct Modules {
    mod_wsgi: Stored,
    events: Events,
    /// `mod_wsgi.active_requests`, the very dict.
    active_requests: Stored,
    request_timeout: Stored,
}

impl Modules {
    /// Makes the module `mod_wsgi`.
    pub(crate) fn create<'py>(py: Attached<'py>, group: &[u8]) -> Result<'py, Self> {
        let module = new_module(py, c"mod_wsgi")?;
        describe(&module, group)?;
        let events = Events::define(&module)?;
        let active_requests = requests::define(&module)?;
        let request_timeout = timeout::define(&module)?;
        log_handler::define(&module)?;
        metrics::define(&module)?;
        server_metrics::define(&module)?;
        Ok(Self {
            mod_wsgi: module.into_stored(),
            events,
            active_requests,
            request_timeout,
        })
    }

    /// Puts the modules into `sys.modules`: when directories of applications are on `sys.path`,
    /// where there may be others of their names.
    pub(crate) fn install<'py>(&self, py: Attached<'py>) -> Result<'py, ()> {
        replace_package(self.mod_wsgi(py), c"mod_wsgi")?;
        apache::create(py)
    }

    /// The module `mod_wsgi`.
    pub(crate) const fn mod_wsgi<'a, 'py: 'a>(&'a self, py: Attached<'py>) -> &'a Object<'py> {
        self.mod_wsgi.bind(py)
    }

    /// Who is told of what happens.
    pub(crate) const fn events(&self) -> &Events {
        &self.events
    }

    /// The dict of the requests that are being served, by id.
    const fn active_requests<'a, 'py: 'a>(&'a self, py: Attached<'py>) -> &'a Object<'py> {
        self.active_requests.bind(py)
    }

    /// The type `mod_wsgi.RequestTimeout` of this interpreter.
    pub(crate) const fn request_timeout<'a, 'py: 'a>(
        &'a self,
        py: Attached<'py>,
    ) -> &'a Object<'py> {
        self.request_timeout.bind(py)
    }
}

/// Does without what is made of a module of Python's library: `PYTHONPATH` may have put another one
/// of that name in its place, which is no reason to run no application at all.
pub(crate) fn without<T>(name: &str, made: Result<'_, T>) {
    if let Err(raised) = made {
        let head = format!(
            "The module {name} on sys.path cannot be used as the one of Python's library; what mod_wsgi \
             needs it for is not there."
        );
        log::server_exception(raised.value().py(), 1430, &head, &raised);
    }
}

fn describe<'py>(module: &Object<'py>, group: &[u8]) -> Result<'py, ()> {
    let (py, process) = (module.py(), process::config());
    module.set_attribute(c"version", &*py.numbers(&COMPATIBLE_VERSION)?)?;
    let own = py.text(env!("CARGO_PKG_VERSION"))?;
    module.set_attribute(c"implementation_version", &own)?;
    module.set_attribute(c"process_group", &*py.latin1(&process.process_group)?)?;
    module.set_attribute(c"application_group", &*py.latin1(group)?)?;
    let processes = process.maximum_processes;
    let threads = match process.threads_per_process {
        // An MPM without threads has one, in effect.
        0 if process.is_embedded() => 1,
        threads => threads,
    };
    module.set_attribute(c"maximum_processes", &*py.int(processes.max(1).into())?)?;
    module.set_attribute(c"threads_per_process", &*py.int(threads.into())?)
}

/// Puts the module in the place of a package of that name: mod_wsgi's distribution on PyPI is one.
/// So that `mod_wsgi.express` and the like can still be imported, its `__path__` is taken over.
fn replace_package<'py>(module: &Object<'py>, name: &CStr) -> Result<'py, ()> {
    let py = module.py();
    match library::package_path(py, name) {
        Ok(Some(path)) => module.set_attribute(c"__path__", &path)?,
        Ok(None) => {}
        Err(raised) => {
            let cause = raised.summary();
            let text = format!("The package mod_wsgi on sys.path cannot be used: {cause}");
            log::notice(py, Level::Warn, 1010, &text);
        }
    }
    let modules = py.import(c"sys")?.attribute_named(c"modules")?;
    modules.set_item_named(name, module)
}

/// `(major, minor, patch)`
fn new_module<'py>(py: Attached<'py>, name: &CStr) -> Result<'py, Owned<'py>> {
    // SAFETY: the name is NUL-terminated and the thread attached; the reference is new or an
    // exception is set.
    let module = unsafe { Owned::steal(py, ffi::PyModule_New(name.as_ptr())) }?;
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: the object is a module, and alive; the thread is attached.
    py.check(unsafe { ffi::PyUnstable_Module_SetGIL(module.as_ptr(), ffi::Py_MOD_GIL_NOT_USED) })?;
    Ok(module)
}
