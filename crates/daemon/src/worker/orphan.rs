//! A worker whose supervisor has died.
//!
//! httpd notices within a second or so and starts another supervisor, which starts workers. Until the one
//! of this slot serves, this worker goes on: so the death of a supervisor keeps nobody waiting. It does
//! not survive httpd, and it does not wait for ever: its group may be gone from the configuration.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Replacement;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::server::Server;

/// How long a successor may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// httpd's parent process, if it is still there.
#[derive(Debug)]
pub(super) struct Httpd(io::Result<OwnedFd>);

/// What such a worker waits for.
pub(super) struct Orphan {
    server: Arc<Server>,
    httpd: Arc<Httpd>,
    deadline: Instant,
}

impl Httpd {
    /// The process with this number. To be called while there is a supervisor, which does not outlive httpd:
    /// later, that may be the number of another process.
    pub(super) fn open(pid: i32) -> Self {
        // SAFETY: takes two numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        Self(match i32::try_from(fd) {
            // SAFETY: the call has just made it, for us, closed on exec.
            Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        })
    }

    fn is_running(&self) -> bool {
        let Ok(httpd) = &self.0 else {
            return false;
        };
        // It can be read from once the process has ended, be it waited for or not.
        let mut end = [PollFd::new(httpd.as_fd(), PollFlags::POLLIN)];
        poll(&mut end, PollTimeout::ZERO) == Ok(0)
    }
}

impl Orphan {
    /// The supervisor has just died.
    pub(super) fn new(server: &Arc<Server>, httpd: &Arc<Httpd>) -> Self {
        Self {
            server: server.clone(),
            httpd: httpd.clone(),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Looks whether it is time to leave, and why.
    pub(super) fn look(&self) -> Option<Replacement> {
        if !self.httpd.is_running() {
            Some(Replacement::ShutdownSignal)
        } else if self.server.is_succeeded() || self.deadline <= Instant::now() {
            Some(Replacement::GracefulSignal)
        } else {
            self.server.stand_in();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn httpd_runs_until_it_ends_and_what_was_never_there_does_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let httpd = Httpd::open(i32::try_from(child.id()).unwrap());
        assert!(httpd.is_running());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!httpd.is_running());
        assert!(!Httpd::open(-1).is_running());
    }
}
