//! The end of httpd, and the end of a configuration.
//!
//! A configuration that does without this module tells it nothing, so the end of the last one is
//! when to tell the supervisor what may come.
//!
//! Before httpd ends, its process groups go. Whoever stops httpd expects nothing of it to be there
//! when its parent is gone, and a service manager may kill whatever is. So the parent has the
//! supervisor end the workers, which may take their `shutdown-timeout` for it, and waits. Meanwhile
//! it listens no more: another httpd can start.
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

/// How much longer than its workers may take the supervisor is waited for: it kills those that take
/// longer.
const MARGIN: Duration = Duration::from_secs(2);

/// How often it is looked whether the supervisor has ended.
const GLANCE: Duration = Duration::from_millis(5);

/// What a pool drops when it is destroyed.
struct AtEnd {
    /// The parent: a process that it forks has a copy of this.
    process: u32,
}

/// Has the process groups end with httpd. To be called for every configuration.
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
            // One that cannot be told goes on, as if this module came back.
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
            // That it is no child of this process means that it has ended before.
            Ok(_) | Err(_) => return true,
        }
    }
}
