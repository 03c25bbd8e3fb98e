//! The receiving half of an exchange: the body of the request.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use control::Inbox;
use engine_abi::ReadError;
use wire::{BodyError, OwnedFrame, ToChild, ToWorker};

use super::Exchange;
use crate::worker::connection::{Broken, Connection};
use crate::worker::connection_window::ConnectionWindow;
use crate::worker::{fork, lock};

/// The longest body that a child sends as a whole, in bytes; one more piece is tolerated.
const LARGEST_WHOLE: usize = 1 << 20;

/// How long a thread that the application has started waits for the body at a time. The end of the
/// request may not wake it.
const GLANCE: Duration = Duration::from_secs(1);

/// The receiving half.
pub(super) struct Receiving<'c> {
    connection: &'c mut Connection,
    body: Body,
    /// Since when a thread that the application has started waits for more of the body.
    silent_since: Option<Instant>,
}

impl<'c> Receiving<'c> {
    pub(super) fn new(connection: &'c mut Connection, body: Body) -> Self {
        Self {
            connection,
            body,
            silent_since: None,
        }
    }

    /// Ends the half, and gives the window back to the connection.
    pub(super) fn end(self, window: ConnectionWindow) {
        self.connection.window = window;
    }
}

/// The state of the request's body.
pub(super) enum Body {
    /// The child keeps it back until it is asked for.
    Withheld,
    /// It is coming.
    Coming,
    /// A piece was received, and has been read up to this offset.
    Piece(Piece, usize),
    /// The last piece was received, and has been read up to this offset; the result is what follows
    /// it.
    Last(Piece, usize, Result<(), ReadError>),
    /// All of it was received.
    Ended,
    /// It cannot be completed.
    Failed(ReadError),
}

impl Body {
    /// Whether the rest of it lies in the window.
    fn is_placed(&self) -> bool {
        matches!(
            self,
            Self::Piece(Piece::Placed(..), _) | Self::Last(Piece::Placed(..), ..)
        )
    }
}

/// A piece of the body.
pub(super) enum Piece {
    /// It came in a frame.
    Sent(Vec<u8>),
    /// It lies in the window and has this length.
    Placed(Inbox, usize),
}

impl Piece {
    /// Copies as much as fits into `buffer`, from `start` on, and advances `start`. Returns how
    /// much.
    fn take(&self, start: &mut usize, buffer: &mut [u8]) -> usize {
        let count = match self {
            Self::Sent(data) => {
                let rest = data.get(*start..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                let (now, _) = rest.split_at(count);
                let place = buffer.get_mut(..count).unwrap_or_default();
                place.copy_from_slice(now);
                count
            }
            Self::Placed(inbox, length) => {
                let count = length.saturating_sub(*start).min(buffer.len());
                let place = buffer.get_mut(..count).unwrap_or_default();
                inbox.read(*start, place)
            }
        };
        *start += count;
        count
    }
}

impl<'c> Exchange<'c> {
    /// Receives the body of a request that was sent as a whole. The request is not run before that:
    /// if the connection is reset earlier, the child relies on this and sends the request to
    /// another worker. Returns whether the body came.
    pub(in crate::worker) fn gather(&self) -> bool {
        let mut receiving = lock(&self.receiving);
        let mut whole = Piece::Sent(Vec::new());
        let end = loop {
            let next = self.next_piece(&mut receiving);
            whole = match (next, whole) {
                (Body::Piece(piece, _), Piece::Sent(data)) if data.is_empty() => piece,
                (Body::Piece(Piece::Sent(more), _), Piece::Sent(mut data))
                    if data.len() <= LARGEST_WHOLE =>
                {
                    data.extend(more);
                    Piece::Sent(data)
                }
                (Body::Ended, all) => {
                    whole = all;
                    break Ok(());
                }
                (Body::Failed(ReadError::Abandoned), _) => return false,
                (Body::Failed(error), all) if !self.is_broken() => {
                    whole = all;
                    break Err(error);
                }
                _ => return false,
            };
        };
        receiving.body = Body::Last(whole, 0, end);
        true
    }

