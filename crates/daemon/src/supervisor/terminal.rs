//! The terminal in which httpd runs in the foreground, if it does: `httpd -X`, or a container with
//! `--tty`.

use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, setpgid, setsid};

/// Gives up the controlling terminal, also for the workers, which inherit that. Signals from the
/// terminal are for httpd, which tells the supervisor; and the terminal must not stop a process
/// that reads or writes in the background.
///
/// The session stays httpd's. The kernel divides CPU time among sessions first (`sched_autogroup`),
/// so workers in a session of their own would take CPU time from httpd while they wait for it. Only
/// if the terminal cannot be given up, this process starts a new session, which has none.
pub(super) fn leave() {
    if give_up().is_err() {
        let _ = setsid();
    }
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
}

/// Gives up the controlling terminal, if there is one (`TIOCNOTTY`, tty_ioctl(2)).
fn give_up() -> nix::Result<()> {
    // Without O_NONBLOCK, opening a serial line may wait for a carrier.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match open("/dev/tty", flags, Mode::empty()) {
        // SAFETY: the descriptor is open, and this request takes no pointer.
        Ok(terminal) => unsafe { no_terminal(terminal.as_raw_fd()) }.map(drop),
        Err(Errno::ENXIO) => Ok(()),
        Err(error) => Err(error),
    }
}

nix::ioctl_none_bad!(no_terminal, libc::TIOCNOTTY);
