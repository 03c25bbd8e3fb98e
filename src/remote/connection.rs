//! A child's connection to a worker: bytes out, frames and descriptors in.
//!
//! The socket is blocking, with the group's `socket-timeout`. Calls that must not wait ask for that
//! one by one.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Placed, View, Window};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, send,
    setsockopt, shutdown, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use wire::{Decoder, Greeting, PeerError, Place, RequestNumber, ToChild};

/// How many descriptors may wait for their frames. A worker sends one with a file, of which a
/// response has at most one, and one with its window.
const MAX_DESCRIPTORS: usize = 4;

/// Why a connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Broken {
    /// The worker closed it after it had read all that was sent.
    #[error("the worker closed the connection")]
    Closed,
    /// It was closed, by a worker or before a worker accepted it, with data unread.
    #[error("the connection was reset before all was read")]
    Reset,
    /// The worker neither took nor sent anything for too long.
    #[error("the worker did not answer in time")]
    TimedOut,
    /// The same, before the worker had read the head of the request.
    #[error("the worker did not take the head of the request in time")]
    NotTaken,
    /// The worker broke the protocol.
    #[error("the worker does not keep to the protocol: {0}")]
    Protocol(#[from] PeerError),
    /// The worker sent a frame that is not allowed, or not at this time.
    #[error("the worker does not keep to the protocol: {0}")]
    OutOfPlace(&'static str),
    /// The system failed.
    #[error("the connection failed: {0}")]
    System(Errno),
}

impl From<Errno> for Broken {
    fn from(error: Errno) -> Self {
        match error {
            Errno::EPIPE | Errno::ECONNRESET => Self::Reset,
            Errno::EAGAIN => Self::TimedOut,
            error => Self::System(error),
        }
    }
}

/// Why there is no connection to a worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoConnection {
    /// The system gives this process no socket.
    NoSocket(Errno),
    /// The system refuses the connection, or it leads to the wrong user.
    Refused(Errno),
}

impl From<Errno> for NoConnection {
    fn from(error: Errno) -> Self {
        Self::Refused(error)
    }
}

/// A connection to a worker.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
    /// Whether a descriptor was lost, because this process may open no more files.
    is_short: bool,
    /// The window for large data, if the worker has made one.
    window: Option<Arc<View>>,
    timeout: Duration,
    /// The greeting of the worker, once it has come.
    pub(super) worker: Option<Greeting>,
    /// Since when an incomplete frame is being received.
    incomplete: Option<Instant>,
    /// Whether a place in the table is reserved for the request on it.
    pub(super) has_place: bool,
    /// The number of the last request.
    number: RequestNumber,
}

