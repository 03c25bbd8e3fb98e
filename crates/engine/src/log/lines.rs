//! Cutting what is written to a stream into lines.

use std::borrow::Cow;
use std::mem::take;
use std::sync::{Mutex, MutexGuard};

use engine_abi::Level;

use super::log_line;
use crate::host::{self, Exchange};
use crate::lock::lock;
use crate::python::{Attached, Detached};

/// How much is kept of a line, in bytes: what shows its progress in dots may never end one. httpd
/// cuts lines much earlier.
const LONGEST_LINE: usize = 1 << 20;

/// What was written since the last newline. It stays here until a newline, a flush or the end of
/// the request.
///
/// Locked for a moment and, but for the end of a request, by attached threads: whoever forks keeps
/// these from running, so that none has the lock in the process that is forked, which may write,
/// too.
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

    /// Takes what is written, and logs the lines that it completes. Lines of several threads stay
    /// whole.
    pub(super) fn write(&self, py: Attached<'_>, text: &[u8], target: Target<'_>) {
        let lines = self.complete(text);
        if lines.is_empty() {
            return;
        }
        py.detach(|detached| {
            for line in &lines {
                target.log(detached, line);
            }
        });
    }

    /// Logs what has no newline yet.
    pub(super) fn flush(&self, py: Attached<'_>, target: Target<'_>) {
        let rest = take(&mut *self.lock());
        if !rest.is_empty() {
            py.detach(|detached| target.log(detached, &rest));
        }
    }

    /// The same, at the end of what was written.
    pub(super) fn finish(&self, detached: &Detached, target: Target<'_>) {
        let rest = take(&mut *self.lock());
        if !rest.is_empty() {
            target.log(detached, &rest);
        }
    }

    /// Takes what is written, and gives the lines that it completes.
    fn complete<'t>(&self, text: &'t [u8]) -> Vec<Cow<'t, [u8]>> {
        let mut unfinished = self.lock();
        let mut lines = Vec::new();
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                None if unfinished.len() + piece.len() > LONGEST_LINE => {
                    unfinished.extend_from_slice(piece);
                    lines.push(take(&mut *unfinished).into());
                }
                None => unfinished.extend_from_slice(piece),
                Some(line) if unfinished.is_empty() => lines.push(line.into()),
                Some(rest) => {
                    unfinished.extend_from_slice(rest);
                    lines.push(take(&mut *unfinished).into());
                }
            }
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        lock(&self.0)
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
        let unfinished = Unfinished::new();
        for _ in 0..3 * LONGEST_LINE / 1000 {
            unfinished.complete(&[b'.'; 1000]);
            assert!(unfinished.lock().len() <= LONGEST_LINE);
        }
    }

    #[test]
    fn lines_are_cut_where_they_end() {
        let unfinished = Unfinished::new();
        assert!(unfinished.complete(b"beg").is_empty());
        let lines = unfinished.complete(b"in\nwhole\n\nend");
        assert_eq!(lines, [&b"begin"[..], b"whole", b""]);
        assert_eq!(unfinished.complete(b"\n"), [&b"end"[..]]);
        assert!(unfinished.complete(b"").is_empty());
    }
}
