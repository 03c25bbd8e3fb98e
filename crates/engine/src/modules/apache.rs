//! The module `apache`: what httpd this process belongs to.

use super::new_module;
use crate::log;
use crate::process;
use crate::python::{Attached, Exception, Owned, Result};

/// Makes the module. In embedded mode a module of that name on `sys.path` is extended instead.
pub(super) fn create(py: Attached<'_>) -> Result<'_, ()> {
    let server = &process::config().server;
    let module = find_or_make(py)?;
    module.set_attribute(c"version", &*py.numbers(&server.version)?)?;
    module.set_attribute(c"description", &*py.latin1(&server.description)?)?;
    module.set_attribute(c"build_date", &*py.latin1(&server.build_date)?)?;
    module.set_attribute(c"mpm_name", &*py.latin1(&server.mpm_name)?)?;
    let (processes, threads) = (server.maximum_processes, server.threads_per_process);
    module.set_attribute(c"maximum_processes", &*py.int(processes.into())?)?;
    module.set_attribute(c"threads_per_process", &*py.int(threads.into())?)?;
    let modules = py.import(c"sys")?.attribute_named(c"modules")?;
    modules.set_item_named(c"apache", &module)
}

fn find_or_make(py: Attached<'_>) -> Result<'_, Owned<'_>> {
    if !process::config().is_embedded() {
        return new_module(py, c"apache");
    }
    match py.import(c"apache") {
        Ok(found) => Ok(found),
        Err(raised) => {
            if !raised.is(Exception::ModuleNotFoundError) {
                let head = "The module apache on sys.path cannot be imported; applications get an \
                    empty one in its place.";
                log::server_exception(py, 1016, head, &raised);
            }
            new_module(py, c"apache")
        }
    }
}
