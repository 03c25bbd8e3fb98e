//! Serving: threads that take whatever request comes in through the [`Poller`], one after the
//! other.
//!
//! The thread that reads a request runs it. Its head, and a body that came along with that, are
//! read before the application runs; a longer body is read when the application asks for it. No
//! request is run twice: a child that sees the connection break without an answer can tell from the
//! kind of break whether its request had been read (see `docs/protocol.md`).
//!
//! - [`Lead`] says which thread polls
//! - [`conversation`] is what is said over a connection
//! - [`expect`] are the requests that may hold a thread for as long as their client likes
//! - [`places`] is what children are told of how busy the worker is
//! - [`request`] runs one request, or says why not
//! - [`turn`] is what a thread does between two waits

mod conversation;
mod expect;
mod places;
mod request;
#[cfg(test)]
mod tests;
mod turn;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use std::time::Duration;

use control::{GroupSpec, Replacement, SlotState, Table, Window, schedule};
use engine_abi::LoadedEngine;

use super::connection::Connection;
use super::flusher::Flusher;
use super::lead::Lead;
use super::life::Event;
use super::monitor::{Monitor, RequestName};
use super::outbox::Spool;
use super::own_slot::OwnSlot;
use super::parallel::Parallel;
use super::poller::{Barred, Poller};
use super::python;
use super::root::Root;
use super::scripts::Scripts;
use super::{describe, vital};
use crate::log::{Level, Log};
use expect::ExpectContinue;

/// How many windows have memory, for each thread: a busy one serves some connections in turns.
const WINDOWS: u32 = 4;

/// What serves the requests of this process.
pub(super) struct Server {
    engine: LoadedEngine,
    group: Box<GroupSpec>,
    root: Root,
    slot: Arc<OwnSlot>,
    log: Arc<Log>,
    poller: Poller,
    /// Which thread waits there.
    lead: Lead,
    /// Sends what slow children have not taken yet.
    flusher: Flusher,
    scripts: Scripts,
    monitor: Arc<Monitor>,
    /// How many are served whose client was not told to send the body.
    expect: ExpectContinue,
    /// How many requests are being served.
    active: AtomicU32,
    /// How many threads have a connection, or look for one, be there a request on it or not.
    turns: AtomicU32,
    /// How many requests came since the start, those included that came behind `maximum-requests`
    /// and were sent back.
    served: AtomicU64,
    /// How many that were when the places were last counted.
    counted: AtomicU64,
    /// How many places were taken then.
    places: AtomicU32,
    draining: AtomicBool,
    /// As many requests were taken as may be.
    has_reached_maximum: AtomicBool,
    /// The main thread is to be told of the next request.
    is_dozing: AtomicBool,
    events: OnceLock<Sender<Event>>,
}

impl Server {
    /// A server that does not serve yet.
    pub(super) fn new(
        engine: LoadedEngine,
        group: Box<GroupSpec>,
        scripts: Scripts,
        (table, slot): (Table, usize),
        listener: OwnedFd,
        log: Arc<Log>,
    ) -> io::Result<Self> {
        let spool = Spool::new(group.response_buffer, group.threads);
        let windows = match group.limits.virtual_memory {
            // What is mapped is missed by the application.
            Some(_) => 0,
            None => group.threads.saturating_mul(WINDOWS),
        };
        let windows = Spool::new(Window::SIZE, windows);
        Ok(Self {
            monitor: Arc::new(Monitor::new(group.threads)),
            engine,
            root: Root::of(&group.identity),
            lead: Lead::new(Parallel::of(&group.python)),
            group,
            slot: Arc::new(OwnSlot::new(table, slot)),
            log,
            poller: Poller::new(listener)?,
            flusher: Flusher::new(spool, windows)?,
            scripts,
            expect: ExpectContinue::default(),
            active: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            served: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            places: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            has_reached_maximum: AtomicBool::new(false),
            is_dozing: AtomicBool::new(false),
            events: OnceLock::new(),
        })
    }

    /// The group this process belongs to.
    pub(super) fn group(&self) -> &GroupSpec {
        &self.group
    }

    /// The engine of this process.
    pub(super) fn engine(&self) -> LoadedEngine {
        self.engine
    }

    /// The limit that is passed, if one is.
    pub(super) fn passed_limit(&self) -> Option<Replacement> {
        if python::has_loaded() {
            self.monitor.note_loaded();
        }
        self.monitor.passed(&self.group.life, self.active())
    }

    /// How long it is until the next limit is passed of what has begun.
    pub(super) fn until_limit(&self) -> Option<Duration> {
        self.monitor.until_limit(&self.group.life, self.active())
    }

    /// The requests that take longer than `request-timeout` allows.
    pub(super) fn overdue(&self) -> Vec<RequestName> {
        self.monitor.overdue(&self.group.life)
    }

    /// How many requests a worker that leaves waits for.
    pub(super) fn awaited(&self) -> u32 {
        self.monitor.awaited(&self.group.life, self.active())
    }

    /// How many requests are being served, and how many responses are still being sent.
    pub(super) fn active(&self) -> u32 {
        let unsent = u32::try_from(self.flusher.load()).unwrap_or(u32::MAX);
        self.active.load(Ordering::SeqCst).saturating_add(unsent)
    }

