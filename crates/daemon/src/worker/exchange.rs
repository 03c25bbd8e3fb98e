//! One request and its response on a child's connection, and what the engine may do with it.
//!
//! The handle that the engine gets is a pointer to an [`Exchange`]. The engine makes one call at
//! a time with it and none after [`Engine::handle`](engine_abi::Engine::handle) returns, which is
//! what makes the functions at the end of this file sound.

use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine_abi::{Level, LogLine, Outcome, Part, ReadError, RequestHandle, Sent};
use wire::{
    BodyError, End, FileRegion, Rejection, RequestHead, RequestNumber, ResponseHead, ToChild,
    ToWorker,
};

use super::connection::{Broken, Connection};
use super::courier::{Courier, Loan};
use super::outbox::Outbox;

/// How long a body can be that a child sends as a whole, in bytes; a piece may come on top.
const LARGEST_WHOLE: usize = 1 << 20;

/// A request that is being served.
pub(super) struct Exchange<'c> {
    connection: &'c mut Connection,
    number: RequestNumber,
    /// Frames that were not sent yet.
    out: Outbox,
    /// Sends what a slow child has not taken while the application goes on.
    courier: &'c Courier,
    /// Frames that were not sent before the application went on.
    lent: Option<Loan>,
    body: Body,
    /// The most verbose level that is logged for the request.
    log_level: u8,
    /// The connection failed: there is nobody to answer.
    broken: bool,
}

/// How far a response came that is complete.
pub(super) enum Finish {
    /// The connection broke.
    Broken,
    /// It was sent. The connection can serve another request.
    Sent,
    /// This is left to be sent, because the child is slow.
    Unsent(Outbox),
}

/// What is known of the request's body.
enum Body {
    /// The child keeps it back until it is asked for.
    Withheld,
    /// It is coming.
    Coming,
    /// A piece was received, of which this is left from this offset on.
    Piece(Vec<u8>, usize),
    /// The same of the last piece, with what follows on it.
    Last(Vec<u8>, usize, Result<(), ReadError>),
    /// All of it was received.
    Ended,
    /// It cannot be completed.
    Failed(ReadError),
}

impl<'c> Exchange<'c> {
    /// The exchange for the request that was just received on `connection`.
    pub(super) fn new(
        connection: &'c mut Connection,
        number: RequestNumber,
        head: &RequestHead<'_>,
        courier: &'c Courier,
    ) -> Self {
        let body = if head.body_on_demand {
            Body::Withheld
        } else {
            Body::Coming
        };
        Self {
            connection,
            number,
            out: courier.outbox(),
            courier,
            lent: None,
            body,
            log_level: head.log_level,
            broken: false,
        }
    }

    /// Receives the body of a request that was sent as a whole. Until that is done nothing of the
    /// request is run: a child that sees the connection reset relies on it, and has another worker
    /// run the request. Returns whether the body came.
    pub(super) fn gather(&mut self) -> bool {
        let mut whole = Vec::new();
        let end = loop {
            match self.next_piece() {
                Body::Piece(data, _) if whole.len() <= LARGEST_WHOLE => whole.extend(data),
                Body::Ended => break Ok(()),
                Body::Failed(error) if !self.broken => break Err(error),
                _ => return false,
            }
        };
        self.body = Body::Last(whole, 0, end);
        true
    }

    /// Answers with how the request ended.
    pub(super) fn finish(mut self, outcome: Outcome) -> Finish {
        self.take_back();
        let (out, number) = (self.out.frames(), self.number);
        match outcome.kind {
            Outcome::COMPLETE => ToChild::encode_end(out, number, End::Complete),
            Outcome::REFUSED => ToChild::encode_end(out, number, End::Refused(outcome.status)),
            Outcome::STALE => ToChild::encode_rejected(out, number, Rejection::ScriptChanged),
            Outcome::ENDING => ToChild::encode_rejected(out, number, Rejection::Draining),
            _ => ToChild::encode_end(out, number, End::Truncated),
        }
        self.flush();
        // A withheld body never comes; one that was not read to its end is skipped later.
        match (self.broken, self.out.is_empty()) {
            (true, _) => Finish::Broken,
            (false, true) => Finish::Sent,
            (false, false) => Finish::Unsent(self.out),
        }
    }

