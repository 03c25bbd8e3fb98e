//! Signals that come while Python starts and scripts are loaded, before [`life`](super::life) waits
//! for them.
//!
//! SIGTERM and SIGINT end the worker at once, since no request is in flight. SIGTERM has no handler
//! yet; SIGINT needs one, or Python would install its own. SIGUSR1 and SIGXCPU have the worker
//! replaced, which is possible only once it serves, so they are kept until then. SIGHUP and SIGUSR2
//! are for applications, of which none is loaded yet: they are ignored.

use std::io;
use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc::{SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::flag;

/// The signals that came early.
#[derive(Debug)]
pub(super) struct Early {
    /// Whether SIGINT ends the process.
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

    /// SIGINT no longer ends the process by itself.
    pub(super) fn end(&self) {
        self.is_fatal.store(false, Ordering::Relaxed);
    }

    /// Takes the signals that have the worker replaced.
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
        early.end();
        for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2] {
            raise(signal).unwrap();
        }
        assert_eq!(early.take().count(), 0);
        raise(Signal::SIGUSR1).unwrap();
        assert_eq!(early.take().collect::<Vec<_>>(), [SIGUSR1]);
        assert_eq!(early.take().count(), 0);
    }
}
