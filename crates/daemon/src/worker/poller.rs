//! Where requests come in: the socket of the group, and the connections that wait for their next
//! one.
//!
//! All workers of a group share its listening socket. A thread accepts a connection only when it is
//! free, so new connections wait in the one queue of the group, in the order of arrival, for the
//! first worker with a free thread. A connection is kept, and armed for one event at a time
//! (`EPOLLONESHOT`): it belongs to one thread from the moment its request arrives until it is armed
//! again.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::connection::Connection;
use super::fork::Unshared;
use super::lock;

/// The token of the listener; connections count from one.
const LISTENER: u64 = 0;

/// The listening socket and the idle connections of a worker.
#[derive(Debug)]
pub(super) struct Poller {
    /// Declared before the descriptor that it marks, and so dropped first.
    _unshared: Unshared,
    epoll: Epoll,
    listener: Mutex<Option<(Unshared, UnixListener)>>,
    /// Whether accepting failed, so that no connections are accepted for a while.
    starved: AtomicBool,
    /// How often in a row it failed.
    failures: AtomicU32,
    /// Whether the listening socket was shut down, so that nobody can connect any more.
    is_shut_down: AtomicBool,
    /// The connections that no thread is serving; `None` once the poller is closed, so that none is
    /// put back.
    idle: Mutex<Option<HashMap<u64, Connection>>>,
    next_token: AtomicU64,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A new connection can be accepted, unless another worker is faster.
    New,
    /// Something arrived on the connection with this token.
    Known(u64),
}

/// Why no connection can be accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Barred {
    /// The socket was shut down. `accept` does not report that: it fails as if nobody were waiting.
    #[error(
        "something in the application has shut its socket down; a graceful restart makes another"
    )]
    ShutDown,
    /// The system refuses, most often for lack of descriptors or memory.
    #[error("{0}; httpd may need a higher limit of open files")]
    System(io::Error),
}