    /// Takes back what was lent and not sent, so that what comes now is sent after it.
    fn take_back(&mut self) {
        if let Some(loan) = self.lent.take() {
            match self.courier.give_back(&loan) {
                Ok(rest) => self.out = rest,
                Err(_) => self.broken = true,
            }
        }
    }

    /// Has what the child did not take sent while the application goes on.
    fn lend(&mut self) {
        if self.out.is_kept() && !self.broken {
            self.lent = self.courier.lend(self.connection.stream(), &mut self.out);
            if self.lent.is_none() {
                self.unless_broken(Outbox::flush_all);
            }
        }
    }

    /// Sends what was collected, or keeps it for a child that is slow.
    fn flush(&mut self) {
        self.unless_broken(Outbox::flush);
    }

    /// Does something with the connection, unless it is broken already.
    fn unless_broken(
        &mut self,
        act: impl FnOnce(&mut Outbox, &mut Connection) -> Result<(), Broken>,
    ) {
        if !self.broken {
            self.broken = act(&mut self.out, self.connection).is_err();
        }
        if self.broken {
            self.out.frames().clear();
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        if let Body::Withheld = self.body {
            self.take_back();
            ToChild::encode_want_body(self.out.frames(), self.number);
            self.body = Body::Coming;
        }
        if !self.out.is_empty() {
            self.flush();
            self.lend();
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.body {
                Body::Piece(data, start) => match take(data, start, buffer) {
                    0 => self.body = Body::Coming,
                    count => return Ok(count),
                },
                Body::Last(data, start, end) => {
                    return match take(data, start, buffer) {
                        0 => end.map(|()| 0),
                        count => Ok(count),
                    };
                }
                Body::Ended => return Ok(0),
                Body::Failed(error) => return Err(*error),
                Body::Withheld | Body::Coming => self.body = self.next_piece(),
            }
        }
    }

    /// Waits for the next frame of the body.
    fn next_piece(&mut self) -> Body {
        match self.connection.next_frame() {
            Ok(frame) if frame.request() == self.number => match frame.decode::<ToWorker<'_>>() {
                Ok(ToWorker::Body(data)) => Body::Piece(data.to_vec(), 0),
                Ok(ToWorker::BodyEnd) => Body::Ended,
                Ok(ToWorker::BodyError(error)) => Body::Failed(read_error(error)),
                Ok(ToWorker::Request(_)) | Err(_) => self.broken_body(ReadError::Malformed),
            },
            Ok(_) => self.broken_body(ReadError::Malformed),
            Err(Broken::TimedOut) => self.broken_body(ReadError::TimedOut),
            Err(Broken::Closed) => self.broken_body(ReadError::Disconnected),
        }
    }

    fn broken_body(&mut self, error: ReadError) -> Body {
        self.broken = true;
        Body::Failed(error)
    }

    fn send(&mut self, part: &Part<'_>) -> Sent {
        self.take_back();
        // SAFETY: the engine passes null or a head that lives as long as the part.
        if let Some(head) = unsafe { part.head.as_ref() } {
            let response = ResponseHead {
                status: head.status,
                status_line: head.status_line.or_empty(),
                headers: None,
            };
            let headers = head
                .headers
                .get()
                .iter()
                .map(|pair| (pair.name.or_empty(), pair.value.get()));
            if ToChild::encode_head(self.out.frames(), self.number, &response, headers).is_err() {
                self.broken = true;
            }
        }
        for data in part.data.get() {
            let number = self.number;
            self.unless_broken(|out, child| out.push_data(child, number, data.or_empty()));
        }
        // SAFETY: as for the head.
        if let Some(file) = unsafe { part.file.as_ref() } {
            self.send_file(file);
        }
        if part.flush {
            ToChild::encode_data(self.out.frames(), self.number, &[], true);
            self.flush();
        }
        self.lend();
        if self.broken { Sent::GONE } else { Sent::OK }
    }

