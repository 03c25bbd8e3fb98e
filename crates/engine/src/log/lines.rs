//! Cutting what is written to a stream into lines.

use std::mem::take;
use std::sync::{Mutex, PoisonError};

use engine_abi::Level;

use super::log_line;
use crate::host::{self, Exchange};
use crate::python::Detached;

/// How much is kept of a line, in bytes: what shows its progress in dots may never end one. httpd cuts
/// lines much earlier.
const LONGEST_LINE: usize = 1 << 20;

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
                None if unfinished.len() + piece.len() > LONGEST_LINE => {
                    unfinished.extend_from_slice(piece);
                    target.log(detached, &take(&mut *unfinished));
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_does_not_grow_for_ever() {
        // SAFETY: this thread is never attached.
        let detached = unsafe { Detached::assume() };
        let unfinished = Unfinished::new();
        for _ in 0..3 * LONGEST_LINE / 1000 {
            unfinished.write(&detached, &[b'.'; 1000], Target::Server);
            let kept = unfinished.0.lock().map(|kept| kept.len());
            assert!(kept.is_ok_and(|kept| kept <= LONGEST_LINE));
        }
    }
}
