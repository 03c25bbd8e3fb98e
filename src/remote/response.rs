//! The response of a worker, on its way to the client.
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
    /// Data that was not passed on yet.
    held: Vec<u8>,
    /// What comes behind that data.
    held_tail: Option<HeldTail>,
    /// The client must see that data as soon as nothing more is here.
    must_flush: bool,
    /// Some of it was passed on.
    is_parted: bool,
    /// How long its head says that the body is, in bytes, if it has one.
    announced: Option<u64>,
    /// How much of the body came, in bytes.
    received: u64,
}

/// What is not held as a copy.
#[derive(Debug)]
enum HeldTail {
    /// A part of a file.
    File(FilePart),
    /// Data in the worker's window.
    Placed(Placed),
}

/// How much data is held back for what may follow, in bytes.
const HOLD: usize = 32 << 10;

/// How far the response has come.
#[derive(Clone, Copy, Debug)]
enum State<'r> {
    /// Nothing came yet.
    Waiting,
    /// The head was taken over; data follows.
    Begun,
    /// httpd has made a response itself, or nobody is left to read it: what comes is dropped.
    Dropped,
    /// It cannot be passed on, though its client waits: what comes is dropped.
    Failed,
    /// The head was taken over, and what comes is dropped: something else is answered.
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

    /// Whether the client may have seen something of it.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.state, State::Begun | State::Dropped | State::Failed)
    }

    /// Whether no more of it is of use.
    pub(super) fn is_dropped(&self) -> bool {
        matches!(self.state, State::Dropped | State::Failed)
    }

    /// Whether it cannot be passed on though its client waits.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// What is to be answered in its place, if something is.
    pub(super) fn replacement(&self) -> Option<Replacement<'r>> {
        match self.state {
            State::Replaced(replacement) => Some(replacement),
            _ => None,
        }
    }

    /// Whether nothing of it came yet, as must be.
    pub(super) fn check_waiting(&self) -> Result<(), Broken> {
        match self.state {
            State::Waiting | State::Dropped | State::Failed => Ok(()),
            State::Begun | State::Replaced(_) => {
                Err(Broken::OutOfPlace("a response that begins twice"))
            }
        }
    }

    /// Whether its head came, as must be.
    pub(super) fn check_head(&self) -> Result<(), Broken> {
        match self.state {
            State::Waiting => Err(Broken::OutOfPlace("a response without a head")),
            _ => Ok(()),
        }
    }

    /// Whether all of it came, as must be: a client would take what follows for the rest. Of a body
    /// that is not there at all, httpd says so itself.
    pub(super) fn check_whole(&self) -> Result<(), Broken> {
        self.check_head()?;
        match self.announced {
            Some(length) if self.has_content() && self.received < length => {
                Err(Broken::OutOfPlace("less of a body than it announced"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the client has its head before the end, or some of its body is here.
    fn has_content(&self) -> bool {
        self.is_parted || self.must_flush || self.received != 0
    }

    /// So much more of the body has come. What is beyond its length would be taken for the next
    /// response.
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

    /// Takes data over, to be passed on when there is enough of it, or nothing more has arrived
    /// and it is to be flushed. A small response leaves in one brigade with its end.
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

    /// Takes over data that lies in the worker's window: together with the end, if that follows.
    pub(super) fn placed(&mut self, placed: Placed) -> Result<(), Broken> {
        self.count(placed.bytes().len() as u64)?;
        if matches!(self.state, State::Begun) {
            self.hold_tail(HeldTail::Placed(placed));
        }
        Ok(())
    }

    /// Whether something lies in the worker's window that was not passed on yet.
    pub(super) fn is_in_window(&self) -> bool {
        matches!(self.held_tail, Some(HeldTail::Placed(_)))
    }

    fn hold_tail(&mut self, tail: HeldTail) {
        if self.held_tail.is_some() {
            self.pass(Tail::Nothing);
        }
        self.held_tail = Some(tail);
    }

    /// Nothing more has arrived: passes on what the client must see.
    pub(super) fn catch_up(&mut self) {
        if self.must_flush || self.is_in_window() {
            let flush = self.must_flush;
            self.pass(Tail::Data { data: &[], flush });
        }
    }

    /// Passes a region of a file on, which httpd then sends itself: together with the end, if that
    /// follows, so that httpd can serve ranges of it.
    pub(super) fn file(&mut self, file: OwnedFd, region: FileRegion) -> Result<(), Broken> {
        self.count(region.length)?;
        let status = fstat(&file).map_err(Broken::System)?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            // Reading from a pipe could take for ever.
            return Err(Broken::OutOfPlace("what is no regular file"));
        }
        // The decoder has refused what is no file offset.
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

    /// Marks the end of a complete response, and returns what httpd is to do then. Behind it httpd
    /// reads what is left of the request's body; a client that is still to send that is not to wait
    /// for the response until it has.
    pub(super) fn end(&mut self, body_may_go_on: bool) -> Status {
        // httpd works out the length of what comes with the end, but a response of parts has none.
        if self.must_flush && !self.is_parted {
            self.catch_up();
        }
        self.pass(Tail::End {
            flush: body_may_go_on,
        });
        self.leave()
    }

    /// What httpd is to do when nothing more of it comes.
    pub(super) fn leave(&self) -> Status {
        match self.has_failed() {
            true => response::give_up(self.request),
            false => Status::OK,
        }
    }

    /// Passes nothing on any more: the request was answered otherwise.
    pub(super) fn drop_rest(&mut self) {
        self.state = State::Dropped;
        self.held.clear();
        self.held_tail = None;
    }

    /// Lets the client see that the response is cut short. Returns what httpd is to do then.
    pub(super) fn abort(&mut self) -> Status {
        self.catch_up();
        if !self.has_failed() {
            response::abort(self.request);
        }
        self.leave()
    }

    /// Passes on what was held, and this behind it.
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
        let sent = self.send(&held, held_tail, tail);
        if sent.is_err_and(AprStatus::is_time_up) {
            let text = "Unable to proxy response to client (write timeout): it has taken nothing for \
                        as long as response-socket-timeout allows, or Timeout.";
            log::script(self.request, Level::ERROR, Id(120), text);
        }
        match response::fate(self.request, sent) {
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
        // What is in the window must be readable until the brigade is gone.
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
            // SAFETY: the bytes can be read as long as `placed` lives, which was there before the
            // brigade.
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

/// What follows on the data that was held.
enum Tail<'d> {
    Data { data: &'d [u8], flush: bool },
    End { flush: bool },
    Nothing,
}
