//! Checks whether there is a Python in `python-home`, as the user that needs it.
//!
//! CPython would notice as well, but logs a page of internals at each attempt.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use control::PythonSpec;
use engine_abi::{LoadedEngine, PythonVersion};

/// Why `python-home` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum HomeError {
    /// It cannot be read.
    #[error("python-home {path:?} cannot be used by uid {uid}: {cause}")]
    Closed {
        /// The directory.
        path: PathBuf,
        /// The user that Python runs as.
        uid: nix::unistd::Uid,
        /// What the system said.
        cause: io::Error,
    },
    /// There is no Python in it.
    #[error(
        "python-home {path:?} has neither the file pyvenv.cfg of a virtual environment nor the \
         library of Python {version}"
    )]
    Empty {
        /// The directory.
        path: PathBuf,
        /// What is looked for.
        version: PythonVersion,
    },
    /// It is not known which Python must be in it.
    #[error("the engine does not say which Python it is for")]
    Unknown,
}

/// Looks for the engine's Python in `python-home`, if that is set.
pub(super) fn check(python: &PythonSpec, engine: LoadedEngine) -> Result<(), HomeError> {
    let Some(home) = python.home.as_deref().map(Path::new) else {
        return Ok(());
    };
    fs::read_dir(home).map_err(|cause| HomeError::Closed {
        path: home.to_owned(),
        uid: nix::unistd::geteuid(),
        cause,
    })?;
    let version = engine.python().ok_or(HomeError::Unknown)?;
    if version.is_at_home_in(home) == Some(true) {
        return Ok(());
    }
    Err(HomeError::Empty {
        path: home.to_owned(),
        version,
    })
}
