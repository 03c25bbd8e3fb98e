//! What httpd's children know of a group's workers, in memory that all of them map.
//!
//! A group has a fixed number of *slots*, in each of which workers succeed each other. For every
//! slot the table says which worker is there, whether requests may be sent to it, and how many of
//! its threads have something to do: its *places*. Where requests are so short that waiting behind
//! some of them is nothing, it has *spare* places for those that wait.
//!
//! The supervisor writes a slot's state. A child reserves a place before it sends a request to the
//! slot's worker; requests from the group's queue take one when they are accepted; the worker gives it
//! back. A worker could write anything, so readers take every number for what it is: a hint, that at
//! worst makes them choose badly among the workers of that same group, or wait in its queue. All fields
//! are atomic, and none guards another, so relaxed ordering is enough.
//!
//! A child may die before it has sent what it reserved a place for. So each connection has a *ticket*,
//! a number that the child stamps into the slot with its reservation. Whoever takes the stamp away has
//! the place: the worker that reads the request, the child that gives up sending it, or the worker when
//! the connection ends though neither has done so. Two connections may come to the same place for
//! stamps; then the later one is stamped, and if the request of the earlier one is not sent, its place is left
//! behind, for the worker to find when it has nothing to do.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sealed::{self, Sealed};

/// The most places of a slot beside those of its threads, whatever its worker says.
pub const MOST_SPARE: u32 = 128;

/// How many stamps there is room for in a slot: hardly ever are as many requests on their way to a worker.
const STAMPS: usize = 64;

/// A group's table, mapped into this process until it is dropped.
pub struct Table {
    descriptor: OwnedFd,
    memory: Sealed,
    count: usize,
}

/// A slot of a group. Each has a cache line of its own, as its worker writes it all the time.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot {
    state: AtomicU32,
    incarnation: AtomicU32,
    active: AtomicU32,
    spare: AtomicU32,
    answered: AtomicU32,
    exited_pid: AtomicU32,
    exit_status: AtomicU32,
    /// Not on the cache line of the other numbers, which change more often.
    stamps: Stamps,
}

/// The tickets of the connections that places are reserved for, each at the remainder of its number; 0 is
/// none.
#[repr(C, align(64))]
#[derive(Debug)]
struct Stamps([AtomicU32; STAMPS]);

/// Whether requests may be sent to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// A worker is starting; requests wait in the group's queue.
    Starting,
    /// A worker is serving.
    Ready,
    /// Workers fail to start; requests are refused until one does not.
    Down,
}

impl Table {
    /// A new table for `count` slots, all of them starting.
    ///
    /// # Errors
    ///
    /// When the system has no memory for it.
    pub fn new(count: usize) -> io::Result<Self> {
        let memory = sealed::create(c"wsgi-workers", count * size_of::<Slot>())?;
        Self::map(memory, count)
    }

    /// Maps a table of `count` slots that another process made.
    ///
    /// # Errors
    ///
    /// When the descriptor is of something else, too small for that, or might become so.
    pub fn map(descriptor: OwnedFd, count: usize) -> io::Result<Self> {
        let length = count * size_of::<Slot>();
        let memory = Sealed::map(descriptor.as_fd(), length)?;
        Ok(Self {
            descriptor,
            memory,
            count,
        })
    }

    /// Has the system find memory for all of it, before anybody uses it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn secure(&self) -> io::Result<()> {
        Ok(self.memory.secure(0..self.memory.length())?)
    }

    /// The slots.
    pub fn slots(&self) -> &[Slot] {
        // SAFETY: the mapping is page-aligned, has room for `count` slots, lives as long as
        // `self`, and a `Slot` is made of atomics, for which any bytes are a value and which
        // other processes may change meanwhile.
        unsafe { std::slice::from_raw_parts(self.memory.start().cast().as_ptr(), self.count) }
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots()).finish()
    }
}

impl Slot {
    /// Whether requests may be sent here.
    pub fn state(&self) -> SlotState {
        match self.state.load(Ordering::Relaxed) {
            0 => SlotState::Starting,
            1 => SlotState::Ready,
            _ => SlotState::Down,
        }
    }

