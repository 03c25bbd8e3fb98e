//! One request: whether it is run here, and running it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use control::Replacement;
use engine_abi::{Bytes, LogLine, Outcome, Pair, Request, Script, Slice};
use wire::{Rejection, RequestHead, RequestNumber};

use super::Server;
use super::conversation::{Next, reject};
use crate::log::Level;
use crate::worker::connection::Connection;
use crate::worker::exchange::{Exchange, Finish};
use crate::worker::fork;
use crate::worker::life::{Event, exit_now};
use crate::worker::monitor::RequestName;
use crate::worker::scripts;

impl Server {
    /// Runs a request, or says why not.
    pub(super) fn take(
        &self,
        connection: &mut Connection,
        number: RequestNumber,
        mut head: RequestHead<'_>,
        thread: u32,
    ) -> Next {
        let Some(script) = self.root.inside(head.script) else {
            return self.miss(connection, number, &head);
        };
        head.script = script;
        head.resource = self.root.inside(head.resource).unwrap_or(head.resource);
        let Some(_admission) = self.expect.admit(head.asks_first, self.group.threads) else {
            return reject(connection, number, Rejection::BodyFirst);
        };
        match self.refusal(&head) {
            Some(why) => reject(connection, number, why),
            None => self.run(connection, number, &head, thread),
        }
    }

    /// Answers a request for a script that the root directory of the group hides.
    pub(super) fn miss(
        &self,
        connection: &mut Connection,
        number: RequestNumber,
        head: &RequestHead<'_>,
    ) -> Next {
        let text = format!(
            "The script {} lies outside the chroot of process group '{}'.",
            String::from_utf8_lossy(head.script),
            self.group.name
        );
        let exchange = Exchange::new(connection, number, head, &self.flusher);
        exchange.log(&LogLine {
            level: Level::Error,
            id: 81,
            names_script: true,
            text: Bytes::from(text.as_str()),
            file: Bytes::NONE,
            line: 0,
        });
        match exchange.finish(Outcome::refused(502)) {
            Finish::Sent => Next::GoOn,
            // So little is sent at once, or never.
            Finish::Unsent(_) | Finish::Broken => Next::Close,
        }
    }

    /// Why a request cannot be run here, if it cannot.
    pub(super) fn refusal(&self, head: &RequestHead<'_>) -> Option<Rejection> {
        if !self.is_open() {
            return Some(Rejection::Draining);
        }
        if let Some(limit) = self.group.life.queue_timeout {
            let waited = control::now().saturating_sub(head.queue_start);
            if waited > i64::try_from(limit.as_micros()).unwrap_or(i64::MAX) {
                return Some(Rejection::QueueTimeout);
            }
        }
        if head.reload && self.scripts.changed(head.script, head.script_mtime) {
            self.tell(Event::Replace(Replacement::ScriptReload));
            return Some(Rejection::ScriptChanged);
        }
        (!self.count()).then_some(Rejection::Draining)
    }

    /// Counts a request. Returns whether it may still be taken: the one that reaches
    /// `maximum-requests` is the last, and those behind it wait in the queue for the successor.
    pub(super) fn count(&self) -> bool {
        let number = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        let maximum = self.group.life.maximum_requests;
        if maximum == Some(number) {
            self.has_reached_maximum.store(true, Ordering::SeqCst);
            // No child looks for a place here any more.
            if let Some(slot) = self.slot.get() {
                let places = 0..slot.places(self.group.threads);
                places.for_each(|_| self.slot.occupy());
            }
            self.poller.close();
            self.tell(Event::Replace(Replacement::MaximumRequests));
        }
        let is_taken = maximum.is_none_or(|maximum| number <= maximum);
        if is_taken {
            self.slot.count_request();
        }
        is_taken
    }

    /// Runs the application.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        number: RequestNumber,
        head: &RequestHead<'_>,
        thread: u32,
    ) -> Next {
        let environ: Vec<_> = head
            .environ
            .iter()
            .flat_map(|pairs| pairs.iter())
            .filter_map(|variable| self.root.variable(variable))
            .map(|(name, value)| Pair {
                name: name.into(),
                value: value.into(),
            })
            .collect();
        let name = RequestName {
            thread,
            taken: control::now(),
        };
        let mtime = self.scripts.mtime(head.script);
        if mtime == scripts::MISSING {
            scripts::check_presence(head.script, &self.log);
        }
        let request = Request {
            environ: Slice::new(&environ),
            script: Script {
                path: head.script.into(),
                application_group: head.application_group.into(),
                mtime,
                reload: head.reload,
            },
            callable: head.callable.into(),
            resource: head.resource.into(),
            https: head.https,
            content_length: head
                .content_length
                .and_then(|length| i64::try_from(length).ok())
                .unwrap_or(-1),
            thread_id: thread,
            request_start: head.request_start,
            queue_start: head.queue_start,
            daemon_start: name.taken,
            daemon_connects: head.connects,
            daemon_restarts: head.restarts,
            request_rec: std::ptr::null_mut(),
        };
        let exchange = Exchange::new(connection, number, head, &self.flusher);
        if head.body_is_whole && !exchange.gather() {
            return Next::Close;
        }
        self.monitor.begin(name);
        self.lead.parallel.note(head.application_group);
        if !head.ignore_activity {
            self.monitor.note_activity();
        }
        let begin = Instant::now();
        let handle = (&raw const exchange).cast_mut().cast();
        // SAFETY: Python was started; request and exchange live until the call returns, and the
        // exchange may be used by any thread meanwhile.
        let outcome = unsafe { (self.engine.functions().handle)(&raw const request, handle) };
        if fork::is_forked() {
            // The application has forked here and let both return. The answer is the other's.
            exit_now(0);
        }
        #[cfg(test)]
        super::tests::fail_if_faulty(head.script);
        if outcome.kind == Outcome::STALE {
            self.scripts.expire(head.script);
            self.tell(Event::Replace(Replacement::ScriptReload));
        }
        let finish = exchange.finish(outcome);
        self.note_duration(begin.elapsed());
        if !head.ignore_activity {
            self.monitor.note_activity();
        }
        match finish {
            Finish::Unsent(rest) => Next::Send(rest),
            Finish::Sent => Next::GoOn,
            Finish::Broken => Next::Close,
        }
    }
}
