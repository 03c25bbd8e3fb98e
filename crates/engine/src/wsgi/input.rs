//! `wsgi.input`: the body of the request as a file-like object.
//!
//! Reads run with the GIL released, directly into the `bytes` object that the application gets. Its
//! size depends on what arrives; the length that the client states is only a hint for the first
//! allocation.

use std::ffi::CStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use engine_abi::ReadError;

use super::body::Body;
use crate::host::{Exchange, ReadFailure};
use crate::python::{
    Attached, Class, Definition, Detached, Exception, Instance, Memory, Object, Owned, Raised,
    Result, UnfinishedBytes,
};

/// The largest first allocation for a body, in bytes, including one byte in which its end is
/// noticed.
const MOST_AHEAD: usize = 1024 * 1024 + 1;

/// The first allocation if the length of the body is not known, in bytes.
const LEAST_AHEAD: usize = 8 * 1024;

/// The body of a request.
pub(super) struct Input {
    exchange: Arc<Exchange>,
    /// The length that the client has stated, if it has.
    stated: Option<usize>,
    /// Locked while the host reads, so attached threads must only try to lock it.
    body: Mutex<Body>,
}

impl Class for Input {
    const NAME: &'static CStr = c"mod_wsgi.Input";
    const DOC: &'static CStr = c"The body of a request.";

    fn define(definition: Definition<Self>) -> Definition<Self> {
        definition
            .method(
                c"read",
                c"read(size=-1, /)\n--\n\nRead size bytes, fewer at the end of the body only.",
                Self::read,
            )
            .method(
                c"readline",
                c"readline(size=-1, /)\n--\n\nRead a line, but no more than size bytes of it.",
                Self::read_line,
            )
            .method(
                c"readlines",
                c"readlines(hint=-1, /)\n--\n\nRead lines, until they make up hint bytes.",
                Self::read_lines,
            )
            .plain_method(
                c"close",
                c"close()\n--\n\nDo nothing: the body belongs to the request.",
                Self::close,
            )
            .iter(Self::iter)
            .next(Self::next)
    }
}

impl Input {
    /// The body of an exchange. `stated` is its length as the client has stated it, or negative.
    pub(super) fn new(exchange: Arc<Exchange>, stated: i64) -> Self {
        Self {
            exchange,
            stated: usize::try_from(stated).ok(),
            body: Mutex::default(),
        }
    }

