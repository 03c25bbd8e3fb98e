//! Sends the rest of responses that slow children did not take while a thread worked on them.
//!
//! One thread with an epoll of its own, which never touches Python: the threads that run
//! applications have nothing to do with a response once it is complete.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::connection::Connection;
use super::lock;
use super::outbox::Outbox;

/// How many children are looked after at once.
const EVENTS: usize = 32;

/// The responses that are complete, but not sent.
#[derive(Debug)]
pub(super) struct Courier {
    epoll: Epoll,
    parcels: Mutex<HashMap<u64, Parcel>>,
}

/// What is left of a response, and where it goes.
#[derive(Debug)]
struct Parcel {
    connection: Connection,
    rest: Outbox,
}

impl Courier {
    /// One with nothing to do.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            parcels: Mutex::default(),
        })
    }

    /// How many responses are on their way.
    pub(super) fn load(&self) -> usize {
        lock(&self.parcels).len()
    }

    /// Takes over the rest of a response, and the connection for as long.
    pub(super) fn take(&self, token: u64, connection: Connection, rest: Outbox) -> io::Result<()> {
        let mut parcels = lock(&self.parcels);
        // The lock keeps the thread from looking for the parcel before it is there.
        let event = EpollEvent::new(EpollFlags::EPOLLOUT, token);
        self.epoll.add(&connection, event)?;
        parcels.insert(token, Parcel { connection, rest });
        Ok(())
    }

    /// The thread's life. Connections that have taken everything go to `delivered`, with the token they
    /// came with; of those that broke there is nothing but the token. A child that takes
    /// nothing is left in peace: it is the one that knows its client's limits.
    pub(super) fn run(&self, delivered: impl Fn(u64, Option<Connection>)) -> io::Error {
        loop {
            let mut events = [EpollEvent::empty(); EVENTS];
            match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => {
                    for event in events.iter().take(count) {
                        self.go_on(event.data(), &delivered);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return error.into(),
            }
        }
    }

    fn go_on(&self, token: u64, delivered: &impl Fn(u64, Option<Connection>)) {
        let mut parcels = lock(&self.parcels);
        let Some(parcel) = parcels.get_mut(&token) else {
            return;
        };
        let sent = parcel.rest.send_some(&mut parcel.connection);
        if sent == Ok(false) {
            return;
        }
        let Some(parcel) = parcels.remove(&token) else {
            return;
        };
        drop(parcels);
        // It was added, and its descriptor is open.
        let _ = self.epoll.delete(&parcel.connection);
        delivered(token, sent.is_ok().then_some(parcel.connection));
    }
}
