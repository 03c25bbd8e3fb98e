//! A process that is no child of this one, held on to: its number may be another's once it has
//! ended.

use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A process, if it was there to be taken hold of.
#[derive(Debug)]
pub(crate) struct HeldProcess(Hold);

#[derive(Debug)]
enum Hold {
    Descriptor(OwnedFd),
    /// The system gives no descriptor for it: its number is all there is.
    Number(Pid),
    /// There was no such process.
    Nothing,
}

impl HeldProcess {
    /// The process with this number. To be called while that is certain to be its.
    pub(crate) fn open(pid: i32) -> Self {
        // SAFETY: takes two numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        Self(match i32::try_from(fd) {
            // SAFETY: the call has just made it, for us, closed on exec.
            Ok(fd @ 0..) => Hold::Descriptor(unsafe { OwnedFd::from_raw_fd(fd) }),
            // To what is no number of a process a signal would go elsewhere.
            _ if pid <= 0 || Errno::last() == Errno::ESRCH => Hold::Nothing,
            _ => Hold::Number(Pid::from_raw(pid)),
        })
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        let process = match &self.0 {
            Hold::Descriptor(process) => process,
            Hold::Number(pid) => return kill(*pid, None) != Err(Errno::ESRCH),
            Hold::Nothing => return false,
        };
        // It can be read from once the process has ended, be it waited for or not.
        let mut end = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        // An interrupted look tells nothing.
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
