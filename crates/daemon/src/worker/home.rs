//! Whether `python-home` is a Python, asked as the user who needs it.
//!
//! CPython would find out as well, but ends the attempt with a page of its own internals, and each
//! attempt anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use control::PythonSpec;
use engine_abi::{LoadedEngine, PythonVersion};

/// Why `python-home` is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum HomeError {
    /// It cannot be read.
    #[error("python-home {path:?} cannot be used by uid {uid}: {cause}")]
    Closed {
        /// The directory.
        path: PathBuf,
        /// As whom Python runs.
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
    /// It cannot be said what is to be in it.
    #[error("the engine does not say which Python it is for")]
    Unknown,
}

/// Looks for a Python in its home, if it is to have one.
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
