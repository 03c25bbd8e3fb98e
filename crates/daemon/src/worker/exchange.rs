//! One request and its response on a child's connection, and what the engine may do with it.
//!
//! The handle that the engine gets is a pointer to an [`Exchange`], which it uses until
//! [`Engine::handle`](engine_abi::Engine::handle) returns and not after that. The two directions are
//! halves with a lock each: while one thread waits for the body, another sends or logs. A thread that
//! must not wait for one that is sending leaves its frames in a queue, for whoever is done sending.

use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use engine_abi::{Host, Level, LogLine, Outcome, Part, ReadError, RequestHandle, Sent};
use wire::{
    BodyError, End, FileRegion, MAX_DATA, OwnedFrame, Rejection, RequestHead, RequestNumber,
    ResponseHead, ToChild, ToWorker,
};

use super::connection::{Broken, Connection, Line};
use super::courier::{Courier, Loan};
use super::lock;
use super::outbox::Outbox;
use super::pane::{self, Pane};

/// How long a body can be that a child sends as a whole, in bytes; a piece may come on top.
const LARGEST_WHOLE: usize = 1 << 20;

/// How long a thread of the application's own waits for the body at a time: the request may have ended
/// meanwhile.
const GLANCE: Duration = Duration::from_secs(1);

/// How much waits for a thread that is sending before others wait for it, too, in bytes.
const LONGEST_QUEUE: usize = 1 << 20;

/// A request that is being served.
pub(super) struct Exchange<'c> {
    number: RequestNumber,
    /// The most verbose level that is logged for the request.
    log_level: u8,
    receiving: Mutex<Receiving<'c>>,
    sending: Mutex<Sending<'c>>,
    /// Whole frames that are to be sent once the thread that is sending is done.
    queue: Mutex<Vec<u8>>,
    /// Whether there are any.
    is_queued: AtomicBool,
    /// The connection failed: there is nobody to answer.
    broken: AtomicBool,
    /// The thread that has the request.
    thread: ThreadId,
}

/// The half on which the body comes.
struct Receiving<'c> {
    connection: &'c mut Connection,
    body: Body,
    /// Since when a thread of the application's own waits for more of it.
    silent_since: Option<Instant>,
}

