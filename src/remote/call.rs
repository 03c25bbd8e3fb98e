//! A request on its way: sent to one worker after the other, until one has answered.

mod broken;
mod patience;

use std::time::{Duration, Instant};

use httpd::{Request, Status};
use nix::errno::Errno;
use patience::Patience;
use wire::{End, Rejection, RequestHead, ToWorker, TooLong};

use super::connection::{Broken, Connection, NoConnection};
use super::exchange::{Ended, Exchange, Frames};
use super::groups::Group;
use super::head::Replacement;
use super::refused::{
    NOBODY_TOOK_IT, NONE_STARTS, busy, hopeless, no_socket, no_way, not_available, show,
    unavailable, unreachable,
};
use super::response::Response;
use super::upload::Upload;
use crate::config::RequestConfig;
use crate::environ::Environ;
use crate::handler::Refusal;
use crate::log;

/// How long to wait before the next attempt if no worker takes requests at the moment.
const PAUSE: Duration = Duration::from_millis(10);

/// A request on its way to the worker that will run it.
pub(super) struct Call<'c, 'r> {
    request: Request<'r>,
    config: &'c RequestConfig<'r>,
    environ: &'c Environ<'r>,
    content_length: Option<u64>,
    pub(super) upload: Upload<'r>,
    response: Response<'r>,
    /// Since when it waits for a worker, in microseconds since the epoch. The part of its body that
    /// is read first has been read by then.
    queued: i64,
    /// How often it was sent to a worker.
    connects: u32,
    /// How often a worker rejected it because it was being replaced.
    restarts: u32,
    /// Whether a worker has rejected it because it was busy: then it waits in the queue.
    is_for_queue: bool,
}

/// The result of sending a request to one worker.
enum Attempt {
    /// It was answered.
    Answered(Status),
    /// It was not run, for this reason.
    NotRun(Reason),
}

/// Why a request was not run.
enum Reason {
    Connect(Errno),
    Reset,
    /// A new connection ended before the request was read.
    NotAccepted,
    /// The worker is busy for longer than expected.
    Busy,
    /// The worker is being replaced; `outdated` is its process id if the cause is a changed script.
    Replaced {
        outdated: Option<u32>,
    },
    /// The worker has no thread for a client that asks before it sends the body.
    BodyFirst,
}

impl<'c, 'r> Call<'c, 'r> {
    pub(super) fn new(
        request: Request<'r>,
        config: &'c RequestConfig<'r>,
        environ: &'c Environ<'r>,
        content_length: Option<u64>,
        response: Response<'r>,
    ) -> Self {
        Self {
            request,
            config,
            environ,
            content_length,
            upload: Upload::new(request),
            response,
            queued: 0,
            connects: 0,
            restarts: 0,
            is_for_queue: false,
        }
    }

    /// Reads the part of the body that is read first. Returns the status if a filter has answered
    /// the request.
    pub(super) fn gather(&mut self, group: &Group) -> Option<Status> {
        self.upload
            .gather(self.content_length, group.response_buffer);
        self.queued = control::now();
        self.connects = 0;
        self.upload.is_answered().then_some(Status::FILTER_ERROR)
    }

    /// Sends the request to one worker after the other until one has answered.
    pub(super) fn run(&mut self, group: &Group) -> Result<Status, Refusal> {
        let mut patience = Patience::new(&group.terms);
        loop {
            if group.is_down() {
                return Err(self.unavailable(group, NONE_STARTS));
            }
            if self.request.connection().is_closed() {
                // A client that only closed its sending direction must not take an empty response
                // for the whole one.
                self.request.connection().reset();
                return Ok(Status::OK);
            }
            match self.attempt(group)? {
                Attempt::Answered(status) => return Ok(status),
                Attempt::NotRun(Reason::Connect(error)) => {
                    if let Some((id, why)) = hopeless(group, error) {
                        return Err(busy(self.request, id, not_available(&show(group), &why)));
                    }
                    if error == Errno::ENOENT && patience.misses_socket_again() {
                        return Err(unreachable(self.request, &show(group), &no_way(group)));
                    }
                    std::thread::sleep(PAUSE);
                }
                Attempt::NotRun(Reason::Reset) => {}
                Attempt::NotRun(Reason::BodyFirst) => {
                    if let Some(status) = self.gather(group) {
                        return Ok(status);
                    }
                    patience.restart();
                }
                Attempt::NotRun(Reason::Busy) => self.is_for_queue = true,
                Attempt::NotRun(Reason::NotAccepted) => std::thread::sleep(PAUSE),
                Attempt::NotRun(Reason::Replaced { outdated }) => {
                    self.restarts = self.restarts.saturating_add(1);
                    patience.wait_for_successor(outdated);
                    std::thread::sleep(PAUSE);
                }
            }
            if let Some(workers) = patience.restless_workers(group.processes()) {
                return Err(self.restless(group, workers));
            }
            if patience.is_over() {
                return Err(self.unavailable(group, NOBODY_TOOK_IT));
            }
        }
    }

