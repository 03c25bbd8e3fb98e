//! Starting a worker.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use command_fds::{CommandFdExt as _, FdMapping};
use control::{Channel, ChannelError, GroupSpec, ToWorker};

use crate::CONTROL;

/// What is beside this program: the same for a program that is Python's.
const LIBRARY_NAME: &str = "mod_wsgi-worker.so";

/// Where a worker's dynamic linker finds it.
const LIBRARY_FD: RawFd = CONTROL + 1;

/// Names what the dynamic linker loads before anything else.
const LD_PRELOAD: &str = "LD_PRELOAD";

/// The library, of the same build as this program even if another is installed meanwhile; `None` if there is none.
static LIBRARY: OnceLock<Option<File>> = OnceLock::new();

/// Opens what workers are made of. To be called when the supervisor starts.
pub(super) fn prepare() {
    LIBRARY.get_or_init(|| {
        let program = std::env::current_exe().ok()?;
        File::open(program.with_file_name(LIBRARY_NAME)).ok()
    });
}

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SpawnError {
    /// The system refused.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The new process could not be told what to be.
    #[error("{0}")]
    Control(#[from] ChannelError),
}

/// What a worker of a slot is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Equipment<'s> {
    pub(super) log: BorrowedFd<'s>,
    pub(super) table: BorrowedFd<'s>,
    pub(super) listener: BorrowedFd<'s>,
    /// The way to httpd's scoreboard, if the group may use it.
    pub(super) scoreboard: Option<BorrowedFd<'s>>,
}

/// Starts a worker: this same program without arguments, so that its name is all that shows in a list of
/// processes, or the one of its Python. Of the descriptors of this process it inherits none but its end of the
/// link and, as standard output and error, its group's error log.
pub(super) fn spawn(
    group: &GroupSpec,
    slot: u32,
    equipment: Equipment<'_>,
) -> Result<(Child, Channel), SpawnError> {
    let (ours, theirs) = Channel::pair()?;
    let (mut program, library) = program(group)?;
    let link = FdMapping {
        parent_fd: theirs.as_fd().try_clone_to_owned()?,
        child_fd: CONTROL,
    };
    let mut child = program
        .arg0(group.shown_name())
        .stdin(Stdio::null())
        .stdout(equipment.log.try_clone_to_owned()?)
        .stderr(equipment.log.try_clone_to_owned()?)
        .fd_mappings([link].into_iter().chain(library).collect())
        .map_err(io::Error::other)?
        .spawn()?;
    let start = ToWorker::Start {
        group: Box::new(group.clone()),
        slot,
        supervisor: std::process::id(),
    };
    let descriptors: Vec<_> = [equipment.log, equipment.table, equipment.listener]
        .into_iter()
        .chain(equipment.scoreboard)
        .collect();
    if let Err(error) = ours.send(&start, &descriptors) {
        // It must not be left behind as a zombie, nor wait for a word that does not come.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error.into());
    }
    Ok((child, ours))
}

/// The program that a worker is, and a descriptor that it needs for that.
fn program(group: &GroupSpec) -> io::Result<(Command, Option<FdMapping>)> {
    let library = LIBRARY.get().and_then(Option::as_ref);
    let (Some(python), Some(library)) = (&group.python.program, library) else {
        return Ok((Command::new("/proc/self/exe"), None));
    };
    let mut program = Command::new(python);
    program.env(LD_PRELOAD, preloaded(std::env::var_os(LD_PRELOAD)));
    let library = FdMapping {
        parent_fd: OwnedFd::from(library.try_clone()?),
        child_fd: LIBRARY_FD,
    };
    Ok((program, Some(library)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_loads_into_processes_comes_after_it() {
        assert_eq!(preloaded(None), "/proc/self/fd/4");
        let others = Some("/a.so:/b.so".into());
        assert_eq!(preloaded(others), "/proc/self/fd/4:/a.so:/b.so");
    }
}
