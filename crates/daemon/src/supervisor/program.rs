//! Which program a worker is: that of its group's Python, if that can be made a worker, or else this one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use control::GroupSpec;

use crate::log::{Level, Log};
use crate::{CONTROL, STARTED_BY_HAND};

/// What is beside this program: the same for a program that is Python's.
const LIBRARY_NAME: &str = "mod_wsgi-worker.so";

/// Where a worker's dynamic linker finds it.
const LIBRARY_FD: RawFd = CONTROL + 1;

/// Names what the dynamic linker loads before anything else.
const LD_PRELOAD: &str = "LD_PRELOAD";

/// What Python does with a program of one line: nothing, without a look at anything that may be installed.
const ONE_LINE: [&str; 2] = ["-ISc", "pass"];

/// The program that a worker is to be.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) command: Command,
    /// A descriptor that it needs.
    pub(super) library: Option<FdMapping>,
}

impl Program {
    /// This one, which is a worker if it has no arguments.
    fn own() -> Self {
        Self {
            command: Command::new("/proc/self/exe"),
            library: None,
        }
    }

    /// Python's, made a worker by the library.
    fn python(python: &OsString, library: &File) -> io::Result<Self> {
        let mut command = Command::new(python);
        command.env(LD_PRELOAD, preloaded(std::env::var_os(LD_PRELOAD)));
        let library = FdMapping {
            parent_fd: OwnedFd::from(library.try_clone()?),
            child_fd: LIBRARY_FD,
        };
        Ok(Self {
            command,
            library: Some(library),
        })
    }
}

/// What is to be loaded into a worker, first of all this. The worker makes it what it was before.
fn preloaded(others: Option<OsString>) -> OsString {
    let mut all = OsString::from(format!("/proc/self/fd/{LIBRARY_FD}"));
    if let Some(others) = others {
        all.push(":");
        all.push(others);
    }
    all
}

/// Why a Python's program cannot be made a worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Unsuitable {
    /// It is not executed.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The dynamic linker does not load what it is told to.
    #[error(
        "the system loads nothing into it before it begins, as into a program that gives rights to whoever runs it"
    )]
    Untouched,
}

/// The programs that workers are.
#[derive(Debug)]
pub(super) struct Programs {
    /// Of the same build as this program, even if another is installed meanwhile; `None` if there is none.
    library: Option<File>,
    /// Whether Pythons that were tried can be made workers.
    tried: HashMap<OsString, bool>,
}

impl Programs {
    /// Opens what workers are made of.
    pub(super) fn open() -> Self {
        let program = std::env::current_exe().ok();
        let library = program.map(|program| program.with_file_name(LIBRARY_NAME));
        Self {
            library: library.and_then(|library| File::open(library).ok()),
            tried: HashMap::new(),
        }
    }

    /// The program for a worker of a group. If that is not Python's though it could be, the log says why, once.
    pub(super) fn of(&mut self, group: &GroupSpec, log: &Log) -> io::Result<Program> {
        let (Some(python), Some(library)) = (&group.python.program, &self.library) else {
            return Ok(Program::own());
        };
        let is_suitable = *self.tried.entry(python.clone()).or_insert_with(|| {
            let tried = try_out(python, library);
            tried
                .inspect_err(|why| complain(group, python, why, log))
                .is_ok()
        });
        match is_suitable {
            true => Program::python(python, library),
            false => Ok(Program::own()),
        }
    }
}

/// Makes a Python's program a worker that nobody has started, which says so and ends.
fn try_out(python: &OsString, library: &File) -> Result<(), Unsuitable> {
    let Program {
        mut command,
        library,
    } = Program::python(python, library)?;
    let status = command
        .args(ONE_LINE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .fd_mappings(library.into_iter().collect())
        .map_err(io::Error::other)?
        .status()?;
    match status.code() {
        Some(code) if code == i32::from(STARTED_BY_HAND) => Ok(()),
        _ => Err(Unsuitable::Untouched),
    }
}

fn complain(group: &GroupSpec, python: &OsString, why: &Unsuitable, log: &Log) {
    let text = format_args!(
        "{python:?} cannot be made a process of group '{}': {why}. Such processes use Python's shared library, \
         which is slower.",
        group.name
    );
    log.line(Level::Warn, 1240, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_loads_into_processes_comes_after_it() {
        assert_eq!(preloaded(None), "/proc/self/fd/4");
        let others = Some("/a.so:/b.so".into());
        assert_eq!(preloaded(others), "/proc/self/fd/4:/a.so:/b.so");
    }

    #[test]
    fn a_program_that_stays_what_it_is_is_no_worker() {
        let nothing = tempfile::tempfile().unwrap();
        let tried = try_out(&"/bin/true".into(), &nothing);
        assert!(matches!(tried, Err(Unsuitable::Untouched)), "{tried:?}");
        let tried = try_out(&"/nowhere/python".into(), &nothing);
        assert!(matches!(tried, Err(Unsuitable::System(_))), "{tried:?}");
    }
}
