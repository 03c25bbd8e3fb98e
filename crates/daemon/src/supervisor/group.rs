//! A group's workers: carrying out what the state machines of its slots decide.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use control::{Channel, FromWorker, GroupSpec, Life, Replacement, SlotState, Table, ToWorker};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, UnixAddr, accept, getsockname, shutdown};
use nix::unistd::Pid;

use super::slot::{Action, Event, Slot, WorkerNumber};
use super::spawn::{Equipment, SpawnError, spawn};
use crate::log::{Level, Log};

/// How much longer than a worker may take by its own rules it is left alone.
const MARGIN: Duration = Duration::from_secs(1);

/// How long a group that the configuration has no more goes on serving: children of the last
/// generation may have a request for it that they accepted just before.
const LINGER: Duration = Duration::from_secs(5);

/// How long a worker that starts is taken to be busy with it.
const START: Duration = Duration::from_secs(3);

/// Why a group cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum GroupError {
    /// The descriptors that came with its description are not those it needs.
    #[error("httpd sent {0} descriptors with it, which are not those it needs")]
    Descriptors(usize),
    /// Its table is of no use.
    #[error("its table of workers is of no use: {0}")]
    Table(std::io::Error),
}

/// A group.
pub(super) struct Group {
    spec: Box<GroupSpec>,
    equipment: OwnedEquipment,
    slots: Vec<Slot>,
    workers: Vec<Worker>,
    next_number: WorkerNumber,
    /// The slots that are to get a worker, in the order in which they asked.
    queue: VecDeque<usize>,
    /// When it ends, if the configuration has it no more.
    end_at: Option<Instant>,
}

struct OwnedEquipment {
    descriptor: OwnedFd,
    log: Log,
    table: Table,
    listener: OwnedFd,
    /// The way to httpd's scoreboard, if the group may use it.
    scoreboard: Option<OwnedFd>,
}

struct Worker {
    number: WorkerNumber,
    slot: usize,
    child: Child,
    control: Channel,
    /// The other end is gone; its exit is still to come.
    silent: bool,
    /// What the worker said of why it cannot start.
    failure: Option<String>,
    kill_at: Option<Instant>,
    ready: bool,
    started: Instant,
    /// What it was told of how long things may take.
    life: Life,
    /// It was ended by a signal from here.
    is_ended: bool,
}

impl Group {
    /// A group whose workers are to be started.
    pub(super) fn new(spec: Box<GroupSpec>, descriptors: Vec<OwnedFd>) -> Result<Self, GroupError> {
        let equipment = OwnedEquipment::new(&spec, descriptors, 0)?;
        let slots = equipment.table.slots().iter();
        let slots = slots.map(|_| Slot::default()).collect();
        let mut group = Self {
            spec,
            equipment,
            slots,
            workers: Vec::new(),
            next_number: 1,
            queue: VecDeque::new(),
            end_at: None,
        };
        group.reload();
        Ok(group)
    }

    /// The parent's number of the group.
    pub(super) fn number(&self) -> u32 {
        self.spec.number
    }

    /// Puts a new description in force: every worker is replaced.
    pub(super) fn succeed(
        &mut self,
        spec: Box<GroupSpec>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), GroupError> {
        self.equipment = OwnedEquipment::new(&spec, descriptors, self.slots.len())?;
        self.spec = spec;
        let slots = self.equipment.table.slots().len();
        self.slots.resize_with(slots, Slot::default);
        self.reload();
        Ok(())
    }

    /// How many of its workers are just starting. One that takes long is not counted: it waits for
    /// something, and others need not wait with it.
    pub(super) fn starting(&self, now: Instant) -> usize {
        let is_busy = |worker: &&Worker| {
            !worker.ready && now.saturating_duration_since(worker.started) < START
        };
        self.workers.iter().filter(is_busy).count()
    }

    /// Whether a slot waits for a worker to be started.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Starts a worker for the slot that waits longest.
    pub(super) fn start_next(&mut self) {
        if let Some(slot) = self.queue.pop_front() {
            self.start(slot);
        }
    }

