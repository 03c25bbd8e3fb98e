//! Whether the client of a request is still there.
//!
//! When the client of a request is gone, the child closes its sending direction of the connection.
//! It still reads the lines that are logged for the request.

use std::time::{Duration, Instant};

use crate::worker::connection::Line;

/// How often to check during a response. Checking for each piece of a stream would be expensive.
const PERIOD: Duration = Duration::from_millis(10);

/// What is known of a client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// When to check next; `None` before the second piece of the response.
    next_look: Option<Instant>,
    is_gone: bool,
}

impl Client {
    /// Whether the client is gone. Checks at most once per period. To be called for each piece of a
    /// response except the first, before which nothing can have been noticed.
    pub(super) fn is_gone(&mut self, line: &Line) -> bool {
        let now = Instant::now();
        let next_look = *self.next_look.get_or_insert(now + PERIOD);
        if !self.is_gone && next_look <= now {
            self.next_look = Some(now + PERIOD);
            self.is_gone = line.is_half_closed();
        }
        self.is_gone
    }

    /// Whether an earlier check has found the client to be gone.
    pub(super) fn is_known_gone(&self) -> bool {
        self.is_gone
    }
}
