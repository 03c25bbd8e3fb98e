//! Which engine this server uses: the one for the Python of `WSGIPythonHome`.
//!
//! Engines lie beside the module's own file, wherever that was copied to, or where modules were
//! installed to when this was built. Asked in the parent, for the server's banner, and in
//! children, to load one; reads directories only.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use engine_abi::{EngineFile, Engines, EnginesError};
use httpd::Module as _;
use httpd::process::LIBEXECDIR;

use crate::Wsgi;
use crate::config::ProcessWide;

/// The engine for a configuration.
pub(crate) fn of(config: &ProcessWide) -> Result<EngineFile, EnginesError> {
    let home = config.python_home.as_deref().map(CStr::to_bytes);
    for_home(home.map(|home| Path::new(OsStr::from_bytes(home))))
}

/// The engine for a Python home, or the default one.
pub(crate) fn for_home(home: Option<&Path>) -> Result<EngineFile, EnginesError> {
    Ok(installed()?.for_home(home)?.engine.clone())
}

/// The engines that are installed with this module.
pub(crate) fn installed() -> Result<Engines, EnginesError> {
    let own = own_directories();
    let mut places: Vec<_> = own.iter().map(PathBuf::as_path).collect();
    places.push(Path::new(LIBEXECDIR));
    Engines::in_first_of(&places)
}

/// The directories of the module's file: as httpd names it and, if that is a link, where it is.
fn own_directories() -> Vec<PathBuf> {
    let Some(file) = own_file() else {
        return Vec::new();
    };
    let mut files = vec![file.clone()];
    files.extend(file.canonicalize().ok().filter(|real| *real != file));
    files
        .iter()
        .filter_map(|file| file.parent().map(Path::to_owned))
        .collect()
}

/// The module's file.
fn own_file() -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the place for the answer is writable; the address may be any.
    let found = unsafe { libc::dladdr(Wsgi::record().address(), info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: filled in by the successful call. The name is that of a loaded file, this one,
    // which stays loaded.
    let name = unsafe { CStr::from_ptr(info.assume_init().dli_fname) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_owned())
}
