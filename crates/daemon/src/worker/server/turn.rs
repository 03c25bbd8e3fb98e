//! A turn: what a serving thread does between two waits, and what it holds meanwhile.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use nix::libc::SIGTERM;

use super::Server;
use crate::log::Level;
use crate::worker::connection::Connection;
use crate::worker::describe;
use crate::worker::life::Event;
use crate::worker::poller::Caller;

/// What a thread holds between two waits. It is given back even if a panic ends the turn.
pub(super) struct Turn<'s> {
    server: &'s Server,
    pub(super) thread: u32,
    /// The connection to serve next.
    pub(super) next: Option<(u64, Connection)>,
    /// Whether the thread has a place, for the request that it serves or for the next one.
    pub(super) has_place: bool,
    /// Whether it has a request that counts as active.
    is_active: bool,
}

impl<'s> Turn<'s> {
    /// Begins a turn, before the thread takes a connection. A worker that drains waits for turns,
    /// since a request may have been read that does not count as active yet. A turn that begins
    /// after the worker found none finds no connection.
    pub(super) fn new(server: &'s Server, thread: u32) -> Self {
        server.turns.fetch_add(1, Ordering::SeqCst);
        Self {
            server,
            thread,
            next: None,
            has_place: false,
            is_active: false,
        }
    }

    /// The thread begins a request.
    pub(super) fn begin(&mut self) {
        self.server.begin();
        self.is_active = true;
    }

    /// The thread is done with its request.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_active) {
            self.server.monitor.end(self.thread);
            self.server.end();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The next connection may have had no request for the place.
        if self.has_place {
            self.server.slot.vacate();
        }
        self.end();
        self.server.turns.fetch_sub(1, Ordering::SeqCst);
        self.server.tell_if_idle();
    }
}

impl Server {
    /// A serving thread. A panic costs the request that the thread has, whose connection is closed;
    /// the hook of [`fault`](crate::fault) logs it.
    pub(super) fn serve_for_ever(&self, thread: u32) {
        loop {
            let turn = catch_unwind(AssertUnwindSafe(|| self.take_turn(thread)));
            if let Ok(Err(error)) = turn {
                return self.cannot_wait(&error);
            }
        }
    }

    /// Waits for a connection with a request, and serves until no next connection waits for this
    /// thread.
    fn take_turn(&self, thread: u32) -> io::Result<()> {
        let caller = self.lead.lead(|| self.newcomers(), || self.poller.wait())?;
        let mut turn = Turn::new(self, thread);
        let mut next = match caller {
            Caller::New => self.admit(),
            Caller::Known(token) => self.poller.take(token).map(|it| (token, it)),
        };
        while let Some((token, connection)) = next {
            self.take_up(token, connection, &mut turn);
            next = turn.next.take();
        }
        Ok(())
    }

    /// A vital thread cannot wait any more, perhaps because an application has closed the
    /// descriptors that it waits with. The worker ends as after SIGTERM, and another takes over.
    pub(super) fn cannot_wait(&self, error: &io::Error) {
        let text = format_args!(
            "A thread of {} cannot wait for requests or their clients: {error}. Its process is replaced.",
            describe(&self.group)
        );
        self.log.line(Level::Crit, 1214, text);
        self.tell(Event::Signal(SIGTERM));
    }
}
