//! What stands in for `sys.stdin` and `sys.stdout` where they are restricted.

use std::ffi::CStr;

use crate::python::{Class, Definition, Instance, Object, Owned, Raised, Result, Type};

/// `mod_wsgi.Restricted`: every use is an error that says why.
struct Restricted {
    name: &'static str,
}

impl Class for Restricted {
    const NAME: &'static CStr = c"mod_wsgi.Restricted";
    const DOC: &'static CStr = c"Raises OSError whatever is asked of it.";

    fn define(definition: Definition<Self>) -> Definition<Self> {
        definition.lookup(Self::refuse)
    }
}

impl Restricted {
    fn refuse<'py>(this: &Instance<'py, Self>, _: &Object<'py>) -> Result<'py, Owned<'py>> {
        let name = this.name;
        let message = format!("{name} access is restricted by the configuration of mod_wsgi");
        Err(Raised::os_error(this.py(), &message))
    }
}

/// An object to put in the place of `name`.
pub(crate) fn restrict<'py>(module: &Object<'py>, name: &'static str) -> Result<'py, Owned<'py>> {
    Type::create(module)?.instantiate(module.py(), Restricted { name })
}
