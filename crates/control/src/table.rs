//! What httpd's children know of a group's workers, in memory that all of them map.
//!
//! First comes what is known of the [`Queue`], then one slot after the other.
//!
//! A group has a fixed number of *slots*, in each of which workers succeed each other. For every
//! slot the table says which worker is there, whether requests may be sent to it, and how many of
//! its threads have something to do: its *places*. Where requests are so short that waiting behind
//! some of them is nothing, it has *spare* places for those that wait.
//!
//! The supervisor writes a slot's state. A child reserves a place before it sends a request to the
//! slot's worker; requests from the group's queue take one when they are accepted; the worker gives
//! it back. Each change names the worker it is for, whose number shares one atomic word with the
//! count: what was meant for a predecessor has no effect. A worker could write anything, so to
//! readers every number is a hint, which at worst makes them choose badly among the workers of that
//! same group, or wait in its queue. All fields are atomic, and none guards another, so relaxed
//! ordering is enough.
//!
//! A child may die before it has sent what it reserved a place for. So each connection has a *ticket*,
//! a number that the child stamps into the slot with its reservation. Whoever takes the stamp away
//! has the place: the worker that reads the request, the child that gives up sending it, or the
//! worker when the connection ends though neither has done so. Where there is no room for a stamp
//! nothing is reserved. A child that is killed between counting and stamping leaves a place taken,
//! which the worker corrects when it is idle.
//!
//! What else is in a slot is for those who want to know how the group is: who works there, and how
//! the last one ended.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::queue::Queue;
use crate::roster::{Ending, Member, Roster, Setback};
use crate::sealed::{self, Sealed};

/// The most places of a slot beside those of its threads, whatever its worker says.
pub const MOST_SPARE: u32 = 128;

/// How many stamps there is room for in a slot: hardly ever are as many requests on their way to a
/// worker.
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
    /// The number of the last worker here that has answered a request; 0 is none.
    answered: AtomicU32,
    /// How many requests its worker has taken, and those before it.
    requests: AtomicU64,
    earlier_requests: AtomicU64,
    /// Not on the cache line of the other numbers, which change more often.
    stamps: Stamps,
    roster: Roster,
}

/// The number of the worker that serves in a slot, and how many of its places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    incarnation: u32,
    active: u32,
}

/// The tickets of the connections that places are reserved for. One is at the index that is its
/// remainder, or at the next free one behind that; 0 is free.
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
        let memory = sealed::create(c"wsgi-workers", length(count))?;
        Self::map(memory, count)
    }

    /// Maps a table of `count` slots that another process made.
    ///
    /// # Errors
    ///
    /// When the descriptor is of something else, too small for that, or might become so.
    pub fn map(descriptor: OwnedFd, count: usize) -> io::Result<Self> {
        let memory = Sealed::map(descriptor.as_fd(), length(count))?;
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

    /// Who waits for a thread.
    pub fn queue(&self) -> &Queue {
        // SAFETY: the mapping is page-aligned, begins with room for a queue, lives as long as
        // `self`, and a `Queue` is made of atomics, for which any bytes are a value and which other
        // processes may change meanwhile.
        unsafe { self.memory.start().cast().as_ref() }
    }

    /// The slots.
    pub fn slots(&self) -> &[Slot] {
        const { assert!(size_of::<Queue>().is_multiple_of(align_of::<Slot>())) };
        // SAFETY: behind the queue, whose size keeps what follows aligned, the mapping has room for
        // `count` slots; for the rest see above.
        unsafe {
            let first = self.memory.start().cast::<Queue>().add(1).cast();
            std::slice::from_raw_parts(first.as_ptr(), self.count)
        }
    }
}

/// How large the table of so many slots is.
const fn length(count: usize) -> usize {
    size_of::<Queue>() + count * size_of::<Slot>()
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
        let earlier = self.requests.swap(0, Ordering::Relaxed);
        self.earlier_requests.fetch_add(earlier, Ordering::Relaxed);
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

    /// Sets how many requests may be on their way beyond those that the threads run. For the
    /// worker.
    pub fn set_spare(&self, spare: u32) {
        if self.spare.load(Ordering::Relaxed) != spare {
            self.spare.store(spare, Ordering::Relaxed);
        }
    }

    /// Whether one of so many places is free.
    pub fn has_place(&self, places: u32) -> bool {
        self.active() < places
    }

    /// Reserves a place for the next request on the connection with this ticket, if one of so many
    /// is free and this is the number of the worker. Returns whether one was. For the child.
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

    /// Takes the note away that a place is reserved on the connection with this ticket. Returns
    /// whether it was there: of all who do, one finds it, and has the place.
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

    /// Counts anew how many places are taken, if this is the number of the worker. Returns whether
    /// that was done.
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
        let answered = self.answered.load(Ordering::Relaxed);
        answered != 0 && answered == self.incarnation()
    }

    /// A request was answered by the worker of this number, which it is written down with: one that
    /// is not there any more says nothing of its successor. For the worker.
    pub fn note_answer(&self, incarnation: u32) {
        if self.answered.load(Ordering::Relaxed) != incarnation && self.incarnation() == incarnation
        {
            self.answered.store(incarnation, Ordering::Relaxed);
        }
    }

    /// A request was taken, by the worker of this number. For the worker.
    pub fn count_request(&self, incarnation: u32) {
        let is_present = self.incarnation() == incarnation;
        let requests = match is_present {
            true => &self.requests,
            false => &self.earlier_requests,
        };
        requests.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests the worker that serves here has taken.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many requests all workers have taken that have served here.
    pub fn all_requests(&self) -> u64 {
        let earlier = self.earlier_requests.load(Ordering::Relaxed);
        self.requests().saturating_add(earlier)
    }

    /// Leaves behind how a worker of this slot ended. For the supervisor.
    pub fn set_ending(&self, ending: Ending) {
        self.roster.set_ending(ending);
    }

    /// How the last worker of this slot ended, if one has.
    pub fn ending(&self) -> Option<Ending> {
        self.roster.ending()
    }

    /// How the worker with this pid ended, if it was the last one here to end.
    pub fn ending_of(&self, pid: u32) -> Option<Ending> {
        self.ending().filter(|ending| ending.pid == pid)
    }

    /// Tells who is here: those for whom there is no room are not told. For the supervisor.
    pub fn set_members(&self, members: impl Iterator<Item = Member>) {
        self.roster.set_members(members);
    }

    /// Who is here.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.roster.members()
    }

    /// Tells how often a worker did not start. For the supervisor.
    pub fn set_setback(&self, setback: Setback) {
        self.roster.set_setback(setback);
    }

    /// How often in a row a worker did not start.
    pub fn setback(&self) -> Setback {
        self.roster.setback()
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
mod tests;
