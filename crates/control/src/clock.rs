//! The time, in the format in which processes tell it to each other.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present time in microseconds since the epoch, like httpd's `apr_time_t`.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}
