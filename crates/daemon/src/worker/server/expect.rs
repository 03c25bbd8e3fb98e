//! Requests whose client asks before it sends the body (`Expect: 100-continue`). A thread waits for
//! the body as long as the client likes.
//!
//! At most half of the threads serve such requests, so that slow clients leave the other half free.
//! For further ones a child of httpd reads the body first.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many such requests are being served.
#[derive(Debug, Default)]
pub(super) struct ExpectContinue(AtomicU32);

/// The admission of a request, which is counted if its client asks first, until this is dropped.
#[derive(Debug)]
pub(super) struct Admission<'g>(Option<&'g ExpectContinue>);

impl ExpectContinue {
    /// Admits a request, until the value returned is dropped. `None` if it `asks_first`, and half
    /// of the `threads` serve such requests already.
    pub(super) fn admit(&self, asks_first: bool, threads: u32) -> Option<Admission<'_>> {
        if !asks_first {
            return Some(Admission(None));
        }
        let admission = Admission(Some(self));
        // If there are too many, dropping it undoes the count.
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
