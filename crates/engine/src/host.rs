//! The host, as the engine calls it.
//!
//! Every call takes a [`Detached`]: the host may block, so it is never called by a thread that
//! holds a GIL, except for one call that does not block. The crate `engine-abi` specifies the
//! tables of functions and their rules.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use engine_abi::{Host, LogLine, Part, ReadError, RequestHandle, Scoreboard, Sent, TakeScoreboard};

use crate::bell::Bell;
use crate::gate::Gate;
use crate::log::Unfinished;
use crate::python::{Attached, Detached, catch};
use crate::traffic::Traffic;
use crate::turn::{Turn, Whose};

static HOST: OnceLock<&'static Host> = OnceLock::new();

/// Stores the host of this process. Further calls have no effect.
pub(crate) fn introduce(host: &'static Host) {
    HOST.get_or_init(|| host);
}

/// Writes a line to the server's log, outside any request.
pub(crate) fn log(_: &Detached, line: &LogLine<'_>) {
    write(std::ptr::null_mut(), line);
}

/// The most verbose level that the server's log takes.
pub(crate) fn log_level(_: &Detached) -> c_int {
    ask_level(std::ptr::null_mut())
}

/// Tells the host that a request has its script.
pub(crate) fn tell_loaded(_: &Detached) {
    if let Some(host) = HOST.get() {
        // SAFETY: the host's functions may be called from any thread that has no GIL.
        unsafe { (host.loaded)() };
    }
}

/// What `read` makes of httpd's scoreboard; `None` if there is none to read.
pub(crate) fn scoreboard<R>(_: &Detached, read: impl FnOnce(&Scoreboard<'_>) -> R) -> Option<R> {
    let mut reader = Reader {
        read: Some(read),
        result: None,
    };
    if let Some(host) = HOST.get() {
        let take = take_for(&reader);
        // SAFETY: the host calls `take`, which is made for this reader, before it returns, or
        // never.
        unsafe { (host.scoreboard)(take, (&raw mut reader).cast()) };
    }
    reader.result
}

/// A function that reads the scoreboard once, and its result.
struct Reader<F, R> {
    read: Option<F>,
    result: Option<R>,
}

/// The function that lends the scoreboard to a reader of this type.
fn take_for<F: FnOnce(&Scoreboard<'_>) -> R, R>(_: &Reader<F, R>) -> TakeScoreboard {
    unsafe extern "C" fn take<F: FnOnce(&Scoreboard<'_>) -> R, R>(
        taker: *mut c_void,
        scoreboard: *const Scoreboard<'_>,
    ) {
        // SAFETY: `taker` is the `Reader` of this type that was passed together with this function,
        // and nothing else uses it meanwhile. The scoreboard lives until this returns.
        let (reader, scoreboard) = unsafe { (&mut *taker.cast::<Reader<F, R>>(), &*scoreboard) };
        if let Some(read) = reader.read.take() {
            // After a panic there is no result.
            reader.result = catch(|| read(scoreboard)).ok();
        }
    }
    take::<F, R>
}

/// A request and its response, as the host knows them.
///
/// The host's handle is valid until the host's call of [`engine_abi::Engine::handle`] returns, but
/// applications may keep objects of a request for longer, and use them on other threads. So all
/// such objects share the exchange. It serialises the calls as far as the host requires that, and
/// ends them when the request ends.
#[derive(Debug)]
pub(crate) struct Exchange {
    handle: Handle,
    /// The threads that are calling the host. Closed when the request ends.
    calls: Gate,
    /// Rings then, for threads that wait for the body.
    end: Bell,
    /// The turn to send, and also to read unless the host is duplex.
    sending: Turn,
    /// The turn to read from a duplex host.
    reading: Turn,
    /// Whether the head of the response was handed over.
    begun: AtomicBool,
    /// How much was read and written.
    pub(crate) traffic: Traffic,
    /// What was written to the request's log streams since the last newline.
    pub(crate) unfinished: Unfinished,
}

#[derive(Clone, Copy, Debug)]
struct Handle(RequestHandle);

// SAFETY: the ABI allows calls for a request from any thread, if they are serialised as the
// exchange does it.
unsafe impl Send for Handle {}
// SAFETY: as above. The handle itself never changes.
unsafe impl Sync for Handle {}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFailure {
    /// The request is over.
    Closed,
    /// The calling thread is sending a part of the response: this is a request inside the request.
    Inside,
    /// There is no memory for what is read.
    NoMemory,
    /// An earlier read has lost a part of the body.
    Lost,
    /// The host could not read.
    Host(ReadError),
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// The request is over.
    Closed,
    /// The calling thread is sending another part: this is a request inside the request.
    Inside,
    /// The client is gone.
    Gone,
}

/// What has become of a part that was sent without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It is on its way.
    Sent,
    /// It waits for the client to take something.
    Pending,
}

