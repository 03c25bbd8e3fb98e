//! How a process ended, in words.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

/// Describes a wait status, to follow the name of a process: `died of signal 11 (SIGSEGV)`.
pub fn describe_exit(wait_status: u32) -> String {
    let status = ExitStatus::from_raw(i32::from_ne_bytes(wait_status.to_ne_bytes()));
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            let core = if status.core_dumped() {
                ", core dumped"
            } else {
                ""
            };
            format!("died of signal {signal} ({name}{core})")
        }
        (None, None) => format!("ended with wait status {wait_status:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_and_exits_are_told_apart() {
        assert_eq!(describe_exit(3 << 8), "ended with exit status 3");
        assert_eq!(describe_exit(11), "died of signal 11 (SIGSEGV)");
        assert_eq!(
            describe_exit(6 | 0x80),
            "died of signal 6 (SIGABRT, core dumped)"
        );
    }
}
