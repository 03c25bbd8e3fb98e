//! How long a request waits for a worker to take it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::config::Terms;

/// How long a script may keep changing before its requests are refused. A deployment that copies
/// file by file is done sooner.
const TIME_TO_SETTLE: Duration = Duration::from_secs(5);

/// How long a request still waits, and what it has waited for.
#[derive(Debug)]
pub(super) struct Patience {
    begin: Instant,
    deadline: Instant,
    /// How long it waits for a worker to take it: `connect-timeout`, or if that is 0 as long as a
    /// worker may be silent.
    connect: Duration,
    /// How long it waits for the successor of a worker: as long as a worker may be silent.
    successor: Duration,
    /// The process ids of workers that rejected it because the script changed.
    outdated: BTreeSet<u32>,
    /// Whether the socket did not exist once.
    misses_socket: bool,
}

impl Patience {
    /// For a request that is ready to be sent.
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

    /// Starts again: the request is ready to be sent only now.
    pub(super) fn restart(&mut self) {
        self.begin = Instant::now();
        self.deadline = self.begin + self.connect;
    }

    /// The socket does not exist. Returns whether this is not the first time: once, it may be about
    /// to be replaced by another.
    pub(super) fn misses_socket_again(&mut self) -> bool {
        std::mem::replace(&mut self.misses_socket, true)
    }

    /// Waits for the successor of a worker, which may take long to load its scripts. `outdated` is
    /// the id of the worker if the script changed.
    pub(super) fn wait_for_successor(&mut self, outdated: Option<u32>) {
        self.outdated.extend(outdated);
        self.deadline = self.deadline.max(self.begin + self.successor);
    }

    /// How many workers had an old script, one after the other, if that are too many for a group of
    /// `processes` and it has gone on for too long.
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
