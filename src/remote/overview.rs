//! How a group is, for those who want to know: read from its table, so it takes no word of its
//! workers, which may hang.

use control::{Ending, Member, Setback, Slot, SlotState, Stage, Waiting, Waits};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::groups::Group;

/// How a group is.
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
    /// Who waits for one of these.
    pub(crate) waits: Waits,
    /// Its slots.
    pub(crate) places: Vec<Place>,
}

/// How a slot is.
#[derive(Debug)]
pub(crate) struct Place {
    /// Whether nobody is there, nor on the way.
    pub(crate) is_down: bool,
    /// Who is there.
    pub(crate) members: Vec<Member>,
    /// How many threads of the one that serves are busy.
    pub(crate) busy: u32,
    /// How many requests that one has taken.
    pub(crate) requests: u64,
    /// The same with those before it.
    pub(crate) all_requests: u64,
    /// How many workers have taken another's place.
    pub(crate) restarts: u32,
    /// How often none could be started.
    pub(crate) setback: Setback,
    /// How the last one ended.
    pub(crate) ending: Option<Ending>,
}

impl Group {
    /// How it is.
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

    /// Notes that a request waits in the queue, since this time in microseconds since the epoch.
    pub(super) fn enter_queue(&self, begin: i64) -> Waiting<'_> {
        self.table.queue().enter(std::process::id(), begin)
    }

    /// Takes away what a process that has ended has noted there.
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

/// Whether there is such a process: where the supervisor is gone, so may be those that it has told
/// of.
fn is_there(pid: u32) -> bool {
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH),
        _ => false,
    }
}