impl Connection {
    /// Connects to the socket of a group, which must belong to `owner`. Waits up to `patience` if
    /// the backlog is full; without `patience` for a moment only.
    pub(super) fn open(
        path: &Path,
        owner: u32,
        patience: Option<Duration>,
        timeout: Duration,
    ) -> Result<Self, NoConnection> {
        let socket = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        );
        let socket = socket.map_err(NoConnection::NoSocket)?;
        // To the system, no time at all is for ever.
        let patience = patience.unwrap_or(Duration::from_millis(1));
        setsockopt(&socket, sockopt::SendTimeout, &time_value(patience))?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        let listener = getsockopt(&socket, sockopt::PeerCredentials)?.uid();
        // The credentials are those of the process that called `listen`. If it is not `owner`,
        // another user has put a socket in its place.
        if listener != owner {
            return Err(Errno::EACCES.into());
        }
        setsockopt(&socket, sockopt::SendTimeout, &time_value(timeout))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &time_value(timeout))?;
        Ok(Self {
            socket,
            decoder: Decoder::new(),
            descriptors: VecDeque::new(),
            is_short: false,
            window: None,
            timeout,
            worker: None,
            incomplete: None,
            has_place: false,
            number: 0,
        })
    }

    /// The number of the next request.
    pub(super) fn next_number(&mut self) -> RequestNumber {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Sends as much of `bytes` as the socket takes at once. With `wait`, waits until it takes
    /// some. Returns how much.
    pub(super) fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Broken> {
        let mut flags = MsgFlags::MSG_NOSIGNAL;
        if !wait {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        loop {
            match send(self.socket.as_raw_fd(), bytes, flags) {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN) if !wait => return Ok(0),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Closes the sending direction: the worker gets no more. Returns whether that succeeded.
    pub(super) fn close_sending(&self) -> bool {
        shutdown(self.socket.as_raw_fd(), Shutdown::Write).is_ok()
    }

    /// Withdraws the request, if no worker has accepted the connection. Returns whether none had.
    pub(super) fn withdraw(&mut self) -> bool {
        // From now on a greeting fails, and a worker that cannot greet reads nothing. A greeting
        // that was sent before can still be received here.
        shutdown(self.socket.as_raw_fd(), Shutdown::Read).is_ok()
            && self.receive(false) == Err(Broken::Closed)
    }

    /// The next frame and the number of its request, if it has been received already.
    pub(super) fn buffered(&mut self) -> Result<Option<(RequestNumber, ToChild<'_>)>, Broken> {
        Ok(self.decoder.next()?)
    }

    /// Checks for a frame that takes too long to arrive. To be called after `frames` complete
    /// frames were taken. A frame may take as long as a worker may be silent.
    pub(super) fn check_progress(&mut self, frames: usize) -> Result<(), Broken> {
        if frames > 0 || !self.decoder.has_bytes() {
            self.incomplete = None;
        }
        if !self.decoder.has_bytes() {
            return Ok(());
        }
        let since = *self.incomplete.get_or_insert_with(Instant::now);
        if since.elapsed() > self.timeout {
            return Err(Broken::TimedOut);
        }
        Ok(())
    }

    /// Whether the present request is its first.
    pub(super) fn is_new(&self) -> bool {
        self.number <= 1
    }

    /// Receives data; with `wait`, waits for it. Returns whether anything came.
    pub(super) fn receive(&mut self, wait: bool) -> Result<bool, Broken> {
        let mut flags = MsgFlags::empty();
        if !wait {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        match self.receive_some(flags) {
            Ok(0) => Err(Broken::Closed),
            Ok(count) => {
                self.decoder.filled(count);
                Ok(true)
            }
            Err(Errno::EAGAIN) if !wait => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn receive_some(&mut self, flags: MsgFlags) -> nix::Result<usize> {
        let socket = self.socket.as_fd();
        let received = control::receive_with_descriptors(socket, self.decoder.room(), flags)?;
        self.descriptors.extend(received.descriptors);
        // Descriptors beyond what a worker has reason to send are closed.
        self.descriptors.truncate(MAX_DESCRIPTORS);
        self.is_short |= received.is_short;
        Ok(received.length)
    }

    /// Maps the window that the worker has made. If the system refuses, there is no error: the next
    /// request says that this side has no window, and the worker does not use it.
    pub(super) fn open_window(&mut self) -> Result<(), Broken> {
        let Some(descriptor) = self.take_descriptor() else {
            return match self.is_short {
                true => Ok(()),
                false => Err(Broken::OutOfPlace("a window without a descriptor")),
            };
        };
        if self.window.is_some() {
            return Err(Broken::OutOfPlace("a second window"));
        }
        match View::open(descriptor.as_fd()) {
            Ok(view) => self.window = Some(Arc::new(view)),
            Err(error) if error.raw_os_error().is_some() => {}
            Err(_) => return Err(Broken::OutOfPlace("what is no window")),
        }
        Ok(())
    }

    /// Whether this side has mapped the worker's window.
    pub(super) fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// Puts a large body into the window, if there is one, and returns its length. The worker must
    /// have answered the last request.
    pub(super) fn deliver(&self, body: &[u8]) -> Option<u32> {
        let window = self.window.as_ref()?;
        let is_delivered = body.len() >= Window::LARGE && window.deliver(body);
        is_delivered.then(|| u32::try_from(body.len()).ok())?
    }

    /// The data that the worker has put into the window.
    pub(super) fn placed(&self, place: Place) -> Result<Placed, Broken> {
        let window = self.window.as_ref();
        let window = window.ok_or(Broken::OutOfPlace("data in a window that is not there"))?;
        let offset = usize::try_from(place.offset).unwrap_or(usize::MAX);
        let length = usize::try_from(place.length).unwrap_or(usize::MAX);
        let placed = window.at(offset, length);
        placed.ok_or(Broken::OutOfPlace("data outside of the window"))
    }

    /// The descriptor that came with a file's frame.
    pub(super) fn take_file(&mut self) -> Result<OwnedFd, Broken> {
        self.take_descriptor().ok_or(match self.is_short {
            true => Broken::System(Errno::EMFILE),
            false => Broken::OutOfPlace("a file without a descriptor"),
        })
    }

    fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Waits until the worker has sent something, or can take something if `sending`, or `other` is
    /// readable. Waits for `pause` at most; without one, for as long as the worker may be silent,
    /// which is an error then.
    pub(super) fn wait(
        &self,
        sending: bool,
        other: Option<BorrowedFd<'_>>,
        pause: Option<Duration>,
    ) -> Result<(), Broken> {
        let mut interest = PollFlags::POLLIN;
        interest.set(PollFlags::POLLOUT, sending);
        let mut sources = vec![PollFd::new(self.socket.as_fd(), interest)];
        sources.extend(other.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(pause.unwrap_or(self.timeout));
        match poll(&mut sources, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(0) if pause.is_none() => Err(Broken::TimedOut),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How long either side may be silent.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether nothing is left over from the last request.
    pub(super) fn is_clean(&self) -> bool {
        !self.decoder.has_bytes() && self.descriptors.is_empty()
    }

    /// The response has left. Frees memory that a large one needed, and allows the worker to do so.
    pub(super) fn rest(&mut self) {
        if let Some(window) = &self.window {
            window.release(self.number);
        }
        self.decoder.shrink();
    }
}

/// A duration for the kernel, which takes 0 for no limit.
fn time_value(time: Duration) -> TimeVal {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    TimeVal::microseconds(micros.max(1))
}
