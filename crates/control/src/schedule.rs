//! How the threads that a request passes through share the CPUs.

use nix::errno::Errno;
use nix::libc;

/// Has the calling thread, from now on, not take the CPU from a thread that runs when it wakes: it
/// waits for a free CPU, or until that thread has had its share (`SCHED_BATCH`, sched(7)).
///
/// A request wakes a thread of a worker, and its response one of httpd's. Where all CPUs are busy
/// with such threads, each would interrupt another just to be interrupted itself; this way each of
/// them does what there is to do, and goes to sleep when nothing is left.
///
/// Threads and processes that it starts are like it. A thread that somebody has given another
/// policy than the usual one keeps it.
///
/// # Errors
///
/// When the system refuses.
pub fn do_not_preempt() -> nix::Result<()> {
    const SELF: libc::pid_t = 0;
    // SAFETY: the call takes plain numbers.
    let policy = Errno::result(unsafe { libc::sched_getscheduler(SELF) })?;
    if policy != libc::SCHED_OTHER {
        return Ok(());
    }
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live until the call returns.
    Errno::result(unsafe {
        libc::sched_setscheduler(SELF, libc::SCHED_BATCH, &raw const parameters)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: the call takes plain numbers.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn it_is_the_calling_thread_alone() {
        let changed = thread::spawn(|| {
            do_not_preempt().unwrap();
            policy()
        });
        assert_eq!(changed.join().unwrap(), libc::SCHED_BATCH);
        assert_eq!(policy(), libc::SCHED_OTHER);
    }

    #[test]
    fn another_policy_stays() {
        let kept = thread::spawn(|| {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: the parameters live until the call returns.
            let set =
                unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
            assert_eq!(set, 0);
            do_not_preempt().unwrap();
            policy()
        });
        assert_eq!(kept.join().unwrap(), libc::SCHED_IDLE);
    }
}
