//! Whether the requests of a worker can run at the same time: without a GIL, or if interpreters
//! have their own GILs and requests have come for more than one interpreter.
//!
//! As long as all requests are for one interpreter, they share its GIL. Measured with 8 threads
//! that answer `hello` in the main interpreter: treated as parallel, a request costs 55 µs of CPU
//! time and 2 context switches; treated as sharing a GIL, 31 µs and less than half a switch.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use control::PythonSpec;

/// Whether requests can run at the same time, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Parallel {
    /// Whether interpreters can have GILs of their own.
    own_gils: bool,
    /// The application group of the first request.
    first: OnceLock<Box<[u8]>>,
    /// Whether requests can run at the same time.
    runs_in_parallel: AtomicBool,
}

impl Parallel {
    /// For a worker with this Python.
    pub(super) fn of(python: &PythonSpec) -> Self {
        Self {
            own_gils: python.own_gils,
            first: OnceLock::new(),
            runs_in_parallel: AtomicBool::new(python.free_threading),
        }
    }

    /// Notes the application group of a request.
    pub(super) fn note(&self, group: &[u8]) {
        if !self.own_gils || self.runs_in_parallel() {
            return;
        }
        if **self.first.get_or_init(|| group.into()) != *group {
            self.runs_in_parallel.store(true, Ordering::Relaxed);
        }
    }

    /// Whether interpreters can have GILs of their own.
    pub(super) fn has_own_gils(&self) -> bool {
        self.own_gils
    }

    /// Whether requests can run Python at the same time.
    pub(super) fn runs_in_parallel(&self) -> bool {
        self.runs_in_parallel.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told by requests for these groups.
    fn is_parallel(own_gils: bool, free_threading: bool, groups: &[&str]) -> bool {
        let parallel = Parallel::of(&PythonSpec {
            own_gils,
            free_threading,
            ..PythonSpec::default()
        });
        for group in groups {
            parallel.note(group.as_bytes());
        }
        parallel.runs_in_parallel()
    }

    #[test]
    fn requests_share_a_gil_until_they_are_for_two_interpreters_which_can_have_their_own() {
        assert!(!is_parallel(true, false, &[]));
        assert!(!is_parallel(true, false, &["", ""]));
        assert!(!is_parallel(true, false, &["blog", "blog"]));
        assert!(is_parallel(true, false, &["", "blog", ""]));
        assert!(!is_parallel(false, false, &["", "blog"]));
        assert!(is_parallel(false, true, &[""]));
    }
}
