//! A group: its workers, and carrying out what the state machines of its slots decide.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use control::{Channel, GroupSpec, Replacement, Setback, SlotState};

use super::cpu_time;
use super::equipment::{GroupError, OwnedEquipment};
use super::inherited::Inherited;
use super::program::Programs;
use super::slot::{Action, Event, Slot, WorkerNumber};
use super::spawn::{SpawnError, spawn};
use super::worker::{Worker, seconds};
use crate::log::Level;

/// How long a group that was removed from the configuration still serves: children of the last
/// generation may have accepted a request for it just before.
const LINGER: Duration = Duration::from_secs(5);

/// A group.
pub(super) struct Group {
    spec: Box<GroupSpec>,
    equipment: OwnedEquipment,
    slots: Vec<Slot>,
    workers: Vec<Worker>,
    /// Workers that an earlier supervisor, which has died, left behind.
    inherited: Inherited,
    next_number: WorkerNumber,
    /// The slots for which a worker is to be started, in the order in which they asked.
    queue: VecDeque<usize>,
    /// When the group ends, if it was removed from the configuration.
    end_at: Option<Instant>,
}

impl Group {
    /// A new group, whose workers are still to be started.
    pub(super) fn new(spec: Box<GroupSpec>, descriptors: Vec<OwnedFd>) -> Result<Self, GroupError> {
        let equipment = OwnedEquipment::new(&spec, descriptors, 0)?;
        let mut slots = Vec::new();
        slots.resize_with(equipment.slots(), Slot::default);
        let mut group = Self {
            spec,
            inherited: equipment.inherited(),
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

    /// The number by which httpd's parent knows the group.
    pub(super) fn number(&self) -> u32 {
        self.spec.number
    }

    /// Puts a new description into force: every worker is replaced.
    pub(super) fn succeed(
        &mut self,
        spec: Box<GroupSpec>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), GroupError> {
        self.equipment = OwnedEquipment::new(&spec, descriptors, self.slots.len())?;
        self.spec = spec;
        self.slots
            .resize_with(self.equipment.slots(), Slot::default);
        self.reload();
        Ok(())
    }

    /// How many of its workers are starting. A worker that takes long is not counted: it is waiting
    /// for something rather than using the CPU.
    pub(super) fn starting(&self, now: Instant) -> usize {
        let workers = self.workers.iter();
        workers.filter(|worker| worker.is_starting(now)).count()
    }

    /// Whether a slot waits for a worker to be started.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Starts a worker for the slot that has waited longest.
    pub(super) fn start_next(&mut self, programs: &mut Programs) {
        if let Some(slot) = self.queue.pop_front() {
            self.start(slot, programs);
        }
    }

    /// The new configuration has the group. It may have been given up because httpd took too long.
    pub(super) fn keep(&mut self) {
        self.end_at = None;
    }

    /// The new configuration does not have the group: it ends soon. A group that runs service
    /// scripts ends at once, since another group may run the same scripts now.
    pub(super) fn give_up(&mut self, now: Instant) {
        let end = if self.spec.is_service() {
            now
        } else {
            now + LINGER
        };
        self.end_at.get_or_insert(end);
    }

    /// Ends all workers of the group.
    pub(super) fn end(&mut self, reason: Replacement) {
        self.end_at = None;
        self.queue.clear();
        self.all(Event::End(reason));
    }

    /// Takes the socket out of the file system.
    pub(super) fn remove_socket(&self) {
        self.equipment.remove_socket();
    }

    /// Whether the group has ended, with all its workers.
    pub(super) fn is_over(&self) -> bool {
        self.workers.is_empty() && self.slots.iter().all(Slot::is_over)
    }

    /// The links to the workers, in the order that [`Group::hear`] expects.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.workers.iter().filter_map(Worker::link)
    }

    /// When the next timer of the group expires.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let workers = self.workers.iter().filter_map(Worker::next_deadline);
        let retries = self.slots.iter().filter_map(Slot::retry);
        let looks = self.inherited.next_look();
        workers.chain(retries).chain(self.end_at).chain(looks).min()
    }

    /// Receives messages from the workers whose links are ready.
    pub(super) fn hear(&mut self, ready: &mut impl Iterator<Item = bool>) {
        let mut said = Vec::new();
        for worker in &mut self.workers {
            if worker.link().is_none() || ready.next() != Some(true) {
                continue;
            }
            let heard = worker.hear().unwrap_or_else(|error| {
                let text = format_args!(
                    "Worker {} of process group '{}' is killed, as its message cannot be read: {error}.",
                    worker.pid(),
                    self.spec.name
                );
                self.equipment.log.line(Level::Error, 1208, text);
                None
            });
            if let Some(event) = heard {
                if let (Event::WantsSuccessor(_, Replacement::CpuTimeLimit), Some(limit)) =
                    (event, self.spec.limits.cpu_time)
                {
                    cpu_time::extend(worker.pid(), limit, &self.spec.life);
                }
                said.push((worker.slot, event));
            }
        }
        for (slot, event) in said {
            self.step(slot, event);
        }
    }

