//! Where requests come in: the socket of the group, and the connections that wait for their next
//! one.
//!
//! All workers of a group share its listening socket. A thread accepts a connection only when it is
//! free, so whoever connects waits in the one queue of the group, in the order of arrival, for
//! whichever worker has a thread free first. A connection stays, and is armed for one event at a
//! time (`EPOLLONESHOT`): it belongs to one thread from the moment its request arrives until it is
//! armed again.

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
    /// Before what must not be shared, like all of its kind.
    _unshared: Unshared,
    epoll: Epoll,
    listener: Mutex<Option<(Unshared, UnixListener)>>,
    /// Nobody is let in, as that failed.
    starved: AtomicBool,
    /// How often in a row it did.
    failures: AtomicU32,
    /// Nobody can connect to the socket any more.
    is_shut_down: AtomicBool,
    /// The connections that no thread is serving; `None` once it is closed, so that none comes
    /// back.
    idle: Mutex<Option<HashMap<u64, Connection>>>,
    next_token: AtomicU64,
}

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Somebody who wants to connect, unless another worker was faster.
    New,
    /// A connection on which something arrived.
    Known(u64),
}

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Barred {
    /// The socket was shut down. Of such a one the system says only that nobody is there.
    #[error(
        "something in the application has shut its socket down; a graceful restart makes another"
    )]
    ShutDown,
    /// There is not enough of something, most often.
    #[error("{0}; httpd may need a higher limit of open files")]
    System(io::Error),
}

impl Poller {
    /// One that lets nobody in yet.
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

    /// Opens it.
    pub(super) fn open(&self) -> io::Result<()> {
        let listener = lock(&self.listener);
        if let Some((_, listener)) = &*listener {
            // Every worker with a free thread is woken. Were it only one (`EPOLLEXCLUSIVE`), the
            // second of two callers could be left to the one that is busy with the first.
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, LISTENER);
            match self.epoll.add(listener, event) {
                // It is open.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Under the lock, so that whoever closes it says so after this.
        self.starved.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Closes it for good, and the connections that no request is on. A request that a child is
    /// just sending over one is safe to send elsewhere, and the child can tell.
    pub(super) fn close(&self) {
        let listener = lock(&self.listener).take();
        if let Some((_, listener)) = &listener {
            // Others have the socket open, so closing it here would not end the interest in it.
            // That cannot fail for what was added.
            let _ = self.epoll.delete(listener);
        }
        lock(&self.idle).take();
    }

    /// Waits until there is somebody.
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

    /// A connection on which something arrived, if there is one. Does not wait.
    pub(super) fn known_caller(&self) -> Option<u64> {
        // Whoever wants to connect stays in the queue of the socket, and comes last the second
        // time.
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

    /// Accepts whoever has waited longest, if anybody has. If nobody can be let in that is reported
    /// once, and not tried until this is opened again: whoever tried at once would try in vain
    /// without end.
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
        // That it was closed already is as good.
        let _ = self.epoll.delete(socket);
        // Another thread that came for the same caller finds the same.
        let is_first = !self.starved.swap(true, Ordering::Relaxed);
        if is_first && self.failures.fetch_add(1, Ordering::Relaxed) == barred.forgiven() {
            report(&barred);
        }
        None
    }

    /// Whether nobody is let in, as that failed.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    /// Opens it again, if nobody could be let in.
    pub(super) fn reopen(&self) -> io::Result<()> {
        match self.is_starved() {
            true => self.open(),
            false => Ok(()),
        }
    }

    /// Takes a connection that something arrived on, unless this was closed meanwhile.
    pub(super) fn take(&self, token: u64) -> Option<Connection> {
        lock(&self.idle).as_mut()?.remove(&token)
    }

    /// Gives back memory that idle connections have from large responses. Returns whether some
    /// still have any. To be called now and then.
    pub(super) fn rest(&self) -> bool {
        let mut idle = lock(&self.idle);
        let has_memory = |connection: &mut Connection| connection.window.rest(connection.last);
        idle.iter_mut()
            .flat_map(HashMap::values_mut)
            .map(has_memory)
            .fold(false, |some, one| some | one)
    }

    /// Lets a connection wait for its next request. If it cannot be watched, or this was closed
    /// meanwhile, it is closed, which the child notices.
    pub(super) fn put(&self, token: u64, mut connection: Connection) {
        let mut idle = lock(&self.idle);
        let Some(idle) = &mut *idle else {
            return;
        };
        // The lock keeps others from looking for the connection before it is there.
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
    /// How often in a row it is not worth a word. The supervisor shuts the socket of a group down
    /// that is gone, and its workers may learn only then that they are to end.
    fn forgiven(&self) -> u32 {
        match self {
            Self::ShutDown => 1,
            Self::System(_) => 0,
        }
    }
}

/// Whether somebody else was faster, or who wanted to connect has gone.
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
