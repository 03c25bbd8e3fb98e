//! The environ: the dict that an application gets for a request.
//!
//! The host gives it as pairs of bytes; what has other types is added here, and wins over pairs of
//! the same name, which `SetEnv` may have made. It is built with the GIL held, so it is built
//! fast: from a [`template`].

use std::ffi::{CStr, c_void};

use engine_abi::{COMPATIBLE_VERSION, Pair, Request};
use pyo3_ffi as ffi;

use super::names::{Kind, Names};
use super::template::{self, Templates};
use crate::process::{self, Process};
use crate::python::{Attached, Object, Owned, Result, Stored};

/// The keys whose values are not of type `str`.
pub(super) const TYPED: [&CStr; 17] = [
    c"wsgi.version",
    c"wsgi.url_scheme",
    c"wsgi.input",
    c"wsgi.errors",
    c"wsgi.input_terminated",
    c"wsgi.multithread",
    c"wsgi.multiprocess",
    c"wsgi.run_once",
    c"wsgi.file_wrapper",
    c"mod_wsgi.version",
    c"mod_wsgi.thread_id",
    c"mod_wsgi.request_start",
    c"mod_wsgi.queue_start",
    c"mod_wsgi.daemon_start",
    c"mod_wsgi.application_start",
    c"apache.version",
    REQUEST_REC,
];

const REQUEST_REC: &CStr = c"apache.request_rec";

/// What an interpreter keeps to build environs from.
pub(super) struct Environs {
    templates: Templates,
    names: Names,
    keys: Keys,
    http: Stored,
    https: Stored,
}

/// The typed keys whose values differ from request to request.
struct Keys {
    url_scheme: Stored,
    input: Stored,
    errors: Stored,
    thread_id: Stored,
    request_start: Stored,
    queue_start: Stored,
    daemon_start: Stored,
    application_start: Stored,
    request_rec: Stored,
}

impl Environs {
    pub(super) fn create<'py>(py: Attached<'py>, file_wrapper: &Object<'py>) -> Result<'py, Self> {
        Ok(Self {
            templates: Templates::new(&*base(py, file_wrapper, process::config())?),
            names: Names::create(py)?,
            keys: Keys::create(py)?,
            http: py.intern(c"http")?,
            https: py.intern(c"https")?,
        })
    }

    /// Builds the environ of a request.
    pub(super) fn build<'py>(
        &self,
        request: &Request<'_>,
        application_start: i64,
        input: &Object<'py>,
        errors: &Object<'py>,
    ) -> Result<'py, Owned<'py>> {
        let py = input.py();
        let variables = request.environ.get();
        let environ = self.templates.build(py, &self.names, variables)?;
        environ.set_item(self.keys.input.bind(py), input)?;
        environ.set_item(self.keys.errors.bind(py), errors)?;
        self.set_typed(&environ, request, application_start)?;
        Ok(environ)
    }

    /// Builds the environ of a hook: variables and the log, and nothing of WSGI.
    pub(super) fn build_plain<'py>(
        &self,
        variables: &[Pair<'_>],
        errors: &Object<'py>,
        request_rec: *mut c_void,
    ) -> Result<'py, Owned<'py>> {
        let py = errors.py();
        let environ = py.dict()?;
        for variable in variables {
            let (key, kind) = self.names.key(py, variable.name.or_empty())?;
            let kind = match kind {
                // Nothing of WSGI's is set over it.
                Kind::Typed => Kind::Varying,
                kind => kind,
            };
            template::set(&environ, &key, kind, variable.value.get())?;
        }
        environ.set_item(self.keys.errors.bind(py), errors)?;
        self.set_request_rec(&environ, request_rec)?;
        Ok(environ)
    }

    fn set_typed<'py>(
        &self,
        environ: &Object<'py>,
        request: &Request<'_>,
        application_start: i64,
    ) -> Result<'py, ()> {
        let (py, keys) = (environ.py(), &self.keys);
        let scheme = if request.https {
            &self.https
        } else {
            &self.http
        };
        environ.set_item(keys.url_scheme.bind(py), scheme.bind(py))?;
        let thread_id = py.int(i64::from(request.thread_id))?;
        environ.set_item(keys.thread_id.bind(py), &thread_id)?;
        for (key, time) in [
            (&keys.request_start, request.request_start),
            (&keys.queue_start, request.queue_start),
            (&keys.daemon_start, request.daemon_start),
            (&keys.application_start, application_start),
        ] {
            // A time that does not apply is 0.0, and that is in the template.
            if time != 0 {
                let seconds = py.float(seconds(time))?;
                environ.set_item(key.bind(py), &seconds)?;
            }
        }
        self.set_request_rec(environ, request.request_rec)
    }

    fn set_request_rec<'py>(
        &self,
        environ: &Object<'py>,
        request_rec: *mut c_void,
    ) -> Result<'py, ()> {
        if request_rec.is_null() {
            return Ok(());
        }
        let py = environ.py();
        environ.set_item(self.keys.request_rec.bind(py), &*capsule(py, request_rec)?)
    }
}

impl Keys {
    fn create<'py>(py: Attached<'py>) -> Result<'py, Self> {
        Ok(Self {
            url_scheme: py.intern(c"wsgi.url_scheme")?,
            input: py.intern(c"wsgi.input")?,
            errors: py.intern(c"wsgi.errors")?,
            thread_id: py.intern(c"mod_wsgi.thread_id")?,
            request_start: py.intern(c"mod_wsgi.request_start")?,
            queue_start: py.intern(c"mod_wsgi.queue_start")?,
            daemon_start: py.intern(c"mod_wsgi.daemon_start")?,
            application_start: py.intern(c"mod_wsgi.application_start")?,
            request_rec: py.intern(REQUEST_REC)?,
        })
    }
}

/// What is the same for all requests, and places for what is typed.
fn base<'py>(
    py: Attached<'py>,
    file_wrapper: &Object<'py>,
    process: &Process,
) -> Result<'py, Owned<'py>> {
    let base = py.dict()?;
    let set = |name: &CStr, value: &Object<'py>| base.set_item(py.intern(name)?.bind(py), value);
    for name in TYPED.into_iter().filter(|&name| name != REQUEST_REC) {
        set(name, py.none())?;
    }
    let [wsgi, compatible_with, apache] = [
        py.numbers(&[1, 0])?,
        py.numbers(&COMPATIBLE_VERSION)?,
        py.numbers(&process.server.version)?,
    ];
    set(c"wsgi.version", &wsgi)?;
    set(c"wsgi.input_terminated", py.bool(true))?;
    set(c"wsgi.multithread", py.bool(process.multithread))?;
    set(c"wsgi.multiprocess", py.bool(process.multiprocess))?;
    set(c"wsgi.run_once", py.bool(process.run_once))?;
    set(c"wsgi.file_wrapper", file_wrapper)?;
    set(c"mod_wsgi.version", &compatible_with)?;
    set(c"apache.version", &apache)?;
    let never = py.float(0.0)?;
    set(c"mod_wsgi.request_start", &never)?;
    set(c"mod_wsgi.queue_start", &never)?;
    set(c"mod_wsgi.daemon_start", &never)?;
    Ok(base)
}

/// A capsule without a name, as `apache.request_rec` has always been.
fn capsule(py: Attached<'_>, pointer: *mut c_void) -> Result<'_, Owned<'_>> {
    // SAFETY: the pointer is not null, the thread attached; no destructor is asked for.
    unsafe { Owned::steal(py, ffi::PyCapsule_New(pointer, std::ptr::null(), None)) }
}

fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}