impl Poller {
    /// A poller that does not accept connections yet.
    pub(super) fn new(listener: OwnedFd) -> io::Result<Self> {
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self {
            _unshared: Unshared::mark(epoll.0.as_fd()),
            epoll,
            listener: Mutex::new(Some((Unshared::mark(listener.as_fd()), listener))),
            starved: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            is_shut_down: AtomicBool::new(false),
            idle: Mutex::new(Some(HashMap::new())),
            next_token: AtomicU64::new(LISTENER + 1),
        })
    }

    /// Begins to accept connections.
    pub(super) fn open(&self) -> io::Result<()> {
        let listener = lock(&self.listener);
        if let Some((_, listener)) = &*listener {
            // This wakes every worker with a free thread. With `EPOLLEXCLUSIVE` it would wake only
            // one, and a second connection could be left to the worker that is busy with the first.
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, LISTENER);
            match self.epoll.add(listener, event) {
                // It may be open already.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Under the lock, so that a failure of `accept` after this is not overwritten.
        self.starved.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Stops accepting for good, and closes the idle connections. If a child is just sending a
    /// request over one, it notices that the request was not read, and sends it elsewhere.
    pub(super) fn close(&self) {
        let listener = lock(&self.listener).take();
        if let Some((_, listener)) = &listener {
            // Other processes have the socket open, so closing it here would not remove it from the
            // epoll. If it was never added there is nothing to remove.
            let _ = self.epoll.delete(listener);
        }
        lock(&self.idle).take();
    }

    /// Waits for an event.
    pub(super) fn wait(&self) -> io::Result<Caller> {
        loop {
            let mut events = [EpollEvent::empty()];
            match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) if events[0].data() == LISTENER => {
                    if events[0].events().contains(EpollFlags::EPOLLRDHUP) {
                        self.is_shut_down.store(true, Ordering::Relaxed);
                    }
                    return Ok(Caller::New);
                }
                Ok(_) => return Ok(Caller::Known(events[0].data())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The token of a connection on which something arrived, if there is one. Does not wait.
    pub(super) fn known_caller(&self) -> Option<u64> {
        // If the first event is the listener's, epoll reports another one first the second time, if
        // there is one.
        for _ in 0..2 {
            let mut events = [EpollEvent::empty()];
            match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(1) if events[0].data() != LISTENER => return Some(events[0].data()),
                Ok(1) => {}
                _ => return None,
            }
        }
        None
    }

    /// Accepts the connection that has waited longest, if there is one. A failure is reported once,
    /// and accepting stops until it is opened again; otherwise threads would spin.
    pub(super) fn accept(&self, report: impl Fn(&Barred)) -> Option<(u64, UnixStream)> {
        let listener = lock(&self.listener);
        let (_, socket) = listener.as_ref()?;
        let error = match socket.accept() {
            Ok((stream, _)) => {
                self.failures.store(0, Ordering::Relaxed);
                return Some((self.next_token.fetch_add(1, Ordering::Relaxed), stream));
            }
            Err(error) => error,
        };
        let barred = if self.is_shut_down.load(Ordering::Relaxed) {
            Barred::ShutDown
        } else if is_passing(&error) {
            return None;
        } else {
            Barred::System(error)
        };
        // Another thread may have removed it already.
        let _ = self.epoll.delete(socket);
        // Other threads may have been woken for the same connection, and fail likewise.
        let is_first = !self.starved.swap(true, Ordering::Relaxed);
        if is_first && self.failures.fetch_add(1, Ordering::Relaxed) == barred.forgiven() {
            report(&barred);
        }
        None
    }

    /// Whether accepting has stopped after a failure.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    /// Begins to accept again, if that has stopped after a failure.
    pub(super) fn reopen(&self) -> io::Result<()> {
        match self.is_starved() {
            true => self.open(),
            false => Ok(()),
        }
    }

    /// Takes a connection on which something arrived, unless the poller was closed meanwhile.
    pub(super) fn take(&self, token: u64) -> Option<Connection> {
        lock(&self.idle).as_mut()?.remove(&token)
    }

    /// Frees memory for large responses that idle connections no longer need. Returns whether some
    /// still have such memory. To be called at intervals.
    pub(super) fn rest(&self) -> bool {
        let mut idle = lock(&self.idle);
        let has_memory = |connection: &mut Connection| connection.window.rest(connection.last);
        idle.iter_mut()
            .flat_map(HashMap::values_mut)
            .map(has_memory)
            .fold(false, |some, one| some | one)
    }

    /// Lets a connection wait for its next request. If that fails, or the poller was closed
    /// meanwhile, the connection is closed, which the child notices.
    pub(super) fn put(&self, token: u64, mut connection: Connection) {
        let mut idle = lock(&self.idle);
        let Some(idle) = &mut *idle else {
            return;
        };
        // The lock keeps other threads from looking for the connection before it is inserted.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLONESHOT;
        let mut event = EpollEvent::new(flags, token);
        let watched = if connection.is_watched {
            self.epoll.modify(&connection, &mut event)
        } else {
            self.epoll.add(&connection, event)
        };
        connection.is_watched = watched.is_ok();
        if connection.is_watched {
            idle.insert(token, connection);
        }
    }
}

impl Barred {
    /// How many failures in a row are not reported. When a group is removed, the supervisor shuts
    /// down its socket, and its workers may notice that before they are told to end.
    fn forgiven(&self) -> u32 {
        match self {
            Self::ShutDown => 1,
            Self::System(_) => 0,
        }
    }
}

/// Whether another thread or worker was faster, or the peer has closed the connection.
fn is_passing(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw);
    matches!(
        error,
        Some(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR)
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::fd::AsRawFd as _;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;

    #[test]
    fn a_door_that_is_open_again_is_not_starved() {
        let name = format!("mod_wsgi-poller-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let poller = Poller::new(UnixListener::bind_addr(&address).unwrap().into()).unwrap();
        poller.open().unwrap();
        // As after a thread that could not accept while it was closed already.
        poller.starved.store(true, Ordering::Relaxed);
        poller.reopen().unwrap();
        assert!(!poller.is_starved());
        let _caller = UnixStream::connect_addr(&address).unwrap();
        assert_eq!(poller.wait().unwrap(), Caller::New);
        assert!(poller.accept(|error| panic!("{error}")).is_some());
    }

    #[test]
    fn a_socket_that_was_shut_down_keeps_nobody_busy_and_is_told_of_once() {
        let name = format!("mod_wsgi-poller-shut-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let socket = UnixListener::bind_addr(&address).unwrap();
        let poller = Poller::new(socket.try_clone().unwrap().into()).unwrap();
        poller.open().unwrap();
        shutdown(socket.as_raw_fd(), Shutdown::Both).unwrap();
        let reports = Cell::new(0);
        for expected in [0, 1, 1] {
            assert_eq!(poller.wait().unwrap(), Caller::New);
            for _ in 0..2 {
                let accepted = poller.accept(|barred| {
                    assert!(matches!(barred, Barred::ShutDown), "{barred}");
                    reports.set(reports.get() + 1);
                });
                assert!(accepted.is_none());
            }
            assert_eq!(reports.get(), expected);
            assert!(poller.is_starved());
            let nobody = poller
                .epoll
                .wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO);
            assert_eq!(nobody, Ok(0), "it would be looked at again and again");
            poller.reopen().unwrap();
        }
    }
}
