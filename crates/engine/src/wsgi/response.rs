//! The response of one request: its head, sending it, and how it ends.
//!
//! Shared by the request's thread and by the objects that the application has got, `start_response`
//! and `write`, which it may call on any thread and keep for longer than the request.

use std::sync::{Arc, Mutex};

use engine_abi::{Bytes, FileRegion, Level, LogLine, Outcome, Part, Slice};

use super::head::Head;
use super::progress::{Progress, Stage};
use crate::activity;
use crate::host::{Exchange, Passage, SendFailure};
use crate::lock::lock;
use crate::process;
use crate::python::{Attached, Detached};

/// A response on its way.
#[derive(Debug)]
pub(super) struct Response {
    exchange: Arc<Exchange>,
    /// Whether the client asked for the head only.
    is_for_head: bool,
    /// The turn to send, so that the head is sent first. It is held while the host sends, so only
    /// detached threads may wait for it.
    turn: Mutex<()>,
    /// Never held while a thread may block.
    progress: Mutex<Progress>,
}

/// Something to send.
#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    Data(&'a [Bytes<'a>]),
    File(FileRegion),
}

/// What follows a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// More, perhaps much later, so the client must get this part now.
    More,
    /// Nothing: the response is complete.
    End,
}

/// Why a part was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsent {
    /// There is no head yet.
    #[error("start_response() must be called before the response has a body (PEP 3333)")]
    Unstarted,
    /// The request is over.
    #[error("the response cannot be written: its request is over")]
    Closed,
    /// The calling thread is sending a part of the response already.
    #[error(
        "the response cannot be written now: the calling thread is in the middle of sending a part \
         of it, which includes this request"
    )]
    Inside,
    /// The client is gone.
    #[error("mod_wsgi failed to write response data: the client closed the connection")]
    Gone,
}

/// The body has begun, so the head cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AlreadyBegun;

impl Response {
    /// The response of an exchange. `is_for_head`: the request's method is `HEAD`.
    pub(super) const fn new(exchange: Arc<Exchange>, is_for_head: bool) -> Self {
        Self {
            exchange,
            is_for_head,
            turn: Mutex::new(()),
            progress: Mutex::new(Progress::new()),
        }
    }

    /// The exchange that this is the response of.
    pub(super) const fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Sets the head, or replaces one while the body has not begun.
    pub(super) fn start(&self, head: Head) -> Result<(), AlreadyBegun> {
        let mut progress = lock(&self.progress);
        if progress.is_begun {
            return Err(AlreadyBegun);
        }
        progress.set_head(head);
        Ok(())
    }

    /// Begins the body with an empty piece: the head is not sent yet, but cannot be replaced any
    /// more.
    pub(super) fn begin(&self) {
        lock(&self.progress).is_begun = true;
    }

    /// Whether the body has begun.
    pub(super) fn is_begun(&self) -> bool {
        lock(&self.progress).is_begun
    }

    /// Whether there is a head, sent or not.
    pub(super) fn is_started(&self) -> bool {
        !matches!(lock(&self.progress).stage, Stage::Unstarted)
    }

    /// Whether the head was sent.
    pub(super) fn is_sent(&self) -> bool {
        matches!(lock(&self.progress).stage, Stage::Sent)
    }

    /// The status of the head that was given last, sent or not.
    pub(super) fn status(&self) -> Option<u16> {
        lock(&self.progress).status
    }

    /// Counts output of the application, whether it is sent or not.
    pub(super) fn offer(&self, writes: usize, size: u64) {
        self.exchange.traffic.output.count(writes, size);
    }

    /// Sends a piece of the body, and flushes it. Bytes beyond the stated length are dropped.
    pub(super) fn send(&self, py: Attached<'_>, data: &[u8]) -> Result<(), Unsent> {
        self.offer(1, data.len() as u64);
        let data = [Bytes::new(data)];
        let deliver =
            |detached: &mut Detached| self.deliver(detached, Content::Data(&data), Then::More);
        if lock(&self.progress).has_kept_gil() && others_may_want_gil() {
            return py.give_way(deliver);
        }
        self.try_send(py, &data)
            .unwrap_or_else(|| py.detach(deliver))
    }

