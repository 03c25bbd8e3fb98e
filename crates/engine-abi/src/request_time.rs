//! How long requests take on average, for decisions of host and engine about short requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many requests the average covers, roughly.
const WEIGHT: u64 = 8;

/// An exponential moving average of how long requests take; zero before the first one.
#[derive(Debug, Default)]
pub struct RequestTime {
    nanoseconds: AtomicU64,
}

impl RequestTime {
    /// A request is short if it takes less than this: about as long as waking a thread takes.
    pub const SHORT: Duration = Duration::from_micros(300);

    /// An average over no requests yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Adds a request. Returns the new average.
    pub fn add(&self, duration: Duration) -> Duration {
        let old = self.nanoseconds.load(Ordering::Relaxed);
        let new = old - old / WEIGHT + nanoseconds(duration) / WEIGHT;
        // If two requests end at the same time, one of them may be lost. An average tolerates that.
        self.nanoseconds.store(new, Ordering::Relaxed);
        Duration::from_nanos(new)
    }

    /// Whether requests are short on average.
    pub fn is_short(&self) -> bool {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)) < Self::SHORT
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    // Half of the maximum, so that the sum above cannot overflow.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_the_requests() {
        let time = RequestTime::new();
        assert!(time.is_short());
        assert_eq!(
            time.add(Duration::from_millis(8)),
            Duration::from_millis(1),
            "one in eight"
        );
        assert!(!time.is_short());
        for _ in 0..100 {
            time.add(Duration::from_micros(40));
        }
        assert!(time.is_short());
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        let time = RequestTime::new();
        for _ in 0..100 {
            time.add(Duration::MAX);
        }
        assert!(!time.is_short());
    }
}
