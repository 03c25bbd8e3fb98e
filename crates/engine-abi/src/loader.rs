//! Loading an engine into this process.

use std::ffi::{CStr, CString, OsStr, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use crate::{ABI_VERSION, ENTRY_SYMBOL, Engine, EngineFile, EntryFn, PythonVersion};

/// Why an engine could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The path has a NUL byte in it.
    #[error("the path {0:?} of the Python engine contains a NUL byte")]
    Path(PathBuf),
    /// The dynamic linker refused.
    #[error("{path:?} cannot be loaded: {cause}")]
    Open {
        /// The engine's file.
        path: PathBuf,
        /// What the dynamic linker says.
        cause: String,
    },
    /// There is no libpython. The path is that of the link.
    #[error(
        "{0:?} leads to no shared library of Python, which this process needs; if Python was moved or upgraded, \
         run apxs/build again; one that was built without --enable-shared runs in process groups only, if its program \
         can be made a process of a group"
    )]
    NoLibrary(PathBuf),
    /// The file is not an engine.
    #[error("{0:?} is not a Python engine: it does not export wsgi_engine_entry")]
    NotAnEngine(PathBuf),
    /// The engine speaks another version of the ABI.
    #[error(
        "the Python engine {0:?} was built for another version of mod_wsgi; if it has just been \
         upgraded, stop httpd and start it (a restart keeps the old module), else install the module and \
         its engines from one build"
    )]
    Version(PathBuf),
}

/// An engine in this process. It is never unloaded: Python cannot be.
#[derive(Clone, Copy, Debug)]
pub struct LoadedEngine {
    engine: &'static Engine,
}

impl LoadedEngine {
    /// Loads the engine from `path`, and before it the [libpython](EngineFile::library) of its
    /// Python. Their symbols become global, so that the engine and extension modules, which are not
    /// linked to libpython, find them.
    ///
    /// # Errors
    ///
    /// When a file cannot be loaded, is no engine, or speaks another version of the ABI.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let Some(engine) = EngineFile::from_path(path.to_owned()) else {
            return Err(LoadError::NotAnEngine(path.to_owned()));
        };
        open(&engine.library().map_err(LoadError::NoLibrary)?)?;
        Self::load_without_libpython(path)
    }

    /// Loads the engine from `path` into a program that has all of its Python in it.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`].
    pub fn load_without_libpython(path: &Path) -> Result<Self, LoadError> {
        let entry = entry(path)?;
        // SAFETY: the symbol is an engine's entry point, and entry points have this signature in
        // all versions of the ABI. It does nothing but return a constant.
        let engine = unsafe { entry(ABI_VERSION) };
        // SAFETY: an engine returns null or a table that lives as long as the process; the
        // library is never closed.
        let engine =
            unsafe { engine.as_ref() }.ok_or_else(|| LoadError::Version(path.to_owned()))?;
        if engine.abi_version != ABI_VERSION {
            return Err(LoadError::Version(path.to_owned()));
        }
        Ok(Self { engine })
    }

    /// An engine that is part of the program, as tests of a host have one.
    pub const fn of(engine: &'static Engine) -> Self {
        Self { engine }
    }

    /// The Python it is for; `None` if its tag says nothing of that.
    pub fn python(self) -> Option<PythonVersion> {
        // SAFETY: the tag is a NUL-terminated constant of a library that is never closed.
        let tag = unsafe { CStr::from_ptr(self.engine.tag) };
        PythonVersion::from_tag(tag.to_str().ok()?)
    }

    /// The engine's functions.
    pub fn functions(self) -> &'static Engine {
        self.engine
    }
}

/// Loads a library, and never unloads it.
fn open(path: &Path) -> Result<NonNull<c_void>, LoadError> {
    let name =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| LoadError::Path(path.to_owned()))?;
    // SAFETY: `name` is NUL-terminated. Loading runs the library's initialisers; engines and
    // libpython have none that depend on the state of this process.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    NonNull::new(library).ok_or_else(|| LoadError::Open {
        path: path.to_owned(),
        cause: last_error(),
    })
}

/// Loads an engine's file, and finds what it exports.
fn entry(path: &Path) -> Result<EntryFn, LoadError> {
    let library = open(path)?;
    // SAFETY: `library` is a handle that is never closed, the name is NUL-terminated.
    let symbol = unsafe { libc::dlsym(library.as_ptr(), ENTRY_SYMBOL.as_ptr()) };
    if symbol.is_null() {
        return Err(LoadError::NotAnEngine(path.to_owned()));
    }
    // SAFETY: a symbol of this name has this type; that is the contract of `ENTRY_SYMBOL`.
    Ok(unsafe { std::mem::transmute::<*mut c_void, EntryFn>(symbol) })
}

/// What the dynamic linker says of its last failure on this thread.
fn last_error() -> String {
    // SAFETY: `dlerror` returns null or a string that is valid until the next call on this thread.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "unknown cause".to_owned();
    }
    // SAFETY: as above; not null.
    let message = unsafe { CStr::from_ptr(message) };
    OsStr::from_bytes(message.to_bytes())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_with_its_cause() {
        let error = LoadedEngine::load_without_libpython(Path::new("/nowhere/engine.so"));
        let error = error.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/engine.so"), "{text}");
        assert!(text.contains("No such file"), "{text}");
    }

    #[test]
    fn a_missing_libpython_is_named() {
        let error = LoadedEngine::load(Path::new("/nowhere/wsgi-engine-cp311.so")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/libpython-cp311.so"), "{text}");
    }

    #[test]
    fn another_library_is_not_an_engine() {
        for load in [LoadedEngine::load, LoadedEngine::load_without_libpython] {
            let error = load(Path::new("libc.so.6")).unwrap_err();
            assert!(matches!(error, LoadError::NotAnEngine(_)), "{error}");
        }
    }
}
