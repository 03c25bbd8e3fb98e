//! How far a response has come: what of it has gone out, and what is still owed.
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

/// How far a response has come.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) stage: Stage,
    /// The status of the last head.
    pub(super) status: Option<u16>,
    /// How much of the body is still to come, if its length was stated.
    pub(super) missing: Option<u64>,
    /// Nobody waits for the body: it is that of a response to `HEAD`.
    pub(super) may_be_short: bool,
    /// The application has begun the body, be it with nothing, so the head stays what it is.
    pub(super) is_begun: bool,
    /// Since when pieces have been sent without releasing the GIL.
    kept_since: Option<Instant>,
}

/// What has become of the head.
#[derive(Debug)]
pub(super) enum Stage {
    Unstarted,
    Ready(Head),
    Sent,
}

/// For how long pieces may be sent without releasing the GIL, where others may want it. To send one
/// takes microseconds, but nobody is to wait for all of a long response.
const KEPT: Duration = Duration::from_micros(300);

impl Progress {
    /// That of a response which has no head yet.
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

    /// There is a head, or another one.
    pub(super) fn set_head(&mut self, head: Head) {
        self.status = Some(head.status());
        self.stage = Stage::Ready(head);
    }

    /// A piece has gone out without giving the GIL to others.
    pub(super) fn keep_gil(&mut self) {
        self.kept_since.get_or_insert_with(Instant::now);
    }

    /// Others can have the GIL while a part goes out.
    pub(super) fn give_gil(&mut self) {
        self.kept_since = None;
    }

    /// Whether it is time to give the GIL away for a piece, if others may want it. That the
    /// application has given it away itself meanwhile is not known.
    pub(super) fn has_kept_gil(&self) -> bool {
        self.kept_since.is_some_and(|since| since.elapsed() >= KEPT)
    }

    /// The head, if this part is the first.
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

    /// How much of the body the client is still waiting for.
    pub(super) fn owed(&self) -> u64 {
        match self.may_be_short {
            true => 0,
            false => self.missing.unwrap_or(0),
        }
    }

    /// Forgets the length that was stated, as the application sends no body at all: httpd states
    /// the length of what is sent in its place, by a filter for `X-Sendfile`, say.
    pub(super) fn expect_nothing(&mut self) {
        self.missing = None;
    }

    /// How much of `offered` still belongs to the body.
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