    /// The configuration has the group no more: it ends soon. What runs scripts ends at once, as another
    /// group may run them now.
    pub(super) fn give_up(&mut self, now: Instant) {
        let end = if self.spec.is_service() {
            now
        } else {
            now + LINGER
        };
        self.end_at.get_or_insert(end);
    }

    /// Gives the group up.
    pub(super) fn end(&mut self, reason: Replacement) {
        self.end_at = None;
        self.queue.clear();
        self.all(Event::End(reason));
    }

    /// Takes the socket out of the file system.
    pub(super) fn remove_socket(&self) {
        let address = getsockname::<UnixAddr>(self.equipment.listener.as_raw_fd());
        if let Some(path) = address.ok().as_ref().and_then(UnixAddr::path) {
            // What is gone already need not be removed.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Nobody is to connect any more, and who is in the queue is turned away: their requests were not
    /// read, and may find another group.
    fn close_socket(&self) {
        self.remove_socket();
        let listener = self.equipment.listener.as_raw_fd();
        // From then on nobody can connect, and accepting does not wait.
        let _ = shutdown(listener, Shutdown::Both);
        while let Ok(caller) = accept(listener) {
            // SAFETY: it was accepted just now, for us.
            drop(unsafe { OwnedFd::from_raw_fd(caller) });
        }
    }

    /// Whether the group was given up and all its workers are gone.
    pub(super) fn is_over(&self) -> bool {
        self.workers.is_empty() && self.slots.iter().all(Slot::is_over)
    }

    /// The links to the workers, in the order in which [`Group::hear`] takes their readiness.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.workers
            .iter()
            .filter(|worker| !worker.silent)
            .map(|worker| &worker.control)
    }

    /// When something is due that nobody will tell.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let kills = self.workers.iter().filter_map(|worker| worker.kill_at);
        let retries = self.slots.iter().filter_map(Slot::retry);
        kills.chain(retries).chain(self.end_at).min()
    }

    /// Takes what the workers said whose links are ready.
    pub(super) fn hear(&mut self, ready: &mut impl Iterator<Item = bool>) {
        let mut said = Vec::new();
        for worker in self.workers.iter_mut().filter(|worker| !worker.silent) {
            if ready.next() != Some(true) {
                continue;
            }
            match worker.control.receive::<FromWorker>() {
                Ok((FromWorker::Ready, _)) => {
                    worker.ready = true;
                    said.push((worker.slot, Event::Ready(worker.number)));
                }
                Ok((FromWorker::Prepare, _)) => {
                    said.push((worker.slot, Event::Prepare(worker.number)));
                }
                Ok((FromWorker::Replace(reason), _)) => {
                    said.push((worker.slot, Event::WantsSuccessor(worker.number, reason)));
                }
                Ok((FromWorker::Failed(why), _)) => worker.failure = Some(why),
                Err(_) => worker.silent = true,
            }
        }
        for (slot, event) in said {
            self.step(slot, event);
        }
    }

    /// Takes note of the workers that are gone.
    pub(super) fn reap(&mut self) {
        let mut index = 0;
        while let Some(worker) = self.workers.get_mut(index) {
            match worker.child.try_wait() {
                Ok(Some(status)) => {
                    let mut worker = self.workers.swap_remove(index);
                    worker.hear_last_words();
                    self.buried(&worker, status);
                }
                // An error would mean that somebody else waited for it, which nobody here does.
                Ok(None) | Err(_) => index += 1,
            }
        }
    }

    /// Does what is due by now.
    pub(super) fn act(&mut self, now: Instant) {
        if self.end_at.is_some_and(|at| at <= now) {
            self.end(Replacement::GracefulSignal);
            self.close_socket();
        }
        for worker in &mut self.workers {
            if worker.kill_at.is_some_and(|at| at <= now) {
                worker.kill_at = None;
                worker.is_ended = true;
                let text = format_args!(
                    "Worker {} of process group '{}' did not end in time and is killed.",
                    worker.child.id(),
                    self.spec.name
                );
                self.equipment.log.line(Level::Error, 1204, text);
                // The child was not waited for yet, so the pid is still its own.
                let _ = worker.child.kill();
            }
        }
        self.all(Event::Tick);
    }

