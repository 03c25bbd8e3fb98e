//! `mod_wsgi.RequestTimeout`: what is raised in the thread of a request that takes too long.

use crate::python::{Exception, Object, Result, Stored};

/// Defines the exception, which every interpreter has for itself, and gives its type.
pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, Stored> {
    let doc = c"Raised in the thread of a request that takes longer than request-timeout.\n\n\
        Not an Exception, so that an application does not take it for a failure of its own.";
    let name = c"mod_wsgi.RequestTimeout";
    let timeout = module.py().exception_type(name, doc, Exception::Base)?;
    module.set_attribute(c"RequestTimeout", &timeout)?;
    Ok(timeout.into_stored())
}
