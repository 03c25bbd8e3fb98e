//! What a group works with, as httpd's parent sent it: its error log, its table, its socket.

use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use control::{ChannelError, Ending, GroupSpec, Member, Setback, SlotState, Table};
use nix::sys::socket::{Shutdown, UnixAddr, accept, getsockname, shutdown};

use super::inherited::Inherited;
use super::spawn::Equipment;
use crate::log::Log;

/// Why a group cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum GroupError {
    /// Fewer descriptors came with its description than it needs.
    #[error("httpd sent only {0} of the descriptors that it needs")]
    Descriptors(usize),
    /// Some of them are missing.
    #[error("{0}")]
    Missing(#[from] ChannelError),
    /// Its error log cannot be used.
    #[error("its error log cannot be used: {0}")]
    Log(std::io::Error),
    /// Its table cannot be used.
    #[error("its table of workers cannot be used: {0}")]
    Table(std::io::Error),
}

/// What a group works with.
pub(super) struct OwnedEquipment {
    pub(super) log: Log,
    /// The error log as workers get it.
    descriptor: OwnedFd,
    table: Table,
    listener: OwnedFd,
    /// The way to httpd's scoreboard, if the group may use it.
    scoreboard: Option<OwnedFd>,
}

impl OwnedEquipment {
    /// What came with a group's description: its error log, its table, its socket, perhaps the way
    /// to httpd's scoreboard.
    pub(super) fn new(
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
        let log = descriptor.try_clone().map_err(GroupError::Log)?;
        Ok(Self {
            log: Log::new(log, spec.log_form.clone(), spec.log_level),
            descriptor,
            table: Table::map(table, slots).map_err(GroupError::Table)?,
            listener,
            scoreboard,
        })
    }

    /// The workers that another supervisor has told of.
    pub(super) fn inherited(&self) -> Inherited {
        Inherited::of(&self.table)
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.table.slots().len()
    }

    /// What a worker is given.
    pub(super) fn lend(&self) -> Equipment<'_> {
        Equipment {
            log: self.descriptor.as_fd(),
            table: self.table.as_fd(),
            listener: self.listener.as_fd(),
            scoreboard: self.scoreboard.as_ref().map(OwnedFd::as_fd),
        }
    }

    /// Tells the children what to expect of a slot.
    pub(super) fn set_state(&self, slot: usize, state: SlotState) {
        if let Some(place) = self.table.slots().get(slot) {
            place.set_state(state);
        }
    }

    /// Tells the children that another worker serves in a slot. Returns its number among those of
    /// the slot.
    pub(super) fn succeed(&self, slot: usize) -> u32 {
        let place = self.table.slots().get(slot);
        let incarnation = place.map_or(0, |place| {
            place.succeed();
            place.incarnation()
        });
        self.set_state(slot, SlotState::Ready);
        incarnation
    }

    /// Tells the children how the worker of a slot ended. Returns whether the
    /// one that serves there has answered requests, or has some.
    pub(super) fn note_end(&self, slot: usize, ending: Ending) -> bool {
        let Some(place) = self.table.slots().get(slot) else {
            return false;
        };
        let has_served = place.active() > 0 || place.has_answered();
        place.set_ending(ending);
        has_served
    }

    /// Tells whoever asks for it who is in a slot, and how often nobody could be started there.
    pub(super) fn tell(
        &self,
        slot: usize,
        members: impl Iterator<Item = Member>,
        setback: Setback,
    ) {
        if let Some(place) = self.table.slots().get(slot) {
            place.set_members(members);
            place.set_setback(setback);
        }
    }

    /// Takes the socket out of the file system.
    pub(super) fn remove_socket(&self) {
        let address = getsockname::<UnixAddr>(self.listener.as_raw_fd());
        if let Some(path) = address.ok().as_ref().and_then(UnixAddr::path) {
            // What is gone already need not be removed.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Nobody is to connect any more, and who is in the queue is turned away: their requests were
    /// not read, and may find another group.
    pub(super) fn close_socket(&self) {
        self.remove_socket();
        let listener = self.listener.as_raw_fd();
        // From then on nobody can connect, and accepting does not wait.
        let _ = shutdown(listener, Shutdown::Both);
        while let Ok(caller) = accept(listener) {
            // SAFETY: it was accepted just now, for us.
            drop(unsafe { OwnedFd::from_raw_fd(caller) });
        }
    }
}
