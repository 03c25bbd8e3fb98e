//! One request on one connection: sends it, and relays the answer.
//!
//! Both directions work at the same time: while the client's body is on its way to the worker, the
//! worker's response is on its way to the client.

use std::time::{Duration, Instant};

use httpd::Request;
use wire::{BodyError, End, FRAME_HEAD, LogLine, Rejection, RequestNumber, ToChild, ToWorker};

use super::connection::{Broken, Connection};
use super::response::Response;
use super::upload::Upload;
use crate::log;

/// How much of a body is read at once, in bytes.
const PIECE: usize = 32 << 10;

/// How often to check whether more of a body has come, if its arrival cannot be waited for.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// How often to read from a client that is silent: an input filter may have a time limit of its own,
/// as mod_reqtimeout's has, and reports it only when it is asked.
const REMINDER: Duration = Duration::from_secs(1);

/// How often a request in the queue checks whether there are workers to wait for.
const GLANCE: Duration = Duration::from_millis(500);

/// How much may be logged for one request, in bytes. Otherwise a worker that only logs would occupy
/// a thread for ever.
const MOST_LOGGED: usize = 64 << 20;

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As the worker has said. The flag is whether the connection can be used again.
    Done(End, bool),
    /// The worker did not run the request.
    Rejected(Rejection),
    /// There is no worker to run it.
    Down,
    /// The client is gone.
    ClientGone,
    /// The connection broke before the worker said how.
    Broken(Broken),
}

/// The state of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// The worker must ask for it first.
    Withheld,
    /// It is being sent.
    Sending,
    /// All of it was sent, or its failure was.
    Over,
}

/// The first frames of a request.
#[derive(Debug)]
pub(super) struct Frames {
    /// All of them.
    pub(super) bytes: Vec<u8>,
    /// How many of the bytes are the request's head.
    pub(super) head: usize,
}

/// A request that a worker is working on.
pub(super) struct Exchange<'e, 'r> {
    request: Request<'r>,
    connection: &'e mut Connection,
    number: RequestNumber,
    upload: &'e mut Upload<'r>,
    /// Frames for the worker, of which the first `sent` bytes were sent.
    out: Vec<u8>,
    sent: usize,
    /// How many bytes of `out` are the request's head.
    head: usize,
    body: Body,
    /// When the client last sent something, or was asked to.
    heard: Instant,
    /// How much the worker has logged, in bytes.
    logged: usize,
    /// Whether the worker was told that the client is gone.
    is_client_gone: bool,
    /// Whether the worker reads no more. What it has sent before may be a complete answer.
    is_deaf: bool,
    response: &'e mut Response<'r>,
}

/// What follows from a frame.
enum Step {
    GoOn,
    End(Ended),
}

impl<'e, 'r> Exchange<'e, 'r> {
    /// The exchange for a request that begins with these frames.
    pub(super) fn new(
        request: Request<'r>,
        connection: &'e mut Connection,
        number: RequestNumber,
        frames: Frames,
        upload: &'e mut Upload<'r>,
        response: &'e mut Response<'r>,
    ) -> Self {
        let body = if upload.is_withheld() {
            Body::Withheld
        } else {
            Body::Over
        };
        Self {
            request,
            connection,
            number,
            upload,
            out: frames.bytes,
            sent: 0,
            head: frames.head,
            body,
            heard: Instant::now(),
            logged: 0,
            is_client_gone: false,
            is_deaf: false,
            response,
        }
    }

