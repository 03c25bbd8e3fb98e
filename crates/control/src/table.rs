//! What httpd's children know of a group's workers, in memory that all of them map.
//!
//! A group has a fixed number of *slots*, in each of which workers succeed each other. For every
//! slot the table says which worker is there, whether requests may be sent to it, and how many of
//! its threads have something to do: its *places*. Where requests are so short that waiting behind
//! some of them is nothing, it has *spare* places for those that wait.
//!
//! The supervisor writes a slot's state. A child reserves a place before it sends a request to the
//! slot's worker; requests from the group's queue take one when they are accepted; the worker gives it
//! back. Who does so says for which of the workers that succeed each other, and that is in one number with how
//! many places are taken: so nobody takes or gives back another's. A worker could write anything, so readers take
//! every number for what it is: a hint, that at worst makes them choose badly among the workers of that same
//! group, or wait in its queue. All fields are atomic, and none guards another, so relaxed ordering is enough.
//!
//! A child may die before it has sent what it reserved a place for. So each connection has a *ticket*,
//! a number that the child stamps into the slot with its reservation. Whoever takes the stamp away has
//! the place: the worker that reads the request, the child that gives up sending it, or the worker when
//! the connection ends though neither has done so. Where there is no room for a stamp nothing is reserved. What a
//! child takes along that is killed between these two steps, the worker finds when it has nothing to do.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sealed::{self, Sealed};

/// The most places of a slot beside those of its threads, whatever its worker says.
pub const MOST_SPARE: u32 = 128;

/// How many stamps there is room for in a slot: hardly ever are as many requests on their way to a worker.
const STAMPS: usize = 256;

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
    /// Who serves here, and how many places are taken: see [`Taken`].
    taken: AtomicU64,
    state: AtomicU32,
    spare: AtomicU32,
    answered: AtomicU32,
    exited_pid: AtomicU32,
    exit_status: AtomicU32,
    /// Not on the cache line of the other numbers, which change more often.
    stamps: Stamps,
}

/// The number of the worker that serves in a slot, and how many of its places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    incarnation: u32,
    active: u32,
}

