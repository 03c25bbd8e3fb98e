//! The terminal httpd was started from, where it runs in the foreground of one: `httpd -X`, or a
//! container with `--tty`.

use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, setpgid, setsid};

/// Leaves it, and for workers too, which inherit what this process has: its signals are for httpd,
/// which tells the supervisor, and it must stop nobody who reads or writes in the background.
///
/// The session stays httpd's: the kernel shares CPU time out to sessions first (`sched_autogroup`),
/// and workers in one of their own would take it from httpd in the middle of what they wait for.
/// Only where the terminal cannot be given up there is another session, which has none.
pub(super) fn leave() {
    if give_up().is_err() {
        let _ = setsid();
    }
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
}

/// Has no terminal any more (tty_ioctl(2)).
fn give_up() -> nix::Result<()> {
    // A line of a terminal may have no carrier to wait for.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match open("/dev/tty", flags, Mode::empty()) {
        // SAFETY: the descriptor is open, and this request takes no argument.
        Ok(terminal) => unsafe { no_terminal(terminal.as_raw_fd()) }.map(drop),
        Err(Errno::ENXIO) => Ok(()),
        Err(error) => Err(error),
    }
}

nix::ioctl_none_bad!(no_terminal, libc::TIOCNOTTY);