    /// Sends a piece of the body without releasing the GIL, if that is possible without blocking.
    /// (If each piece released the GIL, all streams would take turns piece by piece.) `None` if it
    /// is not possible, and nothing was sent.
    fn try_send(&self, py: Attached<'_>, data: &[Bytes<'_>]) -> Option<Result<(), Unsent>> {
        let _turn = self.turn.try_lock().ok()?;
        let mut progress = lock(&self.progress);
        let length = Content::Data(data).length();
        let is_due = matches!(progress.stage, Stage::Sent)
            && progress.missing.is_none_or(|missing| length <= missing);
        if !is_due || self.is_for_head {
            return None;
        }
        let part = Part {
            head: std::ptr::null(),
            data: Slice::new(data),
            file: std::ptr::null(),
            flush: true,
            end: false,
        };
        let sent = self.exchange.try_send(py, &part)?;
        progress.admit(length);
        Some(match sent {
            Ok(Passage::Sent) => {
                progress.keep_gil();
                Ok(())
            }
            Ok(Passage::Pending) => {
                progress.give_gil();
                drop(progress);
                py.detach(|detached| self.flush(detached))
            }
            Err(_) => Err(Unsent::Gone),
        })
    }

    /// Waits until everything that was sent has left.
    fn flush(&self, detached: &Detached) -> Result<(), Unsent> {
        self.send_part(detached, std::ptr::null(), Content::Data(&[]), false)
    }

    /// Sends the rest of the body together with the end of the response. If that is the whole body,
    /// and the application has stated no length, states the length.
    pub(super) fn finish(&self, detached: &Detached, data: &[Bytes<'_>]) -> Outcome {
        let length = Content::Data(data).length();
        // A response to HEAD may omit a body that GET would have, so an empty body says nothing
        // about the length.
        if length > 0 {
            self.state_length(length);
        }
        let sent = self.deliver(detached, Content::Data(data), Then::End);
        self.outcome(detached, sent)
    }

    /// Sends a file as the whole body. If the application has stated no length, states that of the
    /// file.
    pub(super) fn finish_with_file(&self, detached: &Detached, region: FileRegion) -> Outcome {
        self.state_length(region.length);
        // The server writes it, not the application.
        self.offer(0, region.length);
        let sent = self.deliver(detached, Content::File(region), Then::End);
        self.outcome(detached, sent)
    }

    /// States the length of the whole body, unless the application has, or there must be no body.
    fn state_length(&self, length: u64) {
        if let Stage::Ready(head) = &mut lock(&self.progress).stage
            && head.content_length().is_none()
            && head.allows_body()
        {
            head.set_content_length(length);
        }
    }

    /// How the request ends if the application has failed. A response that has reached its stated
    /// length is complete.
    pub(super) fn fail(&self, detached: &Detached) -> Outcome {
        if !self.is_sent() {
            return Outcome::refused(500);
        }
        if lock(&self.progress).missing == Some(0) {
            return self.finish(detached, &[]);
        }
        Outcome::truncated()
    }

    /// How the request ends if it was interrupted: with 504 and an empty body. httpd's own error
    /// page for 504 speaks of an upstream server, which would confuse the client.
    pub(super) fn time_out(&self, detached: &Detached) -> Outcome {
        let Ok(head) = Head::new(b"504 Gateway Timeout") else {
            return Outcome::refused(504);
        };
        let mut progress = lock(&self.progress);
        if matches!(progress.stage, Stage::Sent) {
            drop(progress);
            return self.fail(detached);
        }
        progress.set_head(head);
        drop(progress);
        self.finish(detached, &[])
    }

    fn deliver(&self, detached: &Detached, content: Content<'_>, then: Then) -> Result<(), Unsent> {
        // Before locking: this thread may hold the lock already.
        if self.exchange.is_inside() {
            return Err(Unsent::Inside);
        }
        let _turn = lock(&self.turn);
        let mut progress = lock(&self.progress);
        progress.give_gil();
        let head = progress.take_head(self.is_for_head)?;
        let offered = content.length();
        if head.is_some() && offered == 0 && then == Then::End {
            progress.expect_nothing();
        }
        let mut admitted = progress.admit(offered);
        let end = then == Then::End && progress.owed() == 0;
        if end && progress.missing.is_some_and(|missing| missing > 0) {
            // A response to HEAD. Given a part of the body with its end, httpd would take it for
            // the whole, and state its length.
            admitted = 0;
        }
        drop(progress);
        if head.is_none() && admitted == 0 && !end {
            return Ok(());
        }
        with_head(head.as_ref(), |head| {
            if admitted == offered {
                return self.send_part(detached, head, content, end);
            }
            content.cut(admitted, |content| {
                self.send_part(detached, head, content, end)
            })
        })
    }

    fn send_part(
        &self,
        detached: &Detached,
        head: *const engine_abi::Head<'_>,
        content: Content<'_>,
        end: bool,
    ) -> Result<(), Unsent> {
        let (data, file): (&[Bytes<'_>], *const FileRegion) = match &content {
            Content::Data(data) => (data, std::ptr::null()),
            Content::File(region) if region.length > 0 => (&[], region),
            Content::File(_) => (&[], std::ptr::null()),
        };
        let part = Part {
            head,
            data: Slice::new(data),
            file,
            flush: !end,
            end,
        };
        self.exchange
            .send(detached, &part)
            .map_err(|failure| match failure {
                SendFailure::Closed => Unsent::Closed,
                SendFailure::Inside => Unsent::Inside,
                SendFailure::Gone => Unsent::Gone,
            })
    }

    /// How the request ends after its last part.
    fn outcome(&self, detached: &Detached, sent: Result<(), Unsent>) -> Outcome {
        let missing = lock(&self.progress).owed();
        match sent {
            Err(Unsent::Unstarted) => Outcome::refused(500),
            Ok(()) if missing > 0 => {
                self.report_missing(detached, missing);
                Outcome::truncated()
            }
            Ok(()) | Err(Unsent::Gone | Unsent::Closed | Unsent::Inside) => Outcome::complete(),
        }
    }

    /// Logs that the body was too short, which the client sees as a broken connection.
    fn report_missing(&self, detached: &Detached, missing: u64) {
        let text = format!(
            "the application's response is {missing} byte(s) shorter than its Content-Length \
             header states; a connection on which a client waits for the rest is closed"
        );
        self.exchange.log(
            detached,
            &LogLine {
                level: Level::Error,
                id: SHORT_BODY,
                names_script: true,
                text: Bytes::from(text.as_str()),
                file: Bytes::NONE,
                line: 0,
            },
        );
    }
}

/// Whether another thread of the host is inside Python, and so may want the GIL. Threads that the
/// application has started are not known.
fn others_may_want_gil() -> bool {
    activity::is_shared() && !process::config().free_threading
}

/// The id of the message about a body that is shorter than stated.
const SHORT_BODY: u16 = 1040;

impl Content<'_> {
    fn length(self) -> u64 {
        match self {
            Self::Data(data) => data.iter().map(|bytes| bytes.or_empty().len() as u64).sum(),
            Self::File(region) => region.length,
        }
    }

    /// Lends the first `length` bytes.
    fn cut<R>(self, length: u64, lend: impl FnOnce(Content<'_>) -> R) -> R {
        match self {
            Self::Data(data) => lend(Content::Data(&cut(data, length))),
            Self::File(region) => lend(Content::File(FileRegion { length, ..region })),
        }
    }
}

fn cut<'a>(data: &[Bytes<'a>], length: u64) -> Vec<Bytes<'a>> {
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    data.iter()
        .filter_map(|bytes| {
            let bytes = bytes.or_empty();
            let kept = bytes.get(..left).unwrap_or(bytes);
            left -= kept.len();
            (!kept.is_empty()).then(|| Bytes::new(kept))
        })
        .collect()
}

/// Lends the head, or null if there is none, as a part takes it.
fn with_head<R>(head: Option<&Head>, lend: impl FnOnce(*const engine_abi::Head<'_>) -> R) -> R {
    match head {
        Some(head) => head.lend(|head| lend(head)),
        None => lend(std::ptr::null()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_cut_across_pieces() {
        let data = [Bytes::new(b"abc"), Bytes::new(b""), Bytes::new(b"def")];
        let kept = |length| {
            let pieces = cut(&data, length);
            pieces
                .iter()
                .map(|bytes| bytes.or_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(0), Vec::<&[u8]>::new());
        assert_eq!(kept(3), [b"abc"]);
        assert_eq!(kept(4), [&b"abc"[..], b"d"]);
        assert_eq!(kept(9), [b"abc", b"def"]);
    }
}
