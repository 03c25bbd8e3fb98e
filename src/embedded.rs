//! Embedded mode: an application runs in this child of httpd, on the thread that has its request.
//!
//! [`python`] starts and ends Python in the child; [`host`] is what the engine calls back to;
//! [`body`] is what applications read; [`beside`] is what is for several threads at a time;
//! [`response`] sends what the application answers; [`mod@call`] has hook scripts decide about a
//! request; [`number`] numbers the threads. This file is the way of one request.

mod beside;
mod body;
mod call;
mod host;
mod number;
mod python;
mod response;

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::thread::ThreadId;
use std::time::Instant;

use engine_abi::{self as abi, Bytes, Outcome, Slice};
use httpd::{Request, RequestBody, Server, Status};

use crate::Wsgi;
use crate::config::RequestConfig;
use crate::environ::Environ;

use beside::Beside;
use number::ThreadNumber;

pub(crate) use call::{NotCalled, call};
pub(crate) use python::child_init;

/// What is said, under this number, where there is no Python.
pub(crate) const NO_PYTHON: (u16, &str) = (
    210,
    "Python could not be started in this process, see the earlier messages in the server's error log.",
);

/// A request that an application is working on: what a request handle points to.
#[derive(Debug)]
struct InFlight<'r> {
    request: Request<'r>,
    /// What threads may use while another one uses the rest.
    beside: Beside<'r>,
    /// Its body, as far as it has not been read.
    body: RefCell<RequestBody<'r>>,
    /// The response could not be sent, though its client waits.
    has_failed: Cell<bool>,
    /// Since when a thread of the application waits for more of it.
    silent_since: Cell<Option<Instant>>,
    /// The thread that has the request.
    thread: ThreadId,
    /// `WSGIEnableSendfile`
    sendfile: bool,
}

impl<'r> InFlight<'r> {
    fn new(request: Request<'r>, sendfile: bool) -> Self {
        Self {
            request,
            beside: Beside::of(request),
            body: RefCell::new(RequestBody::new(request)),
            has_failed: Cell::new(false),
            silent_since: Cell::new(None),
            thread: std::thread::current().id(),
            sendfile,
        }
    }
}

/// Whether applications are kept out of httpd's own processes.
pub(crate) fn is_restricted(base: Server<'_>) -> bool {
    base.config::<Wsgi>().process().restrict_embedded
}

/// Has the application answer a request. `None` stands for a child without Python.
pub(crate) fn serve<'r>(
    request: Request<'r>,
    config: &RequestConfig<'r>,
    environ: &Environ<'r>,
    content_length: Option<u64>,
) -> Option<Status> {
    let engine = python::engine()?;
    let in_flight = InFlight::new(request, config.sendfile);
    let filename = request.filename().unwrap_or_default().to_bytes();
    let abi_request = abi::Request {
        environ: Slice::new(environ.pairs),
        script: abi::Script {
            path: Bytes::new(config.script.to_bytes()),
            application_group: Bytes::new(config.application_group.to_bytes()),
            mtime: config
                .script_mtime(request)
                .unwrap_or(abi::Script::UNKNOWN_MTIME),
            reload: config.script_reloading,
        },
        callable: Bytes::new(config.callable.to_bytes()),
        resource: Bytes::new(filename),
        https: environ.https,
        content_length: content_length.map_or(-1, |length| i64::try_from(length).unwrap_or(-1)),
        thread_id: thread_id(),
        request_start: request.time(),
        queue_start: 0,
        daemon_start: 0,
        daemon_connects: 0,
        daemon_restarts: 0,
        request_rec: request_rec(request),
    };
    let handle = (&raw const in_flight).cast_mut().cast();
    let outcome = python::while_serving(|| {
        // SAFETY: the engine was started. The request and what it borrows live until the call
        // returns, and so does what the handle points to, which only the engine's calls to the
        // host use meanwhile: one at a time, but for those that use no more than `Beside`.
        unsafe { (engine.handle)(&raw const abi_request, handle) }
    });
    Some(in_flight.conclude(outcome))
}

/// The `request_rec` that Python may have; null unless `WSGIPassApacheRequest` is on.
fn request_rec(request: Request<'_>) -> *mut c_void {
    match request.config::<Wsgi>().pass_apache_request {
        Some(true) => request.as_ptr().cast(),
        _ => std::ptr::null_mut(),
    }
}

impl InFlight<'_> {
    /// Whether httpd has answered the request already, because of its body.
    fn is_answered(&self) -> bool {
        self.body.borrow().is_answered()
    }

    /// What httpd is to do after the application.
    fn conclude(&self, outcome: Outcome) -> Status {
        match outcome.kind {
            _ if self.is_answered() => Status::FILTER_ERROR,
            _ if self.has_failed.get() => crate::response::give_up(self.request),
            Outcome::COMPLETE => Status::OK,
            Outcome::REFUSED | Outcome::ENDING => Status(outcome.status.into()),
            // The client has all that it asked for.
            Outcome::TRUNCATED if self.request.is_head() => Status::OK,
            kind => {
                debug_assert_eq!(kind, Outcome::TRUNCATED, "nothing else comes here");
                crate::response::abort(self.request);
                Status::OK
            }
        }
    }
}

/// `mod_wsgi.thread_id`; see [`number`].
fn thread_id() -> u32 {
    thread_local! {
        static NUMBER: ThreadNumber = ThreadNumber::take();
    }
    // A thread that is ending serves no request.
    NUMBER.try_with(|number| number.0).unwrap_or(0)
}
