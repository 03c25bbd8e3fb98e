//! The end of a configuration, and the end of httpd.
//!
//! When a configuration ends, the next one may not load this module, which would not be called
//! then. So the supervisor is told at this point that a new configuration is being read.
//!
//! Before httpd ends, its process groups end: nothing of httpd may be left when its parent has
//! ended, and a service manager may kill what is. So the parent has the supervisor end the workers,
//! within their `shutdown-timeout`, and waits. It closes httpd's ports first, so that another httpd
//! can start.
//!
//! Runs in the parent, when httpd clears or destroys the pool of a configuration.

use std::process;
use std::thread;
use std::time::{Duration, Instant};

use control::ToSupervisor;
use httpd::Pool;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::kept::{Kept, Supervisor};
use super::running;

/// How much longer than its workers the supervisor may take to end: it kills workers that take too
/// long.
const MARGIN: Duration = Duration::from_secs(2);

/// How often to check whether the supervisor has ended.
const GLANCE: Duration = Duration::from_millis(5);

/// A value in the pool of a configuration, which is dropped with the pool.
struct AtEnd {
    /// The process id of the parent. Forked processes have a copy of this value, and must not act.
    process: u32,
}

/// Ends the process groups when httpd ends. To be called for every configuration.
pub(super) fn with(pool: Pool<'_>) {
    pool.place(AtEnd {
        process: process::id(),
    });
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if self.process != process::id() {
            return;
        }
        let mut running = running();
        if httpd::process::is_ending() {
            if let Some(kept) = running.take() {
                httpd::process::close_listeners();
                stop(&kept);
            }
        } else if let Some(supervisor) = running.as_ref().and_then(|kept| kept.supervisor.as_ref())
        {
            // A supervisor that cannot be told keeps its groups, as if this module were loaded
            // again.
            let _ = supervisor.control.send(&ToSupervisor::Reconfiguring, &[]);
        }
    }
}

/// Ends all workers and the supervisor, and waits for them.
fn stop(kept: &Kept) {
    let Some(supervisor) = &kept.supervisor else {
        return;
    };
    let limits = kept.groups.iter().map(|group| group.spec.life.stop_limit());
    let limit = limits.max().unwrap_or_default() + MARGIN;
    let told = supervisor.control.send(&ToSupervisor::Stop, &[]);
    let has_ended = told.is_ok() && has_ended_within(supervisor, limit);
    if !has_ended {
        supervisor.kill();
    }
}

fn has_ended_within(supervisor: &Supervisor, limit: Duration) -> bool {
    let Ok(pid) = i32::try_from(supervisor.pid) else {
        return false;
    };
    let deadline = Instant::now() + limit;
    loop {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if Instant::now() < deadline => thread::sleep(GLANCE),
            Ok(WaitStatus::StillAlive) => return false,
            // An error means that it has ended and been waited for before.
            Ok(_) | Err(_) => return true,
        }
    }
}