    /// Sends the request to a worker with a free thread, or else into the queue of the group.
    fn attempt(&mut self, group: &Group) -> Result<Attempt, Refusal> {
        let reserved = match self.is_for_queue {
            true => None,
            false => group.reserve(),
        };
        let waiting = match reserved {
            Some(_) => None,
            None => Some(group.enter_queue(self.queued)),
        };
        let mut connection = match reserved {
            Some(connection) => connection,
            None => match group.connect() {
                Ok(connection) => connection,
                Err(NoConnection::NoSocket(error)) => {
                    return Err(no_socket(group, error));
                }
                Err(NoConnection::Refused(error)) => {
                    return Ok(Attempt::NotRun(Reason::Connect(error)));
                }
            },
        };
        let number = connection.next_number();
        self.connects = self.connects.saturating_add(1);
        let frames = self.frames(group, &connection, number);
        let frames = frames.map_err(|error| {
            group.vacate(&mut connection);
            let text = format!("The head of the request cannot be sent to a worker: {error}.");
            Refusal::new(Status::BAD_REQUEST, 1220, text)
        })?;
        self.upload.rewind();
        let mut exchange = Exchange::new(
            self.request,
            &mut connection,
            number,
            frames,
            &mut self.upload,
            &mut self.response,
        );
        let limit = group.queue_timeout;
        let limit = limit.map(|limit| deadline(self.queued, limit));
        let queued = exchange.queue(limit, || group.is_down());
        drop(waiting);
        let ended = match queued {
            Ok(()) => exchange.run(),
            Err(ended) => ended,
        };
        self.conclude(group, connection, ended)
    }

    /// The frames of the request's head and of what was read of its body.
    fn frames(
        &self,
        group: &Group,
        connection: &Connection,
        number: u32,
    ) -> Result<Frames, TooLong> {
        let resource = self.request.filename().unwrap_or_default();
        let whole = self.upload.whole();
        let head = RequestHead {
            https: self.environ.https,
            reload: self.config.script_reloading,
            ignore_activity: self.config.ignore_activity,
            body_on_demand: self.upload.is_withheld(),
            body_is_whole: whole.is_some(),
            has_place: connection.has_place,
            has_window: connection.has_window(),
            asks_first: self.upload.asks_first(),
            content_length: self.content_length,
            request_start: self.request.time(),
            queue_start: self.queued,
            script_mtime: self
                .config
                .script_mtime(self.request)
                .unwrap_or(RequestHead::UNSEEN),
            connects: self.connects,
            restarts: self.restarts,
            log_level: log::level(self.request),
            secret: group.secret.as_bytes(),
            script: self.config.script.to_bytes(),
            application_group: self.config.application_group.to_bytes(),
            callable: self.config.callable.to_bytes(),
            resource: resource.to_bytes(),
            environ: None,
        };
        let pairs = self.environ.pairs.iter();
        let environ = pairs.map(|pair| (pair.name.or_empty(), pair.value.get()));
        let mut out = Vec::with_capacity(2048);
        ToWorker::encode_request(&mut out, number, &head, environ)?;
        let head_length = out.len();
        if let Some((body, end)) = whole {
            match connection.deliver(body) {
                Some(length) => ToWorker::encode_body_placed(&mut out, number, length),
                None => {
                    out.reserve(body.len() + 64);
                    ToWorker::encode_body(&mut out, number, body);
                }
            }
            ToWorker::encode_body_end(&mut out, number, end);
        }
        Ok(Frames {
            bytes: out,
            head: head_length,
        })
    }