    fn read<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        this.check_open(py)?;
        let limit = size_argument(py, "read", arguments)?;
        if limit == Some(0) {
            let input: &Self = this;
            let begun = py.detach(|detached| input.begin(detached));
            begun.map_err(|failure| raise(py, failure))?;
            return py.bytes(b"");
        }
        this.read_up_to(py, limit.unwrap_or(usize::MAX))
    }

    fn read_line<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        this.check_open(this.py())?;
        let limit = size_argument(this.py(), "readline", arguments)?;
        this.line(this.py(), limit.unwrap_or(usize::MAX))
    }

    fn read_lines<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        this.check_open(py)?;
        let hint = size_argument(py, "readlines", arguments)?.filter(|&hint| hint > 0);
        let lines = py.list(&[])?;
        let mut total = 0;
        while hint.is_none_or(|hint| total < hint) {
            let line = this.line(py, usize::MAX)?;
            match line.as_bytes().unwrap_or_default().len() {
                0 => break,
                length => total += length,
            }
            this.or_give_up(py, lines.append(&line))?;
        }
        Ok(lines)
    }

    fn close<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        this.check_open(this.py())?;
        Ok(this.py().none().owned())
    }

    fn iter<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        this.check_open(this.py())?;
        Ok(this.as_object().owned())
    }

    fn next<'py>(this: &Instance<'py, Self>) -> Result<'py, Option<Owned<'py>>> {
        this.check_open(this.py())?;
        let line = this.line(this.py(), usize::MAX)?;
        let is_end = line.as_bytes().is_none_or(<[u8]>::is_empty);
        Ok((!is_end).then_some(line))
    }

    fn check_open<'py>(&self, py: Attached<'py>) -> Result<'py, ()> {
        if self.exchange.is_closed() {
            return Err(raise(py, ReadFailure::Closed));
        }
        // Before locking: this thread may hold the lock already.
        if self.exchange.is_inside() {
            return Err(raise(py, ReadFailure::Inside));
        }
        Ok(())
    }

    fn read_up_to<'py>(&self, py: Attached<'py>, limit: usize) -> Result<'py, Owned<'py>> {
        if self.is_exhausted() {
            return py.bytes(b"");
        }
        let whole = self
            .stated
            .map_or(LEAST_AHEAD, |length| length.saturating_add(1));
        let mut size = limit.min(whole.clamp(LEAST_AHEAD, MOST_AHEAD));
        let mut bytes = UnfinishedBytes::new(py, size)?;
        loop {
            let memory = bytes.memory();
            let is_end = py
                .detach(|detached| self.fill(detached, memory))
                .map_err(|failure| raise(py, failure))?;
            if is_end || size == limit {
                return self.or_give_up(py, bytes.finish());
            }
            let doubled = size.saturating_mul(2);
            let next = if size < whole {
                doubled.min(whole)
            } else {
                doubled
            };
            size = limit.min(next);
            self.or_give_up(py, bytes.resize(size))?;
        }
    }

    /// If an allocation failed, the data that was read is lost. Then the rest of the body fails as
    /// well, since the application would get it with a gap.
    fn or_give_up<'py, R>(&self, py: Attached<'py>, kept: Result<'py, R>) -> Result<'py, R> {
        kept.inspect_err(|_| {
            py.detach(|detached| self.body(detached).give_up());
        })
    }

    fn line<'py>(&self, py: Attached<'py>, limit: usize) -> Result<'py, Owned<'py>> {
        loop {
            // Usually the line is buffered. If another thread is reading, `find_line` below waits.
            if let Some(line) = self.buffered_line(py, limit) {
                return line;
            }
            py.detach(|detached| self.find_line(detached, limit))
                .map_err(|failure| raise(py, failure))?;
        }
    }

    fn buffered_line<'py>(
        &self,
        py: Attached<'py>,
        limit: usize,
    ) -> Option<Result<'py, Owned<'py>>> {
        let mut body = self.try_body()?;
        let length = body.line_length(limit)?;
        let line = py.bytes(body.take_line(length));
        match &line {
            Ok(_) => self.count(length),
            Err(_) => body.give_up(),
        }
        Some(line)
    }

    /// Counts bytes that the application gets. Bytes that are read ahead to find the end of a line
    /// do not count, since it may never ask for them.
    fn count(&self, bytes: usize) {
        self.exchange.traffic.input.count(0, bytes as u64);
    }

    fn is_exhausted(&self) -> bool {
        self.try_body().is_some_and(|body| body.is_exhausted())
    }

    fn begin(&self, detached: &Detached) -> std::result::Result<(), ReadFailure> {
        self.body(detached)
            .begin(&mut |room: &mut [u8]| self.exchange.read(detached, room))
    }

    fn find_line(&self, detached: &Detached, limit: usize) -> std::result::Result<(), ReadFailure> {
        self.body(detached)
            .find_line(limit, &mut |room: &mut [u8]| {
                self.exchange.read(detached, room)
            })
    }

    /// Fills the memory. Returns whether the end of the body came first.
    fn fill(
        &self,
        detached: &Detached,
        memory: &mut Memory,
    ) -> std::result::Result<bool, ReadFailure> {
        let mut body = self.body(detached);
        loop {
            let room = memory.room();
            let size = room.len();
            if size == 0 {
                return Ok(false);
            }
            let mut source = |room: &mut [u8]| self.exchange.read(detached, room);
            let filled = body.fill(room, &mut source)?;
            memory.keep(filled);
            self.count(filled);
            if filled < size {
                return Ok(true);
            }
        }
    }

    fn body(&self, _: &Detached) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(after_panic)
    }

    fn try_body(&self) -> Option<MutexGuard<'_, Body>> {
        match self.body.try_lock() {
            Ok(body) => Some(body),
            Err(TryLockError::Poisoned(body)) => Some(after_panic(body)),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The body after a panic during a read, which may have lost a part: reads fail from now on.
fn after_panic(body: PoisonError<MutexGuard<'_, Body>>) -> MutexGuard<'_, Body> {
    let mut body = body.into_inner();
    body.give_up();
    body
}

/// The optional argument of the reading methods; `None` is no limit.
fn size_argument<'py>(
    py: Attached<'py>,
    method: &str,
    arguments: &[&Object<'py>],
) -> Result<'py, Option<usize>> {
    match arguments {
        [] => Ok(None),
        [size] if size.is_none() => Ok(None),
        [size] => Ok(usize::try_from(size.to_size()?).ok()),
        _ => {
            let count = arguments.len();
            let message = format!("{method}() takes at most 1 argument ({count} given)");
            Err(Raised::type_error(py, &message))
        }
    }
}

/// The exception for a failed read: a kind of `OSError`, which frameworks understand, unless the
/// application itself is at fault or there is no memory.
fn raise(py: Attached<'_>, failure: ReadFailure) -> Raised<'_> {
    let (exception, cause) = match failure {
        ReadFailure::Closed => {
            let message = "wsgi.input cannot be used any more: its request is over";
            return Raised::runtime_error(py, message);
        }
        ReadFailure::Inside => {
            let message = "wsgi.input cannot be read now: the calling thread is in the middle of \
                sending the response of that request, which includes this one";
            return Raised::runtime_error(py, message);
        }
        ReadFailure::NoMemory => (Exception::MemoryError, "there is no memory for the body"),
        ReadFailure::Lost => (
            Exception::OsError,
            "an earlier read failed, and a part of the body is lost with it",
        ),
        ReadFailure::Host(ReadError::Disconnected) => (
            Exception::ConnectionResetError,
            "the client closed the connection before it had sent the whole body",
        ),
        ReadFailure::Host(ReadError::Abandoned) => (
            Exception::ConnectionResetError,
            "httpd has ended the connection before it had passed on the whole body: the client is gone, \
            or that process of httpd is",
        ),
        ReadFailure::Host(ReadError::TimedOut) => (
            Exception::TimeoutError,
            "the client sent nothing for longer than the server waits (Timeout)",
        ),
        ReadFailure::Host(ReadError::TooLarge) => (
            Exception::OsError,
            "the body is larger than LimitRequestBody allows",
        ),
        ReadFailure::Host(ReadError::Malformed) => (
            Exception::OsError,
            "the body is malformed, or an input filter refused it",
        ),
    };
    let message = format!("mod_wsgi request data read error: {cause}");
    Raised::new(py, exception, &message)
}
