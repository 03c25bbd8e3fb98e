//! Serving: threads that take requests from the [`Poller`], one after the other.
//!
//! The thread that reads a request runs it. The head, and a body that was sent along with it, are
//! read before the application runs; a longer body is read when the application asks for it. No
//! request is run twice: if the connection breaks without an answer, the child can tell from the
//! kind of break whether its request had been read (see `docs/protocol.md`).
//!
//! - [`Lead`]: which thread polls
//! - [`conversation`]: the frames on a connection
//! - [`expect`]: requests that may occupy a thread for as long as their client likes
//! - [`places`]: what children see in the table of how busy the worker is
//! - [`request`]: running one request, or rejecting it
//! - [`turn`]: what a thread does between two waits

mod conversation;
mod expect;
mod places;
mod request;
#[cfg(test)]
pub(super) mod tests;
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

/// How many windows may have memory, for each thread: a busy thread serves several connections in
/// turn.
const WINDOWS: u32 = 4;

/// The server of this process, which all its threads share.
pub(super) struct Server {
    engine: LoadedEngine,
    group: Box<GroupSpec>,
    root: Root,
    slot: Arc<OwnSlot>,
    log: Arc<Log>,
    poller: Poller,
    /// Which thread waits at the poller.
    lead: Lead,
    /// Sends what slow children have not taken yet.
    flusher: Flusher,
    scripts: Scripts,
    monitor: Arc<Monitor>,
    /// How many requests are served whose client waits to be told to send the body.
    expect: ExpectContinue,
    /// How many requests are being served.
    active: AtomicU32,
    /// How many threads have a connection, with or without a request, or are about to take one.
    turns: AtomicU32,
    /// How many requests have come since the start, including those that came after
    /// `maximum-requests` was reached and were rejected.
    served: AtomicU64,
    /// The value of `served` when the places were last checked.
    counted: AtomicU64,
    /// How many places were taken at that time.
    places: AtomicU32,
    draining: AtomicBool,
    /// Whether `maximum-requests` is reached.
    has_reached_maximum: AtomicBool,
    /// Whether the main thread wants to be woken by the next request.
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
            // Mapped windows would count against the limit of the application.
            Some(_) => 0,
            None => group.threads.saturating_mul(WINDOWS),
        };
        let windows = Spool::new(Window::SIZE, windows);
        Ok(Self {
            monitor: Arc::new(Monitor::new(group.threads)),
            engine,
            root: Root::of(&group.identity),
            lead: Lead::new(Parallel::of(&group.python), group.processes > 1),
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

    /// The limit that has been exceeded, if one has.
    pub(super) fn passed_limit(&self) -> Option<Replacement> {
        if python::has_loaded() {
            self.monitor.note_loaded();
        }
        self.monitor.passed(&self.group.life, self.active())
    }

    /// How long it is until the next limit that is running is exceeded.
    pub(super) fn until_limit(&self) -> Option<Duration> {
        self.monitor.until_limit(&self.group.life, self.active())
    }

    /// The requests that have taken longer than `request-timeout` allows.
    pub(super) fn overdue(&self) -> Vec<RequestName> {
        self.monitor.overdue(&self.group.life)
    }

    /// How many requests a worker that drains waits for.
    pub(super) fn awaited(&self) -> u32 {
        self.monitor.awaited(&self.group.life, self.active())
    }

    /// How many requests are being served, plus how many responses are still being sent.
    pub(super) fn active(&self) -> u32 {
        let unsent = u32::try_from(self.flusher.load()).unwrap_or(u32::MAX);
        self.active.load(Ordering::SeqCst).saturating_add(unsent)
    }

    /// Whether nothing is left that a worker that drains waits for. If this is true after
    /// [`drain`](Self::drain), no further request is read: the poller is closed by then, so a
    /// thread that begins a turn later finds no connection.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.load(Ordering::SeqCst) == 0 && self.active() == 0
    }

    /// Starts the threads and begins to accept connections, as this incarnation of the slot. Events
    /// for the main thread go to `events`.
    pub(super) fn serve(
        self: &Arc<Self>,
        incarnation: u32,
        events: Sender<Event>,
    ) -> io::Result<()> {
        // The supervisor tells a worker only once to serve.
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

    /// Stops taking requests.
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

    /// How long the main thread has nothing to check, if no request is being served and nothing has
    /// to be put right. The next request then sends an [`Event::Busy`].
    pub(super) fn idle_interval(&self) -> Option<Duration> {
        self.is_dozing.store(true, Ordering::SeqCst);
        // A request that begins after this load sees the flag.
        let is_active = self.active() > 0 || self.is_draining();
        let has_place = self.slot.get().is_some_and(|slot| slot.active() > 0);
        let has_memory = self.poller.rest();
        if is_active || has_place || has_memory || self.poller.is_starved() {
            self.is_dozing.store(false, Ordering::SeqCst);
            return None;
        }
        Some(self.monitor.rest(&self.group.life))
    }

    /// Wakes the main thread, if it wants that, because a request has come.
    fn wake(&self) {
        if self.is_dozing.load(Ordering::SeqCst) && self.is_dozing.swap(false, Ordering::SeqCst) {
            self.tell(Event::Busy);
        }
    }

    /// A thread begins a request now, for a test.
    #[cfg(test)]
    pub(super) fn note_begin(&self, request: RequestName) {
        self.monitor.begin(request);
    }

    /// Whether this worker was told to serve.
    pub(super) fn is_serving(&self) -> bool {
        self.events.get().is_some()
    }

    /// Whether the slot in the table belongs to this worker.
    fn has_slot(&self) -> bool {
        self.is_serving() && !self.is_succeeded()
    }

    /// Whether another worker serves in its slot now.
    pub(super) fn is_succeeded(&self) -> bool {
        self.slot.is_succeeded()
    }

    /// Has children send requests here although the supervisor has marked the slot as down. For an
    /// orphan: the new supervisor does not know this worker, and cannot start its own.
    pub(super) fn stand_in(&self) {
        let slot = self.slot.get();
        let slot = slot.filter(|slot| slot.state() == SlotState::Down);
        if let Some(slot) = slot.filter(|_| self.has_slot()) {
            slot.set_state(SlotState::Ready);
        }
    }

    /// How many requests have come since the start, including those that came after
    /// `maximum-requests` was reached and were rejected.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// A serving thread.
    fn work(&self, thread: u32) {
        if self.group.limits.is_batch {
            // If the system refuses, requests only take a little longer.
            let _ = schedule::do_not_preempt();
        }
        self.serve_for_ever(thread);
    }

    /// How many requests wait for the GIL to begin.
    fn newcomers(&self) -> u32 {
        // SAFETY: the function has no preconditions; it only reads a counter.
        unsafe { (self.engine.functions().newcomers)() }
    }

    /// The flusher's thread.
    fn send_rests(&self) {
        let error = self.flusher.run(|token, connection| {
            if let Some(connection) = connection {
                self.go_on(token, connection);
            }
            self.tell_if_idle();
        });
        self.cannot_wait(&error);
    }

    /// Accepts and greets the connection that has waited longest, if its peer is the owner of the
    /// socket or root.
    fn admit(&self) -> Option<(u64, Connection)> {
        let accepted = self.poller.accept(|barred| self.report_barred(barred));
        if self.poller.is_starved() {
            self.wake();
        }
        let (token, stream) = accepted?;
        match self.greet(stream) {
            // If the peer has closed the connection, it counts its request as not run: it must not
            // be run.
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

    /// Logs that no connection can be accepted.
    fn report_barred(&self, barred: &Barred) {
        let text = format_args!(
            "Process group '{}' cannot accept connections: {barred}. It tries again every second.",
            self.group.name
        );
        self.log.line(Level::Error, 1360, text);
    }

    /// Begins to accept connections again, if that failed. To be called at intervals.
    pub(super) fn reopen(&self) {
        // A repeated failure has been logged.
        let _ = self.poller.reopen();
    }

    /// Counts a request that begins.
    fn begin(&self) {
        self.active.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// Counts a request that has ended.
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
            // Sending cannot fail: the main thread ends only with the process.
            let _ = events.send(event);
        }
    }
}
