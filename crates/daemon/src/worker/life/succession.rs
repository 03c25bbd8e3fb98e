//! Asking for a successor: in advance, and when it is needed.

use control::{FromWorker, Replacement};

use super::words::Words;
use crate::log::{Level, Log};
use crate::worker::describe;
use crate::worker::server::Server;

/// What was asked of the supervisor.
pub(super) struct Succession<'s> {
    pub(super) words: Words,
    log: &'s Log,
    server: &'s Server,
    prepared: bool,
    asked: bool,
}

impl<'s> Succession<'s> {
    pub(super) fn new(words: Words, log: &'s Log, server: &'s Server) -> Self {
        Self {
            words,
            log,
            server,
            prepared: false,
            asked: false,
        }
    }

    /// Has the supervisor start a successor that stands by until it is asked for.
    pub(super) fn prepare(&mut self) {
        if !std::mem::replace(&mut self.prepared, true) && !self.asked {
            self.words.say(FromWorker::Prepare);
        }
    }

    /// Asks the supervisor for a successor; the supervisor tells this worker to drain when that is
    /// ready. Asks again only if the reason is urgent.
    pub(super) fn ask(&mut self, reason: Replacement) {
        if std::mem::replace(&mut self.asked, true) && !reason.is_urgent() {
            return;
        }
        let group = describe(self.server.group());
        let reason_word = reason.as_str();
        self.log.line(
            Level::Info,
            0,
            format_args!("A worker of {group} is to be replaced ({reason_word})."),
        );
        self.words.say(FromWorker::Replace(reason));
    }
}