/// The half on which the response goes.
struct Sending<'c> {
    line: Line,
    /// Frames that were not sent yet.
    out: Outbox,
    /// Sends what a slow child has not taken while the application goes on.
    courier: &'c Courier,
    /// Frames that were not sent before the application went on.
    lent: Option<Loan>,
    /// Where large data goes.
    pane: Pane,
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
        let mut pane = std::mem::take(&mut connection.pane);
        pane.begin();
        Self {
            number,
            log_level: head.log_level,
            sending: Mutex::new(Sending {
                line: connection.line().clone(),
                out: courier.outbox(),
                courier,
                lent: None,
                pane,
            }),
            receiving: Mutex::new(Receiving {
                connection,
                body,
                silent_since: None,
            }),
            queue: Mutex::default(),
            is_queued: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            thread: std::thread::current().id(),
        }
    }

    /// Receives the body of a request that was sent as a whole. Until that is done nothing of the
    /// request is run: a child that sees the connection reset relies on it, and has another worker
    /// run the request. Returns whether the body came.
    pub(super) fn gather(&self) -> bool {
        let mut receiving = lock(&self.receiving);
        let mut whole = Vec::new();
        let end = loop {
            match self.next_piece(&mut receiving) {
                Body::Piece(data, _) if whole.is_empty() => whole = data,
                Body::Piece(data, _) if whole.len() <= LARGEST_WHOLE => whole.extend(data),
                Body::Ended => break Ok(()),
                Body::Failed(error) if !self.is_broken() => break Err(error),
                _ => return false,
            }
        };
        receiving.body = Body::Last(whole, 0, end);
        true
    }

    /// Answers with how the request ended.
    pub(super) fn finish(self, outcome: Outcome) -> Finish {
        let number = self.number;
        self.send_frames(|sending| {
            encode_outcome(sending.out.frames(), number, outcome);
            sending.flush()
        });
        let is_broken = self.is_broken();
        let sending = self.sending.into_inner();
        let sending = sending.unwrap_or_else(PoisonError::into_inner);
        let receiving = self.receiving.into_inner();
        let receiving = receiving.unwrap_or_else(PoisonError::into_inner);
        receiving.connection.pane = sending.pane;
        let out = sending.out;
        // A withheld body never comes; one that was not read to its end is skipped later.
        match (is_broken, out.is_empty()) {
            (true, _) => Finish::Broken,
            (false, true) => Finish::Sent,
            (false, false) => Finish::Unsent(out),
        }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Sends frames, and what others have left in the queue before them.
    fn send_frames(&self, act: impl FnOnce(&mut Sending<'c>) -> Result<(), Broken>) {
        self.use_half(&mut lock(&self.sending), act);
    }

    fn use_half(
        &self,
        sending: &mut Sending<'c>,
        act: impl FnOnce(&mut Sending<'c>) -> Result<(), Broken>,
    ) {
        let mut result = sending.take_back();
        if self.is_queued.swap(false, Ordering::AcqRel) {
            sending.out.frames().append(&mut lock(&self.queue));
        }
        if !self.is_broken() {
            result = result.and_then(|()| act(sending));
        }
        if result.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        if self.is_broken() {
            sending.out.clear();
        }
    }

    /// The same, and has what the child did not take sent while the application goes on.
    fn send_and_go_on(&self, act: impl FnOnce(&mut Sending<'c>) -> Result<(), Broken>) {
        self.send_frames(|sending| {
            act(sending)?;
            sending.lend()
        });
        self.send_queued();
    }

    /// Leaves frames in the queue, and sends it unless a thread is sending, which does so then.
    fn send_in_passing(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let length = {
            let mut queue = lock(&self.queue);
            encode(&mut queue);
            queue.len()
        };
        self.is_queued.store(true, Ordering::SeqCst);
        // Pairs with those of whoever is sending: it finds the frames, or this thread the turn.
        fence(Ordering::SeqCst);
        if length > LONGEST_QUEUE {
            self.send_and_go_on(Sending::flush);
        }
        self.send_queued();
    }

    /// Sends what is in the queue. Whoever has sent does so once more after that: so whatever is left
    /// there while it was busy has somebody who sends it.
    fn send_queued(&self) {
        loop {
            fence(Ordering::SeqCst);
            if !self.is_queued.load(Ordering::Acquire) {
                return;
            }
            let mut sending = match self.sending.try_lock() {
                Ok(sending) => sending,
                Err(TryLockError::Poisoned(sending)) => sending.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.use_half(&mut sending, |sending| {
                sending.flush()?;
                sending.lend()
            });
        }
    }

    /// Reads some of the body: `None` if nothing came for a while, and the calling thread is not the one
    /// that has the request.
    fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let mut receiving = lock(&self.receiving);
        if let Body::Withheld = receiving.body {
            receiving.body = Body::Coming;
            self.send_in_passing(|queue| ToChild::encode_want_body(queue, self.number));
        }
        self.send_collected();
        if buffer.is_empty() {
            return Ok(Some(0));
        }
        let is_its_own = std::thread::current().id() == self.thread;
        loop {
            match &mut receiving.body {
                Body::Piece(data, start) => match take(data, start, buffer) {
                    0 => receiving.body = Body::Coming,
                    count => return Ok(Some(count)),
                },
                Body::Last(data, start, end) => {
                    return match take(data, start, buffer) {
                        0 => end.map(|()| Some(0)),
                        count => Ok(Some(count)),
                    };
                }
                Body::Ended => return Ok(Some(0)),
                Body::Failed(error) => return Err(*error),
                Body::Withheld | Body::Coming if is_its_own => {
                    receiving.body = self.next_piece(&mut receiving);
                }
                Body::Withheld | Body::Coming => match self.piece_within_glance(&mut receiving) {
                    Some(body) => receiving.body = body,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Sends what was collected, before the thread waits for the body. One that is sending does so
    /// itself.
    fn send_collected(&self) {
        if let Ok(mut sending) = self.sending.try_lock()
            && !sending.out.is_empty()
        {
            self.use_half(&mut sending, |sending| {
                sending.flush()?;
                sending.lend()
            });
        }
        self.send_queued();
    }

    /// Waits for the next frame of the body.
    fn next_piece(&self, receiving: &mut Receiving<'c>) -> Body {
        self.piece(receiving.connection.next_frame())
    }

    /// The same, but not for long.
    fn piece_within_glance(&self, receiving: &mut Receiving<'c>) -> Option<Body> {
        let frame = match receiving.connection.next_frame_within(GLANCE) {
            Ok(Some(frame)) => Ok(frame),
            Err(broken) => Err(broken),
            Ok(None) => {
                let since = *receiving.silent_since.get_or_insert_with(Instant::now);
                let patience = receiving.connection.patience();
                if patience.is_none_or(|patience| since.elapsed() < patience) {
                    return None;
                }
                Err(Broken::TimedOut)
            }
        };
        receiving.silent_since = None;
        Some(self.piece(frame))
    }

    fn piece(&self, frame: Result<OwnedFrame, Broken>) -> Body {
        match frame {
            Ok(frame) if frame.request() == self.number => match frame.decode::<ToWorker<'_>>() {
                // The data are all that such a frame carries.
                Ok(ToWorker::Body(_)) => Body::Piece(frame.into_payload(), 0),
                Ok(ToWorker::BodyEnd) => Body::Ended,
                Ok(ToWorker::BodyError(error)) => Body::Failed(read_error(error)),
                Ok(ToWorker::Request(_)) | Err(_) => self.broken_body(ReadError::Malformed),
            },
            Ok(_) => self.broken_body(ReadError::Malformed),
            Err(Broken::TimedOut) => self.broken_body(ReadError::TimedOut),
            Err(Broken::Closed) => self.broken_body(ReadError::Disconnected),
        }
    }

    fn broken_body(&self, error: ReadError) -> Body {
        self.broken.store(true, Ordering::Relaxed);
        Body::Failed(error)
    }

    fn send(&self, part: &Part<'_>) -> Sent {
        self.send_and_go_on(|sending| sending.part(self.number, part));
        if self.is_broken() {
            Sent::GONE
        } else {
            Sent::OK
        }
    }

    /// Sends a piece of the body if that needs no waiting, neither for the child nor for another
    /// thread.
    fn try_send(&self, part: &Part<'_>) -> Sent {
        let size: usize = part.data.get().iter().map(|it| it.or_empty().len()).sum();
        let is_piece = part.head.is_null() && part.file.is_null() && part.flush;
        let is_queued = || self.is_queued.load(Ordering::Acquire);
        if !is_piece || size > MAX_DATA || is_queued() || self.is_broken() {
            return Sent::REFUSED;
        }
        let sent = match self.sending.try_lock() {
            Ok(_) if self.is_broken() => None,
            Ok(mut sending) => sending.try_piece(self.number, part.data.get()),
            Err(_) => None,
        };
        fence(Ordering::SeqCst);
        match sent {
            None => Sent::REFUSED,
            // What another thread has queued meanwhile is for whoever was sending to send.
            Some(Ok(true)) if !is_queued() => Sent::OK,
            Some(Ok(_)) => Sent::PENDING,
            Some(Err(_)) => {
                self.broken.store(true, Ordering::Relaxed);
                Sent::GONE
            }
        }
    }

    /// Sends a line for the log, unless it is too verbose for it. Returns whether it could be sent: a
    /// child whose client is gone listens no more. Does not wait for a thread that is sending.
    pub(super) fn log(&self, line: &LogLine<'_>) -> bool {
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
        // Whoever waits for this line may wait for it while the request still runs.
        self.send_in_passing(|queue| ToChild::encode_log(queue, self.number, &line));
        !self.is_broken()
    }
}

/// Appends the frame that tells how a request ended.
fn encode_outcome(out: &mut Vec<u8>, number: RequestNumber, outcome: Outcome) {
    match outcome.kind {
        Outcome::COMPLETE => ToChild::encode_end(out, number, End::Complete),
        Outcome::REFUSED => ToChild::encode_end(out, number, End::Refused(outcome.status)),
        Outcome::TRUNCATED => ToChild::encode_end(out, number, End::Truncated),
        Outcome::STALE => ToChild::encode_rejected(out, number, Rejection::ScriptChanged),
        Outcome::ENDING => ToChild::encode_rejected(out, number, Rejection::Draining),
        // There is no other. If there were, the response would not be whole.
        _ => ToChild::encode_end(out, number, End::Refused(500)),
    }
}

impl Sending<'_> {
    /// Takes back what was lent and not sent, so that what comes now is sent after it.
    fn take_back(&mut self) -> Result<(), Broken> {
        if let Some(loan) = self.lent.take() {
            self.out = self.courier.give_back(&loan)?;
        }
        Ok(())
    }

    /// Has what the child did not take sent while the application goes on.
    fn lend(&mut self) -> Result<(), Broken> {
        if self.out.is_kept() {
            self.lent = self.courier.lend(self.line.stream(), &mut self.out);
            if self.lent.is_none() {
                return self.out.flush_all(&self.line);
            }
        }
        Ok(())
    }

    /// Sends what was collected, or keeps it for a child that is slow.
    fn flush(&mut self) -> Result<(), Broken> {
        self.out.flush(&self.line)
    }

    /// Sends a part of the response, or collects it.
    fn part(&mut self, number: RequestNumber, part: &Part<'_>) -> Result<(), Broken> {
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
            ToChild::encode_head(self.out.frames(), number, &response, headers)
                .map_err(|_| Broken::Closed)?;
        }
        for data in part.data.get() {
            let rest = self.place(number, data.or_empty())?;
            self.out.push_data(&self.line, number, rest)?;
        }
        // SAFETY: as for the head.
        if let Some(file) = unsafe { part.file.as_ref() } {
            self.file(number, file)?;
        }
        if part.flush {
            ToChild::encode_data(self.out.frames(), number, &[], true);
            self.flush()?;
        }
        Ok(())
    }

    /// Puts large data into the window, which is made if there is none yet. Returns what is left to be
    /// sent.
    fn place<'d>(&mut self, number: RequestNumber, data: &'d [u8]) -> Result<&'d [u8], Broken> {
        // The descriptor goes behind all that was sent before: a child that is slow would be waited for.
        if data.len() >= pane::LARGE
            && !self.out.is_kept()
            && let Some(descriptor) = self.pane.open(self.courier)
        {
            self.out.flush_all(&self.line)?;
            let mut frame = Vec::new();
            ToChild::encode_window(&mut frame, number);
            self.line.write_with(&frame, descriptor.as_raw_fd())?;
        }
        let rest = self.place_if_open(number, data);
        if data.len() - rest.len() >= MAX_DATA {
            // The child has something to do meanwhile.
            self.flush()?;
        }
        Ok(rest)
    }

    /// Puts large data into the window, if there is one. Returns what is left to be sent.
    fn place_if_open<'d>(&mut self, number: RequestNumber, data: &'d [u8]) -> &'d [u8] {
        if data.len() < pane::LARGE {
            return data;
        }
        let Some((place, rest)) = self.pane.place(data, self.courier) else {
            return data;
        };
        ToChild::encode_placed(self.out.frames(), number, place);
        rest
    }

    /// Sends a piece of the body as far as the child takes it at once. Returns whether that is all of it;
    /// `None` if there is something to be sent before it, and so nothing was sent.
    fn try_piece(
        &mut self,
        number: RequestNumber,
        data: &[engine_abi::Bytes<'_>],
    ) -> Option<Result<bool, Broken>> {
        if self.lent.is_some() {
            return None;
        }
        for data in data {
            let rest = self.place_if_open(number, data.or_empty());
            ToChild::encode_data(self.out.frames(), number, rest, true);
        }
        Some(self.out.send_some(self.line.stream()))
    }

    /// Sends a file's descriptor along with the frame that tells the region.
    fn file(&mut self, number: RequestNumber, file: &engine_abi::FileRegion) -> Result<(), Broken> {
        // A descriptor travels with the bytes it is sent with, so nothing may be kept before it.
        self.out.flush_all(&self.line)?;
        let region = FileRegion {
            offset: file.offset,
            length: file.length,
        };
        let mut frame = Vec::new();
        ToChild::encode_file(&mut frame, number, region);
        // SAFETY: the engine keeps the descriptor open until this call returns.
        let descriptor = unsafe { BorrowedFd::borrow_raw(file.fd) };
        let own = reopened(descriptor);
        let sent = own
            .as_ref()
            .map_or(descriptor.as_raw_fd(), |own| own.as_raw_fd());
        self.line.write_with(&frame, sent)
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
/// `request` must be the handle of a request that the engine is handling.
unsafe fn exchange<'h>(request: RequestHandle) -> &'h Exchange<'h> {
    const fn is_for_any_thread<T: Sync>() {}
    const { is_for_any_thread::<Exchange<'_>>() };
    // SAFETY: the handle was made from an `Exchange` that is there until the engine returns.
    unsafe { &*request.cast::<Exchange<'h>>() }
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
        Ok(Ok(Some(count))) => isize::try_from(count).unwrap_or(isize::MAX),
        Ok(Ok(None)) => Host::NOT_YET,
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

/// [`engine_abi::Host::try_send`].
pub(super) unsafe extern "C" fn try_send(request: RequestHandle, part: *const Part<'_>) -> Sent {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the engine keeps the rules of its ABI; the part lives until this returns.
        unsafe { exchange(request).try_send(&*part) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_frame() {
        let frame = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            encode(&mut out);
            out
        };
        for (outcome, end) in [
            (Outcome::complete(), Ok(End::Complete)),
            (Outcome::refused(504), Ok(End::Refused(504))),
            (Outcome::truncated(), Ok(End::Truncated)),
            (Outcome::stale(), Err(Rejection::ScriptChanged)),
            // Another worker serves it.
            (Outcome::ending(), Err(Rejection::Draining)),
        ] {
            let expected = frame(&|out| match end {
                Ok(end) => ToChild::encode_end(out, 1, end),
                Err(rejection) => ToChild::encode_rejected(out, 1, rejection),
            });
            let encoded = frame(&|out| encode_outcome(out, 1, outcome));
            assert_eq!(encoded, expected, "{outcome:?}");
        }
    }
}
