//! The life of a slot, as a state machine without side effects.
//!
//! A slot has one worker that serves, perhaps one that starts to take its place, and perhaps
//! some that are leaving. Replacing the one that serves is the same whatever the cause:
//!
//! ```text
//!   start new ──> ready ──> the new one serves, the old one drains ──> the old one exits
//! ```
//!
//! A worker that will have to end soon can have its successor started in advance; that one stands
//! by until it is needed.
//!
//! If a worker does not start, it is tried again at growing intervals, and the slot is down
//! meanwhile if no other worker serves it.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use control::{Replacement, Stage};

/// The longest time between two attempts to start a worker.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A worker that ends sooner than this after it was ready, without having served a request, counts
/// as a failed start.
const STABLE: Duration = Duration::from_secs(1);

/// The supervisor's number for a worker; never used twice.
pub(super) type WorkerNumber = u64;

/// What happened to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A worker was started.
    Started(WorkerNumber),
    /// The system could not even start one.
    NotStarted,
    /// A worker is ready to serve.
    Ready(WorkerNumber),
    /// A worker will ask for a successor soon.
    Prepare(WorkerNumber),
    /// A worker asks for a successor.
    WantsSuccessor(WorkerNumber, Replacement),
    /// All workers are to be replaced: the configuration is new.
    Reload,
    /// A worker has exited.
    Exited(WorkerNumber),
    /// A worker has ended that had served requests or was serving one: whatever the cause, it had
    /// started.
    Ended(WorkerNumber),
    /// A worker was killed by a signal.
    Killed(WorkerNumber),
    /// A worker has exited because its service script ended without an error.
    Finished(WorkerNumber),
    /// The slot is given up.
    End(Replacement),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a worker, and say so with [`Event::Started`].
    Start,
    /// Tell a worker to serve.
    Serve(WorkerNumber),
    /// Tell a worker to drain, and kill it when its time is over.
    Drain(WorkerNumber, Replacement),
    /// Tell the children that no worker serves, and none will soon.
    Down,
    /// Tell the children that a worker is being started.
    Starting,
}

/// Failed starts.
#[derive(Clone, Copy, Debug, Default)]
struct Setbacks {
    /// How often in a row one did not start.
    failures: u32,
    /// Whether one of them was killed by a signal. The first time that says little about the next
    /// worker.
    accident: bool,
}

/// A slot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    starting: Option<WorkerNumber>,
    serving: Option<(WorkerNumber, Instant)>,
    /// The worker that is ready to replace the one that serves.
    standby: Option<WorkerNumber>,
    leaving: Vec<WorkerNumber>,
    /// Why the worker that serves is being replaced.
    cause: Option<Replacement>,
    /// Since a worker was ready the last time.
    setbacks: Setbacks,
    /// The setbacks before that. They count again if that worker turns out to be a failed start.
    earlier: Setbacks,
    retry: Option<Instant>,
    ended: bool,
    /// Its workers run service scripts, one at a time: the old one must have ended before the next
    /// starts.
    alone: bool,
    /// A worker is to be started once those that are leaving have ended.
    wanted: bool,
}

impl Slot {
    /// Says whether its workers run scripts rather than serve.
    pub(super) fn set_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    /// Whether the slot was given up and all its workers have ended.
    pub(super) fn is_over(&self) -> bool {
        let workers = [self.starting, self.standby, self.serving.map(|it| it.0)];
        self.ended && workers.iter().all(Option::is_none) && self.leaving.is_empty()
    }

