//! The daemon: one program in two roles.
//!
//! As the *supervisor* it starts, watches and replaces the workers of every process group. It
//! holds no Python and lives as long as httpd does. As a *worker* it drops its privileges, loads
//! the engine of its group's Python and serves requests.
//!
//! Nobody starts it by hand: the module starts the supervisor, the supervisor the workers, and
//! both leave the new process a link to themselves at descriptor 3.
//!
//! A worker is this same program, `mod_wsgi-daemon`, or else Python's own, into which the crate
//! `preload` puts what is here: see [`Program`].

mod fault;
mod held;
mod log;
mod supervisor;
#[cfg(test)]
mod testing;
mod worker;

use std::ffi::{CString, OsStr};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use control::{Channel, LINK_FD};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

/// The exit status of a process that nobody has left a link.
const STARTED_BY_HAND: u8 = 2;

/// The exit status of a program that was to be Python's and is not.
pub const NO_PYTHON: u8 = 3;

/// Where whoever makes Python's program a worker leaves the library that does it.
const LIBRARY_FD: RawFd = LINK_FD + 1;

/// What the dynamic linker is told to load there.
pub const LIBRARY: &str = "/proc/self/fd/4";

/// The only argument of Python's program. If it is not made a worker by what is loaded into it, it
/// prints its version and ends, instead of running as root whatever Python finds to run.
pub const PRINT_VERSION: &str = "-V";

/// Which program this is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The daemon's own. Python comes into a worker as a library.
    Daemon,
    /// That of a Python which has all of Python in it, as distributions build it. What is compiled
    /// into a program need not work at any address, and calls its own functions directly; so this
    /// Python is faster than the library that is built of the same sources.
    Python,
}

/// Runs the role that whoever started this process has in mind, and returns the exit status of the
/// process. To be called once, on the main thread, before anything else.
pub fn run(program: Program) -> u8 {
    close_inherited();
    take_name();
    // Who writes to somebody that is gone is told by an error.
    // SAFETY: no handler is installed.
    let _never_fails = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let role = match program {
        Program::Daemon => std::env::args_os().nth(1),
        Program::Python => None,
    };
    match role.as_deref().map(OsStr::to_str) {
        Some(Some("supervise")) => supervisor::run(control_channel()),
        // What shows of a worker in a list of processes is up to its group.
        None if is_started_by_us() => worker::run(control_channel(), program),
        _ => {
            log::to_stderr("the processes of groups are started by httpd's mod_wsgi, not by hand");
            STARTED_BY_HAND
        }
    }
}

/// Whether somebody left a link.
fn is_started_by_us() -> bool {
    // SAFETY: asks about a descriptor, whoever's it is.
    unsafe { libc::fcntl(LINK_FD, libc::F_GETFD) != -1 }
}

/// Closes what httpd left open for itself and did not mean for others.
fn close_inherited() {
    let first = libc::c_uint::try_from(LINK_FD + 1).unwrap_or(libc::c_uint::MAX);
    // SAFETY: nothing of ours has opened a descriptor yet, so none of these is in use. What an
    // administrator may have loaded into this process was not told of any of them.
    if unsafe { libc::close_range(first, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    // The kernel is older than 5.9, or a container's filter does not know the call.
    let numbers = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<libc::c_int> = numbers.filter(|number| *number > LINK_FD).collect();
    for number in numbers {
        // SAFETY: as above; the one of the directory itself is closed by now.
        unsafe { libc::close(number) };
    }
}

/// Shows under the name it was started by in `top`, `pgrep` and the like too, which see the name of
/// the file that was executed otherwise: `exe`. The kernel keeps the first 15 bytes.
fn take_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    if let Ok(name) = CString::new(name.into_encoded_bytes()) {
        // A name that is not taken is no reason not to start.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// The most open files that a process is allowed if nobody allows it more. That is room for the
/// connections of many children of httpd, and for more than ten thousand groups in a supervisor.
/// What applications start goes by the same limit; there are programs that close every descriptor
/// up to it one by one, and some containers have a limit of a billion.
const OPEN_FILES: u32 = 1 << 16;

/// Allows this process as many open files as it may allow itself and can use.
fn raise_open_files() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    match open_files(soft, hard) {
        limit if limit == soft => Ok(()),
        limit => setrlimit(Resource::RLIMIT_NOFILE, limit, hard),
    }
}

/// How many open files a process with these limits is to be allowed: never fewer than it is.
fn open_files(soft: rlim_t, hard: rlim_t) -> rlim_t {
    soft.max(hard.min(OPEN_FILES.into()))
}

fn control_channel() -> Channel {
    // SAFETY: whoever started this process in one of its roles left a socket at this number, and
    // nothing else here uses the number. If it was left out, every use of it fails cleanly.
    let socket = unsafe { OwnedFd::from_raw_fd(LINK_FD) };
    // What this process starts must not get it. A descriptor that is not open stays as it is.
    let flags = nix::fcntl::FdFlag::FD_CLOEXEC;
    let _ = nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFD(flags));
    Channel::from_socket(socket)
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::RLIM_INFINITY;

    use super::open_files;

    #[test]
    fn open_files_are_as_many_as_can_be_used_and_no_fewer_than_before() {
        for (soft, hard, expected) in [
            (1024, 4096, 4096),
            (1024, 524_288, 65_536),
            (1024, 1_073_741_816, 65_536),
            (1024, RLIM_INFINITY, 65_536),
            (100_000, 200_000, 100_000),
            (RLIM_INFINITY, RLIM_INFINITY, RLIM_INFINITY),
        ] {
            assert_eq!(open_files(soft, hard), expected, "{soft} {hard}");
        }
    }
}
