//! Starting a worker.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use control::{Channel, ChannelError, GroupSpec, LINK_FD, ToWorker};

use super::program::Program;

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SpawnError {
    /// The system refused.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The program cannot be executed.
    #[error("{program:?} cannot be executed: {cause}")]
    Program {
        /// Its file.
        program: OsString,
        /// What the system said.
        cause: io::Error,
    },
    /// The new process could not be told what it is.
    #[error("{0}")]
    Control(#[from] ChannelError),
}

/// The descriptors that a worker gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Equipment<'s> {
    pub(super) log: BorrowedFd<'s>,
    pub(super) table: BorrowedFd<'s>,
    pub(super) listener: BorrowedFd<'s>,
    /// The way to httpd's scoreboard, if the group may use it.
    pub(super) scoreboard: Option<BorrowedFd<'s>>,
}

/// Starts a worker: this same program without arguments, so that a list of processes shows only its
/// name, or the program of its Python. It inherits no descriptors but its end of the link and, as
/// standard output and error, its group's error log; the others are sent to it.
pub(super) fn spawn(
    program: Program,
    group: &GroupSpec,
    slot: u32,
    equipment: Equipment<'_>,
) -> Result<(Child, Channel), SpawnError> {
    let (ours, theirs) = Channel::pair()?;
    let Program {
        mut command,
        library,
    } = program;
    let link = FdMapping {
        parent_fd: theirs.as_fd().try_clone_to_owned()?,
        child_fd: LINK_FD,
    };
    let mut child = command
        .arg0(group.shown_name())
        .stdin(Stdio::null())
        .stdout(equipment.log.try_clone_to_owned()?)
        .stderr(equipment.log.try_clone_to_owned()?)
        .fd_mappings([link].into_iter().chain(library).collect())
        .map_err(io::Error::other)?
        .spawn()
        .map_err(|cause| SpawnError::Program {
            program: command.get_program().to_owned(),
            cause,
        })?;
    let start = ToWorker::Start {
        group: Box::new(group.clone()),
        slot,
        supervisor: std::process::id(),
    };
    let descriptors: Vec<_> = [equipment.log, equipment.table, equipment.listener]
        .into_iter()
        .chain(equipment.scoreboard)
        .collect();
    if let Err(error) = ours.send_waiting(&start, &descriptors) {
        // It would wait for the message for ever, and must not become a zombie.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error.into());
    }
    Ok((child, ours))
}
