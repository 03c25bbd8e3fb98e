//! The daemon: one program in two roles.
//!
//! As the *supervisor* it starts, watches and replaces the workers of every process group. It
//! contains no Python and lives as long as httpd does. As a *worker* it drops its privileges, loads
//! the engine of its group's Python and serves requests.
//!
//! It is not started by hand: the module starts the supervisor, the supervisor the workers, and
//! both pass the new process a link to themselves at descriptor [`LINK_FD`].
//!
//! A worker runs this same program, `mod_wsgi-daemon`, or else Python's own program, into which the
//! crate `preload` loads this code: see [`Program`].

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

/// The exit status of a process that was started without a link.
const STARTED_BY_HAND: u8 = 2;

/// The exit status of a program that should be a Python's and is not.
pub const NO_PYTHON: u8 = 3;

/// The descriptor at which Python's program finds the library that makes it a worker.
const LIBRARY_FD: RawFd = LINK_FD + 1;

/// The path of that library, for the dynamic linker.
pub const LIBRARY: &str = "/proc/self/fd/4";

/// The only argument of Python's program. If the library is not loaded into it, it prints its
/// version and ends, instead of running as root whatever Python finds to run.
pub const PRINT_VERSION: &str = "-V";

/// The program that runs this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The daemon's own program. A worker loads Python as a library.
    Daemon,
    /// The program of a Python, which contains all of Python, as distributions build it. Code that
    /// is compiled into a program need not be position-independent, and calls its own functions
    /// directly; so this Python is faster than the library that is built from the same sources.
    Python,
}

/// Runs the role for which this process was started, and returns its exit status. To be called
/// once, on the main thread, before anything else.
pub fn run(program: Program) -> u8 {
    close_inherited();
    take_name();
    // Writing to a closed connection is an error instead of a signal. SAFETY: no handler is
    // installed.
    let _never_fails = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let role = match program {
        Program::Daemon => std::env::args_os().nth(1),
        Program::Python => None,
    };
    match role.as_deref().map(OsStr::to_str) {
        Some(Some("supervise")) => supervisor::run(control_channel()),
        // A worker has no arguments: its group decides what a list of processes shows.
        None if is_started_by_us() => worker::run(control_channel(), program),
        _ => {
            log::to_stderr("the processes of groups are started by httpd's mod_wsgi, not by hand");
            STARTED_BY_HAND
        }
    }
}

/// Whether this process was started with a link.
fn is_started_by_us() -> bool {
    // SAFETY: the call only reads the flags of a descriptor, and fails if there is none.
    unsafe { libc::fcntl(LINK_FD, libc::F_GETFD) != -1 }
}

/// Closes descriptors that this process has inherited and does not need.
fn close_inherited() {
    let first = libc::c_uint::try_from(LINK_FD + 1).unwrap_or(libc::c_uint::MAX);
    // SAFETY: no code of this program has opened a descriptor yet, so none of these is in use.
    // Neither does a library that an administrator has preloaded own any of them.
    if unsafe { libc::close_range(first, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    // The kernel is older than 5.9, or the seccomp filter of a container does not allow the call.
    let numbers = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<libc::c_int> = numbers.filter(|number| *number > LINK_FD).collect();
    for number in numbers {
        // SAFETY: as above. The descriptor of the directory itself has been closed already.
        unsafe { libc::close(number) };
    }
}

/// Sets the name of the process for `top`, `pgrep` and similar programs to its argument 0.
/// Otherwise they show the name of the executed file, which is `exe`. The kernel keeps the first 15
/// bytes.
fn take_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    if let Ok(name) = CString::new(name.into_encoded_bytes()) {
        // A failure is no reason not to start.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// The limit of open files to which a process raises its own, if the hard limit allows it. This is
/// enough for the connections of many children of httpd, and for more than ten thousand groups in a
/// supervisor. It is not higher because programs that applications start inherit the limit: some
/// close every descriptor up to it one by one, and some containers have a hard limit of a billion.
const OPEN_FILES: u32 = 1 << 16;

/// Raises the soft limit of open files, up to [`OPEN_FILES`] or the hard limit.
fn raise_open_files() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    match open_files(soft, hard) {
        limit if limit == soft => Ok(()),
        limit => setrlimit(Resource::RLIMIT_NOFILE, limit, hard),
    }
}

/// The soft limit for a process with these limits: never less than it has.
fn open_files(soft: rlim_t, hard: rlim_t) -> rlim_t {
    soft.max(hard.min(OPEN_FILES.into()))
}

fn control_channel() -> Channel {
    // SAFETY: the process that started this one has passed a socket at this descriptor, and nothing
    // else here owns it. If it has not, every use of the descriptor fails with an error.
    let socket = unsafe { OwnedFd::from_raw_fd(LINK_FD) };
    // Programs that this process starts must not inherit it. On failure the descriptor is not open.
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
