//! One request: deciding whether it is run here, and running it.

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
    /// Runs a request, or rejects it.
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
        match self.take_on(&head) {
            Err(why) => reject(connection, number, why),
            Ok(()) => self.run(connection, number, &head, thread),
        }
    }

    /// Answers a request for a script that is outside the `chroot` of the group.
    fn miss(
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
            // Such a short response is sent at once, unless the connection is broken.
            Finish::Unsent(_) | Finish::Broken => Next::Close,
        }
    }

    /// Accepts a request and counts it, or returns why it is not run here. If that is a reason to
    /// replace this process, tells the main thread.
    fn take_on(&self, head: &RequestHead<'_>) -> Result<(), Rejection> {
        if !self.is_open() {
            return Err(Rejection::Draining);
        }
        if let Some(limit) = self.group.life.queue_timeout {
            let waited = control::now().saturating_sub(head.queue_start);
            if waited > i64::try_from(limit.as_micros()).unwrap_or(i64::MAX) {
                return Err(Rejection::QueueTimeout);
            }
        }
        if head.reload && self.scripts.changed(head.script, head.script_mtime) {
            self.tell(Event::Replace(Replacement::ScriptReload));
            return Err(Rejection::ScriptChanged);
        }
        let number = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        let maximum = self.group.life.maximum_requests;
        if maximum == Some(number) {
            self.reach_maximum();
        }
        // The request that reaches the maximum is the last that is run.
        if maximum.is_some_and(|maximum| number > maximum) {
            return Err(Rejection::Draining);
        }
        self.slot.count_request();
        Ok(())
    }

    /// `maximum-requests` is reached: further requests wait in the queue for the successor.
    fn reach_maximum(&self) {
        self.has_reached_maximum.store(true, Ordering::SeqCst);
        // With all places taken, no child reserves one here any more.
        if let Some(slot) = self.slot.get() {
            let places = 0..slot.places(self.group.threads);
            places.for_each(|_| self.slot.occupy());
        }
        self.poller.close();
        self.tell(Event::Replace(Replacement::MaximumRequests));
    }

    /// Runs the application.
    fn run(
        &self,
        connection: &mut Connection,
        number: RequestNumber,
        head: &RequestHead<'_>,
        thread: u32,
    ) -> Next {
        let exchange = Exchange::new(connection, number, head, &self.flusher);
        if head.body_is_whole && !exchange.gather() {
            return Next::Close;
        }
        let name = RequestName {
            thread,
            taken: control::now(),
        };
        self.monitor.begin(name);
        self.lead.parallel.note(head.application_group);
        if !head.ignore_activity {
            self.monitor.note_activity();
        }
        let begin = Instant::now();
        let outcome = self.with_request(head, name, |request| self.call(request, &exchange));
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

    /// Converts the head of a request for the engine, and passes it to `body`.
    fn with_request<T>(
        &self,
        head: &RequestHead<'_>,
        name: RequestName,
        body: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let variables = head.environ.iter().flat_map(|pairs| pairs.iter());
        let count = head.environ.map_or(0, |pairs| pairs.len());
        let mut environ = Vec::with_capacity(count);
        environ.extend(
            variables
                .filter_map(|variable| self.root.variable(variable))
                .map(|(name, value)| Pair {
                    name: name.into(),
                    value: value.into(),
                }),
        );
        let mtime = self.scripts.mtime(head.script);
        if mtime == scripts::MISSING {
            scripts::check_presence(head.script, &self.log);
        }
        body(&Request {
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
            thread_id: name.thread,
            request_start: head.request_start,
            queue_start: head.queue_start,
            daemon_start: name.taken,
            daemon_connects: head.connects,
            daemon_restarts: head.restarts,
            request_rec: std::ptr::null_mut(),
        })
    }

    /// Has the engine handle a request.
    fn call(&self, request: &Request<'_>, exchange: &Exchange<'_>) -> Outcome {
        let handle = (&raw const *exchange).cast_mut().cast();
        // SAFETY: Python was started. The request and the exchange live until the call returns, and
        // the exchange is `Sync`, so any thread may use it meanwhile.
        let outcome = unsafe { (self.engine.functions().handle)(&raw const *request, handle) };
        if fork::is_forked() {
            // The application has forked here, and both processes return. The parent answers.
            exit_now(0);
        }
        outcome
    }
}
