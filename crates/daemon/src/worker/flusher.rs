//! Sends the parts of responses that slow children have not taken yet, in the place of the threads
//! that run the applications.
//!
//! One thread with an epoll of its own, which never touches Python. It is *given* the rest of
//! responses that are complete: their threads are free for other requests. And while an application
//! goes on after it has sent something, the flusher is *lent* what the child did not take of that;
//! the application's thread takes the rest back before it sends more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use control::Window;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::connection::{Broken, Connection};
use super::fork::{self, Unshared};
use super::lock;
use super::outbox::{Outbox, Share, Spool};

/// How many events of epoll are handled at a time.
const EVENTS: usize = 32;

/// The flusher, which all threads of a worker share.
#[derive(Debug)]
pub(super) struct Flusher {
    _unshared: Unshared,
    epoll: Epoll,
    spool: Arc<Spool>,
    /// The memory of windows that is in use.
    windows: Arc<Spool>,
    remainders: Mutex<HashMap<u64, Remainder>>,
    next: AtomicU64,
}

/// The rest of a response, and where it goes.
#[derive(Debug)]
struct Remainder {
    rest: Outbox,
    /// Whether all of it was sent.
    sent: Result<bool, Broken>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The response is not complete, and its thread has the connection.
    Lent(Arc<UnixStream>),
    /// The response is complete: the poller's token for the connection, and the connection.
    Given(u64, Connection),
}

/// The number of a remainder that was lent.
#[derive(Debug)]
pub(super) struct Loan(u64);

impl Flusher {
    /// One with nothing to do.
    pub(super) fn new(spool: Spool, windows: Spool) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self {
            _unshared: Unshared::mark(epoll.0.as_fd()),
            epoll,
            spool: Arc::new(spool),
            windows: Arc::new(windows),
            remainders: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// An outbox for a response.
    pub(super) fn outbox(&self) -> Outbox {
        Outbox::new(&self.spool)
    }

    /// Whether windows are used at all.
    pub(super) fn has_windows(&self) -> bool {
        self.windows.is_open()
    }

    /// A share for the memory of a window, if there is enough left.
    pub(super) fn window_share(&self) -> Option<Share> {
        Share::of(&self.windows, Window::SIZE)
    }

    /// How many complete responses are still being sent.
    pub(super) fn load(&self) -> usize {
        let remainders = lock(&self.remainders);
        remainders
            .values()
            .filter(|remainder| remainder.is_given())
            .count()
    }

    /// Takes over the rest of a complete response, and the connection until it is sent.
    pub(super) fn take(&self, token: u64, connection: Connection, rest: Outbox) -> io::Result<()> {
        self.add(rest, Way::Given(token, connection))
            .map(drop)
            .map_err(|(error, _)| error)
    }

    /// Takes the contents of the outbox, to send it while the response goes on. If that fails,
    /// returns `None` and leaves the outbox as it is.
    pub(super) fn lend(&self, stream: &Arc<UnixStream>, outbox: &mut Outbox) -> Option<Loan> {
        match self.add(outbox.take(), Way::Lent(stream.clone())) {
            Ok(number) => Some(Loan(number)),
            Err((_, rest)) => {
                *outbox = rest;
                None
            }
        }
    }

    /// Gives back the part of a loan that was not sent.
    pub(super) fn give_back(&self, Loan(number): &Loan) -> Result<Outbox, Broken> {
        if fork::is_forked() {
            return Err(Broken::Closed);
        }
        let remainder = lock(&self.remainders)
            .remove(number)
            .ok_or(Broken::Closed)?;
        if !remainder.sent? {
            self.forget(&remainder);
        }
        Ok(remainder.rest)
    }

    fn add(&self, rest: Outbox, way: Way) -> Result<u64, (io::Error, Outbox)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sent = Ok(false);
        let remainder = Remainder { rest, sent, way };
        // In a forked process there is no thread that would send it, and a lock that the thread
        // held would stay locked.
        if fork::is_forked() {
            return Err((io::ErrorKind::NotConnected.into(), remainder.rest));
        }
        let mut remainders = lock(&self.remainders);
        // The lock keeps the thread from looking for the remainder before it is there.
        let event = EpollEvent::new(EpollFlags::EPOLLOUT, number);
        match self.epoll.add(remainder.stream(), event) {
            Ok(()) => {
                remainders.insert(number, remainder);
                Ok(number)
            }
            Err(error) => Err((error.into(), remainder.rest)),
        }
    }

