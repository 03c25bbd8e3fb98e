//! The progress of a response: what has been sent, and what is still missing.
//!
//! ```text
//!             start            the first part is sent
//!  Unstarted ───────> Ready(head) ──────────────────> Sent
//!                      ^    │
//!                      └────┘ start
//! ```

use std::time::{Duration, Instant};

use super::head::Head;
use super::response::Unsent;

/// The progress of a response.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) stage: Stage,
    /// The status of the last head.
    pub(super) status: Option<u16>,
    /// How many bytes of the body are still missing, if its length was stated.
    pub(super) missing: Option<u64>,
    /// Whether the body may be missing: it is a response to `HEAD`.
    pub(super) may_be_short: bool,
    /// Whether the application has begun the body, even with an empty piece: then the head cannot
    /// be replaced.
    pub(super) is_begun: bool,
    /// Since when pieces have been sent without releasing the GIL.
    kept_since: Option<Instant>,
}

/// The state of the head.
#[derive(Debug)]
pub(super) enum Stage {
    Unstarted,
    Ready(Head),
    Sent,
}

/// How long pieces may be sent without releasing the GIL, if other threads may want it. Sending a
/// piece takes microseconds, but others must not wait for all of a long response.
const KEPT: Duration = Duration::from_micros(300);

impl Progress {
    /// The progress of a response without a head.
    pub(super) const fn new() -> Self {
        Self {
            stage: Stage::Unstarted,
            status: None,
            missing: None,
            may_be_short: false,
            is_begun: false,
            kept_since: None,
        }
    }

    /// Sets or replaces the head.
    pub(super) fn set_head(&mut self, head: Head) {
        self.status = Some(head.status());
        self.stage = Stage::Ready(head);
    }

    /// Notes that a piece was sent without releasing the GIL.
    pub(super) fn keep_gil(&mut self) {
        self.kept_since.get_or_insert_with(Instant::now);
    }

    /// Notes that the GIL is released while a part is sent.
    pub(super) fn give_gil(&mut self) {
        self.kept_since = None;
    }

    /// Whether the GIL has been kept for so long that it should be released for the next piece. It
    /// is not known whether the application has released it meanwhile.
    pub(super) fn has_kept_gil(&self) -> bool {
        self.kept_since.is_some_and(|since| since.elapsed() >= KEPT)
    }

    /// Takes the head, if it has not been sent yet. `is_for_head`: the request's method is `HEAD`.
    pub(super) fn take_head(&mut self, is_for_head: bool) -> Result<Option<Head>, Unsent> {
        if matches!(self.stage, Stage::Unstarted) {
            return Err(Unsent::Unstarted);
        }
        let Stage::Ready(head) = std::mem::replace(&mut self.stage, Stage::Sent) else {
            return Ok(None);
        };
        self.is_begun = true;
        if head.allows_body() {
            self.missing = head.content_length();
            self.may_be_short = is_for_head;
        }
        Ok(Some(head))
    }

    /// How many bytes of the body the client still waits for.
    pub(super) fn owed(&self) -> u64 {
        match self.may_be_short {
            true => 0,
            false => self.missing.unwrap_or(0),
        }
    }

    /// Ignores the length that was stated, since the application sends no body at all. A filter of
    /// httpd may send another body instead, for `X-Sendfile` for example, and httpd states its
    /// length.
    pub(super) fn expect_nothing(&mut self) {
        self.missing = None;
    }

    /// How many of the `offered` bytes still belong to the body. Subtracts them from the missing
    /// ones.
    pub(super) fn admit(&mut self, offered: u64) -> u64 {
        let Some(missing) = &mut self.missing else {
            return offered;
        };
        let admitted = offered.min(*missing);
        *missing -= admitted;
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(head: &[(&[u8], &[u8])], status: &[u8]) -> Progress {
        let mut ready = Head::new(status).unwrap();
        for (name, value) in head {
            ready.push(name, value).unwrap();
        }
        Progress {
            stage: Stage::Ready(ready),
            ..Progress::new()
        }
    }

    #[test]
    fn a_stated_length_bounds_the_body() {
        let mut progress = progress(&[(b"Content-Length", b"5")], b"200 OK");
        assert!(progress.take_head(false).unwrap().is_some());
        assert!(progress.take_head(false).unwrap().is_none());
        assert_eq!(progress.admit(3), 3);
        assert_eq!(progress.admit(3), 2);
        assert_eq!(progress.admit(3), 0);
        assert_eq!(progress.missing, Some(0));
    }

    #[test]
    fn without_a_body_no_length_is_missing() {
        let length: &[(&[u8], &[u8])] = &[(b"Content-Length", b"5")];
        for (is_for_head, status) in [(true, &b"200 OK"[..]), (false, b"304 Not Modified")] {
            let mut progress = progress(length, status);
            assert!(progress.take_head(is_for_head).unwrap().is_some());
            assert_eq!(progress.owed(), 0);
        }
    }

    #[test]
    fn without_any_body_nothing_is_missing() {
        let mut progress = progress(&[(b"Content-Length", b"5")], b"200 OK");
        assert!(progress.take_head(false).unwrap().is_some());
        assert_eq!(progress.owed(), 5);
        progress.expect_nothing();
        assert_eq!(progress.owed(), 0);
    }

    #[test]
    fn nothing_goes_before_the_head() {
        let mut progress = Progress::new();
        assert_eq!(progress.take_head(false).unwrap_err(), Unsent::Unstarted);
    }
}
