//! What the requests of this process come to: the numbers behind `mod_wsgi.request_metrics()` and
//! `mod_wsgi.process_metrics()`.
//!
//! Which threads are at work, since when, and how many requests they have finished is always
//! counted: that is a few atomic operations for each request. Everything else is recorded once an
//! application has asked for it, into a [`Window`] that the next reader takes away.
//!
//! No Python; the recorder is the process's, whichever interpreter asks. Any thread.

mod histogram;
mod system;
mod threads;
mod window;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lock::lock;
use crate::meter::{Meter, Usage, measure_gil, now};
use crate::traffic::{Moved, Traffic};

use engine_abi::Request;

pub(crate) use histogram::Histogram;
pub(crate) use system::{Memory, cpu_times, started_at};
pub(crate) use threads::{enter, threads};
pub(crate) use window::{Sample, ThreadSample, Window};

/// Whether requests are recorded.
static RECORDING: AtomicBool = AtomicBool::new(false);

/// What was recorded since the metrics were last read.
static WINDOW: Mutex<Option<Window>> = Mutex::new(None);

/// When a request began and went on, in microseconds since the epoch, and what measures it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The thread that serves it.
    pub(crate) thread_id: u32,
    /// When httpd began with it.
    pub(crate) request_start: i64,
    /// When it was sent to a worker, and when the worker took it; zero in embedded mode.
    pub(crate) queue_start: i64,
    pub(crate) daemon_start: i64,
    /// When the application was called.
    pub(crate) application_start: i64,
    /// Started if the resource use of the request is wanted.
    pub(crate) meter: Option<Meter>,
}

/// A request that an application has answered, or failed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) timing: Timing,
    /// When the application was done, in microseconds since the epoch.
    pub(crate) application_finish: i64,
    /// The status that the application gave; `None` if it gave none.
    pub(crate) status: Option<u16>,
    pub(crate) input: Moved,
    pub(crate) output: Moved,
    pub(crate) usage: Usage,
}

impl Timing {
    /// A request whose application is called now. It is measured if that is wanted, or recorded.
    pub(crate) fn begin(request: &Request<'_>, is_wanted: bool) -> Self {
        Self {
            thread_id: request.thread_id,
            request_start: request.request_start,
            queue_start: request.queue_start,
            daemon_start: request.daemon_start,
            application_start: now(),
            meter: (is_wanted || is_recording()).then(Meter::start),
        }
    }

    /// A request whose application is done now.
    pub(crate) fn finish(self, status: Option<u16>, traffic: &Traffic) -> Finished {
        Finished {
            timing: self,
            application_finish: now(),
            status,
            input: traffic.input.moved(),
            output: traffic.output.moved(),
            usage: self.meter.map(Meter::read).unwrap_or_default(),
        }
    }
}

/// Starts to record; the first window begins. Nothing changes if that was done before.
pub(crate) fn start_recording() {
    let mut window = lock(&WINDOW);
    window.get_or_insert_with(Window::begin);
    measure_gil();
    RECORDING.store(true, Ordering::Relaxed);
}

/// Whether requests are recorded.
pub(crate) fn is_recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// Records a request that has ended.
pub(crate) fn record(finished: &Finished) {
    let mut window = lock(&WINDOW);
    if let Some(window) = &mut *window {
        window.record(finished);
    }
}

/// Ends the window and begins another; `None` if nothing is recorded.
pub(crate) fn take_sample() -> Option<Sample> {
    let mut window = lock(&WINDOW);
    let ended = window.as_mut()?;
    let ended = std::mem::replace(ended, Window::begin());
    Some(ended.end())
}

/// A duration in whole microseconds.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