impl Exchange {
    /// The exchange of a request that the host has just handed over.
    ///
    /// # Safety
    ///
    /// - `handle` is the host's, and valid until [`Exchange::close`] returns.
    pub(crate) const unsafe fn open(handle: RequestHandle) -> Self {
        Self {
            handle: Handle(handle),
            calls: Gate::new(),
            end: Bell::new(),
            sending: Turn::new(),
            reading: Turn::new(),
            begun: AtomicBool::new(false),
            traffic: Traffic::new(),
            unfinished: Unfinished::new(),
        }
    }

    /// Ends the exchange: waits for calls that other threads are making, and lets no other begin.
    pub(crate) fn close(&self, _: &Detached) {
        self.calls.close();
        if !self.calls.is_left() {
            // Pairs with that of `await_body`.
            fence(Ordering::SeqCst);
            self.end.ring();
        }
        self.calls.wait_until_left(None);
    }

    /// Whether the exchange is closed, or about to be. Does not wait, so any thread may ask.
    pub(crate) fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    /// Whether the calling thread is in the middle of a call of the host for this request: then
    /// it now serves a request inside this one, which cannot go on before that one ends.
    pub(crate) fn is_inside(&self) -> bool {
        self.sending.is_own() || self.reading.is_own()
    }

    /// Whether the head of the response was handed over, so that the response can only be cut
    /// short.
    pub(crate) fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Writes a line to the request's log, or to the server's when the request is over. Does not
    /// wait for other threads.
    pub(crate) fn log(&self, detached: &Detached, line: &LogLine<'_>) {
        let (Some(_call), Some(host)) = (self.calls.enter(), HOST.get()) else {
            return log(detached, line);
        };
        let turn = self.sending.try_take();
        let write = match &turn {
            Whose::Free { .. } | Whose::Own => host.log,
            Whose::Other => host.log_beside,
        };
        // SAFETY: the handle is valid while the call is counted, and the line until we return. If
        // another thread has the turn, `log_beside` is used, which is allowed then.
        unsafe { write(self.handle.0, line) };
    }

    /// The most verbose level that the request's log takes, or the server's when the request is
    /// over.
    pub(crate) fn log_level(&self, detached: &Detached) -> c_int {
        match self.calls.enter() {
            Some(_call) => ask_level(self.handle.0),
            None => log_level(detached),
        }
    }

