//! What a thread that serves does between two waits, and what it has while it does that.

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

/// What a thread has between two waits. It is given back also when a panic ends the turn.
pub(super) struct Turn<'s> {
    server: &'s Server,
    pub(super) thread: u32,
    /// Who is to be served next.
    pub(super) next: Option<(u64, Connection)>,
    /// The thread has a place, for the request that it serves or for the next one already.
    pub(super) has_place: bool,
    /// It has a request, which counts as active.
    is_active: bool,
}

impl<'s> Turn<'s> {
    /// Begins one, before a connection is looked for: a worker that leaves waits for it, as a
    /// request may have been read that does not count yet. Who begins later than that worker has
    /// looked finds no connection.
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

    /// The thread has nothing to do with its request any more.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_active) {
            self.server.monitor.end(self.thread);
            self.server.end();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Whoever was given a place in advance may have had no request.
        if self.has_place {
            self.server.slot.vacate();
        }
        self.end();
        self.server.turns.fetch_sub(1, Ordering::SeqCst);
        self.server.tell_if_idle();
    }
}

impl Server {
    /// A thread's life. A fault of ours costs the request that the thread has, whose connection is
    /// closed, and is told in the log by the hook of [`fault`](crate::fault).
    pub(super) fn serve_for_ever(&self, thread: u32) {
        loop {
            let turn = catch_unwind(AssertUnwindSafe(|| self.take_turn(thread)));
            if let Ok(Err(error)) = turn {
                return self.cannot_wait(&error);
            }
        }
    }

    /// Waits for somebody, and serves until nobody waits for this thread.
    fn take_turn(&self, thread: u32) -> io::Result<()> {
        let caller = self
            .lead
            .lead(|| self.has_newcomers(), || self.poller.wait())?;
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

    /// A thread that the process cannot do without has to end: an application may have closed what
    /// it waits with. So another worker takes over, as after SIGTERM.
    pub(super) fn cannot_wait(&self, error: &io::Error) {
        let text = format_args!(
            "A thread of {} cannot wait for requests or their clients: {error}. Its process is replaced.",
            describe(&self.group)
        );
        self.log.line(Level::Crit, 1214, text);
        self.tell(Event::Signal(SIGTERM));
    }
}