/// The tickets of the connections that places are reserved for, each at the remainder of its number or behind
/// that; 0 is none.
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
        self.taken().incarnation
    }

    /// A new worker took over: nobody has a place with it yet. For the supervisor.
    pub fn succeed(&self) {
        self.change(|taken| {
            Some(Taken {
                incarnation: taken.incarnation.wrapping_add(1),
                active: 0,
            })
        });
        self.spare.store(0, Ordering::Relaxed);
        self.answered.store(0, Ordering::Relaxed);
        self.stamps.clear();
    }

    /// How many requests are being served here.
    pub fn active(&self) -> u32 {
        self.taken().active
    }

    /// Sets how many requests are being served here from `counted` to `count`, unless that has
    /// changed, if this is the number of the worker. For the worker.
    pub fn correct(&self, incarnation: u32, counted: u32, count: u32) {
        // Whoever has changed it has just taken a place or given one back.
        self.count(incarnation, |active| (active == counted).then_some(count));
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

    /// Reserves a place for the next request on the connection with this ticket, if one of so many is free
    /// and this is the number of the worker. Returns whether one was. For the child.
    pub fn reserve(&self, incarnation: u32, places: u32, ticket: u32) -> bool {
        let one_more = |active: u32| active.checked_add(1).filter(|active| *active <= places);
        if !self.count(incarnation, one_more) {
            return false;
        }
        let is_stamped = self.stamps.put(ticket);
        if !is_stamped {
            self.vacate(incarnation);
        }
        is_stamped
    }

    /// Takes the note away that a place is reserved on the connection with this ticket. Returns whether
    /// it was there: of all who do, one finds it, and has the place.
    pub fn take_stamp(&self, ticket: u32) -> bool {
        self.stamps.take(ticket)
    }

    /// Takes a place, be it one too many, if this is the number of the worker. For the worker.
    pub fn occupy(&self, incarnation: u32) {
        self.count(incarnation, |active| active.checked_add(1));
    }

    /// Gives a place back that was taken when this was the number of the worker.
    pub fn vacate(&self, incarnation: u32) {
        self.count(incarnation, |active| active.checked_sub(1));
    }

    /// Counts anew how many places are taken, if this is the number of the worker. Returns whether that
    /// was done.
    fn count(&self, incarnation: u32, count: impl Fn(u32) -> Option<u32>) -> bool {
        self.change(|taken| {
            let active = (taken.incarnation == incarnation).then(|| count(taken.active));
            let active = active.flatten()?;
            Some(Taken { active, ..taken })
        })
    }

    fn taken(&self) -> Taken {
        self.taken.load(Ordering::Relaxed).into()
    }

    #[allow(
        deprecated,
        reason = "its new name is unknown to the oldest Rust that will do"
    )]
    fn change(&self, change: impl Fn(Taken) -> Option<Taken>) -> bool {
        let change = |taken: u64| change(taken.into()).map(u64::from);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .is_ok()
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

impl From<u64> for Taken {
    fn from(both: u64) -> Self {
        // Each is a half, so nothing is lost.
        let half = |half: u64| u32::try_from(half).unwrap_or(u32::MAX);
        Self {
            incarnation: half(both >> 32),
            active: half(both & u64::from(u32::MAX)),
        }
    }
}

impl From<Taken> for u64 {
    fn from(taken: Taken) -> Self {
        Self::from(taken.incarnation) << 32 | Self::from(taken.active)
    }
}

impl Stamps {
    /// Stamps a ticket. Returns whether there was room; for 0, which is no ticket, there is none.
    fn put(&self, ticket: u32) -> bool {
        ticket != 0 && self.exchange(ticket, 0, ticket)
    }

    /// Takes a ticket away. Returns whether it was there.
    fn take(&self, ticket: u32) -> bool {
        ticket != 0 && self.exchange(ticket, ticket, 0)
    }

    /// Puts a number in the place of the first one like `old`, from where `ticket` belongs on.
    fn exchange(&self, ticket: u32, old: u32, new: u32) -> bool {
        let first = usize::try_from(ticket).unwrap_or_default() % STAMPS;
        let (before, behind) = self.0.split_at(first);
        behind.iter().chain(before).any(|stamp| {
            stamp.load(Ordering::Relaxed) == old
                && stamp
                    .compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        })
    }

    fn clear(&self) {
        let stamps = self.0.iter();
        stamps.for_each(|stamp| stamp.store(0, Ordering::Relaxed));
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
        ours.slots()[1].correct(0, 0, 4);
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
        assert!(slot.reserve(0, 2, 1) && slot.has_place(2) && slot.reserve(0, 2, 2));
        assert!(!slot.has_place(2) && !slot.reserve(0, 2, 3));
        slot.occupy(0);
        slot.vacate(0);
        assert!(!slot.has_place(2));
        slot.vacate(0);
        assert!(slot.reserve(0, 2, 3));
        slot.correct(0, 1, 7);
        assert_eq!(slot.active(), 2, "it was not one");
        slot.correct(0, 2, 1);
        assert_eq!(slot.active(), 1);
        slot.vacate(0);
        slot.vacate(0);
        assert_eq!(slot.active(), 0, "there is nothing to give back");
    }

    #[test]
    fn nobody_counts_for_another_worker() {
        let table = Table::new(1).unwrap();
        let slot = &table.slots()[0];
        assert!(slot.reserve(0, 8, 1));
        slot.succeed();
        assert_eq!(slot.active(), 0);
        assert!(!slot.reserve(0, 8, 2) && slot.reserve(1, 8, 2));
        slot.vacate(0);
        slot.occupy(0);
        slot.correct(0, 1, 5);
        assert_eq!(slot.active(), 1);
        assert!(!slot.take_stamp(1), "a successor finds no stamps");
        assert!(slot.take_stamp(2));
    }

    #[test]
    fn a_stamp_is_found_once_and_by_its_ticket_only() {
        let table = Table::new(1).unwrap();
        let slot = &table.slots()[0];
        let step = u32::try_from(STAMPS).unwrap();
        let same_place = [5, 5 + step, 5 + 2 * step, u32::MAX - u32::MAX % step + 5];
        let same_place = same_place.into_iter();
        for ticket in same_place.clone() {
            assert!(slot.reserve(0, u32::MAX, ticket));
        }
        assert!(!slot.take_stamp(6));
        for ticket in same_place.rev() {
            assert!(slot.take_stamp(ticket));
            assert!(!slot.take_stamp(ticket));
        }
        assert!(!slot.reserve(0, u32::MAX, 0), "that is no ticket");
        assert!(!slot.take_stamp(0));
    }

    #[test]
    fn what_cannot_be_stamped_is_not_reserved() {
        let table = Table::new(1).unwrap();
        let slot = &table.slots()[0];
        let room = u32::try_from(STAMPS).unwrap();
        assert!((1..=room).all(|ticket| slot.reserve(0, u32::MAX, ticket)));
        assert!(!slot.reserve(0, u32::MAX, room + 1));
        assert_eq!(slot.active(), room);
        assert!(slot.take_stamp(room / 2));
        assert!(slot.reserve(0, u32::MAX, room + 1));
        assert!(slot.take_stamp(room + 1));
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