    /// Reads some of the request's body: at least a byte, or 0 at its end. With an empty buffer,
    /// a client that waits for it is told to continue.
    pub(crate) fn read(&self, _: &Detached, buffer: &mut [u8]) -> Result<usize, ReadFailure> {
        let (Some(_call), Some(host)) = (self.calls.enter(), HOST.get()) else {
            return Err(ReadFailure::Closed);
        };
        let turn = if host.is_duplex {
            &self.reading
        } else {
            &self.sending
        };
        let result = self.traffic.input.time(|| {
            loop {
                let turn = turn.take().ok_or(ReadFailure::Inside)?;
                let (request, place) = (self.handle.0, buffer.as_mut_ptr());
                // SAFETY: the handle is valid while the call is counted, and the buffer is as long
                // as said.
                let result = unsafe { (host.read_body)(request, place, buffer.len()) };
                drop(turn);
                if result != Host::NOT_YET {
                    return Ok(result);
                }
                self.await_body(host)?;
            }
        })?;
        // Bytes are counted when the application takes them. httpd reports the end together with
        // the last bytes of a body, so the read that finds the end does not count if the host is
        // httpd.
        if result != 0 || host.is_duplex || self.traffic.input.moved().count == 0 {
            self.traffic.input.count(1, 0);
        }
        match ReadError::from_result(result) {
            Some(error) => Err(ReadFailure::Host(error)),
            None => Ok(buffer.len().min(result.unsigned_abs())),
        }
    }

    /// Waits until there may be more of the body. To be called while the call is counted.
    fn await_body(&self, host: &Host) -> Result<(), ReadFailure> {
        let end = self.end.listen();
        // Either the closing thread sees that this one listens, or this one sees that the exchange
        // is closed.
        fence(Ordering::SeqCst);
        if !self.is_closed() {
            // SAFETY: the handle is valid while the call is counted, and the descriptor as long as
            // the exchange; this may come beside other calls.
            unsafe { (host.await_body)(self.handle.0, end) };
        }
        match self.is_closed() {
            true => Err(ReadFailure::Closed),
            false => Ok(()),
        }
    }

    /// Sends a part of the response.
    pub(crate) fn send(&self, _: &Detached, part: &Part<'_>) -> Result<(), SendFailure> {
        let (Some(_call), Some(host)) = (self.calls.enter(), HOST.get()) else {
            return Err(SendFailure::Closed);
        };
        let _turn = self.sending.take().ok_or(SendFailure::Inside)?;
        if !part.head.is_null() {
            self.begun.store(true, Ordering::Release);
        }
        // SAFETY: the handle is valid while the call is counted, and the part until we return.
        let send = || unsafe { (host.send)(self.handle.0, part) };
        match self.traffic.output.time(send) {
            Sent::OK => Ok(()),
            _ => Err(SendFailure::Gone),
        }
    }

    /// Sends a part of the response without waiting, so that the thread can keep the GIL: `None` if
    /// that cannot be done, and nothing was sent.
    pub(crate) fn try_send(
        &self,
        _: Attached<'_>,
        part: &Part<'_>,
    ) -> Option<Result<Passage, SendFailure>> {
        let try_send = HOST.get()?.try_send?;
        let _call = self.calls.enter()?;
        let turn = self.sending.try_take();
        if !matches!(turn, Whose::Free { .. }) {
            return None;
        }
        // SAFETY: the handle is valid while the call is counted, and the part until we return.
        let send = || unsafe { try_send(self.handle.0, part) };
        match self.traffic.output.time(send) {
            Sent::OK => Some(Ok(Passage::Sent)),
            Sent::PENDING => Some(Ok(Passage::Pending)),
            Sent::GONE => Some(Err(SendFailure::Gone)),
            _ => None,
        }
    }

    /// Asks the host something about the request; `None` when that is over.
    pub(crate) fn ask<R>(
        &self,
        _: &Detached,
        question: impl FnOnce(RequestHandle) -> R,
    ) -> Option<R> {
        let _call = self.calls.enter()?;
        // `None` means that this thread has the turn already, which is fine.
        let _turn = self.sending.take();
        Some(question(self.handle.0))
    }
}

fn ask_level(request: RequestHandle) -> c_int {
    // SAFETY: the request is null or a handle that its exchange keeps open.
    HOST.get()
        .map_or(0, |host| unsafe { (host.log_level)(request) })
}

fn write(request: RequestHandle, line: &LogLine<'_>) {
    if let Some(host) = HOST.get() {
        // SAFETY: the request is null or a handle that its exchange keeps open; the line lives
        // until we return.
        unsafe { (host.log)(request, line) };
    }
}
