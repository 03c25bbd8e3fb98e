//! What a script that is called can ask the server, until it returns.

use std::ffi::CStr;
use std::sync::Arc;

use engine_abi::{Bytes, COMPATIBLE_VERSION, ServerCalls};

use crate::host::Exchange;
use crate::process;
use crate::python::{Attached, Class, Definition, Instance, Object, Owned, Raised, Result};

/// `mod_wsgi.Auth`: the object whose methods are in the environ.
pub(super) struct Auth {
    exchange: Arc<Exchange>,
    calls: ServerCalls,
}

/// Adds to an environ what it tells of the server.
pub(super) fn describe<'py>(environ: &Object<'py>, auth: &Object<'py>) -> Result<'py, ()> {
    let py = environ.py();
    let apache = process::config().server.version;
    environ.set_item_named(c"apache.version", &*py.numbers(&apache)?)?;
    environ.set_item_named(c"mod_wsgi.version", &*py.numbers(&COMPATIBLE_VERSION)?)?;
    for (name, method) in [
        (c"mod_ssl.is_https", Auth::IS_HTTPS),
        (c"mod_ssl.var_lookup", Auth::VAR_LOOKUP),
    ] {
        environ.set_item_named(name, &*auth.attribute_named(method)?)?;
    }
    Ok(())
}

impl Auth {
    const IS_HTTPS: &'static CStr = c"ssl_is_https";
    const VAR_LOOKUP: &'static CStr = c"ssl_var_lookup";

    pub(super) const fn new(exchange: Arc<Exchange>, calls: ServerCalls) -> Self {
        Self { exchange, calls }
    }

    fn is_https<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        let [] = arguments else {
            return Err(wrong_count(py, Self::IS_HTTPS, 0, arguments.len()));
        };
        let (exchange, is_https) = (&this.exchange, this.calls.is_https);
        // SAFETY: the handle is that of a request that is not over.
        let answer = py.detach(|detached| exchange.ask(detached, |r| unsafe { is_https(r) }));
        py.int(answer.ok_or_else(|| expired(py))?.into())
    }

    fn var_lookup<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        let [name] = arguments else {
            return Err(wrong_count(py, Self::VAR_LOOKUP, 1, arguments.len()));
        };
        let name = byte_string(name)?;
        let (exchange, ssl_variable) = (&this.exchange, this.calls.ssl_variable);
        let value = py.detach(|detached| {
            exchange.ask(detached, |request| {
                // SAFETY: as in `is_https`; the name lives until the call returns. The value is
                // copied before the request can be over.
                let value = unsafe { ssl_variable(request, Bytes::new(&name)) };
                value.get().map(<[u8]>::to_vec)
            })
        });
        match value.ok_or_else(|| expired(py))? {
            Some(value) => py.latin1(&value),
            None => Ok(py.none().owned()),
        }
    }
}

/// The bytes of a `bytes`, or of a `str` that is Latin-1.
fn byte_string<'py>(object: &Object<'py>) -> Result<'py, Vec<u8>> {
    if let Some(bytes) = object.as_bytes().or_else(|| object.as_latin1()) {
        return Ok(bytes.to_vec());
    }
    let found = if object.is_str() {
        "containing characters beyond Latin-1".to_owned()
    } else {
        format!("of type {}", object.type_name())
    };
    let message = format!("byte string value expected, value {found} found");
    Err(Raised::type_error(object.py(), &message))
}

fn wrong_count<'py>(py: Attached<'py>, method: &CStr, wanted: usize, given: usize) -> Raised<'py> {
    let (method, plural) = (method.to_string_lossy(), if wanted == 1 { "" } else { "s" });
    let message = format!("{method}() takes exactly {wanted} argument{plural} ({given} given)");
    Raised::type_error(py, &message)
}

fn expired(py: Attached<'_>) -> Raised<'_> {
    Raised::runtime_error(
        py,
        "the request is over: its server cannot be asked any more",
    )
}

impl Class for Auth {
    const NAME: &'static CStr = c"mod_wsgi.Auth";
    const DOC: &'static CStr = c"What can be asked of the server while a request is let in.";

    fn define(definition: Definition<Self>) -> Definition<Self> {
        definition
            .method(
                Self::IS_HTTPS,
                c"1 if the connection is encrypted, else 0.",
                Self::is_https,
            )
            .method(
                Self::VAR_LOOKUP,
                c"A variable of mod_ssl, or None.",
                Self::var_lookup,
            )
    }
}
