//! More CPU time for a worker that has reached its `cpu-time-limit`.
//!
//! At the soft limit the worker is replaced; at the hard limit, which is set a little higher, as in
//! mod_wsgi, the kernel kills it. But the worker serves until its successor is ready, and then
//! finishes its requests. Several threads that compute without the GIL could reach the hard limit
//! before that, in the middle of requests.

use std::num::NonZeroUsize;
use std::time::Duration;

use control::{Life, Replacement};
use nix::errno::Errno;

/// How long a successor may take to be ready.
const START: Duration = Duration::from_secs(60);

/// Raises the hard limit of a worker that asks for a successor because of this limit, to more than
/// it can use before the supervisor kills it for taking too long. This requires the capability
/// `CAP_SYS_RESOURCE`, which root has, except in most containers. Without it the limit stays, as in
/// mod_wsgi.
pub(super) fn extend(pid: u32, limit: Duration, life: &Life) {
    let Ok(pid) = i32::try_from(pid) else {
        return;
    };
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let processors = u64::try_from(processors).unwrap_or(u64::MAX);
    let longest_end = life.longest_end(Replacement::CpuTimeLimit);
    let hard = longest_end.map_or(libc::RLIM_INFINITY, |end| {
        let rest = (START + end).as_secs().saturating_mul(processors);
        limit.as_secs().saturating_add(rest)
    });
    let limits = libc::rlimit {
        rlim_cur: hard,
        rlim_max: hard,
    };
    // SAFETY: the call reads `limits`, which lives until it returns, and writes nothing. The
    // process is a child that has not been waited for, so `pid` cannot belong to another.
    let set = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_CPU,
            &raw const limits,
            std::ptr::null_mut(),
        )
    };
    // If that is not allowed, the hard limit stays where it was.
    let _ = Errno::result(set);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_limit_is_beyond_what_all_processors_can_do_until_the_end() {
        // Lower than what the process has, to which anybody may set it.
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        let life = Life {
            graceful_timeout: Some(Duration::from_secs(15)),
            shutdown_timeout: Some(Duration::from_secs(5)),
            ..Life::default()
        };
        extend(process.id(), Duration::from_secs(10), &life);
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max cpu time"));
        let processors = std::thread::available_parallelism().unwrap().get();
        let expected = (10 + 80 * processors).to_string();
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        assert_eq!(words[3..5], [&expected, &expected]);
    }
}
