//! What the process may use: priority, CPU time, memory, descriptors.
//!
//! A limit that cannot be set is a warning: the worker serves without it, as the reference does.

use control::GroupSpec;
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

use crate::log::{Level, Log};
use crate::worker::describe;

/// Sets the limits. Runs before privileges are dropped, since raising a priority needs them.
pub(super) fn apply(group: &GroupSpec, log: &Log) {
    let limits = &group.limits;
    let warn = |id: u16, what: &str, result: Result<(), Errno>| {
        if let Err(error) = result {
            log.line(
                Level::Warn,
                id,
                format_args!(
                    "Unable to set {what} of {}: {error}. Its processes go on as they are.",
                    describe(group)
                ),
            );
        }
    };
    if let Some(priority) = limits.cpu_priority {
        warn(75, "cpu-priority", set_priority(priority));
    }
    if let Some(cpu) = limits.cpu_time {
        let soft = cpu.as_secs();
        // The kernel kills at the hard limit, which leaves time for a shutdown.
        let hard = soft + 1 + group.life.stop_limit().as_secs();
        warn(
            76,
            "cpu-time-limit",
            setrlimit(Resource::RLIMIT_CPU, soft, hard),
        );
    }
    if let Some(bytes) = limits.memory {
        warn(
            77,
            "memory-limit",
            setrlimit(Resource::RLIMIT_DATA, bytes, bytes),
        );
    }
    if let Some(bytes) = limits.virtual_memory {
        warn(
            78,
            "virtual-memory-limit",
            setrlimit(Resource::RLIMIT_AS, bytes, bytes),
        );
    }
    // All connections of all children of httpd may be open at once.
    warn(1213, "the number of open files", crate::raise_open_files());
}

fn set_priority(priority: i32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers, and changes only the priority of this process.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, priority) }).map(drop)
}
