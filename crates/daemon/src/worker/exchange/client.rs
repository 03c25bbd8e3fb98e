//! Whether the client of a request is still there.
//!
//! A child whose client is gone sends no more, and says so by closing that direction of its
//! connection. It still listens to what is logged for the request.

use std::time::{Duration, Instant};

use crate::worker::connection::Line;

/// How often to look while a response goes on, so that a stream of small pieces does not pay for
/// each.
const PERIOD: Duration = Duration::from_millis(10);

/// What is known of a client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// When to look again; `None` before a response goes on.
    next_look: Option<Instant>,
    is_gone: bool,
}

impl Client {
    /// Whether it is gone. Looks, unless that was done just now. To be called for each piece of a
    /// response but the first, to which nobody can have been lost.
    pub(super) fn is_gone(&mut self, line: &Line) -> bool {
        let now = Instant::now();
        let next_look = *self.next_look.get_or_insert(now + PERIOD);
        if !self.is_gone && next_look <= now {
            self.next_look = Some(now + PERIOD);
            self.is_gone = line.is_half_closed();
        }
        self.is_gone
    }

    /// Whether it was found to be gone.
    pub(super) fn is_known_gone(&self) -> bool {
        self.is_gone
    }
}
