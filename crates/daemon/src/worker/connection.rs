//! A child's connection: whole frames in, bytes and descriptors out.
//!
//! The socket is non-blocking. To wait, a thread polls, for as long as `socket-timeout` allows.

use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use wire::{Decoder, OwnedFrame, RequestNumber, ToWorker};

use super::connection_window::ConnectionWindow;
use super::fork::Unshared;
use super::own_slot::Ticket;

/// How much longer than `socket-timeout` this end waits. The child waits for its client for
/// `socket-timeout` and then reports that here; this end must still be waiting then.
const MARGIN: Duration = Duration::from_secs(5);

/// How long to wait for a request that must be about to arrive.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Why a connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The child closed it, or broke the protocol.
    Closed,
    /// The child neither took nor sent anything for too long.
    TimedOut,
}

/// A connection that was accepted from a child.
#[derive(Debug)]
pub(super) struct Connection {
    /// Declared before the line, and so dropped before the descriptor is closed.
    _unshared: Unshared,
    line: Line,
    decoder: Decoder,
    /// Where large data of its responses goes.
    pub(super) window: ConnectionWindow,
    /// The number of its last request with the secret of the group; 0 before there was one.
    pub(super) last: RequestNumber,
    /// Whether the threads' epoll knows it.
    pub(super) is_watched: bool,
    /// The ticket with which the child reserves places.
    ticket: Ticket,
}

/// The sending direction of a connection. One thread at a time sends over it, while another may
/// receive.
#[derive(Clone, Debug)]
pub(super) struct Line {
    stream: Arc<UnixStream>,
    timeout: PollTimeout,
}

impl Connection {
    /// Takes over a stream, which must be non-blocking. `timeout` is `socket-timeout`.
    pub(super) fn new(stream: UnixStream, timeout: Option<Duration>, ticket: Ticket) -> Self {
        let timeout = timeout.map_or(PollTimeout::NONE, |time| {
            let time = time.saturating_add(MARGIN);
            time.try_into().unwrap_or(PollTimeout::MAX)
        });
        Self {
            _unshared: Unshared::mark(stream.as_fd()),
            line: Line {
                stream: Arc::new(stream),
                timeout,
            },
            decoder: Decoder::new(),
            window: ConnectionWindow::default(),
            last: 0,
            is_watched: false,
            ticket,
        }
    }

    /// The next frame, if it has arrived.
    pub(super) fn ready_frame(&mut self) -> Result<Option<OwnedFrame>, Broken> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Some(frame));
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    /// Waits for the next frame.
    pub(super) fn next_frame(&mut self) -> Result<OwnedFrame, Broken> {
        loop {
            if let Some(frame) = self.ready_frame()? {
                return Ok(frame);
            }
            self.line.wait(PollFlags::POLLIN)?;
        }
    }

    /// Waits for more if a request must be about to arrive: a child that has just connected sends
    /// one, and one that has sent half a frame sends the rest. If this thread served another
    /// connection meanwhile, the request would wait although other threads are free. Returns
    /// whether something came before `deadline`.
    pub(super) fn expects_more(&self, deadline: Instant) -> bool {
        let is_due = self.last == 0 || self.decoder.has_bytes();
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = left.try_into().unwrap_or(PollTimeout::ZERO);
        is_due && !left.is_zero() && self.line.wait_for(PollFlags::POLLIN, patience).is_ok()
    }

    /// How long to wait for a frame; `None` is for ever.
    pub(super) fn patience(&self) -> Option<Duration> {
        let millis = self.line.timeout.as_millis()?;
        Some(Duration::from_millis(millis.into()))
    }

    /// Sends all of `bytes`; waits until they are taken.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.line.write(bytes)
    }

    /// The sending direction.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// The socket, for a thread that sends in the place of the connection's owner.
    pub(super) fn stream(&self) -> &Arc<UnixStream> {
        &self.line.stream
    }

    /// The ticket with which the child reserves places for requests on this connection.
    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Frees memory that a large request needed.
    pub(super) fn rest(&mut self) {
        self.decoder.shrink();
    }

    /// The next frame, if it has been received already.
    pub(super) fn buffered_frame(&mut self) -> Result<Option<OwnedFrame>, Broken> {
        self.decoder
            .take::<ToWorker<'_>>()
            .map_err(|_| Broken::Closed)
    }

    /// Reads what has arrived. Returns whether anything had.
    fn receive(&mut self) -> Result<bool, Broken> {
        match (&*self.line.stream).read(self.decoder.room()) {
            Ok(0) => Err(Broken::Closed),
            Ok(count) => {
                self.decoder.filled(count);
                Ok(true)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(_) => Err(Broken::Closed),
        }
    }
}

