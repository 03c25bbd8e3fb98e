//! Handing a GIL over to threads that wait for it.
//!
//! CPython gives a released GIL to the first thread that asks for it. That is usually the one that
//! has just released it, since any other has to wake up first. So a thread that has kept the GIL
//! for long, and wants to share it, must not ask for it again before another has taken it.
//!
//! If a thread is known to wait for a GIL through the engine, the releasing thread waits up to
//! [`FOR_A_WAITER`]. Other threads wait inside Python, after a `sleep` or a database query, and
//! cannot be distinguished from threads that still sleep. For these it waits [`FOR_A_SUSPECT`], in
//! case there are any.
//!
//! All GILs are counted together. With several GILs, a thread may wait although no other thread
//! waits for its GIL, or not long enough.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a thread stays away at most if another one waits. The system adds the time for waking
/// up, about 100 µs, to this and the next.
const FOR_A_WAITER: Duration = Duration::from_micros(300);

/// How long if it is not known whether another one waits: the time that it takes to wake up.
const FOR_A_SUSPECT: Duration = Duration::from_micros(50);

static GILS: Handoff = Handoff::new();

/// Runs `take`, which waits for a GIL and takes it.
pub(crate) fn taking<R>(take: impl FnOnce() -> R) -> R {
    GILS.taking(take)
}

/// Runs `wait`, in which the thread waits for its turn to wait for a GIL.
pub(crate) fn standing_by(wait: impl FnOnce()) {
    GILS.waiting(wait);
}

/// How often a GIL was taken so far.
pub(crate) fn count() -> Count {
    GILS.count()
}

/// Stays away until another thread has taken a GIL since `count`, or has had the time to. To be
/// called without a GIL.
pub(crate) fn stay_away(count: Count) {
    let patience = match GILS.waiters.load(Ordering::Relaxed) {
        0 => FOR_A_SUSPECT,
        _ => FOR_A_WAITER,
    };
    GILS.await_next(count, patience);
}

/// How often a GIL was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(u32);

/// The threads that wait for a GIL, and those that stay away for them. Without a lock: if another
/// thread held it when the process is forked, it would stay locked in the new process.
#[derive(Debug)]
struct Handoff {
    waiters: AtomicU32,
    /// How often it was taken. Wraps around.
    taken: AtomicU32,
    /// How many threads stay away until another takes it.
    givers: AtomicU32,
}

/// Increments a number as long as it lives.
struct Counted<'c>(&'c AtomicU32);

impl<'c> Counted<'c> {
    fn one_more(number: &'c AtomicU32) -> Self {
        number.fetch_add(1, Ordering::SeqCst);
        Self(number)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handoff {
    const fn new() -> Self {
        Self {
            waiters: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            givers: AtomicU32::new(0),
        }
    }

    fn taking<R>(&self, take: impl FnOnce() -> R) -> R {
        let taken = self.waiting(take);
        self.taken.fetch_add(1, Ordering::SeqCst);
        if self.givers.load(Ordering::SeqCst) > 0 {
            wake_all(&self.taken);
        }
        taken
    }

    fn waiting<R>(&self, wait: impl FnOnce() -> R) -> R {
        let _waiter = Counted::one_more(&self.waiters);
        wait()
    }

    fn count(&self) -> Count {
        Count(self.taken.load(Ordering::SeqCst))
    }

    /// Waits until it was taken once more, but no longer than `patience`.
    fn await_next(&self, Count(seen): Count, patience: Duration) {
        // Sequentially consistent with `taking`: a thread that takes it after this sees the giver.
        // If it was taken before, the futex compares the number again before this thread sleeps.
        let _giver = Counted::one_more(&self.givers);
        wait_while(&self.taken, seen, patience);
    }
}

/// Sleeps if `number` is still `seen`, until [`wake_all`] is called for it, or for `patience`,
/// which must be less than a second.
fn wait_while(number: &AtomicU32, seen: u32, patience: Duration) {
    let patience = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::c_long::from(patience.subsec_nanos().cast_signed()),
    };
    // SAFETY: the number and the time live until the call returns. The result does not matter: the
    // caller goes on in any case.
    unsafe {
        let (operation, place) = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, number.as_ptr());
        libc::syscall(libc::SYS_futex, place, operation, seen, &raw const patience);
    }
}

/// Wakes the threads that sleep in [`wait_while`] for this number.
fn wake_all(number: &AtomicU32) {
    // SAFETY: the number lives until the call returns, which only uses its address.
    unsafe {
        let (operation, place) = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, number.as_ptr());
        let nothing = ptr::null::<libc::timespec>();
        libc::syscall(libc::SYS_futex, place, operation, libc::c_int::MAX, nothing);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// What is never waited for to its end.
    const LONG: Duration = Duration::from_millis(900);

    #[test]
    fn who_stays_away_is_woken_when_it_is_taken() {
        let handoff = Handoff::new();
        let count = handoff.count();
        thread::scope(|scope| {
            let giver = scope.spawn(|| {
                let began = Instant::now();
                handoff.await_next(count, LONG);
                began.elapsed()
            });
            while handoff.givers.load(Ordering::Relaxed) == 0 && !giver.is_finished() {
                thread::yield_now();
            }
            // It is about to sleep.
            thread::sleep(LONG / 10);
            handoff.taking(|| ());
            assert!(giver.join().unwrap() < LONG);
        });
        assert_ne!(handoff.count(), count);
        assert_eq!(handoff.givers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_taken_before_is_no_reason_to_stay_away() {
        let handoff = Handoff::new();
        let count = handoff.count();
        handoff.taking(|| ());
        let began = Instant::now();
        handoff.await_next(count, LONG);
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn nobody_stays_away_for_ever() {
        let handoff = Handoff::new();
        let count = handoff.count();
        handoff.await_next(count, Duration::from_millis(1));
        assert_eq!(handoff.count(), count);
    }

    #[test]
    fn a_panic_while_one_waits_is_counted_too() {
        let handoff = Handoff::new();
        let waiting = std::panic::AssertUnwindSafe(|| handoff.waiting(|| panic!("while it waits")));
        assert!(std::panic::catch_unwind(waiting).is_err());
        assert_eq!(handoff.waiters.load(Ordering::Relaxed), 0);
    }
}
