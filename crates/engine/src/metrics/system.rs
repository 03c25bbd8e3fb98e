//! What the system says that this process uses.

use std::time::Duration;

use crate::meter;

/// The memory of the process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What of it is resident now; zero if the system does not tell.
    pub(crate) resident: u64,
    /// The most that ever was.
    pub(crate) most_resident: u64,
}

impl Memory {
    /// As it is now.
    pub(crate) fn now() -> Self {
        // In kibibytes.
        let most = meter::resource_usage(libc::RUSAGE_SELF).ru_maxrss;
        Self {
            resident: resident_pages().unwrap_or_default() * page_size(),
            most_resident: u64::try_from(most).unwrap_or_default() * 1024,
        }
    }
}

/// The CPU time of the process in user and in system mode.
pub(crate) fn cpu_times() -> (Duration, Duration) {
    meter::cpu_times(libc::RUSAGE_SELF)
}

/// When the process was started, in microseconds since the epoch, as exactly as the system counts;
/// `None` if it does not tell (`proc_pid_stat(5)`).
pub(crate) fn started_at() -> Option<i64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The 22nd field; those from the third on stand behind the name, which may have anything in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    // SAFETY: asks for a constant of the system.
    let ticks_per_second =
        f64::from(u32::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?);
    let age = Duration::try_from_secs_f64(uptime - ticks / ticks_per_second).ok()?;
    Some(meter::now() - i64::try_from(age.as_micros()).ok()?)
}

fn resident_pages() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse().ok()
}

fn page_size() -> u64 {
    // SAFETY: asks for a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or_default()
}