    fn reload(&mut self) {
        let wanted = usize::try_from(self.spec.processes).unwrap_or(usize::MAX);
        for number in 0..self.slots.len() {
            self.reload_slot(number, number < wanted);
        }
    }

    /// Replaces the worker of a slot, or gives the slot up if the group has fewer processes now.
    fn reload_slot(&mut self, number: usize, is_wanted: bool) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        slot.set_alone(self.spec.is_service());
        if is_wanted && slot.is_empty() {
            self.set_state(number, SlotState::Starting);
        }
        if is_wanted {
            self.step(number, Event::Reload);
        } else {
            self.queue.retain(|waiting| *waiting != number);
            self.set_state(number, SlotState::Down);
            self.step(number, Event::End(Replacement::GracefulSignal));
        }
    }

    fn all(&mut self, event: Event) {
        for slot in 0..self.slots.len() {
            self.step(slot, event);
        }
    }

    fn step(&mut self, slot: usize, event: Event) {
        let Some(machine) = self.slots.get_mut(slot) else {
            return;
        };
        for action in machine.step(event, Instant::now()) {
            self.carry_out(slot, action);
        }
    }

    fn carry_out(&mut self, slot: usize, action: Action) {
        match action {
            Action::Start if self.queue.contains(&slot) => {}
            Action::Start => self.queue.push_back(slot),
            Action::Serve(worker) => self.serve(slot, worker),
            Action::Drain(worker, reason) => self.drain(worker, reason),
            Action::Down => self.set_state(slot, SlotState::Down),
            Action::Starting => self.set_state(slot, SlotState::Starting),
        }
    }

    fn start(&mut self, slot: usize) {
        let event = match self.spawn(slot) {
            Ok((child, control)) => {
                let number = self.next_number;
                self.next_number += 1;
                self.workers.push(Worker {
                    number,
                    slot,
                    child,
                    control,
                    silent: false,
                    failure: None,
                    kill_at: None,
                    ready: false,
                    started: Instant::now(),
                    life: self.spec.life.clone(),
                    is_ended: false,
                });
                Event::Started(number)
            }
            Err(error) => {
                let text = format_args!(
                    "A worker of process group '{}' cannot be started: {error}.",
                    self.spec.name
                );
                self.equipment.log.line(Level::Error, 1205, text);
                Event::NotStarted
            }
        };
        self.step(slot, event);
    }

    fn spawn(&self, slot: usize) -> Result<(Child, Channel), SpawnError> {
        let equipment = Equipment {
            log: self.equipment.descriptor.as_fd(),
            table: self.equipment.table.as_fd(),
            listener: self.equipment.listener.as_fd(),
            scoreboard: self.equipment.scoreboard.as_ref().map(OwnedFd::as_fd),
        };
        spawn(
            &self.spec,
            u32::try_from(slot).unwrap_or(u32::MAX),
            equipment,
        )
    }

    fn serve(&mut self, slot: usize, number: WorkerNumber) {
        if let Some(place) = self.equipment.table.slots().get(slot) {
            place.succeed();
        }
        self.set_state(slot, SlotState::Ready);
        self.tell(number, &ToWorker::Serve);
    }

    fn drain(&mut self, number: WorkerNumber, reason: Replacement) {
        self.tell(number, &ToWorker::Drain { reason });
        self.terminate_unready(number);
        let is_service = self.spec.is_service();
        let Some(worker) = self
            .workers
            .iter_mut()
            .find(|worker| worker.number == number)
        else {
            return;
        };
        let life = &worker.life;
        let patience = match is_service {
            true => Some(life.stop_limit()),
            false => life.longest_end(reason),
        };
        let deadline = patience.map(|patience| Instant::now() + patience + MARGIN);
        // A worker that was leaving at its leisure may now have to hurry, never the reverse.
        worker.kill_at = match (worker.kill_at, deadline) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }

    /// A worker that was never ready does not listen, and may take for ever to load a script. As
    /// long as it does not, this signal ends it.
    fn terminate_unready(&mut self, number: WorkerNumber) {
        let mut workers = self.workers.iter_mut();
        if let Some(worker) = workers.find(|worker| worker.number == number && !worker.ready) {
            worker.is_ended = true;
            worker.signal(Signal::SIGTERM);
        }
    }

    fn tell(&mut self, number: WorkerNumber, message: &ToWorker) {
        if let Some(worker) = self.workers.iter().find(|worker| worker.number == number) {
            // A worker that does not hear is dead or will be killed when its time is over.
            let _ = worker.control.send(message, &[]);
        }
    }

    fn set_state(&self, slot: usize, state: SlotState) {
        if let Some(place) = self.equipment.table.slots().get(slot) {
            place.set_state(state);
        }
    }

    /// A worker is gone: says how, and lets its slot decide what follows.
    fn buried(&mut self, worker: &Worker, status: ExitStatus) {
        let Some(slot) = self.slots.get(worker.slot) else {
            return;
        };
        let (serving, starting) = (
            slot.is_serving(worker.number),
            slot.is_starting(worker.number),
        );
        let failures = slot.failures();
        let mut was_busy = false;
        if let Some(place) = self.equipment.table.slots().get(worker.slot) {
            was_busy = place.active() > 0;
            place.set_exit(
                worker.child.id(),
                u32::from_ne_bytes(status.into_raw().to_ne_bytes()),
            );
        }
        let (name, pid) = (&self.spec.name, worker.child.id());
        let cause = Cause {
            status,
            failure: worker.failure.as_deref(),
        };
        let log = &self.equipment.log;
        if starting {
            // The same failure over and over is told once; see at debug that it goes on.
            let level = if failures == 0 {
                Level::Error
            } else {
                Level::Debug
            };
            let text = format_args!(
                "Worker {pid} of process group '{name}' did not start: it {cause}. Its requests are \
                 answered with 503 until one does; the next attempts follow at growing intervals."
            );
            log.line(level, 1206, text);
        } else if !status.success() && !worker.is_ended && (serving || !self.spec.is_service()) {
            let text = format_args!("Worker {pid} of process group '{name}' {cause}.");
            log.line(Level::Error, 1207, text);
        } else {
            log.line(
                Level::Info,
                0,
                format_args!("Worker {pid} of process group '{name}' ended."),
            );
        }
        let event = if self.spec.is_service() && status.success() {
            Event::Finished(worker.number)
        } else if was_busy {
            Event::Crashed(worker.number)
        } else if status.signal().is_some() {
            Event::Killed(worker.number)
        } else {
            Event::Exited(worker.number)
        };
        self.step(worker.slot, event);
    }
}