impl Line {
    /// Sends all of `bytes`; waits until they are taken.
    pub(super) fn write(&self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match self.try_write(&[IoSlice::new(bytes)])? {
                Some(count) => bytes = bytes.get(count..).unwrap_or_default(),
                None => self.wait_to_send()?,
            }
        }
        Ok(())
    }

    /// Sends as much of these bytes as the socket takes at once, and returns how much; `None` if
    /// nothing.
    pub(super) fn try_write(&self, parts: &[IoSlice<'_>]) -> Result<Option<usize>, Broken> {
        try_write(&self.stream, parts)
    }

    /// The socket, for a thread that sends in the place of the connection's owner.
    pub(super) fn stream(&self) -> &Arc<UnixStream> {
        &self.stream
    }

    /// Waits until something can be sent.
    pub(super) fn wait_to_send(&self) -> Result<(), Broken> {
        self.wait(PollFlags::POLLOUT)
    }

    /// Whether something can be sent now.
    pub(super) fn takes_more(&self) -> bool {
        self.is_now(PollFlags::POLLOUT)
    }

    /// Whether the child has closed its direction of the connection: it sends no more.
    pub(super) fn is_half_closed(&self) -> bool {
        // A flag that nix does not define.
        self.is_now(PollFlags::from_bits_retain(libc::POLLRDHUP))
    }

    /// Whether the socket is in this state now. An interrupted call counts as no.
    fn is_now(&self, what: PollFlags) -> bool {
        let mut socket = [PollFd::new(self.stream.as_fd(), what)];
        poll(&mut socket, PollTimeout::ZERO) == Ok(1)
    }

    /// Waits until something can be sent, but no longer than this.
    pub(super) fn wait_to_send_for(&self, patience: Duration) -> Result<(), Broken> {
        let timeout = patience.try_into().unwrap_or(PollTimeout::MAX);
        match self.wait_for(PollFlags::POLLOUT, timeout) {
            Err(Broken::TimedOut) => Ok(()),
            result => result,
        }
    }

    /// Sends all of `bytes`, and a descriptor along with the first part.
    pub(super) fn write_with(&self, bytes: &[u8], descriptor: RawFd) -> Result<(), Broken> {
        let sent = loop {
            let rights = [descriptor];
            let control = [ControlMessage::ScmRights(&rights)];
            let flags = MsgFlags::MSG_NOSIGNAL;
            let fd = self.stream.as_raw_fd();
            match sendmsg::<()>(fd, &[IoSlice::new(bytes)], &control, flags, None) {
                Ok(count) => break count,
                Err(Errno::EAGAIN | Errno::EINTR) => self.wait_to_send()?,
                Err(_) => return Err(Broken::Closed),
            }
        };
        self.write(bytes.get(sent..).unwrap_or_default())
    }

    /// Waits until something may have arrived, or `other` is readable, but no longer than
    /// `patience`.
    pub(super) fn wait_beside(&self, other: Option<BorrowedFd<'_>>, patience: Duration) {
        let sources = std::iter::once(self.stream.as_fd()).chain(other);
        let mut sources: Vec<_> = sources
            .map(|source| PollFd::new(source, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // The next read reports errors.
        let _ = poll(&mut sources, timeout);
    }

    fn wait(&self, what: PollFlags) -> Result<(), Broken> {
        self.wait_for(what, self.timeout)
    }

    fn wait_for(&self, what: PollFlags, timeout: PollTimeout) -> Result<(), Broken> {
        let mut sockets = [PollFd::new(self.stream.as_fd(), what)];
        match poll(&mut sockets, timeout) {
            Ok(0) => Err(Broken::TimedOut),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(_) => Err(Broken::Closed),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.stream.as_fd()
    }
}

/// Sends as much of these bytes as the socket takes at once, and returns how much; `None` if
/// nothing.
pub(super) fn try_write(
    mut stream: &UnixStream,
    parts: &[IoSlice<'_>],
) -> Result<Option<usize>, Broken> {
    match stream.write_vectored(parts) {
        Ok(count) => Ok(Some(count)),
        Err(error) if is_transient(&error) => Ok(None),
        Err(_) => Err(Broken::Closed),
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::thread::JoinHandleExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sys::pthread::pthread_kill;
    use nix::sys::signal::{SigHandler, Signal, signal};

    use super::*;

    extern "C" fn ignore(_: libc::c_int) {}

    #[test]
    fn a_signal_is_no_half_closed_connection() {
        // SAFETY: the handler does nothing.
        unsafe { signal(Signal::SIGWINCH, SigHandler::Handler(ignore)) }.unwrap();
        let (stream, child) = UnixStream::pair().unwrap();
        let line = Line {
            stream: Arc::new(stream),
            timeout: PollTimeout::NONE,
        };
        let looking = line.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let looks = std::thread::spawn(move || {
            let mut was_closed = false;
            while !over.load(Ordering::Relaxed) {
                was_closed |= looking.is_half_closed();
            }
            was_closed
        });
        for _ in 0..50_000 {
            pthread_kill(looks.as_pthread_t(), Signal::SIGWINCH).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(!looks.join().unwrap());
        child.shutdown(Shutdown::Write).unwrap();
        assert!(line.is_half_closed());
    }
}
