//! The scheduling policy of threads that serve requests.

use nix::errno::Errno;
use nix::libc;

/// Sets the policy `SCHED_BATCH` for the calling thread: when it wakes up, it does not preempt a
/// running thread, but waits for a free CPU, or until that thread has used its time slice
/// (sched(7)).
///
/// A request wakes a thread of a worker, and its response a thread of httpd. If all CPUs are busy
/// with such threads, they would keep preempting each other; with this policy each finishes its
/// work and then sleeps.
///
/// Threads and processes that it starts inherit the policy. A thread with another policy than the
/// default keeps it.
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