    /// Whether the slot was given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.ended
    }

    /// Whether no worker serves or is starting.
    pub(super) fn is_empty(&self) -> bool {
        self.serving.is_none() && self.starting.is_none()
    }

    /// When the next attempt to start a worker is due.
    pub(super) fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// How often in a row a worker did not start.
    pub(super) fn failures(&self) -> u32 {
        self.setbacks.failures
    }

    /// Whether a worker that is killed as it starts is replaced at once.
    pub(super) fn forgives(&self) -> bool {
        !self.setbacks.accident
    }

    /// Whether a worker takes requests. One that has reached `maximum-requests` does not.
    pub(super) fn takes_requests(&self) -> bool {
        self.serving.is_some() && self.cause != Some(Replacement::MaximumRequests)
    }

    /// Whether this worker is the one that serves.
    pub(super) fn is_serving(&self, worker: WorkerNumber) -> bool {
        self.serving.is_some_and(|(serving, _)| serving == worker)
    }

    /// Whether this worker was never ready.
    pub(super) fn is_starting(&self, worker: WorkerNumber) -> bool {
        self.starting == Some(worker)
    }

    /// What a worker of the slot is doing.
    pub(super) fn stage(&self, worker: WorkerNumber) -> Stage {
        if self.is_starting(worker) {
            Stage::Starting
        } else if self.is_serving(worker) {
            Stage::Serving
        } else if self.standby == Some(worker) {
            Stage::Standby
        } else {
            Stage::Draining
        }
    }

    /// Reacts to an event. Returns what is to be done.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Started(worker) => {
                self.starting = Some(worker);
                Vec::new()
            }
            Event::NotStarted => self.failed(now),
            Event::Ready(worker) => self.ready(worker, now),
            Event::Prepare(worker) => self.prepare(worker),
            Event::WantsSuccessor(worker, cause) => self.replace(worker, cause, now),
            Event::Reload => self.reload(),
            Event::Exited(worker) => self.exited(worker, now, STABLE),
            Event::Ended(worker) => self.exited(worker, now, Duration::ZERO),
            Event::Killed(worker) => self.killed(worker, now),
            Event::Finished(worker) => self.finished(worker, now),
            Event::End(reason) => self.end(reason),
            Event::Tick => self.tick(now),
        }
    }

    fn ready(&mut self, worker: WorkerNumber, now: Instant) -> Vec<Action> {
        if self.starting != Some(worker) {
            return Vec::new();
        }
        self.starting = None;
        if self.serving.is_some() && self.cause.is_none() {
            self.standby = Some(worker);
            return Vec::new();
        }
        self.take_over(worker, now)
    }

    /// A worker that is ready serves from now on, and the one that served drains.
    fn take_over(&mut self, worker: WorkerNumber, now: Instant) -> Vec<Action> {
        let mut actions = vec![Action::Serve(worker)];
        let cause = self.cause.take().unwrap_or(Replacement::GracefulSignal);
        self.earlier = std::mem::take(&mut self.setbacks);
        if let Some((old, _)) = self.serving.replace((worker, now)) {
            self.leaving.push(old);
            actions.push(Action::Drain(old, cause));
        }
        actions
    }

    fn prepare(&mut self, worker: WorkerNumber) -> Vec<Action> {
        let is_needed = self.is_serving(worker) && self.standby.is_none() && !self.alone;
        if is_needed { self.start() } else { Vec::new() }
    }

    fn replace(&mut self, worker: WorkerNumber, cause: Replacement, now: Instant) -> Vec<Action> {
        if !self.is_serving(worker) || self.ended {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if cause.is_urgent() {
            self.serving = None;
            self.leaving.push(worker);
            // A pause after failed starts of a successor ends: it was due only while this one
            // served.
            self.retry = None;
            actions.extend([Action::Drain(worker, cause), Action::Starting]);
        } else {
            self.cause.get_or_insert(cause);
        }
        match self.standby.take() {
            Some(standby) => actions.extend(self.take_over(standby, now)),
            None => actions.extend(self.start()),
        }
        actions
    }

    /// Replaces all workers. One that is starting has the old configuration, so it ends as well.
    fn reload(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.ended = false;
        // `start` below sets it again if another worker has to end first.
        self.wanted = false;
        let serving = self.serving.take_if(|_| self.alone);
        let unused = [self.starting.take(), self.standby.take()];
        let serving = serving.map(|(worker, _)| worker);
        for worker in unused.into_iter().flatten().chain(serving) {
            self.leaving.push(worker);
            actions.push(Action::Drain(worker, Replacement::GracefulSignal));
        }
        self.cause.get_or_insert(Replacement::GracefulSignal);
        self.forget_setbacks();
        self.retry = None;
        actions.extend(self.start());
        actions
    }

    fn forget_setbacks(&mut self) {
        (self.setbacks, self.earlier) = Default::default();
    }

    /// A worker has ended. If that was sooner than `stable` after it was ready, it is a failed
    /// start.
    fn exited(&mut self, worker: WorkerNumber, now: Instant, stable: Duration) -> Vec<Action> {
        if self.starting == Some(worker) {
            self.starting = None;
            return self.failed(now);
        }
        match self.serving {
            Some((serving, since)) if serving == worker => {
                self.serving = None;
                self.cause = None;
                if let Some(standby) = self.standby.take() {
                    return self.take_over(standby, now);
                }
                if now.saturating_duration_since(since) < stable {
                    self.setbacks.failures += self.earlier.failures;
                    return self.failed(now);
                }
                self.forget_setbacks();
                self.retry = None;
                let mut actions = vec![Action::Starting];
                actions.extend(self.start());
                actions
            }
            _ => {
                self.standby.take_if(|standby| *standby == worker);
                self.leaving.retain(|leaving| *leaving != worker);
                if std::mem::take(&mut self.wanted) {
                    self.start()
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// A worker was killed. If that was as it started, or right after that, it is replaced at once
    /// the first time; if the next one is killed as well, it counts as a failed start.
    fn killed(&mut self, worker: WorkerNumber, now: Instant) -> Vec<Action> {
        let is_young = |since| now.saturating_duration_since(since) < STABLE;
        let has_begun = self
            .serving
            .is_some_and(|(serving, since)| serving == worker && is_young(since));
        if !self.is_starting(worker) && !has_begun {
            return self.exited(worker, now, STABLE);
        }
        let was_killed_before = std::mem::replace(&mut self.setbacks.accident, true);
        if was_killed_before || has_begun && self.earlier.accident {
            return self.exited(worker, now, STABLE);
        }
        if self.is_starting(worker) {
            self.starting = None;
            return self.start();
        }
        let actions = self.exited(worker, now, Duration::ZERO);
        self.setbacks.accident = true;
        actions
    }

    /// A service script has ended: starts it again, at once, but at most once a second.
    fn finished(&mut self, worker: WorkerNumber, now: Instant) -> Vec<Action> {
        let Some((_, since)) = self.serving.take_if(|(serving, _)| *serving == worker) else {
            return self.exited(worker, now, STABLE);
        };
        self.forget_setbacks();
        if now.saturating_duration_since(since) < STABLE && !self.ended {
            self.retry = Some(since + STABLE);
            return Vec::new();
        }
        self.start()
    }

    fn failed(&mut self, now: Instant) -> Vec<Action> {
        if self.ended {
            return Vec::new();
        }
        if self.starting.is_some() {
            return match self.serving {
                Some(_) => Vec::new(),
                None => vec![Action::Starting],
            };
        }
        let failures = self.setbacks.failures;
        self.setbacks.failures += 1;
        let pause = Duration::from_secs(1) * 2_u32.saturating_pow(failures.min(10));
        self.retry = Some(now + pause.min(LONGEST_PAUSE));
        if self.takes_requests() {
            Vec::new()
        } else {
            vec![Action::Down]
        }
    }

    fn end(&mut self, reason: Replacement) -> Vec<Action> {
        self.ended = true;
        self.retry = None;
        let serving = self.serving.take().map(|(worker, _)| worker);
        let workers = [self.starting.take(), self.standby.take(), serving];
        let workers: Vec<_> = workers.into_iter().flatten().collect();
        self.leaving.extend(&workers);
        // An urgent order also goes to workers that are draining already.
        let leaving = if reason.is_urgent() {
            self.leaving.clone()
        } else {
            workers
        };
        leaving
            .into_iter()
            .map(|worker| Action::Drain(worker, reason))
            .collect()
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.retry.is_none_or(|retry| retry > now) {
            return Vec::new();
        }
        self.retry = None;
        self.start()
    }

    /// Starts a worker, unless one is starting, a pause has to be kept, or another has to end
    /// first.
    fn start(&mut self) -> Vec<Action> {
        if self.alone && !self.leaving.is_empty() {
            self.wanted = true;
            return Vec::new();
        }
        let idle = self.starting.is_none() && self.retry.is_none() && !self.ended;
        if idle {
            vec![Action::Start]
        } else {
            Vec::new()
        }
    }
}