    fn forget(&self, remainder: &Remainder) {
        // This cannot fail: it was added, and its descriptor is open.
        let _ = self.epoll.delete(remainder.stream());
    }

    /// The flusher's thread. When a complete response was sent, `delivered` gets the token and the
    /// connection, or only the token if the connection broke. There is no timeout here: the child
    /// limits how long its client may take. Returns only if epoll fails.
    pub(super) fn run(&self, delivered: impl Fn(u64, Option<Connection>)) -> io::Error {
        loop {
            let mut events = [EpollEvent::empty(); EVENTS];
            match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => {
                    for event in events.iter().take(count) {
                        let number = event.data();
                        let act = AssertUnwindSafe(|| self.go_on(number, &delivered));
                        // The panic hook has logged the bug. The other responses go on.
                        if catch_unwind(act).is_err() {
                            self.lose(number, &delivered);
                        }
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return error.into(),
            }
        }
    }

    /// Gives up a remainder after a panic: its child finds the connection closed.
    fn lose(&self, number: u64, delivered: &impl Fn(u64, Option<Connection>)) {
        let Some(remainder) = lock(&self.remainders).remove(&number) else {
            return;
        };
        self.forget(&remainder);
        if let Way::Given(token, _) = remainder.way {
            delivered(token, None);
        }
    }

    fn go_on(&self, number: u64, delivered: &impl Fn(u64, Option<Connection>)) {
        let mut remainders = lock(&self.remainders);
        let Entry::Occupied(mut entry) = remainders.entry(number) else {
            return;
        };
        let remainder = entry.get_mut();
        remainder.send();
        if remainder.sent == Ok(false) {
            return;
        }
        self.forget(remainder);
        if remainder.is_given() {
            let remainder = entry.remove();
            drop(remainders);
            if let Way::Given(token, connection) = remainder.way {
                delivered(token, remainder.sent.is_ok().then_some(connection));
            }
        }
    }
}

impl Remainder {
    fn stream(&self) -> &UnixStream {
        match &self.way {
            Way::Lent(stream) => stream,
            Way::Given(_, connection) => connection.stream(),
        }
    }

    fn is_given(&self) -> bool {
        matches!(self.way, Way::Given(..))
    }

    /// Sends as much as the child takes at once.
    fn send(&mut self) {
        let stream = match &self.way {
            Way::Lent(stream) => stream,
            Way::Given(_, connection) => connection.stream(),
        };
        self.sent = self.rest.send_some(stream);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::mpsc::channel;

    use control::Table;

    use super::*;
    use crate::worker::own_slot::OwnSlot;

    #[test]
    fn a_fault_with_one_response_leaves_the_others_to_the_flusher() {
        let spool = || Spool::new(1 << 16, 1);
        let flusher = Arc::new(Flusher::new(spool(), spool()).unwrap());
        let slot = Arc::new(OwnSlot::new(Table::new(1).unwrap(), 0));
        let (sender, delivered) = channel();
        let running = flusher.clone();
        std::thread::spawn(move || {
            running.run(|token, connection| {
                assert!(token != 1, "injected");
                sender.send((token, connection.is_some())).unwrap();
            })
        });
        for token in 1..=2 {
            let (stream, mut child) = UnixStream::pair().unwrap();
            stream.set_nonblocking(true).unwrap();
            let connection = Connection::new(stream, None, slot.issue());
            let mut rest = flusher.outbox();
            rest.frames().extend_from_slice(b"rest");
            flusher.take(token, connection, rest).unwrap();
            let mut taken = [0; 4];
            child.read_exact(&mut taken).unwrap();
            if token == 1 {
                assert_eq!(
                    child.read(&mut taken).unwrap(),
                    0,
                    "its connection is closed"
                );
            }
        }
        assert_eq!(delivered.recv().unwrap(), (2, true));
        assert_eq!(flusher.load(), 0);
    }
}
