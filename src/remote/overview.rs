//! The state of a group, for mod_status. It is read from the table, without asking the workers,
//! which may hang.

use control::{Ending, Member, Setback, Slot, SlotState, Stage, Waiting, Waits};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::groups::Group;

/// The state of a group.
#[derive(Debug)]
pub(crate) struct Overview<'g> {
    /// Its name.
    pub(crate) name: &'g [u8],
    /// The user that its workers run as.
    pub(crate) user: &'g str,
    /// Whether it serves no requests, but runs scripts.
    pub(crate) is_service: bool,
    /// How many threads each worker has.
    pub(crate) threads: u32,
    /// The requests that wait for a thread.
    pub(crate) waits: Waits,
    /// Its slots.
    pub(crate) places: Vec<Place>,
}

/// The state of a slot.
#[derive(Debug)]
pub(crate) struct Place {
    /// Whether no worker is there or starting.
    pub(crate) is_down: bool,
    /// The workers there.
    pub(crate) members: Vec<Member>,
    /// How many threads of the serving worker are busy.
    pub(crate) busy: u32,
    /// How many requests the serving worker has taken.
    pub(crate) requests: u64,
    /// How many requests it and its predecessors have taken.
    pub(crate) all_requests: u64,
    /// How many workers have replaced another.
    pub(crate) restarts: u32,
    /// How often in a row none could be started.
    pub(crate) setback: Setback,
    /// How the last one ended.
    pub(crate) ending: Option<Ending>,
}

impl Group {
    /// The state of the group.
    pub(crate) fn overview(&self) -> Overview<'_> {
        let slots = self.table.slots().iter();
        Overview {
            name: &self.name,
            user: &self.user,
            is_service: self.is_service,
            threads: self.threads,
            waits: self.table.queue().look(control::now(), is_there),
            places: slots.map(|slot| Place::of(slot, self.threads)).collect(),
        }
    }

    /// Notes that a request waits in the queue since `begin`, in microseconds since the epoch.
    pub(super) fn enter_queue(&self, begin: i64) -> Waiting<'_> {
        self.table.queue().enter(std::process::id(), begin)
    }

    /// Removes the notes of a process that has ended.
    pub(super) fn leave_queue(&self, pid: u32) {
        self.table.queue().forget(pid);
    }
}

impl Place {
    fn of(slot: &Slot, threads: u32) -> Self {
        let members = slot.members().filter(|member| is_there(member.pid));
        Self {
            is_down: slot.state() == SlotState::Down,
            members: members.collect(),
            busy: slot.active().min(threads),
            requests: slot.requests(),
            all_requests: slot.all_requests(),
            restarts: slot.incarnation().saturating_sub(1),
            setback: slot.setback(),
            ending: slot.ending(),
        }
    }

    /// Whether a worker serves there.
    pub(crate) fn is_serving(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.stage == Stage::Serving)
    }
}

/// Whether the process exists: if the supervisor has died, workers that it recorded may have ended.
fn is_there(pid: u32) -> bool {
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH),
        _ => false,
    }
}
