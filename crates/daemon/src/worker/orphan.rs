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

/// What such a worker waits for.
pub(super) struct Orphan {
    server: Arc<Server>,
    /// httpd's parent process, if that is still there.
    httpd: io::Result<OwnedFd>,
    deadline: Instant,
}

impl Orphan {
    /// The supervisor has just died.
    pub(super) fn new(server: &Arc<Server>) -> Self {
        Self {
            server: server.clone(),
            httpd: process(server.group().server.pid),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Looks whether it is time to leave, and why.
    pub(super) fn look(&self) -> Option<Replacement> {
        if !self.is_httpd_running() {
            Some(Replacement::ShutdownSignal)
        } else if self.server.is_succeeded() || self.deadline <= Instant::now() {
            Some(Replacement::GracefulSignal)
        } else {
            self.server.stand_in();
            None
        }
    }

    fn is_httpd_running(&self) -> bool {
        let Ok(httpd) = &self.httpd else {
            return false;
        };
        // It can be read from once the process has ended, be it waited for or not.
        let mut end = [PollFd::new(httpd.as_fd(), PollFlags::POLLIN)];
        poll(&mut end, PollTimeout::ZERO) == Ok(0)
    }
}

/// A descriptor of a process.
fn process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the call has just made it, for us.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
