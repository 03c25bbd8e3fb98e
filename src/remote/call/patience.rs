//! How long a request waits for a worker that takes it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::config::Terms;

/// How long a script may go on changing before its requests are refused: one that is deployed file
/// by file settles sooner.
const TIME_TO_SETTLE: Duration = Duration::from_secs(5);

/// How long one request still waits, and what it has waited for.
#[derive(Debug)]
pub(super) struct Patience {
    begin: Instant,
    deadline: Instant,
    /// How long it waits for somebody to take it.
    connect: Duration,
    /// How long a worker may be silent, and so its successor may take to start.
    successor: Duration,
    /// The workers that are to be replaced because the script changed.
    outdated: BTreeSet<u32>,
    /// The socket was not there.
    misses_socket: bool,
}

impl Patience {
    /// That of a request which is ready to be sent.
    pub(super) fn new(terms: &Terms) -> Self {
        let begin = Instant::now();
        let connect = terms.connect_timeout.unwrap_or(terms.socket_timeout);
        Self {
            begin,
            deadline: begin + connect,
            connect,
            successor: terms.socket_timeout,
            outdated: BTreeSet::new(),
            misses_socket: false,
        }
    }

    /// Begins anew: only now the request is ready to be sent.
    pub(super) fn restart(&mut self) {
        self.begin = Instant::now();
        self.deadline = self.begin + self.connect;
    }

    /// The socket is not there. Returns whether it was not before: once may be the moment at which
    /// another is put in its place.
    pub(super) fn misses_socket_again(&mut self) -> bool {
        std::mem::replace(&mut self.misses_socket, true)
    }

    /// Waits for the successor of a worker, which may take long to load what it serves; `outdated`
    /// is that worker if its script changed.
    pub(super) fn wait_for_successor(&mut self, outdated: Option<u32>) {
        self.outdated.extend(outdated);
        self.deadline = self.deadline.max(self.begin + self.successor);
    }

    /// How many workers had an old script, one after the other, if that goes on for too long in a
    /// group of so many processes.
    pub(super) fn restless_workers(&self, processes: usize) -> Option<usize> {
        let count = self.outdated.len();
        let has_tried_all = count > 2 * processes + 1;
        (has_tried_all && self.begin.elapsed() >= TIME_TO_SETTLE).then_some(count)
    }

    /// Whether it has waited long enough.
    pub(super) fn is_over(&self) -> bool {
        self.deadline <= Instant::now()
    }
}