    /// Sends a file's descriptor along with the frame that tells the region.
    fn send_file(&mut self, file: &engine_abi::FileRegion) {
        // A descriptor travels with the bytes it is sent with, so nothing may be kept before it.
        self.unless_broken(Outbox::flush_all);
        let region = FileRegion {
            offset: file.offset,
            length: file.length,
        };
        let mut frame = Vec::new();
        ToChild::encode_file(&mut frame, self.number, region);
        // SAFETY: the engine keeps the descriptor open until this call returns.
        let descriptor = unsafe { BorrowedFd::borrow_raw(file.fd) };
        let own = reopened(descriptor);
        let sent = own
            .as_ref()
            .map_or(descriptor.as_raw_fd(), |own| own.as_raw_fd());
        self.unless_broken(|_, child| child.write_with(&frame, sent));
    }

    /// Sends a line for the log, unless it is too verbose for it. Returns whether it could be sent: a
    /// child whose client is gone listens no more.
    pub(super) fn log(&mut self, line: &LogLine<'_>) -> bool {
        if line.level > Level::Notice && line.level as u8 > self.log_level {
            return true;
        }
        let line = wire::LogLine {
            level: line.level as u8,
            id: line.id,
            names_script: line.names_script,
            file: line.file.or_empty(),
            line: line.line,
            text: line.text.or_empty(),
        };
        self.take_back();
        ToChild::encode_log(self.out.frames(), self.number, &line);
        // Whoever waits for this line may wait for it while the request still runs.
        self.flush();
        self.lend();
        !self.broken
    }
}

/// Copies into `buffer` what fits of `data` from `start` on, which it moves. Returns how much.
fn take(data: &[u8], start: &mut usize, buffer: &mut [u8]) -> usize {
    let rest = data.get(*start..).unwrap_or_default();
    let count = rest.len().min(buffer.len());
    let (now, _) = rest.split_at(count);
    let place = buffer.get_mut(..count).unwrap_or_default();
    place.copy_from_slice(now);
    *start += count;
    count
}

/// The same file with a position of its own: whoever reads from it later must not move that of the
/// application. A file that cannot be opened again is sent as it is.
fn reopened(file: BorrowedFd<'_>) -> Option<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

fn read_error(error: BodyError) -> ReadError {
    match error {
        BodyError::Disconnected => ReadError::Disconnected,
        BodyError::TimedOut => ReadError::TimedOut,
        BodyError::TooLarge => ReadError::TooLarge,
        BodyError::Malformed => ReadError::Malformed,
    }
}

/// The exchange behind a handle.
///
/// # Safety
///
/// `request` must be the handle of a request that the engine is handling, in the one call that
/// the engine makes for it at this time.
unsafe fn exchange<'h>(request: RequestHandle) -> &'h mut Exchange<'h> {
    // SAFETY: the handle was made from a `&mut Exchange` that nobody else uses until the engine
    // returns, and the engine makes one call at a time.
    unsafe { &mut *request.cast::<Exchange<'h>>() }
}

/// [`engine_abi::Host::read_body`].
pub(super) unsafe extern "C" fn read_body(
    request: RequestHandle,
    buffer: *mut u8,
    len: usize,
) -> isize {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let buffer = if len == 0 {
            &mut []
        } else {
            // SAFETY: the engine passes `len` writable bytes that nobody else uses meanwhile.
            unsafe { std::slice::from_raw_parts_mut(buffer, len) }
        };
        // SAFETY: the engine keeps the rules of its ABI.
        unsafe { exchange(request) }.read(buffer)
    }));
    match read {
        Ok(Ok(count)) => isize::try_from(count).unwrap_or(isize::MAX),
        Ok(Err(error)) => error as isize,
        Err(_) => ReadError::Malformed as isize,
    }
}

/// [`engine_abi::Host::send`].
pub(super) unsafe extern "C" fn send(request: RequestHandle, part: *const Part<'_>) -> Sent {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the engine keeps the rules of its ABI; the part lives until this returns.
        unsafe { exchange(request).send(&*part) }
    }))
    .unwrap_or(Sent::GONE)
}

/// The most verbose level that is logged for the request.
///
/// # Safety
///
/// As for every function of the host that takes a handle; see the top of this file.
pub(super) unsafe fn log_level(request: RequestHandle) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { exchange(request) }.log_level
}

/// Sends a line to the request's log. Returns whether that could be done.
///
/// # Safety
///
/// As for every function of the host that takes a handle; see the top of this file.
pub(super) unsafe fn log(request: RequestHandle, line: &LogLine<'_>) -> bool {
    // SAFETY: the caller's promise.
    unsafe { exchange(request) }.log(line)
}
