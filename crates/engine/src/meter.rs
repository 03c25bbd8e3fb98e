//! What a thread uses up for a request: CPU time, and time waiting for the GIL.
//!
//! A request is measured only if an event or the metrics need it, since reading the CPU clock of a
//! thread is a system call. A [`Meter`] must be read on the thread that has started it.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::handoff;

/// Whether the waiting for the GIL is measured, once anybody has asked.
static GIL_MEASURED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How often this thread has taken a GIL for its request, and how long it has waited for it.
    static GIL: Cell<(u64, Duration)> = const { Cell::new((0, Duration::ZERO)) };
}

/// Has the waiting for the GIL measured from now on: a request waits for it before a meter can be
/// started.
pub(crate) fn measure_gil() {
    GIL_MEASURED.store(true, Ordering::Relaxed);
}

/// What a thread has used up for a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time in user mode.
    pub(crate) user: Duration,
    /// CPU time in system mode.
    pub(crate) system: Duration,
    /// How often the GIL was taken.
    pub(crate) gil_count: u64,
    /// How long that took.
    pub(crate) gil_time: Duration,
}

/// The measuring of a request, from its start on: the CPU time of the thread at that time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    user: Duration,
    system: Duration,
}

impl Meter {
    /// Starts to measure the calling thread.
    pub(crate) fn start() -> Self {
        measure_gil();
        let (user, system) = cpu_times(libc::RUSAGE_THREAD);
        Self { user, system }
    }

    /// What the calling thread has used since.
    pub(crate) fn read(self) -> Usage {
        let (user, system) = cpu_times(libc::RUSAGE_THREAD);
        let (gil_count, gil_time) = GIL.get();
        Usage {
            user: user.saturating_sub(self.user),
            system: system.saturating_sub(self.system),
            gil_count,
            gil_time,
        }
    }
}

/// While it lives, the calling thread counts how often it takes a GIL for one request, from 0 on.
#[derive(Debug)]
pub(crate) struct GilCount {
    /// What it had counted for the request that this one is inside of, if any.
    outer: (u64, Duration),
}

impl GilCount {
    /// Begins to count: for a request that will take the first one before a meter can be started.
    pub(crate) fn begin() -> Self {
        Self {
            outer: GIL.replace((0, Duration::ZERO)),
        }
    }
}

impl Drop for GilCount {
    fn drop(&mut self) {
        GIL.set(self.outer);
    }
}

/// Runs `take`, which waits for a GIL, and counts it.
pub(crate) fn waiting_for_gil<R>(take: impl FnOnce() -> R) -> R {
    timed(1, || handoff::taking(take))
}

/// Runs `wait`, which waits for the thread's turn to wait for a GIL, and counts that in.
pub(crate) fn waiting_in_line(wait: impl FnOnce()) {
    timed(0, || handoff::standing_by(wait));
}

/// Runs `wait`, which waits for a GIL and takes it so many times.
fn timed<R>(takes: u64, wait: impl FnOnce() -> R) -> R {
    if !GIL_MEASURED.load(Ordering::Relaxed) {
        return wait();
    }
    let began = Instant::now();
    let waited = wait();
    let (count, time) = GIL.get();
    GIL.set((count + takes, time + began.elapsed()));
    waited
}

/// The CPU time in user and in system mode of a thread or the process (`RUSAGE_…`).
pub(crate) fn cpu_times(who: libc::c_int) -> (Duration, Duration) {
    let usage = resource_usage(who);
    (duration(usage.ru_utime), duration(usage.ru_stime))
}

/// What the system says that a thread or the process has used; nothing if it does not know.
pub(crate) fn resource_usage(who: libc::c_int) -> libc::rusage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the struct is writable, and one of integers, for which zeros are values.
    unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// Now, in microseconds since the epoch.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
