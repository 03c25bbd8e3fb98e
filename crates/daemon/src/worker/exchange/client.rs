//! Whether the client of a request is still there.
//!
//! A child whose client is gone sends no more, and says so by closing that direction of its connection. It still
//! listens to what is logged for the request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::worker::connection::Line;

/// How often to look while a response goes on, so that a stream of small pieces does not pay for each.
const PERIOD: Duration = Duration::from_millis(1);

/// What is known of a client.
#[derive(Debug)]
pub(super) struct Client {
    begun: Instant,
    /// When to look again, in microseconds since the beginning.
    next_look: AtomicU64,
    is_gone: AtomicBool,
}

impl Client {
    /// One that has just sent a request.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            next_look: AtomicU64::new(micros(PERIOD)),
            is_gone: AtomicBool::new(false),
        }
    }

    /// Whether it is known to be gone.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Looks whether it is gone, unless that was done just now.
    pub(super) fn look(&self, line: &Line) -> bool {
        let now = self.begun.elapsed();
        if !self.is_gone() && micros(now) >= self.next_look.load(Ordering::Relaxed) {
            self.next_look
                .store(micros(now + PERIOD), Ordering::Relaxed);
            self.is_gone.store(line.is_half_closed(), Ordering::Relaxed);
        }
        self.is_gone()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