    /// Decides what follows from the end of an exchange.
    fn conclude(
        &mut self,
        group: &Group,
        mut connection: Connection,
        ended: Ended,
    ) -> Result<Attempt, Refusal> {
        if self.upload.is_answered() {
            // A filter has answered the request; the application's response is dropped.
            return Ok(Attempt::Answered(Status::FILTER_ERROR));
        }
        match ended {
            Ended::Done(end, reusable) => {
                let is_clean = reusable && connection.is_clean();
                let mut unused = is_clean.then_some(connection);
                // Data in the window must be sent before another request uses the connection.
                // Otherwise the connection is released first, so that other requests need not wait
                // for this client.
                if !self.response.is_in_window() {
                    group.release(unused.take());
                }
                let answered = self.answered(end);
                group.release(unused);
                answered.map(Attempt::Answered)
            }
            Ended::Down => Err(self.unavailable(group, NONE_STARTS)),
            Ended::ClientGone => Ok(Attempt::Answered(self.response.leave())),
            Ended::Rejected(Rejection::QueueTimeout) => {
                let text = format!(
                    "The request waited longer than the queue-timeout of process group '{}'.",
                    show(group)
                );
                Err(busy(self.request, 84, text))
            }
            Ended::Rejected(Rejection::Draining) => {
                self.retry(group, Reason::Replaced { outdated: None })
            }
            Ended::Rejected(Rejection::Busy) => self.retry(group, Reason::Busy),
            Ended::Rejected(Rejection::BodyFirst)
                if self.upload.asks_first() && self.upload.is_repeatable() =>
            {
                Ok(Attempt::NotRun(Reason::BodyFirst))
            }
            Ended::Rejected(Rejection::BodyFirst) => {
                let broken = Broken::OutOfPlace("a wish for a body that nobody keeps back");
                self.broken(group, &mut connection, broken)
            }
            Ended::Rejected(Rejection::ScriptChanged) => {
                let outdated = connection.worker.map(|it| it.pid);
                self.retry(group, Reason::Replaced { outdated })
            }
            Ended::Broken(broken) => self.broken(group, &mut connection, broken),
        }
    }

    fn answered(&mut self, end: End) -> Result<Status, Refusal> {
        if let Some(replacement) = self.response.replacement() {
            return self.replace(replacement);
        }
        match end {
            End::Complete => Ok(self.response.end(self.upload.may_go_on())),
            End::Refused(status) if !self.response.has_begun() => Ok(Status(status.into())),
            // For HEAD the client gets everything that it asked for.
            End::Truncated if self.request.is_head() && self.response.has_begun() => {
                Ok(self.response.end(self.upload.may_go_on()))
            }
            End::Refused(_) | End::Truncated => Ok(self.response.abort()),
        }
    }

    /// Sends another response than the worker's, as the head of that requires.
    fn replace(&self, replacement: Replacement<'r>) -> Result<Status, Refusal> {
        if self.upload.may_go_on() {
            // The rest of the request's body could be taken for the next request.
            self.request.connection().close_after_request();
        }
        match replacement {
            Replacement::Error(status) => Ok(status),
            Replacement::Redirect(location) => {
                self.request.redirect_internally(location);
                Ok(Status::OK)
            }
            Replacement::Unfit(unfit) => {
                let (status, id) = unfit.answer();
                Err(Refusal::new(status, id, unfit.to_string()))
            }
        }
    }

    /// The worker did not run the request, so another one may, if the body can be sent again.
    fn retry(&self, group: &Group, reason: Reason) -> Result<Attempt, Refusal> {
        if self.upload.is_repeatable() {
            Ok(Attempt::NotRun(reason))
        } else {
            Err(self.unavailable(
                group,
                "the worker that was to run the request was replaced \
                while its body was being sent",
            ))
        }
    }

    /// No worker can take the request now.
    fn unavailable(&self, group: &Group, why: &str) -> Refusal {
        unavailable(self.request, &show(group), why)
    }

    /// The script changes faster than workers can be replaced.
    fn restless(&self, group: &Group, workers: usize) -> Refusal {
        let text = format!(
            "Process group '{}' is not available: {workers} of its workers, one after the other, \
             were to be replaced because the script has changed; does its reload_required() always \
             return true?",
            show(group)
        );
        busy(self.request, 124, text)
    }
}

/// When a request that waits since `begin`, in microseconds since the epoch, has waited for
/// `limit`.
fn deadline(begin: i64, limit: Duration) -> Instant {
    let waited = Duration::from_micros(u64::try_from(control::now() - begin).unwrap_or(0));
    Instant::now() + limit.saturating_sub(waited)
}