    /// Waits for the workers that have ended, and reacts to their ends.
    pub(super) fn reap(&mut self) {
        let mut index = 0;
        while let Some(worker) = self.workers.get_mut(index) {
            match worker.exit() {
                Some(status) => {
                    let worker = self.workers.swap_remove(index);
                    self.ended(&worker, status);
                }
                None => index += 1,
            }
        }
    }

    /// Acts on the timers that have expired.
    pub(super) fn act(&mut self, now: Instant) {
        if self.end_at.is_some_and(|at| at <= now) {
            self.end(Replacement::GracefulSignal);
            self.equipment.close_socket();
        }
        for worker in &mut self.workers {
            worker.tell_again(now);
            if worker.kill_overdue(now) {
                let text = format_args!(
                    "Worker {} of process group '{}' did not end in time and is killed.",
                    worker.pid(),
                    self.spec.name
                );
                self.equipment.log.line(Level::Error, 1204, text);
            }
        }
        for slot in self.inherited.look(now) {
            self.publish(slot);
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
            self.equipment.set_state(number, SlotState::Starting);
        }
        if is_wanted {
            self.step(number, Event::Reload);
        } else {
            self.queue.retain(|waiting| *waiting != number);
            self.equipment.set_state(number, SlotState::Down);
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
        let actions = machine.step(event, Instant::now());
        let has_news = event != Event::Tick || !actions.is_empty();
        for action in actions {
            self.carry_out(slot, action);
        }
        if has_news {
            self.publish(slot);
        }
    }

    /// Records which workers are in a slot, for mod_status.
    fn publish(&self, number: usize) {
        let Some(slot) = self.slots.get(number) else {
            return;
        };
        let workers = self.workers.iter().filter(|worker| worker.slot == number);
        let members = workers.map(|worker| worker.member(slot.stage(worker.number)));
        let pause = slot
            .retry()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let setback = Setback {
            failures: slot.failures(),
            retry: pause.map(|pause| seconds(SystemTime::now() + pause)),
        };
        // The group's own workers come first, in case there is no room for all.
        let members = members.chain(self.inherited.of_slot(number));
        self.equipment.tell(number, members, setback);
    }

    fn carry_out(&mut self, slot: usize, action: Action) {
        match action {
            Action::Start if self.queue.contains(&slot) => {}
            Action::Start => self.queue.push_back(slot),
            Action::Serve(worker) => self.serve(slot, worker),
            Action::Drain(worker, reason) => self.drain(worker, reason),
            Action::Down => self.equipment.set_state(slot, SlotState::Down),
            Action::Starting => self.equipment.set_state(slot, SlotState::Starting),
        }
    }

    fn start(&mut self, slot: usize, programs: &mut Programs) {
        let place = u32::try_from(slot).unwrap_or(u32::MAX);
        let program = programs.of(&self.spec, &self.equipment.log);
        let process = program
            .map_err(SpawnError::from)
            .and_then(|program| spawn(program, &self.spec, place, self.equipment.lend()));
        let event = match process {
            Ok(process) => {
                let number = self.next_number;
                self.next_number += 1;
                let life = self.spec.life.clone();
                self.workers.push(Worker::new(number, slot, life, process));
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

    fn serve(&mut self, slot: usize, number: WorkerNumber) {
        let incarnation = self.equipment.succeed(slot);
        self.inherited.succeed(slot);
        if let Some(worker) = self.worker(number) {
            worker.serve(incarnation);
        }
    }

    fn drain(&mut self, number: WorkerNumber, reason: Replacement) {
        let is_service = self.spec.is_service();
        let Some(worker) = self.worker(number) else {
            return;
        };
        worker.drain(reason);
        worker.terminate_unready();
        worker.limit(match is_service {
            true => Some(worker.life.stop_limit()),
            false => worker.life.longest_end(reason),
        });
    }

    fn worker(&mut self, number: WorkerNumber) -> Option<&mut Worker> {
        let mut workers = self.workers.iter_mut();
        workers.find(|worker| worker.number == number)
    }

    /// A worker has ended: logs how, and lets its slot decide what follows.
    fn ended(&mut self, worker: &Worker, status: ExitStatus) {
        let Some(slot) = self.slots.get(worker.slot) else {
            return;
        };
        let has_served = self.equipment.note_end(worker.slot, worker.ending(status));
        self.log_end(slot, worker, status);
        let event = if self.spec.is_service() && status.success() {
            Event::Finished(worker.number)
        } else if has_served && slot.is_serving(worker.number) {
            Event::Ended(worker.number)
        } else if status.signal().is_some() {
            Event::Killed(worker.number)
        } else {
            Event::Exited(worker.number)
        };
        self.step(worker.slot, event);
    }

    fn log_end(&self, slot: &Slot, worker: &Worker, status: ExitStatus) {
        let log = &self.equipment.log;
        let (name, pid, cause) = (&self.spec.name, worker.pid(), worker.cause(status));
        let counts = slot.is_serving(worker.number) || !self.spec.is_service();
        if slot.is_starting(worker.number) && status.signal().is_some() && slot.forgives() {
            let text = format_args!(
                "Worker {pid} of process group '{name}' {cause} before it served; another one is started."
            );
            log.line(Level::Error, 1207, text);
        } else if slot.is_starting(worker.number) {
            self.log_false_start(slot, worker, status);
        } else if !status.success() && !worker.is_ended && counts {
            let text = format_args!("Worker {pid} of process group '{name}' {cause}.");
            log.line(Level::Error, 1207, text);
        } else {
            let text = format_args!("Worker {pid} of process group '{name}' ended.");
            log.line(Level::Info, 0, text);
        }
    }

    /// Logs that a worker did not start. Repeated failures are logged at debug.
    fn log_false_start(&self, slot: &Slot, worker: &Worker, status: ExitStatus) {
        let (name, pid) = (&self.spec.name, worker.pid());
        let level = |first| match slot.failures() {
            0 => first,
            _ => Level::Debug,
        };
        let meanwhile = match self.slots.iter().any(Slot::takes_requests) {
            true => "Workers that serve already go on",
            false => "Requests for the group get 503 until a worker starts",
        };
        let next = format_args!("{meanwhile}. Further attempts follow at growing intervals.");
        let log = &self.equipment.log;
        match worker.refusal() {
            Some((id, refusal)) => log.line(
                level(Level::Alert),
                id,
                format_args!(
                    "{refusal}. Worker {pid} of process group '{name}' did not start. {next}"
                ),
            ),
            None => log.line(
                level(Level::Error),
                1206,
                format_args!(
                    "Worker {pid} of process group '{name}' did not start; it {}. {next}",
                    worker.cause(status)
                ),
            ),
        }
    }
}

impl Drop for Group {
    /// Kills what is left of a group that was told to end. If the group was not, the supervisor
    /// ends because of a bug: the workers, whose links close now, then serve until those of the
    /// next supervisor do.
    fn drop(&mut self) {
        if self.slots.iter().all(Slot::is_given_up) {
            self.workers.iter().for_each(Worker::kill);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::process::Command;

    use control::{FromWorker, Life};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;
    use crate::testing;

    /// A group whose one worker serves, the worker, and its end of the link.
    fn group() -> (Group, Pid, Channel) {
        let spec = Box::new(testing::group("one"));
        let mut group = Group::new(spec, testing::equipment()).unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let (link, theirs) = Channel::pair().unwrap();
        let worker = Worker::new(1, 0, Life::default(), (child, link));
        group.workers.push(worker);
        group.step(0, Event::Started(1));
        theirs.send(&FromWorker::Ready, &[]).unwrap();
        group.hear(&mut [true].into_iter());
        (group, pid, theirs)
    }

    #[test]
    fn a_group_that_is_to_end_leaves_no_worker_behind() {
        let (mut group, worker, _link) = group();
        group.end(Replacement::GracefulSignal);
        drop(group);
        let killed = WaitStatus::Signaled(worker, Signal::SIGKILL, false);
        assert_eq!(waitpid(worker, None), Ok(killed));
    }

    #[test]
    fn workers_go_on_when_the_supervisor_has_a_fault() {
        let (group, worker, _link) = group();
        let fault = catch_unwind(AssertUnwindSafe(move || {
            let _group = group;
            resume_unwind(Box::new("a fault"))
        }));
        assert!(fault.is_err());
        kill(worker, Signal::SIGTERM).unwrap();
        // Whoever was killed already did not die of this.
        let status = waitpid(worker, None);
        let ended = WaitStatus::Signaled(worker, Signal::SIGTERM, false);
        assert_eq!(status, Ok(ended));
    }
}
