//! Where requests come in: the socket of the group, and the connections that wait for their next one.
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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// Nobody is let in, as there is not enough of something.
    starved: AtomicBool,
    /// That was said.
    told: AtomicBool,
    /// The connections that no thread is serving; `None` once it is closed, so that none comes back.
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
            told: AtomicBool::new(false),
            idle: Mutex::new(Some(HashMap::new())),
            next_token: AtomicU64::new(LISTENER + 1),
        })
    }

    /// Opens it.
    pub(super) fn open(&self) -> io::Result<()> {
        let listener = lock(&self.listener);
        if let Some((_, listener)) = &*listener {
            // Every worker with a free thread is woken. Were it only one (`EPOLLEXCLUSIVE`), the second
            // of two callers could be left to the one that is busy with the first.
            let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
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

    /// Closes it for good, and the connections that no request is on. A request that a child is just
    /// sending over one is safe to send elsewhere, and the child can tell.
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
                Ok(_) if events[0].data() == LISTENER => return Ok(Caller::New),
                Ok(_) => return Ok(Caller::Known(events[0].data())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A connection on which something arrived, if there is one. Does not wait.
    pub(super) fn known_caller(&self) -> Option<u64> {
        // Whoever wants to connect stays in the queue of the socket, and comes last the second time.
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

    /// Accepts whoever has waited longest, if anybody has. Where there is not enough of something
    /// for one more, that is reported once, and nobody is let in until it is opened again:
    /// whoever tried at once would try in vain without end.
    pub(super) fn accept(&self, report: impl Fn(&io::Error)) -> Option<(u64, UnixStream)> {
        let listener = lock(&self.listener);
        let (_, socket) = listener.as_ref()?;
        match socket.accept() {
            Ok((stream, _)) => {
                self.told.store(false, Ordering::Relaxed);
                Some((self.next_token.fetch_add(1, Ordering::Relaxed), stream))
            }
            Err(error) => {
                if is_want(&error) {
                    // That it was closed already is as good.
                    let _ = self.epoll.delete(socket);
                    self.starved.store(true, Ordering::Relaxed);
                    if !self.told.swap(true, Ordering::Relaxed) {
                        report(&error);
                    }
                }
                None
            }
        }
    }

    /// Whether nobody is let in, as there is not enough of something.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    /// Opens it again, if there was not enough of something.
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

    /// Gives back memory that idle connections have from large responses. Returns whether some still have
    /// any. To be called now and then.
    pub(super) fn rest(&self) -> bool {
        let mut idle = lock(&self.idle);
        let has_memory = |connection: &mut Connection| connection.window.rest(connection.last);
        idle.iter_mut()
            .flat_map(HashMap::values_mut)
            .map(has_memory)
            .fold(false, |some, one| some | one)
    }

    /// Lets a connection wait for its next request. If it cannot be watched, or this was closed meanwhile, it is closed,
    /// which the child notices.
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

/// Whether there is not enough of something that may come back.
fn is_want(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw);
    matches!(
        error,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

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
}
