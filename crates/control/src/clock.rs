//! What time it is, for processes that tell each other.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in microseconds since 1970, as httpd counts.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}
