//! The workers in a slot, as the supervisor records them for mod_status.
//!
//! It is written when something changes, and read for the page of mod_status; requests do not
//! depend on it. It consists of single numbers: a reader may find some from before a change and
//! some from after it. A worker could write anything here, so readers must accept any value.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::messages::Replacement;

/// How many workers of a slot are recorded. There is one that serves, perhaps its successor, and
/// rarely more than two that are draining.
const ROOM: usize = 4;

/// A worker of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its process id.
    pub pid: u32,
    /// What it is doing.
    pub stage: Stage,
    /// When it was started, in seconds since the epoch.
    pub started: u64,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is not ready yet.
    Starting,
    /// It is ready, and takes over when its predecessor leaves.
    Standby,
    /// It serves.
    Serving,
    /// It takes no more requests.
    Draining,
}

/// Failed starts of workers, in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setback {
    /// How many.
    pub failures: u32,
    /// When the next attempt follows, in seconds since the epoch, if it has to wait.
    pub retry: Option<u64>,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its process id.
    pub pid: u32,
    /// Its wait status.
    pub status: u32,
    /// Why it was told to end, if it was.
    pub reason: Option<Replacement>,
    /// When, in seconds since the epoch.
    pub at: u64,
}

/// The workers that are in a slot, and how the last one ended.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Roster {
    members: [Entry; ROOM],
    /// The process id of the worker that ended last, and its wait status, in one number; 0 before
    /// there is one.
    exited: AtomicU64,
    reason: AtomicU32,
    failures: AtomicU32,
    exited_at: AtomicU64,
    retry: AtomicU64,
}

/// A place for a worker: its process id and its stage in one number, where 0 is none; and when it
/// was started.
#[repr(C)]
#[derive(Debug)]
struct Entry {
    who: AtomicU64,
    started: AtomicU64,
}

impl Roster {
    pub(crate) fn set_members(&self, members: impl Iterator<Item = Member>) {
        let mut members = members;
        for entry in &self.members {
            let member = members.next();
            let started = member.map_or(0, |member| member.started);
            entry.started.store(started, Ordering::Relaxed);
            let who = member.map_or(0, |it| {
                u64::from(it.pid) << 32 | u64::from(it.stage.number())
            });
            entry.who.store(who, Ordering::Relaxed);
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        self.members.iter().filter_map(Entry::read)
    }

    pub(crate) fn set_setback(&self, setback: Setback) {
        self.failures.store(setback.failures, Ordering::Relaxed);
        let retry = setback.retry.unwrap_or_default();
        self.retry.store(retry, Ordering::Relaxed);
    }

    pub(crate) fn setback(&self) -> Setback {
        let retry = self.retry.load(Ordering::Relaxed);
        Setback {
            failures: self.failures.load(Ordering::Relaxed),
            retry: (retry != 0).then_some(retry),
        }
    }

    pub(crate) fn set_ending(&self, ending: Ending) {
        let reason = ending.reason.map_or(0, Replacement::number);
        self.reason.store(reason, Ordering::Relaxed);
        self.exited_at.store(ending.at, Ordering::Relaxed);
        // Readers read the pid first, so it is written last.
        let exited = u64::from(ending.pid) << 32 | u64::from(ending.status);
        self.exited.store(exited, Ordering::Release);
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        let exited = self.exited.load(Ordering::Acquire);
        let (pid, status) = halves(exited);
        (pid != 0).then(|| Ending {
            pid,
            status,
            reason: Replacement::from_number(self.reason.load(Ordering::Relaxed)),
            at: self.exited_at.load(Ordering::Relaxed),
        })
    }
}

impl Entry {
    fn read(&self) -> Option<Member> {
        let (pid, stage) = halves(self.who.load(Ordering::Relaxed));
        (pid != 0).then(|| Member {
            pid,
            stage: Stage::from_number(stage),
            started: self.started.load(Ordering::Relaxed),
        })
    }
}

/// The two halves of a number.
fn halves(both: u64) -> (u32, u32) {
    let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    (half(both >> 32), half(both))
}

impl Stage {
    const fn number(self) -> u32 {
        match self {
            Self::Starting => 0,
            Self::Standby => 1,
            Self::Serving => 2,
            Self::Draining => 3,
        }
    }

    const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Standby,
            2 => Self::Serving,
            _ => Self::Draining,
        }
    }
}
