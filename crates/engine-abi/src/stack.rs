//! The stacks of threads that run Python, which host and engine both start.

/// The size of a stack where the system sets no limit, in bytes: what Linux usually gives a main
/// thread.
pub const USUAL_STACK_SIZE: usize = 8 << 20;

/// The stack size of a thread that runs Python, in bytes, unless configured otherwise: what the
/// system gives a main thread (`ulimit -s`). The default of Rust's threads is too small for deeply
/// nested Python calls.
#[must_use]
pub fn stack_size() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `limit` is writable and lives until the call returns. If the call fails, `limit` keeps
    // its initial value.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    match limit.rlim_cur {
        libc::RLIM_INFINITY => USUAL_STACK_SIZE,
        size => usize::try_from(size).unwrap_or(USUAL_STACK_SIZE),
    }
}
