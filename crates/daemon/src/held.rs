//! A handle for a process that is not a child of this one. A process id alone is not enough, since
//! the system may reuse it once the process has ended.

use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A process, if it existed when the handle was made.
#[derive(Debug)]
pub(crate) struct HeldProcess(Hold);

#[derive(Debug)]
enum Hold {
    Descriptor(OwnedFd),
    /// The system has no process descriptors, or none to give: the id is all there is.
    Number(Pid),
    /// There was no such process.
    Nothing,
}

impl HeldProcess {
    /// The process with this id. To be called while the id certainly belongs to that process.
    pub(crate) fn open(pid: i32) -> Self {
        // SAFETY: the system call takes two numbers and touches no memory of this process.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        Self(match i32::try_from(fd) {
            // SAFETY: the call has just returned a new descriptor, which nobody else owns.
            Ok(fd @ 0..) => Hold::Descriptor(unsafe { OwnedFd::from_raw_fd(fd) }),
            // `kill` takes 0 and negative numbers for groups of processes.
            _ if pid <= 0 || Errno::last() == Errno::ESRCH => Hold::Nothing,
            _ => Hold::Number(Pid::from_raw(pid)),
        })
    }

    /// Whether the process has not ended.
    pub(crate) fn is_running(&self) -> bool {
        let process = match &self.0 {
            Hold::Descriptor(process) => process,
            Hold::Number(pid) => return kill(*pid, None) != Err(Errno::ESRCH),
            Hold::Nothing => return false,
        };
        // The descriptor becomes readable when the process ends, even before it is waited for.
        let mut end = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        // An interrupted call says nothing, so the process counts as running.
        poll(&mut end, PollTimeout::ZERO) != Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_runs_until_it_ends_and_what_was_never_there_does_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = HeldProcess::open(i32::try_from(child.id()).unwrap());
        assert!(process.is_running());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_running());
        assert!(!HeldProcess::open(-1).is_running());
    }
}