    /// Whether nothing is left that a worker that leaves waits for. Once it takes no more requests,
    /// and this was so, none is read any more: the poller is closed before anybody asks, so a
    /// thread that begins a turn later finds no connection.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.load(Ordering::SeqCst) == 0 && self.active() == 0
    }

    /// Starts the threads and accepts connections, as the worker of its slot that has this number.
    /// What the main thread must know goes to `events`.
    pub(super) fn serve(
        self: &Arc<Self>,
        incarnation: u32,
        events: Sender<Event>,
    ) -> io::Result<()> {
        // A worker is told to serve once; a second time changes nothing.
        if self.events.set(events.clone()).is_err() {
            return Ok(());
        }
        self.slot.take_over(incarnation);
        let stack_size = self.group.stack_size.unwrap_or_else(engine_abi::stack_size);
        for number in 1..=self.group.threads {
            let server = self.clone();
            Builder::new()
                .name(format!("wsgi-{number}"))
                .stack_size(stack_size)
                .spawn(move || server.work(number))?;
        }
        let server = self.clone();
        let thread = Builder::new().name("wsgi-flusher".to_owned());
        vital::spawn(thread, &events, move || server.send_rests())?;
        self.poller.open()?;
        self.monitor
            .probe(self.engine, self.group.life.deadlock_timeout, &events)
    }

    /// Takes no more requests.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.poller.close();
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether requests are still taken.
    fn is_open(&self) -> bool {
        !self.is_draining() && !self.has_reached_maximum.load(Ordering::SeqCst)
    }

    /// How long there is nothing to look at: no request is served, and nothing has to be put right.
    /// The next request is an [`Event::Busy`] then.
    pub(super) fn idle_interval(&self) -> Option<Duration> {
        self.is_dozing.store(true, Ordering::SeqCst);
        // Who comes after this load finds the flag.
        let is_active = self.active() > 0 || self.is_draining();
        let has_place = self.slot.get().is_some_and(|slot| slot.active() > 0);
        let has_memory = self.poller.rest();
        if is_active || has_place || has_memory || self.poller.is_starved() {
            self.is_dozing.store(false, Ordering::SeqCst);
            return None;
        }
        Some(self.monitor.rest(&self.group.life))
    }

    /// Has the main thread look again, as a request has come.
    fn wake(&self) {
        if self.is_dozing.load(Ordering::SeqCst) && self.is_dozing.swap(false, Ordering::SeqCst) {
            self.tell(Event::Busy);
        }
    }

    /// Whether this worker was told to serve.
    pub(super) fn is_serving(&self) -> bool {
        self.events.get().is_some()
    }

    /// Whether what the table says of the slot is about this worker.
    fn has_slot(&self) -> bool {
        self.is_serving() && !self.is_succeeded()
    }

    /// Whether another worker serves in its place.
    pub(super) fn is_succeeded(&self) -> bool {
        self.slot.is_succeeded()
    }

    /// Has children send requests here although the supervisor has told them that nobody serves: it
    /// is another one, which knows this worker not and cannot start its own.
    pub(super) fn stand_in(&self) {
        let slot = self.slot.get();
        let slot = slot.filter(|slot| slot.state() == SlotState::Down);
        if let Some(slot) = slot.filter(|_| self.has_slot()) {
            slot.set_state(SlotState::Ready);
        }
    }

    /// How many requests came since the start, those included that came behind `maximum-requests`
    /// and were sent back.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// A thread's life.
    fn work(&self, thread: u32) {
        if self.group.limits.is_batch {
            // Where the system refuses, it only takes longer.
            let _ = schedule::do_not_preempt();
        }
        self.serve_for_ever(thread);
    }

    /// Whether a request waits for the GIL to begin.
    fn has_newcomers(&self) -> bool {
        // SAFETY: the function only reads a counter.
        unsafe { (self.engine.functions().newcomers)() > 0 }
    }

    /// The life of the thread that sends what slow children have not taken.
    fn send_rests(&self) {
        let error = self.flusher.run(|token, connection| {
            if let Some(connection) = connection {
                self.go_on(token, connection);
            }
            self.tell_if_idle();
        });
        self.cannot_wait(&error);
    }

    /// Accepts and greets who has waited longest, if it comes from the owner of the socket or from
    /// root.
    fn admit(&self) -> Option<(u64, Connection)> {
        let accepted = self.poller.accept(|barred| self.report_barred(barred));
        if self.poller.is_starved() {
            self.wake();
        }
        let (token, stream) = accepted?;
        match self.greet(stream) {
            // Who has gone meanwhile was told otherwise, so what they have sent may not be run.
            Ok(connection) => connection.map(|connection| (token, connection)),
            Err(error) => {
                self.log.line(
                    Level::Error,
                    1215,
                    format_args!("{} refuses a connection: {error}", describe(&self.group)),
                );
                None
            }
        }
    }

    /// Says that no connection can be accepted.
    fn report_barred(&self, barred: &Barred) {
        let text = format_args!(
            "Process group '{}' cannot accept connections: {barred}. It tries again every second.",
            self.group.name
        );
        self.log.line(Level::Error, 1360, text);
    }

    /// Tries again to accept connections, if that failed. To be called now and then.
    pub(super) fn reopen(&self) {
        // If it fails still, that was said.
        let _ = self.poller.reopen();
    }

    /// A request is served from now on.
    fn begin(&self) {
        self.active.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// One is no more.
    fn end(&self) {
        if let Some(slot) = self.slot.get() {
            slot.note_answer(self.slot.incarnation());
        }
        self.active.fetch_sub(1, Ordering::SeqCst);
        self.tell_if_idle();
    }

    fn tell_if_idle(&self) {
        if self.is_draining() && self.is_idle() {
            self.tell(Event::Idle);
        }
    }

    fn tell(&self, event: Event) {
        if let Some(events) = self.events.get() {
            // The main thread ends only with the process.
            let _ = events.send(event);
        }
    }
}