    /// Waits in the queue of the group until a worker accepts the request. If none does up to
    /// `limit`, or if all workers are down, withdraws the request, which is not run then.
    pub(super) fn queue(
        &mut self,
        limit: Option<Instant>,
        is_down: impl Fn() -> bool,
    ) -> Result<(), Ended> {
        let silence = Instant::now() + self.connection.timeout();
        let deadline = limit.map_or(silence, |limit| limit.min(silence));
        while self.connection.worker.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            let has_news = self.wait_for_worker(left.min(GLANCE));
            if has_news.map_err(|broken| self.broken(broken))? {
                let step = self.relay();
                if let Step::End(ended) = step.map_err(|broken| self.broken(broken))? {
                    return Err(ended);
                }
            } else if is_down() {
                return Err(self.withdraw(Ended::Down));
            } else if left.is_zero() && limit == Some(deadline) {
                return Err(self.withdraw(Ended::Rejected(Rejection::QueueTimeout)));
            } else if left.is_zero() {
                return Err(self.withdraw(self.broken(Broken::TimedOut)));
            }
        }
        Ok(())
    }

    fn wait_for_worker(&mut self, patience: Duration) -> Result<bool, Broken> {
        self.send()?;
        let sending = self.sent < self.out.len();
        self.connection.wait(sending, None, Some(patience))?;
        self.receive(false)
    }

    /// Withdraws the request, for the reason `ended`. It may have been accepted at the last moment.
    fn withdraw(&mut self, ended: Ended) -> Ended {
        if self.connection.withdraw() {
            ended
        } else {
            self.broken(Broken::TimedOut)
        }
    }

    /// How the exchange ends because of `broken`. A time-out before the worker has taken the whole
    /// head of the request is [`Broken::NotTaken`].
    fn broken(&self, broken: Broken) -> Ended {
        Ended::Broken(match broken {
            Broken::TimedOut if self.sent < self.head => Broken::NotTaken,
            other => other,
        })
    }

    /// Runs it to its end.
    pub(super) fn run(mut self) -> Ended {
        loop {
            match self.advance() {
                Ok(Step::GoOn) => {}
                // If the response has failed instead, its client gets an error at once.
                Ok(Step::End(Ended::ClientGone)) if !self.response.has_failed() => {
                    return self.outlast();
                }
                Ok(Step::End(ended)) => return ended,
                Err(broken) => return self.broken(broken),
            }
        }
    }

    /// The client is gone: tells the worker, and relays what it logs until the request ends there.
    fn outlast(mut self) -> Ended {
        // If a filter has answered the request, its client is waiting.
        let goes_on = !self.upload.is_answered() && self.connection.close_sending();
        self.is_client_gone = true;
        while goes_on && matches!(self.relay(), Ok(Step::GoOn)) {
            if self.receive(true).is_err() {
                break;
            }
        }
        Ended::ClientGone
    }

    /// Sends and relays as much as possible, then waits for the next event.
    fn advance(&mut self) -> Result<Step, Broken> {
        self.send()?;
        if let Step::End(ended) = self.relay()? {
            return Ok(Step::End(ended));
        }
        let sent_all = self.sent == self.out.len();
        match (sent_all, self.body) {
            (true, Body::Sending) => {
                if self.read_client() {
                    self.heard = Instant::now();
                } else {
                    self.wait_for_either()?;
                }
            }
            (true, _) => drop(self.receive(true)?),
            (false, _) => {
                self.connection.wait(true, None, None)?;
                self.receive(false)?;
            }
        }
        Ok(Step::GoOn)
    }

    /// Waits for the client's body or the worker's answer, whichever comes first. If the client is
    /// silent for too long, its body fails; the worker then has as much time to answer.
    fn wait_for_either(&mut self) -> Result<(), Broken> {
        let patience = self
            .connection
            .timeout()
            .saturating_sub(self.heard.elapsed());
        if patience.is_zero() {
            self.end_body(Err(BodyError::TimedOut));
            return Ok(());
        }
        let client = self.request.connection().own_socket();
        // If input filters read the connection, the arrival of data cannot be waited for.
        let longest = if client.is_some() { REMINDER } else { PAUSE };
        self.connection
            .wait(false, client, Some(patience.min(longest)))?;
        self.receive(false).map(drop)
    }

    fn send(&mut self) -> Result<(), Broken> {
        while self.sent < self.out.len() {
            let rest = self.out.get(self.sent..).unwrap_or_default();
            match self.connection.send(rest, false) {
                Ok(0) => return Ok(()),
                Ok(count) => self.sent += count,
                Err(Broken::Reset) => self.give_up_sending(),
                Err(broken) => return Err(broken),
            }
        }
        Ok(())
    }

    fn give_up_sending(&mut self) {
        self.is_deaf = true;
        self.body = Body::Over;
        self.out.clear();
        (self.sent, self.head) = (0, 0);
    }

    /// Receives data; with `wait`, waits for it. If sending has failed because the connection was
    /// reset, the kernel reports that only once, and receiving looks like a normal end.
    fn receive(&mut self, wait: bool) -> Result<bool, Broken> {
        match self.connection.receive(wait) {
            Err(Broken::Closed) if self.is_deaf => Err(Broken::Reset),
            received => received,
        }
    }

    /// Reads a piece of the client's body, if one has arrived, and puts it into frames. Returns
    /// whether it had.
    fn read_client(&mut self) -> bool {
        self.out.clear();
        (self.sent, self.head) = (0, 0);
        let mut piece = [0; PIECE];
        let end = match self.upload.try_read(&mut piece) {
            Ok(None) => return false,
            Ok(Some(0)) => Ok(()),
            Ok(Some(count)) => {
                let piece = piece.get(..count).unwrap_or_default();
                ToWorker::encode_body(&mut self.out, self.number, piece);
                return true;
            }
            Err(error) => Err(error),
        };
        self.end_body(end);
        true
    }

    /// Tells the worker that the body is complete, or why it cannot be completed.
    fn end_body(&mut self, end: Result<(), BodyError>) {
        if end.is_err() {
            self.request.connection().close_after_request();
            if self.upload.is_answered() {
                self.response.drop_rest();
            }
        }
        ToWorker::encode_body_end(&mut self.out, self.number, end);
        self.body = Body::Over;
    }

    /// Passes on the frames that have arrived, in as few brigades as the worker allows.
    fn relay(&mut self) -> Result<Step, Broken> {
        let mut frames = 0;
        let mut is_greeted = self.connection.worker.is_some();
        while let Some((number, frame)) = self.connection.buffered()? {
            frames += 1;
            match frame {
                ToChild::Hello(worker) if !is_greeted => {
                    is_greeted = true;
                    self.connection.worker = Some(worker);
                }
                ToChild::Hello(_) => return Err(Broken::OutOfPlace("a second greeting")),
                _ if number != self.number || !is_greeted => {
                    return Err(Broken::OutOfPlace("a frame of another request"));
                }
                ToChild::Rejected(why) => {
                    self.response.check_waiting()?;
                    return Ok(Step::End(Ended::Rejected(why)));
                }
                ToChild::WantBody => {
                    // Earlier data must reach the client before it is told to send the body.
                    self.response.catch_up();
                    self.invite();
                }
                ToChild::Log(line) => {
                    count_logged(&mut self.logged, &line)?;
                    log::worker_line(self.request, &line);
                }
                ToChild::Head(head) => self.response.head(&head)?,
                ToChild::Data { data, flush } => {
                    self.response.data(data, flush)?;
                    if self.has_lost_client() {
                        return Ok(Step::End(Ended::ClientGone));
                    }
                }
                ToChild::Window => self.connection.open_window()?,
                ToChild::Placed(place) => {
                    let placed = self.connection.placed(place)?;
                    self.response.placed(placed)?;
                }
                ToChild::File(region) => {
                    let file = self.connection.take_file()?;
                    self.response.file(file, region)?;
                }
                ToChild::End(end) => return Ok(Step::End(self.done(end)?)),
            }
        }
        self.response.catch_up();
        if self.has_lost_client() {
            return Ok(Step::End(Ended::ClientGone));
        }
        self.connection.check_progress(frames)?;
        Ok(Step::GoOn)
    }

    /// The worker has said how the request ended.
    fn done(&self, end: End) -> Result<Ended, Broken> {
        if end == End::Complete {
            self.response.check_whole()?;
        }
        let has_sent_all = self.body == Body::Over && self.sent == self.out.len();
        let is_reusable = has_sent_all && !self.is_deaf;
        Ok(Ended::Done(end, is_reusable))
    }

    /// Whether the client is gone and the worker has not been told yet.
    fn has_lost_client(&self) -> bool {
        self.response.is_dropped() && !self.is_client_gone
    }

    /// Begins to send the body that was withheld.
    fn invite(&mut self) {
        if !self.is_client_gone && self.body == Body::Withheld {
            self.body = Body::Sending;
            self.heard = Instant::now();
            self.upload.invite();
        }
    }
}

/// Counts a line for the log. A worker that only ever logs is cut off at some point.
fn count_logged(logged: &mut usize, line: &LogLine<'_>) -> Result<(), Broken> {
    *logged += FRAME_HEAD + line.file.len() + line.text.len();
    if *logged > MOST_LOGGED {
        return Err(Broken::OutOfPlace(
            "more lines for the log than can be of use",
        ));
    }
    Ok(())
}