    /// Reads some of the body. `None` if nothing has arrived and the calling thread is not the one
    /// that serves the request: such a thread must wait outside of this, so that the request can
    /// end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let mut receiving = lock(&self.receiving);
        if let Body::Withheld = receiving.body {
            receiving.body = Body::Coming;
            self.send_in_passing(|queue| ToChild::encode_want_body(queue, self.number));
        }
        self.send_collected();
        if buffer.is_empty() {
            return Ok(Some(0));
        }
        if receiving.body.is_placed() && fork::is_forked() {
            // The worker may have ended the request, and the body of another lie there.
            return Err(ReadError::Disconnected);
        }
        let is_its_own = std::thread::current().id() == self.thread;
        loop {
            match &mut receiving.body {
                Body::Piece(piece, start) => match piece.take(start, buffer) {
                    0 => receiving.body = Body::Coming,
                    count => return Ok(Some(count)),
                },
                Body::Last(piece, start, end) => {
                    return match piece.take(start, buffer) {
                        0 => end.map(|()| Some(0)),
                        count => Ok(Some(count)),
                    };
                }
                Body::Ended => return Ok(Some(0)),
                Body::Failed(error) => return Err(*error),
                Body::Withheld | Body::Coming if is_its_own => {
                    receiving.body = self.next_piece(&mut receiving);
                }
                Body::Withheld | Body::Coming => match self.piece_if_here(&mut receiving) {
                    Some(body) => receiving.body = body,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Waits until there may be more of the body, or `end` is readable, but no longer than
    /// [`GLANCE`].
    pub(super) fn await_body(&self, end: Option<BorrowedFd<'_>>) {
        let line = lock(&self.receiving).connection.line().clone();
        line.wait_beside(end, GLANCE);
    }

    /// Sends the output that was collected, before the thread waits for the body. If another thread
    /// is sending, that one does it.
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

    /// The next frame of the body, if it has arrived.
    fn piece_if_here(&self, receiving: &mut Receiving<'c>) -> Option<Body> {
        let frame = match receiving.connection.ready_frame() {
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
                // The payload of such a frame is the data.
                Ok(ToWorker::Body(_)) => Body::Piece(Piece::Sent(frame.into_payload()), 0),
                Ok(ToWorker::BodyPlaced(length)) => self.placed_piece(length),
                Ok(ToWorker::BodyEnd) => Body::Ended,
                Ok(ToWorker::BodyError(error)) => Body::Failed(read_error(error)),
                Ok(ToWorker::Request(_)) | Err(_) => self.broken_body(ReadError::Malformed),
            },
            Ok(_) => self.broken_body(ReadError::Malformed),
            Err(Broken::TimedOut) => self.broken_body(ReadError::TimedOut),
            // The child may still read log lines. If it does not, the next write fails.
            Err(Broken::Closed) => Body::Failed(ReadError::Abandoned),
        }
    }

    /// The body lies in the window.
    fn placed_piece(&self, length: u32) -> Body {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match &self.inbox {
            Some(inbox) if length <= Inbox::SIZE => {
                Body::Piece(Piece::Placed(inbox.clone(), length), 0)
            }
            _ => self.broken_body(ReadError::Malformed),
        }
    }

    fn broken_body(&self, error: ReadError) -> Body {
        self.broken.store(true, Ordering::Relaxed);
        Body::Failed(error)
    }
}

fn read_error(error: BodyError) -> ReadError {
    match error {
        BodyError::Disconnected => ReadError::Disconnected,
        BodyError::TimedOut => ReadError::TimedOut,
        BodyError::TooLarge => ReadError::TooLarge,
        BodyError::Malformed => ReadError::Malformed,
    }
}
