//! Relaying the response of a worker to the client.
//!
//! What httpd makes of its head is in [`super::head`].

use std::os::fd::OwnedFd;

use control::Placed;
use httpd::brigade::FilePart;
use httpd::{AprStatus, Brigade, Level, Request, Status};
use nix::sys::stat::{SFlag, fstat};
use wire::{FileRegion, ResponseHead};

use super::connection::Broken;
use super::head::{self, Replacement, Rules, Verdict};
use crate::log::{self, Id};
use crate::response::{self, Fate};

/// A response that is being relayed.
#[derive(Debug)]
pub(super) struct Response<'r> {
    request: Request<'r>,
    sendfile: bool,
    rules: Rules,
    state: State<'r>,
    /// Data that has not been passed on yet.
    held: Vec<u8>,
    /// What follows that data.
    held_tail: Option<HeldTail>,
    /// Whether the client must get that data as soon as nothing more has arrived.
    must_flush: bool,
    /// Whether some of the response was passed on before its end.
    is_parted: bool,
    /// The length of the body that the head states, in bytes, if it does and there is a body.
    announced: Option<u64>,
    /// How much of the body has come, in bytes.
    received: u64,
}

/// Content that is not held as a copy.
#[derive(Debug)]
enum HeldTail {
    /// A part of a file.
    File(FilePart),
    /// Data in the worker's window.
    Placed(Placed),
}

/// How much data is held to be passed on with what follows, in bytes.
const HOLD: usize = 32 << 10;

/// How far the response has come.
#[derive(Clone, Copy, Debug)]
enum State<'r> {
    /// Nothing has come yet.
    Waiting,
    /// The head was taken over; data follows.
    Begun,
    /// httpd has sent another response, or the client is gone: what comes is dropped.
    Dropped,
    /// It cannot be passed on, although its client waits: what comes is dropped.
    Failed,
    /// The head was taken over, and requires another response: what comes is dropped.
    Replaced(Replacement<'r>),
}

impl<'r> Response<'r> {
    /// The response to `request`.
    pub(super) fn new(request: Request<'r>, sendfile: bool, rules: Rules) -> Self {
        Self {
            request,
            sendfile,
            rules,
            state: State::Waiting,
            held: Vec::new(),
            held_tail: None,
            must_flush: false,
            is_parted: false,
            announced: None,
            received: 0,
        }
    }