impl Worker {
    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Not waited for yet, so the pid is still the worker's.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Takes what the worker said before it died and nobody has heard yet.
    fn hear_last_words(&mut self) {
        while let Ok(Some((said, _))) = self.control.try_receive() {
            if let FromWorker::Failed(why) = said {
                self.failure = Some(why);
            }
        }
    }
}

impl Drop for Group {
    /// Leaves no worker behind, whatever happened.
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.signal(Signal::SIGKILL);
        }
    }
}

impl OwnedEquipment {
    /// What came with a group's description: its error log, its table, its socket, perhaps the way to
    /// httpd's scoreboard.
    fn new(
        spec: &GroupSpec,
        descriptors: Vec<OwnedFd>,
        known_slots: usize,
    ) -> Result<Self, GroupError> {
        let count = descriptors.len();
        // Where there are fewer processes than there were, the last may have a word to say.
        let slots = usize::try_from(spec.processes).unwrap_or(usize::MAX);
        let slots = slots.max(known_slots);
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(GroupError::Descriptors(count));
        let (descriptor, table, listener) = (next()?, next()?, next()?);
        let scoreboard = descriptors.next();
        let log = descriptor.try_clone().map_err(GroupError::Table)?;
        Ok(Self {
            descriptor,
            log: Log::new(log, spec.log_level),
            table: Table::map(table, slots).map_err(GroupError::Table)?,
            listener,
            scoreboard,
        })
    }
}

/// How a worker ended, in words.
struct Cause<'a> {
    status: ExitStatus,
    failure: Option<&'a str>,
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = self.failure {
            write!(f, "says: {failure}; it ")?;
        }
        let status = u32::from_ne_bytes(self.status.into_raw().to_ne_bytes());
        f.write_str(&control::describe_exit(status))
    }
}
