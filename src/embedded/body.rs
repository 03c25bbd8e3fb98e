//! The body of a request, as an application reads it in this child.
//!
//! The thread that has the request waits inside httpd for what the client has not sent yet. A
//! thread of the application's own must not keep that one from sending meanwhile, and filters are
//! for one thread at a time: so it only looks whether something is here, and waits for the socket
//! outside.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use httpd::InputError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::InFlight;

/// How long the socket is waited for at a time, in milliseconds: mod_reqtimeout looks at its clock
/// when the body is read.
const GLANCE: u16 = 1000;

/// The source of the rest of a body, for a thread that waits for it without using the request.
#[derive(Debug)]
pub(super) struct Awaited(AtomicI32);

impl Awaited {
    /// Nothing so far.
    pub(super) const fn new() -> Self {
        Self(AtomicI32::new(-1))
    }

    /// Waits until something may have come, or `end` can be read from, or for a while.
    pub(super) fn wait(&self, end: Option<BorrowedFd<'_>>) {
        let socket = self.0.load(Ordering::Relaxed);
        if socket < 0 {
            return;
        }
        // SAFETY: the descriptor is that of a connection, which is open as long as its request
        // lives.
        let socket = unsafe { BorrowedFd::borrow_raw(socket) };
        let sources = std::iter::once(socket).chain(end);
        let mut sources: Vec<_> = sources
            .map(|source| PollFd::new(source, PollFlags::POLLIN))
            .collect();
        // What went wrong, the next read tells.
        let _ = poll(&mut sources, PollTimeout::from(GLANCE));
    }
}

impl InFlight<'_> {
    /// Reads some of the body: `None` if nothing is here, and the calling thread is to wait for it
    /// outside.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, InputError> {
        let connection = self.request.connection();
        let is_its_own = std::thread::current().id() == self.thread;
        // Nothing tells when a stream of a connection has more.
        let socket = connection.own_socket().filter(|_| !is_its_own);
        let (Some(socket), false) = (socket, buffer.is_empty()) else {
            return self.body.borrow_mut().read(buffer).map(Some);
        };
        if self.request.expects_continue() {
            // A look does not ask for the body.
            self.body.borrow_mut().read(&mut [])?;
        }
        let taken = self.body.borrow_mut().try_read(buffer)?;
        if taken.is_some() {
            self.silent_since.set(None);
            return Ok(taken);
        }
        let since = self.silent_since.get().unwrap_or_else(Instant::now);
        self.silent_since.set(Some(since));
        if connection
            .patience()
            .is_some_and(|limit| since.elapsed() > limit)
        {
            return Err(self.body.borrow_mut().time_out());
        }
        self.beside
            .awaited
            .0
            .store(socket.as_raw_fd(), Ordering::Relaxed);
        Ok(None)
    }
}
