//! Signals that come before anybody waits for them: while Python starts and scripts are loaded.
//!
//! What ends a worker ends it at once then, as nothing is in flight: SIGTERM, which nobody handles
//! yet, and SIGINT, which somebody must, as Python would take it for a user at its terminal. What
//! has it replaced can be done only when it serves, so that is kept until then. The applications'
//! own two are for those that have been loaded.

use std::io;
use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc::{SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::flag;

/// The signals that came early.
#[derive(Debug)]
pub(super) struct Early {
    /// SIGINT ends the process.
    is_fatal: Arc<AtomicBool>,
    kept: [(c_int, Arc<AtomicBool>); 2],
}

impl Early {
    /// From now on no signal but SIGTERM and SIGINT ends the process by itself.
    pub(super) fn register() -> io::Result<Self> {
        let is_fatal = Arc::new(AtomicBool::new(true));
        flag::register_conditional_default(SIGINT, is_fatal.clone())?;
        let kept = [SIGUSR1, SIGXCPU].map(|signal| (signal, Arc::default()));
        for (signal, came) in &kept {
            flag::register(*signal, Arc::clone(came))?;
        }
        for signal in [SIGHUP, SIGUSR2] {
            flag::register(signal, Arc::default())?;
        }
        Ok(Self { is_fatal, kept })
    }

    /// Somebody waits for SIGINT now, or nobody ever will.
    pub(super) fn is_over(&self) {
        self.is_fatal.store(false, Ordering::Relaxed);
    }

    /// Those that have the worker replaced.
    pub(super) fn take(&self) -> impl Iterator<Item = c_int> {
        let came = |came: &AtomicBool| came.swap(false, Ordering::Relaxed);
        let kept = self.kept.iter().filter(move |(_, flag)| came(flag));
        kept.map(|(signal, _)| *signal)
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[test]
    fn what_has_a_worker_replaced_is_kept_and_nothing_ends_it_later() {
        let early = Early::register().unwrap();
        early.is_over();
        for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2] {
            raise(signal).unwrap();
        }
        assert_eq!(early.take().count(), 0);
        raise(Signal::SIGUSR1).unwrap();
        assert_eq!(early.take().collect::<Vec<_>>(), [SIGUSR1]);
        assert_eq!(early.take().count(), 0);
    }
}
