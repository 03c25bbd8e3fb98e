//! The body of a request, on its way from the client to a worker.
//!
//! A body of moderate size is read whole before a worker is chosen: a client that sends it slowly
//! holds no thread of the application. Its memory is bounded, for one body by the group's
//! `response-buffer-size` and for all bodies of a child together; what is too much for either is
//! passed on as it comes. A body whose length the client does not tell may depend on what the
//! application answers meanwhile, or have no end: that is read as long as the client goes on
//! sending, and is slow.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use httpd::{InputError, Request, RequestBody};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wire::BodyError;

use super::exchange::PAUSE;

/// The largest body that a worker is sent as a whole, in bytes: it reads it all before it runs
/// anything, so the request can be repeated if the worker dies before.
const WHOLE: usize = 64 << 10;

/// How much the bodies that a child holds may take together, in bytes.
const MOST_HELD: usize = 64 << 20;

/// How much they take.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// How much is read at a time, in bytes.
const PIECE: usize = 16 << 10;

/// How long a client that does not tell the length of its body may send nothing, until it is taken
/// for one that waits for an answer. Slow ones send at least a byte in a second.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a client takes at least to send, without a pause, what is taken for a stream that may
/// go on for ever.
const STREAM: Duration = Duration::from_secs(20);

/// How many bytes a second a stream has at least, on average: whoever sends less is slow. Both are
/// what `RequestReadTimeout` asks of a body if nobody says otherwise.
const STREAM_RATE: u128 = 500;

/// How long to wait at most before asking a silent client again, where nothing tells that it has
/// sent something.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A body.
#[derive(Debug)]
pub(super) struct Upload<'r> {
    request: Request<'r>,
    client: RequestBody<'r>,
    /// What was read before a worker was chosen.
    held: Vec<u8>,
    /// How much of that was passed on to the present worker.
    passed: usize,
    /// How the reading ended; `None` if it goes on while the worker runs.
    end: Option<Result<(), BodyError>>,
    /// The present worker has asked for it: its application runs.
    wanted: bool,
    /// Its client asks before it sends what could be held: the application may have no use for it.
    asks_first: bool,
    /// More was read than is held, so the body cannot be sent once more.
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

    /// Reads a body of up to `most` bytes, unless its client asks first. One without a length is
    /// waited for only while it comes.
    pub(super) fn gather(&mut self, length: Option<u64>, most: usize) {
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if self.end.is_some() || length.is_some_and(|length| length > most) {
            return;
        }
        // If this is the second call, every worker has refused a body that its client asks for: it
        // is read here now.
        self.asks_first = self.request.expects_continue() && !self.asks_first;
        match length {
            _ if self.asks_first => {}
            Some(length) => self.wait_for_all(length, most),
            None => self.take_what_comes(most),
        }
    }

    /// Whether its client asks first: then it can be gathered once more, which tells the client to
    /// send it.
    pub(super) fn asks_first(&self) -> bool {
        self.asks_first
    }

    fn wait_for_all(&mut self, length: usize, most: usize) {
        // A larger one is only announced.
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
            // Filters can make a body longer than its client said it is.
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

    /// Whether what came in this time is the beginning of a stream, rather than what a slow client
    /// sends.
    fn is_stream(&self, taken: Duration) -> bool {
        let sent = u128::try_from(self.held.len()).unwrap_or(u128::MAX);
        taken >= STREAM && sent.saturating_mul(1000) >= STREAM_RATE * taken.as_millis()
    }

    /// Waits until a client that is silent for so long sends something, but not longer than it may
    /// be. Returns whether it has: that need not be a byte of the body, which comes in chunks.
    fn hears_client(&self, silent: Duration) -> bool {
        let patience = SILENCE.saturating_sub(silent);
        let Some(client) = self.request.connection().own_socket() else {
            thread::sleep(patience.min((silent / 8).clamp(PAUSE, LONGEST_PAUSE)));
            return false;
        };
        // Not zero, where less than a millisecond is left.
        let patience = patience + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // What went wrong, the next read tells.
        poll(&mut [PollFd::new(client, PollFlags::POLLIN)], timeout).is_ok_and(|ready| ready > 0)
    }

    fn hold(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
        HELD.fetch_add(piece.len(), Ordering::Relaxed);
    }

    /// All of the body and how it ended, if it is so small that a worker is sent all at once.
    pub(super) fn whole(&self) -> Option<(&[u8], Result<(), BodyError>)> {
        let end = self.end.filter(|_| self.held.len() <= WHOLE)?;
        Some((&self.held, end))
    }

    /// Whether the present worker runs the request only when it has read all that it was sent.
    pub(super) fn runs_when_read(&self) -> bool {
        self.whole().is_some() || !self.wanted
    }

    /// Begins anew, for another worker.
    pub(super) fn rewind(&mut self) {
        self.passed = 0;
        self.wanted = false;
    }

    /// Whether it is kept back until the application asks for it. Until then the request can be
    /// sent to another worker, and if nothing was read yet, a client that waits for that is not
    /// told to send it.
    pub(super) fn is_withheld(&self) -> bool {
        self.whole().is_none()
    }

    /// The worker has asked for it. A client that waits for that is told to send it.
    pub(super) fn invite(&mut self) {
        self.wanted = true;
        self.ask_for_it();
    }

    /// Tells a client that waits for that to send the body: reading without waiting does not.
    fn ask_for_it(&mut self) {
        // If the client is gone, the next read says so.
        let _ = self.client.read(&mut []);
    }

    /// Whether the body can be sent once more: unless some of it is gone.
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

    /// Reads some of the body, but does not wait for it: `None` if there is nothing yet. 0 is the
    /// end.
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
