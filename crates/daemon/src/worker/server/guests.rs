//! Requests whose client asks before it sends the body: a thread waits for it as long as the client likes.
//!
//! Half of the threads at most are given to them, so that clients which are slow then leave the other
//! half. The rest have their body read first, by a child of httpd.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many such requests are served.
#[derive(Debug, Default)]
pub(super) struct Guests(AtomicU32);

/// A request that is served, one of those or another.
#[derive(Debug)]
pub(super) struct Guest<'g>(Option<&'g Guests>);

impl Guests {
    /// Lets a request in, until the value returned is dropped. `None` if it `asks_first`, and so many do that there
    /// is none of the `threads` for it.
    pub(super) fn admit(&self, asks_first: bool, threads: u32) -> Option<Guest<'_>> {
        if !asks_first {
            return Some(Guest(None));
        }
        let guest = Guest(Some(self));
        // Dropping it undoes the count, where there are too many.
        (self.0.fetch_add(1, Ordering::Relaxed) < threads / 2).then_some(guest)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if let Some(guests) = self.0 {
            guests.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Guests;

    #[test]
    fn half_of_the_threads_are_for_guests() {
        for (threads, most) in [(1, 0), (2, 1), (3, 1), (15, 7)] {
            let guests = Guests::default();
            let mut inside: Vec<_> = (0..most).map(|_| guests.admit(true, threads)).collect();
            assert!(inside.iter().all(Option::is_some), "{threads}");
            assert!(guests.admit(true, threads).is_none(), "{threads}");
            assert!(guests.admit(false, threads).is_some(), "{threads}");
            inside.pop();
            assert_eq!(guests.admit(true, threads).is_some(), most > 0, "{threads}");
        }
    }
}
