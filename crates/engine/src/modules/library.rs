//! Which modules of Python's library an application cannot take the place of.
//!
//! In mod_wsgi every interpreter has imported `importlib`, `logging`, `signal`, `threading` and
//! `traceback` before the directories of applications are on the path, so a `logging.py` of an
//! application's own stays unseen. With what they need they take more than a megabyte in each
//! interpreter of each process, and most of the time it takes to make one. So here they are
//! imported by whoever needs them first, and until then a finder keeps their names.

use std::ffi::CStr;

use crate::python::{
    Attached, Class, Definition, Instance, Object, Owned, Raised, Result, Stored, Type,
};

/// `importlib`, `logging`, `signal`, `threading`, `traceback`, and what they import. An application
/// may well have a `token.py` or a `copy.py`, so no name is kept for a Python that does not need
/// it.
const KEPT: &[&str] = &[
    "_weakrefset",
    "collections",
    "copyreg",
    "enum",
    "functools",
    "importlib",
    "keyword",
    "linecache",
    "logging",
    "operator",
    "re",
    "reprlib",
    "signal",
    "string",
    "threading",
    "traceback",
    "types",
    "warnings",
    "weakref",
    #[cfg(not(Py_3_11))]
    "sre_compile",
    #[cfg(not(Py_3_11))]
    "sre_constants",
    #[cfg(not(Py_3_11))]
    "sre_parse",
    #[cfg(Py_3_11)]
    "contextlib",
    #[cfg(Py_3_11)]
    "textwrap",
    #[cfg(any(not(Py_3_13), Py_3_14))]
    "token",
    #[cfg(any(not(Py_3_13), Py_3_14))]
    "tokenize",
    #[cfg(Py_3_13)]
    "_colorize",
    #[cfg(Py_3_14)]
    "__future__",
    #[cfg(Py_3_14)]
    "_opcode_metadata",
    #[cfg(Py_3_14)]
    "_py_warnings",
    #[cfg(Py_3_14)]
    "annotationlib",
    #[cfg(Py_3_14)]
    "ast",
    #[cfg(Py_3_14)]
    "codeop",
    #[cfg(Py_3_14)]
    "copy",
    #[cfg(Py_3_14)]
    "dataclasses",
    #[cfg(Py_3_14)]
    "dis",
    #[cfg(Py_3_14)]
    "inspect",
    #[cfg(Py_3_14)]
    "opcode",
];

/// `mod_wsgi.Library`: a finder of modules that knows the kept ones alone.
struct Library {
    /// Where they are: the path without any directory of an application.
    path: Stored,
    /// Python's own finder.
    finder: Stored,
}

impl Class for Library {
    const NAME: &'static CStr = c"mod_wsgi.Library";
    const DOC: &'static CStr = c"Finds modules of Python's library before those of applications.";

    fn define(definition: Definition<Self>) -> Definition<Self> {
        let doc = c"find_spec(fullname, path=None, target=None)\n--\n\nFind a module.";
        definition.keyword_method(c"find_spec", doc, Self::find)
    }
}

impl Library {
    fn find<'py>(
        this: &Instance<'py, Self>,
        arguments: &Object<'py>,
        keywords: Option<&Object<'py>>,
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        // The other arguments are of no interest here.
        let name = match (arguments.as_tuple(), keywords) {
            (Some([name, ..]), _) => Some(name.owned()),
            (_, Some(keywords)) => keywords.item(&*py.text("fullname")?)?,
            _ => None,
        };
        let Some(name) = name else {
            let message = "find_spec() missing 1 required argument: 'fullname'";
            return Err(Raised::type_error(py, message));
        };
        if !name.as_text().is_ok_and(|name| KEPT.contains(&name)) {
            return Ok(py.none().owned());
        }
        let (finder, path) = (this.finder.bind(py), this.path.bind(py));
        finder.call_method_named(c"find_spec", [&*name, path])
    }
}

/// Keeps their names for the modules that are found now.
pub(crate) fn keep_library(py: Attached<'_>) -> Result<'_, ()> {
    let sys = py.import(c"sys")?;
    let importing = py.import(c"_frozen_importlib_external")?;
    let path = sys.attribute_named(c"path")?;
    let library = Library {
        path: path.call_method_named(c"copy", [])?.into_stored(),
        finder: importing.attribute_named(c"PathFinder")?.into_stored(),
    };
    // There is no module `mod_wsgi` yet.
    let library = Type::create(&sys)?.instantiate(py, library)?;
    let finders = sys.attribute_named(c"meta_path")?;
    finders
        .call_method_named(c"insert", [&*py.int(0)?, &*library])
        .map(drop)
}

/// Where the modules of a package are, without running any of its code. What
/// `importlib.util.find_spec` does, without importing that.
pub(super) fn package_path<'py>(py: Attached<'py>, name: &CStr) -> Result<'py, Option<Owned<'py>>> {
    let name = py.text(&name.to_string_lossy())?;
    let finders = py.import(c"sys")?.attribute_named(c"meta_path")?.iter()?;
    while let Some(finder) = finders.next()? {
        // Finders of Python 3.3 and before have none.
        let Some(find_spec) = finder.attribute_if_any(&*py.text("find_spec")?)? else {
            continue;
        };
        let spec = find_spec.call(&[&*name, py.none()])?;
        if !spec.is_none() {
            let path = spec.attribute_named(c"submodule_search_locations")?;
            return Ok((!path.is_none()).then_some(path));
        }
    }
    Ok(None)
}