    /// Whether the client may have got some of it.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.state, State::Begun | State::Dropped | State::Failed)
    }

    /// Whether the rest of it is dropped.
    pub(super) fn is_dropped(&self) -> bool {
        matches!(self.state, State::Dropped | State::Failed)
    }

    /// Whether it cannot be passed on although its client waits.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// What is sent instead of it, if anything is.
    pub(super) fn replacement(&self) -> Option<Replacement<'r>> {
        match self.state {
            State::Replaced(replacement) => Some(replacement),
            _ => None,
        }
    }

    /// Checks that nothing of it has come yet.
    pub(super) fn check_waiting(&self) -> Result<(), Broken> {
        match self.state {
            State::Waiting | State::Dropped | State::Failed => Ok(()),
            State::Begun | State::Replaced(_) => {
                Err(Broken::OutOfPlace("a response that begins twice"))
            }
        }
    }

    /// Checks that its head has come.
    pub(super) fn check_head(&self) -> Result<(), Broken> {
        match self.state {
            State::Waiting => Err(Broken::OutOfPlace("a response without a head")),
            _ => Ok(()),
        }
    }

    /// Checks that all of it has come: otherwise a client would take the next response for the
    /// rest. If there is no body at all, httpd itself sends a correct length.
    pub(super) fn check_whole(&self) -> Result<(), Broken> {
        self.check_head()?;
        match self.announced {
            Some(length) if self.has_content() && self.received < length => {
                Err(Broken::OutOfPlace("less of a body than it announced"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the head is sent before the end, or some of the body has come.
    fn has_content(&self) -> bool {
        self.is_parted || self.must_flush || self.received != 0
    }

    /// Counts bytes of the body. Bytes beyond its stated length are an error: a client would take
    /// them for the next response.
    fn count(&mut self, length: u64) -> Result<(), Broken> {
        self.check_head()?;
        self.received = self.received.saturating_add(length);
        match self.announced {
            Some(length) if self.received > length => {
                Err(Broken::OutOfPlace("more of a body than it announced"))
            }
            _ => Ok(()),
        }
    }

    /// Takes over the head.
    pub(super) fn head(&mut self, head: &ResponseHead<'_>) -> Result<(), Broken> {
        self.check_waiting()?;
        if let State::Waiting = self.state {
            self.state = match head::take_over(self.request, head, self.rules) {
                Verdict::Relay => State::Begun,
                Verdict::Replace(replacement) => State::Replaced(replacement),
            };
            if matches!(self.state, State::Begun) && !self.request.is_bodiless() {
                self.announced = head::announced(head);
            }
        }
        Ok(())
    }

    /// Takes data over. It is passed on when there is enough of it, or when nothing more has
    /// arrived and it is to be flushed. A small response leaves in one brigade with its end.
    pub(super) fn data(&mut self, data: &[u8], flush: bool) -> Result<(), Broken> {
        self.count(data.len() as u64)?;
        self.must_flush |= flush;
        if data.is_empty() {
            return Ok(());
        }
        let fits = self.held.len() + data.len() <= HOLD;
        if fits && self.held_tail.is_none() {
            self.held.extend_from_slice(data);
        } else {
            let flush = self.must_flush;
            self.pass(Tail::Data { data, flush });
        }
        Ok(())
    }

    /// Takes over data in the worker's window. It is passed on together with the end, if that
    /// follows.
    pub(super) fn placed(&mut self, placed: Placed) -> Result<(), Broken> {
        self.count(placed.bytes().len() as u64)?;
        if matches!(self.state, State::Begun) {
            self.hold_tail(HeldTail::Placed(placed));
        }
        Ok(())
    }

    /// Whether data in the worker's window has not been passed on yet.
    pub(super) fn is_in_window(&self) -> bool {
        matches!(self.held_tail, Some(HeldTail::Placed(_)))
    }

    fn hold_tail(&mut self, tail: HeldTail) {
        if self.held_tail.is_some() {
            self.pass(Tail::Nothing);
        }
        self.held_tail = Some(tail);
    }

    /// Nothing more has arrived: passes on what the client must get now.
    pub(super) fn catch_up(&mut self) {
        if self.must_flush || self.is_in_window() {
            let flush = self.must_flush;
            self.pass(Tail::Data { data: &[], flush });
        }
    }

    /// Takes over a region of a file, which httpd sends itself. It is passed on together with the
    /// end, if that follows, so that httpd can serve ranges of it.
    pub(super) fn file(&mut self, file: OwnedFd, region: FileRegion) -> Result<(), Broken> {
        self.count(region.length)?;
        let status = fstat(&file).map_err(Broken::System)?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            // Reading from a pipe could block for ever.
            return Err(Broken::OutOfPlace("what is no regular file"));
        }
        // The decoder has refused numbers that are not file offsets.
        let offset = i64::try_from(region.offset).unwrap_or(0);
        let length = i64::try_from(region.length).unwrap_or(0);
        if offset.saturating_add(length) > status.st_size {
            return Err(Broken::OutOfPlace("more of a file than there is"));
        }
        self.hold_tail(HeldTail::File(FilePart {
            file,
            offset,
            length,
            sendfile: self.sendfile,
            mmap: self.request.may_map_files(),
        }));
        Ok(())
    }

    /// Passes on the end of a complete response. Returns the status for httpd. Afterwards httpd
    /// reads the rest of the request's body, if there is any; then the response is flushed first,
    /// so that the client need not send that before it gets the response.
    pub(super) fn end(&mut self, body_may_go_on: bool) -> Status {
        // If everything came with the end, httpd would compute a length, which a response that was
        // flushed does not have.
        if self.must_flush && !self.is_parted {
            self.catch_up();
        }
        self.pass(Tail::End {
            flush: body_may_go_on,
        });
        self.leave()
    }

    /// The status for httpd when nothing more of the response comes.
    pub(super) fn leave(&self) -> Status {
        match self.has_failed() {
            true => response::give_up(self.request),
            false => Status::OK,
        }
    }

    /// Drops the rest: the request was answered by something else.
    pub(super) fn drop_rest(&mut self) {
        self.state = State::Dropped;
        self.held.clear();
        self.held_tail = None;
    }

    /// Aborts the response, so that the client sees that it is incomplete. Returns the status for
    /// httpd.
    pub(super) fn abort(&mut self) -> Status {
        self.catch_up();
        if !self.has_failed() {
            response::abort(self.request);
        }
        self.leave()
    }

    /// Passes on what was held, followed by `tail`.
    fn pass(&mut self, tail: Tail<'_>) {
        let held = std::mem::take(&mut self.held);
        let held_tail = self.held_tail.take();
        if !matches!(tail, Tail::Nothing) {
            self.must_flush = false;
        }
        let is_first = !std::mem::replace(&mut self.is_parted, true);
        if !matches!(self.state, State::Begun) {
            return;
        }
        if is_first && !matches!(tail, Tail::End { .. }) {
            self.request.send_in_chunks();
        }
        let status = self.request.status();
        let sent = self.send(&held, held_tail, tail);
        if sent.is_err_and(AprStatus::is_time_up) {
            let text = "Unable to proxy response to client (write timeout): it has taken nothing for \
                        as long as response-socket-timeout allows, or Timeout.";
            log::script(self.request, Level::ERROR, Id(120), text);
        }
        match response::fate(self.request, status, sent) {
            Fate::Taken => {}
            Fate::Unwanted => self.state = State::Dropped,
            Fate::Failed => self.state = State::Failed,
        }
    }

    fn send(
        &self,
        held: &[u8],
        held_tail: Option<HeldTail>,
        tail: Tail<'_>,
    ) -> Result<(), AprStatus> {
        // Data in the window must stay mapped until the brigade is destroyed.
        let (file, placed) = match held_tail {
            Some(HeldTail::File(file)) => (Some(file), None),
            Some(HeldTail::Placed(placed)) => (None, Some(placed)),
            None => (None, None),
        };
        let mut brigade = Brigade::new(self.request);
        if !held.is_empty() {
            brigade.push_data(held);
        }
        if let Some(file) = file {
            brigade.push_file(file)?;
        }
        if let Some(placed) = &placed {
            // SAFETY: the bytes are readable as long as `placed` lives, which is declared before
            // the brigade and so dropped after it.
            unsafe { brigade.push_shared(placed.bytes()) };
        }
        match tail {
            Tail::Nothing => {}
            Tail::Data { data, flush } => {
                if !data.is_empty() {
                    brigade.push_data(data);
                }
                if flush {
                    brigade.push_flush();
                }
            }
            Tail::End { flush } => {
                if flush {
                    brigade.push_flush();
                }
                brigade.push_eos();
            }
        }
        brigade.pass()
    }
}

/// What follows the data that was held.
enum Tail<'d> {
    Data { data: &'d [u8], flush: bool },
    End { flush: bool },
    Nothing,
}
