//! Requests whose client asks before it sends the body: a thread waits for it as long as the client
//! likes.
//!
//! Half of the threads at most are given to them, so that clients which are slow then leave the
//! other half. The rest have their body read first, by a child of httpd.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many such requests are served.
#[derive(Debug, Default)]
pub(super) struct ExpectContinue(AtomicU32);

/// A request that is served, one of those or another.
#[derive(Debug)]
pub(super) struct Admission<'g>(Option<&'g ExpectContinue>);

impl ExpectContinue {
    /// Lets a request in, until the value returned is dropped. `None` if it `asks_first`, and so
    /// many do that there is none of the `threads` for it.
    pub(super) fn admit(&self, asks_first: bool, threads: u32) -> Option<Admission<'_>> {
        if !asks_first {
            return Some(Admission(None));
        }
        let admission = Admission(Some(self));
        // Dropping it undoes the count, where there are too many.
        (self.0.fetch_add(1, Ordering::Relaxed) < threads / 2).then_some(admission)
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if let Some(counted) = self.0 {
            counted.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExpectContinue;

    #[test]
    fn half_of_the_threads_are_for_them() {
        for (threads, most) in [(1, 0), (2, 1), (3, 1), (15, 7)] {
            let counted = ExpectContinue::default();
            let mut inside: Vec<_> = (0..most).map(|_| counted.admit(true, threads)).collect();
            assert!(inside.iter().all(Option::is_some), "{threads}");
            assert!(counted.admit(true, threads).is_none(), "{threads}");
            assert!(counted.admit(false, threads).is_some(), "{threads}");
            inside.pop();
            assert_eq!(
                counted.admit(true, threads).is_some(),
                most > 0,
                "{threads}"
            );
        }
    }
}
