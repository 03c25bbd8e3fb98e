//! Passing the body of a request from the client to a worker.
//!
//! A body of moderate size is read completely before a worker is chosen, so that a slow client
//! occupies no thread of the application. The memory for it is limited, for one body by the group's
//! `response-buffer-size`, and for all bodies of a child together; a body that exceeds a limit is
//! passed on as it comes. A body without a stated length may depend on what the application answers
//! meanwhile, or be endless. It is read in advance only while the client keeps sending, and only if
//! it is slow.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use httpd::{InputError, Request, RequestBody};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wire::BodyError;

use super::exchange::PAUSE;

/// The largest body that is sent to a worker together with the head, in bytes. The worker reads all
/// of it before it runs the request, so the request can be sent to another worker if it dies before
/// that.
const WHOLE: usize = 64 << 10;

/// How much memory the bodies that a child holds may use together, in bytes.
const MOST_HELD: usize = 64 << 20;

/// How much memory they use, in bytes.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// How much of a body is read at a time, in bytes.
const PIECE: usize = 16 << 10;

/// If a client that has not stated the length of its body sends nothing for this long, it may be
/// waiting for an answer. Slow clients send at least a byte in a second.
const SILENCE: Duration = Duration::from_secs(2);

/// If a client sends without a pause for this long, and fast enough, its body may be an endless
/// stream.
const STREAM: Duration = Duration::from_secs(20);

/// How many bytes per second a stream has at least, on average; a client that sends less is slow.
/// Both are the defaults of `RequestReadTimeout` for a body.
const STREAM_RATE: u128 = 500;

/// The longest interval for checking whether a silent client has sent something, if that cannot be
/// waited for.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The body of a request.
#[derive(Debug)]
pub(super) struct Upload<'r> {
    request: Request<'r>,
    client: RequestBody<'r>,
    /// The part that was read before a worker was chosen.
    held: Vec<u8>,
    /// How much of that the present worker has got.
    passed: usize,
    /// How the reading ended; `None` if it goes on while the worker runs.
    end: Option<Result<(), BodyError>>,
    /// Whether the present worker has asked for the body, so that its application runs.
    wanted: bool,
    /// Whether the client asks before it sends the body, which is therefore not read in advance:
    /// the application may not want it.
    asks_first: bool,
    /// Whether more was read than is held, so that the body cannot be sent again.
    beyond: bool,
}

impl<'r> Upload<'r> {
    /// The body of `request`, of which nothing may have been read.
    pub(super) fn new(request: Request<'r>) -> Self {
        let has_body = request.has_body() && !request.is_body_withheld();
        Self {
            request,
            client: RequestBody::new(request),
            held: Vec::new(),
            passed: 0,
            end: (!has_body).then_some(Ok(())),
            wanted: false,
            asks_first: false,
            beyond: false,
        }
    }

    /// Reads a body of up to `most` bytes in advance, unless its client asks first. Without a
    /// stated length, reads only while the client keeps sending.
    pub(super) fn gather(&mut self, length: Option<u64>, most: usize) {
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if self.end.is_some() || length.is_some_and(|length| length > most) {
            return;
        }
        // A second call means that a worker had no thread for a client that asks first: then the
        // body is read here.
        self.asks_first = self.request.expects_continue() && !self.asks_first;
        match length {
            _ if self.asks_first => {}
            Some(length) => self.wait_for_all(length, most),
            None => self.take_what_comes(most),
        }
    }

    /// Whether its client asks first. Then it can be gathered again, which tells the client to send
    /// it.
    pub(super) fn asks_first(&self) -> bool {
        self.asks_first
    }

    fn wait_for_all(&mut self, length: usize, most: usize) {
        // Not all of it: a client may state a length and send nothing.
        self.held.reserve(length.min(WHOLE));
        let mut piece = [0; PIECE];
        self.end = loop {
            match self.client.read(&mut piece) {
                Ok(0) => break Some(Ok(())),
                Ok(count) => self.hold(piece.get(..count).unwrap_or_default()),
                Err(error) => {
                    self.request.connection().close_after_request();
                    break Some(Err(body_error(error)));
                }
            }
            // Filters can make a body longer than the client has stated.
            if self.held.len() > most || HELD.load(Ordering::Relaxed) > MOST_HELD {
                break None;
            }
        };
    }

