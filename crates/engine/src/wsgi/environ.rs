//! The environ: the dict that an application gets for a request.
//!
//! The host gives it as pairs of bytes; what has other types is added here, and wins over pairs of
//! the same name, which `SetEnv` may have made. It is built with the GIL held, so it is built
//! fast: the dict starts as a copy of a template that has the keys of every request already, and
//! the key objects are kept between requests.

use std::ffi::{CStr, c_void};

use engine_abi::{Pair, Request};
use pyo3_ffi as ffi;

use super::names::{Kind, Names};
use crate::modules::COMPATIBLE_VERSION;
use crate::process::{self, Process};
use crate::python::{Attached, Object, Owned, Result, Stored};

/// The variables that a host sets for every request.
const ALWAYS_SET: [&CStr; 29] = [
    c"REQUEST_METHOD",
    c"REQUEST_URI",
    c"REQUEST_SCHEME",
    c"QUERY_STRING",
    c"SCRIPT_NAME",
    c"SCRIPT_FILENAME",
    c"PATH_INFO",
    c"DOCUMENT_ROOT",
    c"CONTEXT_PREFIX",
    c"CONTEXT_DOCUMENT_ROOT",
    c"SERVER_NAME",
    c"SERVER_PORT",
    c"SERVER_ADDR",
    c"SERVER_PROTOCOL",
    c"SERVER_SOFTWARE",
    c"SERVER_ADMIN",
    c"REMOTE_ADDR",
    c"REMOTE_PORT",
    c"mod_wsgi.process_group",
    c"mod_wsgi.application_group",
    c"mod_wsgi.callable_object",
    c"mod_wsgi.request_handler",
    c"mod_wsgi.handler_script",
    c"mod_wsgi.script_name",
    c"mod_wsgi.path_info",
    c"mod_wsgi.listener_host",
    c"mod_wsgi.listener_port",
    c"mod_wsgi.request_id",
    c"mod_wsgi.server_pid",
];

/// The bits of all places in [`ALWAYS_SET`].
const ALL_PLACES: u64 = (1 << ALWAYS_SET.len()) - 1;

/// The variables that name files. They are decoded as Python decodes file names.
const PATHS: [&CStr; 2] = [c"DOCUMENT_ROOT", c"SCRIPT_FILENAME"];

/// The keys whose values are not of type `str`, as far as every request has them.
const TYPED: [&CStr; 16] = [
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
];

const REQUEST_REC: &CStr = c"apache.request_rec";

/// What an interpreter keeps to build environs from.
pub(super) struct Environs {
    template: Stored,
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
            template: template(py, file_wrapper, process::config())?.into_stored(),
            names: Names::create(py, known_names())?,
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
        let environ = self.template.bind(py).copy_dict()?;
        self.set_variables(&environ, request.environ.get())?;
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
            let (name, value) = (variable.name.or_empty(), variable.value.get());
            let known = self.names.known(name);
            let key = match known {
                Some(known) => known.key.bind(py).owned(),
                None => self.names.key(py, name)?,
            };
            match known.map(|known| known.kind) {
                Some(Kind::PlacedPath(_)) => set(&environ, &key, value, |p| decode_path(py, p))?,
                _ => set(&environ, &key, value, |value| py.latin1(value))?,
            }
        }
        environ.set_item(self.keys.errors.bind(py), errors)?;
        self.set_request_rec(&environ, request_rec)?;
        Ok(environ)
    }

    fn set_variables<'py>(&self, environ: &Object<'py>, variables: &[Pair<'_>]) -> Result<'py, ()> {
        let py = environ.py();
        let mut unset = ALL_PLACES;
        for variable in variables {
            let (name, value) = (variable.name.or_empty(), variable.value.get());
            let Some(known) = self.names.known(name) else {
                let key = self.names.key(py, name)?;
                set(environ, &key, value, |value| py.latin1(value))?;
                continue;
            };
            let key = known.key.bind(py);
            match known.kind {
                Kind::Typed => {}
                Kind::Placed(place) => {
                    unset &= !(1 << place);
                    set(environ, key, value, |value| py.latin1(value))?;
                }
                Kind::PlacedPath(place) => {
                    unset &= !(1 << place);
                    set(environ, key, value, |path| decode_path(py, path))?;
                }
            }
        }
        self.remove_places(environ, unset)
    }

    /// Takes away the places of the template that nothing was put into.
    fn remove_places<'py>(&self, environ: &Object<'py>, unset: u64) -> Result<'py, ()> {
        if unset == 0 {
            return Ok(());
        }
        for (place, name) in ALWAYS_SET.into_iter().enumerate() {
            if unset & (1 << place) != 0
                && let Some(known) = self.names.known(name.to_bytes())
            {
                environ.remove_item(known.key.bind(environ.py()))?;
            }
        }
        Ok(())
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

/// What is the same for all requests, and places for what all requests have.
fn template<'py>(
    py: Attached<'py>,
    file_wrapper: &Object<'py>,
    process: &Process,
) -> Result<'py, Owned<'py>> {
    let template = py.dict()?;
    let set = |name: &CStr, value: &Object<'py>| {
        // Interned, as are the keys that are looked up: identity is the fastest comparison.
        template.set_item(py.intern(name)?.bind(py), value)
    };
    for name in ALWAYS_SET.into_iter().chain(TYPED) {
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
    Ok(template)
}

fn known_names() -> impl Iterator<Item = (&'static CStr, Kind)> {
    let placed = ALWAYS_SET.into_iter().enumerate().map(|(place, name)| {
        if PATHS.contains(&name) {
            (name, Kind::PlacedPath(place))
        } else {
            (name, Kind::Placed(place))
        }
    });
    let typed = TYPED.into_iter().chain([REQUEST_REC]);
    placed.chain(typed.map(|name| (name, Kind::Typed)))
}

/// Sets a variable; one without a value becomes `None`.
fn set<'py>(
    environ: &Object<'py>,
    key: &Object<'py>,
    value: Option<&[u8]>,
    decode: impl FnOnce(&[u8]) -> Result<'py, Owned<'py>>,
) -> Result<'py, ()> {
    match value {
        Some(value) => environ.set_item(key, &*decode(value)?),
        None => environ.set_item(key, environ.py().none()),
    }
}

/// A file name that cannot be decoded as one is still a string of bytes.
fn decode_path<'py>(py: Attached<'py>, path: &[u8]) -> Result<'py, Owned<'py>> {
    py.path(path).or_else(|_| py.latin1(path))
}

/// A capsule without a name, as `apache.request_rec` has always been.
fn capsule(py: Attached<'_>, pointer: *mut c_void) -> Result<'_, Owned<'_>> {
    // SAFETY: the pointer is not null, the thread attached; no destructor is asked for.
    unsafe { Owned::steal(py, ffi::PyCapsule_New(pointer, std::ptr::null(), None)) }
}

fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}
