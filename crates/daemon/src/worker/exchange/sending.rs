//! The sending half of an exchange: the response.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use control::{Inbox, Window};
use engine_abi::{Outcome, Part};
use wire::{End, FileRegion, MAX_DATA, Rejection, RequestNumber, ResponseHead, ToChild};

use super::client::Client;
use crate::worker::connection::{Broken, Connection, Line};
use crate::worker::connection_window::ConnectionWindow;
use crate::worker::flusher::{Flusher, Loan};
use crate::worker::fork::Unshared;
use crate::worker::outbox::Outbox;

/// The sending half.
pub(super) struct Sending<'c> {
    line: Line,
    /// The client that gets the response.
    client: Client,
    /// Frames that are still to be sent.
    pub(super) out: Outbox,
    /// Sends what a slow child has not taken while the application goes on.
    flusher: &'c Flusher,
    /// The loan of frames that the flusher sends while the application goes on.
    lent: Option<Loan>,
    /// The window for large data.
    window: ConnectionWindow,
    /// Whether the body of this request could have used a window: one is made for the next.
    wants_window: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        // After a panic nobody else would take the loan back, and it would keep the connection
        // open.
        let _ = self.take_back();
    }
}

/// Appends the frame that tells how a request ended.
pub(super) fn encode_outcome(out: &mut Vec<u8>, number: RequestNumber, outcome: Outcome) {
    match outcome.kind {
        Outcome::COMPLETE => ToChild::encode_end(out, number, End::Complete),
        Outcome::REFUSED => ToChild::encode_end(out, number, End::Refused(outcome.status)),
        Outcome::TRUNCATED => ToChild::encode_end(out, number, End::Truncated),
        Outcome::STALE => ToChild::encode_rejected(out, number, Rejection::ScriptChanged),
        Outcome::ENDING => ToChild::encode_rejected(out, number, Rejection::Draining),
        // There is no other kind. If there were, the response would not be complete.
        _ => ToChild::encode_end(out, number, End::Refused(500)),
    }
}

impl<'c> Sending<'c> {
    /// The sending half for a request whose body has this length.
    pub(super) fn new(
        connection: &Connection,
        flusher: &'c Flusher,
        content_length: Option<u64>,
        window: ConnectionWindow,
    ) -> Self {
        Self {
            line: connection.line().clone(),
            client: Client::default(),
            out: flusher.outbox(),
            flusher,
            lent: None,
            window,
            wants_window: is_large(content_length),
        }
    }

    /// Ends the half. Returns the window, and the frames that were not sent.
    pub(super) fn end(mut self) -> (ConnectionWindow, Outbox) {
        (std::mem::take(&mut self.window), self.out.take())
    }

    /// Takes back what was lent and not sent, so that further frames are sent after it.
    pub(super) fn take_back(&mut self) -> Result<(), Broken> {
        if let Some(loan) = self.lent.take() {
            self.out = self.flusher.give_back(&loan)?;
        }
        Ok(())
    }

    /// Lends frames that the child did not take to the flusher, which sends them while the
    /// application goes on.
    pub(super) fn lend(&mut self) -> Result<(), Broken> {
        if self.out.is_kept() {
            self.lent = self.flusher.lend(self.line.stream(), &mut self.out);
            if self.lent.is_none() {
                return self.out.flush_all(&self.line);
            }
        }
        Ok(())
    }

    /// Whether the client is gone. To be called after the beginning of the response.
    pub(super) fn has_lost_client(&mut self) -> bool {
        self.client.is_gone(&self.line)
    }

    /// Whether the client is known to be gone, without checking.
    pub(super) fn is_client_lost(&self) -> bool {
        self.client.is_known_gone()
    }

    /// Sends what was collected, or keeps it if the child is slow.
    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        self.out.flush(&self.line)
    }

    /// Sends a part of the response, or collects it to be sent with others.
    pub(super) fn part(&mut self, number: RequestNumber, part: &Part<'_>) -> Result<(), Broken> {
        if std::mem::take(&mut self.wants_window) {
            self.open_window(number)?;
        }
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
            let rest = self.place(number, data.or_empty(), part.end)?;
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

    /// Makes a window, if there is none and its descriptor can be sent at once.
    fn open_window(&mut self, number: RequestNumber) -> Result<(), Broken> {
        let is_free = self.flusher.has_windows() && self.window.is_missing() && !self.out.is_kept();
        // The descriptor must come after all earlier frames.
        if !is_free || !self.out.send_some(self.line.stream())? || !self.line.takes_more() {
            return Ok(());
        }
        if let Some(descriptor) = self.window.open() {
            let _unshared = Unshared::mark(descriptor.as_fd());
            let mut frame = Vec::new();
            ToChild::encode_window(&mut frame, number);
            self.line.write_with(&frame, descriptor.as_raw_fd())?;
        }
        Ok(())
    }

    /// Puts large data into the window, which is made if there is none. Returns the rest, which is
    /// to be sent.
    fn place<'d>(
        &mut self,
        number: RequestNumber,
        data: &'d [u8],
        is_end: bool,
    ) -> Result<&'d [u8], Broken> {
        if data.len() >= Window::LARGE {
            self.open_window(number)?;
        }
        let rest = self.place_if_open(number, data);
        // So the child can work on it while the application goes on. But not at the end: httpd
        // serves ranges only of a body that comes together with its end.
        if !is_end && data.len() - rest.len() >= MAX_DATA {
            self.flush()?;
        }
        Ok(rest)
    }

    /// Puts large data into the window, if there is one. Returns the rest, which is to be sent.
    fn place_if_open<'d>(&mut self, number: RequestNumber, data: &'d [u8]) -> &'d [u8] {
        if data.len() < Window::LARGE {
            return data;
        }
        let Some((place, rest)) = self.window.place(data, self.flusher) else {
            return data;
        };
        ToChild::encode_placed(self.out.frames(), number, place);
        rest
    }

    /// Sends as much of a piece of the body as the child takes at once. Returns whether that is all
    /// of it; `None` if other frames must be sent first, so that nothing was sent.
    pub(super) fn try_piece(
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

    /// Sends a file's descriptor, with the frame that names its region.
    fn file(&mut self, number: RequestNumber, file: &engine_abi::FileRegion) -> Result<(), Broken> {
        // A descriptor arrives with the bytes that it is sent with, so earlier frames must be sent
        // first.
        self.out.flush_all(&self.line)?;
        let region = FileRegion {
            offset: file.offset,
            length: file.length,
        };
        let mut frame = Vec::new();
        ToChild::encode_file(&mut frame, number, region);
        // SAFETY: under the rules of the ABI, the engine keeps the descriptor open until this call
        // returns.
        let descriptor = unsafe { BorrowedFd::borrow_raw(file.fd) };
        let own = file.reopened();
        let sent = own
            .as_ref()
            .map_or(descriptor.as_raw_fd(), |own| own.as_raw_fd());
        self.line.write_with(&frame, sent)
    }
}

/// Whether a body of this length goes into a window, if there is one.
fn is_large(length: Option<u64>) -> bool {
    let length = length.and_then(|length| usize::try_from(length).ok());
    length.is_some_and(|length| (Window::LARGE..=Inbox::SIZE).contains(&length))
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