    /// Sets whether requests may be sent here. For the supervisor.
    pub fn set_state(&self, state: SlotState) {
        let number = match state {
            SlotState::Starting => 0,
            SlotState::Ready => 1,
            SlotState::Down => 2,
        };
        self.state.store(number, Ordering::Relaxed);
    }

    /// The number of the worker that serves here: each successor has another.
    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// A new worker took over. For the supervisor.
    pub fn succeed(&self) {
        self.incarnation.fetch_add(1, Ordering::Relaxed);
        self.active.store(0, Ordering::Relaxed);
        self.spare.store(0, Ordering::Relaxed);
        self.answered.store(0, Ordering::Relaxed);
    }

    /// How many requests are being served here.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Sets how many requests are being served here from `counted` to `count`, unless that has
    /// changed. For the worker.
    pub fn correct(&self, counted: u32, count: u32) {
        // Whoever has changed it has just taken a place or given one back.
        let _ = self
            .active
            .compare_exchange(counted, count, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How many places there are for so many threads: one for each, and the spare ones.
    pub fn places(&self, threads: u32) -> u32 {
        threads.saturating_add(self.spare.load(Ordering::Relaxed).min(MOST_SPARE))
    }

    /// Sets how many requests may be on their way beyond those that the threads run. For the worker.
    pub fn set_spare(&self, spare: u32) {
        if self.spare.load(Ordering::Relaxed) != spare {
            self.spare.store(spare, Ordering::Relaxed);
        }
    }

    /// Whether one of so many places is free.
    pub fn has_place(&self, places: u32) -> bool {
        self.active() < places
    }

    /// Reserves a place, if one of so many is free. Returns whether one was.
    #[allow(
        deprecated,
        reason = "its new name is unknown to the oldest Rust that will do"
    )]
    pub fn reserve(&self, places: u32) -> bool {
        let one_more = |active: u32| active.checked_add(1).filter(|active| *active <= places);
        self.active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Takes note that a place is reserved for the next request on the connection with this ticket.
    pub fn stamp(&self, ticket: u32) {
        if let Some(stamp) = self.stamp_of(ticket) {
            stamp.store(ticket, Ordering::Relaxed);
        }
    }

    /// Takes that note away, and returns whether it was there. Of all who do, one finds it.
    pub fn take_stamp(&self, ticket: u32) -> bool {
        self.stamp_of(ticket).is_some_and(|stamp| {
            stamp
                .compare_exchange(ticket, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Where a connection is stamped, if it has a ticket.
    fn stamp_of(&self, ticket: u32) -> Option<&AtomicU32> {
        let place = usize::try_from(ticket).ok().filter(|ticket| *ticket != 0)?;
        self.stamps.0.get(place % STAMPS)
    }

    /// Takes a place, be it one too many, if this is the number of the worker. For the worker.
    pub fn occupy(&self, incarnation: u32) {
        if self.incarnation() == incarnation {
            self.active.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives a place back that was taken when this was the number of the worker.
    #[allow(
        deprecated,
        reason = "its new name is unknown to the oldest Rust that will do"
    )]
    pub fn vacate(&self, incarnation: u32) {
        if self.incarnation() == incarnation {
            let one_less = |active: u32| active.checked_sub(1);
            // A successor has begun to count anew if there is none to give back.
            let _ = self
                .active
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
    }

    /// Whether the worker that serves here has answered a request.
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) != 0
    }

    /// A request was answered, if this is the number of the worker. For the worker.
    pub fn note_answer(&self, incarnation: u32) {
        if !self.has_answered() && self.incarnation() == incarnation {
            self.answered.store(1, Ordering::Relaxed);
        }
    }

    /// Leaves behind how a worker of this slot ended. For the supervisor.
    pub fn set_exit(&self, pid: u32, status: u32) {
        self.exit_status.store(status, Ordering::Relaxed);
        // The pid is what readers look for, so it is written last.
        self.exited_pid.store(pid, Ordering::Release);
    }

    /// The wait status of the worker with this pid, if it was the last one here to end.
    pub fn exit_of(&self, pid: u32) -> Option<u32> {
        (self.exited_pid.load(Ordering::Acquire) == pid)
            .then(|| self.exit_status.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_writes_another_reads() {
        let ours = Table::new(3).unwrap();
        let theirs = Table::map(ours.as_fd().try_clone_to_owned().unwrap(), 3).unwrap();
        assert_eq!(theirs.slots().len(), 3);
        assert_eq!(theirs.slots()[1].state(), SlotState::Starting);

        ours.slots()[1].set_state(SlotState::Ready);
        ours.slots()[1].correct(0, 4);
        ours.slots()[1].set_exit(77, 11);
        let slot = &theirs.slots()[1];
        assert_eq!((slot.state(), slot.active()), (SlotState::Ready, 4));
        assert_eq!((slot.exit_of(77), slot.exit_of(78)), (Some(11), None));

        slot.succeed();
        assert_eq!(
            (ours.slots()[1].incarnation(), ours.slots()[1].active()),
            (1, 0)
        );
        assert_eq!(ours.slots()[0].incarnation(), 0, "slots are apart");
    }

    #[test]
    fn places_are_reserved_and_given_back() {
        let table = Table::new(1).unwrap();
        let slot = &table.slots()[0];
        assert!(slot.reserve(2) && slot.has_place(2) && slot.reserve(2));
        assert!(!slot.has_place(2) && !slot.reserve(2));
        slot.occupy(0);
        slot.vacate(0);
        assert!(!slot.has_place(2));
        slot.vacate(0);
        assert!(slot.reserve(2));
        slot.correct(1, 7);
        assert_eq!(slot.active(), 2, "it was not one");
        slot.correct(2, 1);
        assert_eq!(slot.active(), 1);
        slot.succeed();
        slot.vacate(0);
        assert_eq!(slot.active(), 0);
        slot.vacate(1);
        assert_eq!(slot.active(), 0, "there is nothing to give back");
    }

    #[test]
    fn a_stamp_is_found_once_and_by_its_ticket_only() {
        let table = Table::new(1).unwrap();
        let slot = &table.slots()[0];
        slot.stamp(5);
        assert!(!slot.take_stamp(6) && !slot.take_stamp(5 + 64));
        assert!(slot.take_stamp(5));
        assert!(!slot.take_stamp(5));
        slot.stamp(7);
        slot.stamp(7 + 64);
        assert!(!slot.take_stamp(7), "another has its place");
        assert!(slot.take_stamp(7 + 64));
        slot.stamp(0);
        assert!(!slot.take_stamp(0), "that is no ticket");
        slot.stamp(u32::MAX);
        assert!(slot.take_stamp(u32::MAX));
    }

    #[test]
    fn what_a_worker_has_answered_is_not_its_successors() {
        let table = Table::new(1).unwrap();
        let slot = &table.slots()[0];
        assert!(!slot.has_answered());
        slot.note_answer(1);
        assert!(!slot.has_answered(), "another one did");
        slot.note_answer(0);
        assert!(slot.has_answered());
        slot.succeed();
        assert!(!slot.has_answered());
    }

    #[test]
    fn spare_places_are_limited_and_end_with_the_worker() {
        let table = Table::new(1).unwrap();
        let slot = &table.slots()[0];
        assert_eq!(slot.places(8), 8);
        slot.set_spare(4);
        assert_eq!(slot.places(8), 12);
        slot.set_spare(u32::MAX);
        assert_eq!(slot.places(8), 8 + MOST_SPARE);
        slot.succeed();
        assert_eq!(slot.places(8), 8);
    }

    #[test]
    fn a_table_smaller_than_its_group_is_refused() {
        let table = Table::new(1).unwrap();
        assert!(Table::map(table.as_fd().try_clone_to_owned().unwrap(), 2).is_err());
    }

    #[test]
    fn nobody_can_take_its_memory_away() {
        let table = Table::new(1).unwrap();
        let theirs = table.as_fd().try_clone_to_owned().unwrap();
        assert!(nix::unistd::ftruncate(&theirs, 0).is_err());
        assert_eq!(table.slots()[0].state(), SlotState::Starting);
    }
}