    fn take_what_comes(&mut self, most: usize) {
        self.ask_for_it();
        let begin = Instant::now();
        let mut heard = begin;
        let mut piece = [0; PIECE];
        while self.end.is_none()
            && self.held.len() <= most
            && HELD.load(Ordering::Relaxed) <= MOST_HELD
            && !self.is_stream(begin.elapsed())
        {
            match self.client.try_read(&mut piece) {
                Ok(None) => {
                    let silent = heard.elapsed();
                    if silent >= SILENCE {
                        return;
                    }
                    if self.hears_client(silent) {
                        heard = Instant::now();
                    }
                }
                Ok(Some(0)) => self.end = Some(Ok(())),
                Ok(Some(count)) => {
                    self.hold(piece.get(..count).unwrap_or_default());
                    heard = Instant::now();
                }
                Err(error) => {
                    self.request.connection().close_after_request();
                    self.end = Some(Err(body_error(error)));
                }
            }
        }
    }

    /// Whether the body looks like a stream rather than that of a slow client, after this time.
    fn is_stream(&self, taken: Duration) -> bool {
        let sent = u128::try_from(self.held.len()).unwrap_or(u128::MAX);
        taken >= STREAM && sent.saturating_mul(1000) >= STREAM_RATE * taken.as_millis()
    }

    /// Waits until a client that has been `silent` for this long sends something, or has been
    /// silent for too long. Returns whether it has sent something, which may be only a part of the
    /// chunked encoding.
    fn hears_client(&self, silent: Duration) -> bool {
        let patience = SILENCE.saturating_sub(silent);
        let Some(client) = self.request.connection().own_socket() else {
            thread::sleep(patience.min((silent / 8).clamp(PAUSE, LONGEST_PAUSE)));
            return false;
        };
        // At least 1 ms, since 0 would not wait.
        let patience = patience + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // The next read reports errors.
        poll(&mut [PollFd::new(client, PollFlags::POLLIN)], timeout).is_ok_and(|ready| ready > 0)
    }

    fn hold(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
        HELD.fetch_add(piece.len(), Ordering::Relaxed);
    }

    /// The whole body and how it ended, if it is small enough to be sent together with the head.
    pub(super) fn whole(&self) -> Option<(&[u8], Result<(), BodyError>)> {
        let end = self.end.filter(|_| self.held.len() <= WHOLE)?;
        Some((&self.held, end))
    }

    /// Whether the present worker runs the request only after reading everything that it was sent.
    pub(super) fn runs_when_read(&self) -> bool {
        self.whole().is_some() || !self.wanted
    }

    /// Starts again, for another worker.
    pub(super) fn rewind(&mut self) {
        self.passed = 0;
        self.wanted = false;
    }

    /// Whether it is withheld until the application asks for it. Until then the request can be sent
    /// to another worker, and if nothing was read yet, a client that asks first is not told to send
    /// it.
    pub(super) fn is_withheld(&self) -> bool {
        self.whole().is_none()
    }

    /// The worker has asked for it. Tells a client that asks first to send it.
    pub(super) fn invite(&mut self) {
        self.wanted = true;
        self.ask_for_it();
    }

    /// Tells a client that asks first to send the body. (Reading without waiting does not.)
    fn ask_for_it(&mut self) {
        // If the client is gone, the next read reports that.
        let _ = self.client.read(&mut []);
    }

    /// Whether the body can be sent again: all that was read of it is held.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.beyond
    }

    /// Whether there may be more of it to read.
    pub(super) fn may_go_on(&self) -> bool {
        self.client.may_go_on()
    }

    /// Whether an input filter refused the body and has answered the request itself.
    pub(super) fn is_answered(&self) -> bool {
        self.client.is_answered()
    }

    /// Reads some of the body without waiting: `None` if nothing has arrived, 0 at the end.
    pub(super) fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, BodyError> {
        let held = self.held.get(self.passed..).unwrap_or_default();
        if !held.is_empty() {
            let count = held.len().min(buffer.len());
            buffer[..count].copy_from_slice(&held[..count]);
            self.passed += count;
            return Ok(Some(count));
        }
        if let Some(end) = self.end {
            return end.map(|()| Some(0));
        }
        let read = self.client.try_read(buffer).map_err(body_error);
        self.beyond |= !matches!(read, Ok(None));
        read
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        HELD.fetch_sub(self.held.len(), Ordering::Relaxed);
    }
}

fn body_error(error: InputError) -> BodyError {
    match error {
        InputError::Disconnected => BodyError::Disconnected,
        InputError::TimedOut => BodyError::TimedOut,
        InputError::TooLarge => BodyError::TooLarge,
        _ => BodyError::Malformed,
    }
}
