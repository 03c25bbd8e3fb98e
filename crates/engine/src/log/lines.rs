//! Cutting what is written to a stream into lines.

use std::mem::take;
use std::sync::{Mutex, PoisonError};

use engine_abi::Level;

use super::log_line;
use crate::host::{self, Exchange};
use crate::python::Detached;

/// What was written since the last newline. It stays here until a newline, a flush or the end of
/// the request.
#[derive(Debug)]
pub(crate) struct Unfinished(Mutex<Vec<u8>>);

/// Where the lines of a stream go.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// The log of a request; the lines name its script.
    Request(&'a Exchange),
    /// The server's log.
    Server,
}

impl Unfinished {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Takes what is written, and logs the lines that it completes. The lock is held meanwhile, so
    /// that the lines of several threads stay whole and in order.
    pub(super) fn write(&self, detached: &Detached, text: &[u8], target: Target<'_>) {
        let mut unfinished = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                None => unfinished.extend_from_slice(piece),
                Some(line) if unfinished.is_empty() => target.log(detached, line),
                Some(rest) => {
                    unfinished.extend_from_slice(rest);
                    target.log(detached, &take(&mut *unfinished));
                }
            }
        }
    }

    /// Logs what has no newline yet.
    pub(super) fn flush(&self, detached: &Detached, target: Target<'_>) {
        let mut unfinished = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !unfinished.is_empty() {
            target.log(detached, &take(&mut *unfinished));
        }
    }
}

impl Target<'_> {
    fn log(self, detached: &Detached, line: &[u8]) {
        match self {
            Self::Request(exchange) => {
                exchange.log(detached, &log_line(Level::Error, 0, true, line));
            }
            Self::Server => host::log(detached, &log_line(Level::Error, 0, false, line)),
        }
    }
}
