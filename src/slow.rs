//! `WSGISlowRequests`: logs requests that took long, when they have ended.

use std::time::{Duration, SystemTime};

use httpd::{Level, Request};

use crate::Wsgi;
use crate::log::{self, Id};

/// Logs a request that has been answered, if it took longer than the threshold.
pub(crate) fn report(request: Request<'_>) {
    let Some(threshold) = request.server().config::<Wsgi>().process().slow_requests else {
        return;
    };
    let taken = age(request);
    if taken < threshold {
        return;
    }
    let text = format!(
        "The request took {:.3} seconds, longer than WSGISlowRequests allows ({} seconds): {}",
        taken.as_secs_f64(),
        threshold.as_secs_f64(),
        request.request_line().unwrap_or_default().to_string_lossy()
    );
    log::script(request, Level::WARN, Id(1400), text);
}

/// How long ago httpd had read the head of the request.
fn age(request: Request<'_>) -> Duration {
    let began = Duration::from_micros(u64::try_from(request.time()).unwrap_or_default());
    // If the clock was set back, the duration counts as zero.
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.saturating_sub(began)
}
