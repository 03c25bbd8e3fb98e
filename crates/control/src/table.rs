//! The table of a group: what httpd's children know of its workers, in memory that all of them map.
//!
//! It consists of the notes on the [`Queue`], followed by the slots.
//!
//! A group has a fixed number of *slots*, in each of which workers succeed each other. For every
//! slot the table says which worker is there, whether requests may be sent to it, and how many of
//! its *places* are taken. There is a place for each thread. If requests are so short that waiting
//! behind some of them hardly matters, there are *spare* places for requests that wait.
//!
//! The supervisor writes a slot's state. A child reserves a place before it sends a request to the
//! slot's worker; requests from the group's queue take one when they are accepted; the worker gives
//! it back. The number of the worker and the number of taken places share one atomic word, and each
//! change names the worker that it is for: a change for a predecessor has no effect. A worker could
//! write anything, so readers take every number as a hint; a wrong one makes them choose badly
//! among the workers of the same group, or wait in its queue. All fields are atomic, and none
//! guards another, so relaxed ordering is enough.
//!
//! A child may die before it has sent the request for which it reserved a place. So each connection
//! has a *ticket*, a number that the child stamps into the slot with its reservation. The process
//! that takes the stamp away owns the place: the worker that reads the request, the child that
//! gives up sending it, or the worker when the connection ends and neither has done so. If there is
//! no room for a stamp, nothing is reserved. A child that is killed between counting and stamping
//! leaves a place taken, which the worker corrects when it is idle.
//!
//! The rest of a slot is for mod_status: which workers are there, and how the last one ended.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::queue::Queue;
use crate::roster::{Ending, Member, Roster, Setback};
use crate::sealed::{self, Sealed};

/// The most spare places of a slot, whatever its worker writes.
pub const MOST_SPARE: u32 = 128;

/// How many stamps a slot has room for: rarely are as many requests on their way to a worker.
const STAMPS: usize = 256;

/// A group's table, mapped into this process until it is dropped.
pub struct Table {
    descriptor: OwnedFd,
    memory: Sealed,
    count: usize,
}

/// A slot of a group. Each has cache lines of its own, since its worker writes it all the time.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot {
    /// Which worker serves here, and how many places are taken: see [`Taken`].
    taken: AtomicU64,
    state: AtomicU32,
    spare: AtomicU32,
    /// The number of the last worker here that has answered a request; 0 is none.
    answered: AtomicU32,
    /// How many requests its worker has taken, and its predecessors together.
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

/// The tickets of the connections for which places are reserved: a hash table with linear probing,
/// where 0 is a free entry.
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
    /// When the descriptor is not of such memory, or the memory is too small or might become so.
    pub fn map(descriptor: OwnedFd, count: usize) -> io::Result<Self> {
        let memory = Sealed::map(descriptor.as_fd(), length(count))?;
        Ok(Self {
            descriptor,
            memory,
            count,
        })
    }

    /// Has the system allocate memory for all of it, before it is used.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn secure(&self) -> io::Result<()> {
        Ok(self.memory.secure(0..self.memory.length())?)
    }

    /// The notes on requests that wait for a thread.
    pub fn queue(&self) -> &Queue {
        // SAFETY: the mapping is page-aligned, begins with room for a queue, and lives as long as
        // `self`. A `Queue` consists of atomics, for which any bytes are valid and which other
        // processes may change at any time.
        unsafe { self.memory.start().cast().as_ref() }
    }

    /// The slots.
    pub fn slots(&self) -> &[Slot] {
        const { assert!(size_of::<Queue>().is_multiple_of(align_of::<Slot>())) };
        // SAFETY: after the queue, whose size is a multiple of a slot's alignment, the mapping has
        // room for `count` slots. A `Slot` consists of atomics as well.
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

    /// A new worker takes over: none of its places is taken yet. For the supervisor.
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

    /// Sets how many places are taken to `count`, if that is still `counted` and this incarnation
    /// still serves here. For the worker.
    pub fn correct(&self, incarnation: u32, counted: u32, count: u32) {
        // If it has changed, a place has just been taken or given back.
        self.count(incarnation, |active| (active == counted).then_some(count));
    }

    /// How many places there are: one for each of the `threads`, and the spare ones.
    pub fn places(&self, threads: u32) -> u32 {
        threads.saturating_add(self.spare.load(Ordering::Relaxed).min(MOST_SPARE))
    }

    /// Sets the number of spare places. For the worker.
    pub fn set_spare(&self, spare: u32) {
        if self.spare.load(Ordering::Relaxed) != spare {
            self.spare.store(spare, Ordering::Relaxed);
        }
    }

    /// Whether one of the `places` is free.
    pub fn has_place(&self, places: u32) -> bool {
        self.active() < places
    }

    /// Reserves a place for the next request on the connection with this ticket, if one of the
    /// `places` is free and this incarnation still serves here. Returns whether it did. For the
    /// child.
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

    /// Takes the stamp of this ticket away. Returns whether it was there: then the caller owns the
    /// place that was reserved. Only one caller finds it.
    pub fn take_stamp(&self, ticket: u32) -> bool {
        self.stamps.take(ticket)
    }

    /// Takes a place, even if none is free, if this incarnation still serves here. For the worker.
    pub fn occupy(&self, incarnation: u32) {
        self.count(incarnation, |active| active.checked_add(1));
    }

    /// Gives back a place that was taken with this incarnation, if it still serves here.
    pub fn vacate(&self, incarnation: u32) {
        self.count(incarnation, |active| active.checked_sub(1));
    }

    /// Changes how many places are taken, if this incarnation still serves here. Returns whether it
    /// did.
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

    /// Notes that this incarnation has answered a request. The incarnation is stored, so that the
    /// note says nothing about a successor. For the worker.
    pub fn note_answer(&self, incarnation: u32) {
        if self.answered.load(Ordering::Relaxed) != incarnation && self.incarnation() == incarnation
        {
            self.answered.store(incarnation, Ordering::Relaxed);
        }
    }

    /// Counts a request that this incarnation has taken. For the worker.
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

    /// How many requests all workers that have served here have taken.
    pub fn all_requests(&self) -> u64 {
        let earlier = self.earlier_requests.load(Ordering::Relaxed);
        self.requests().saturating_add(earlier)
    }

    /// Records how a worker of this slot ended. For the supervisor.
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

    /// Records which workers are here, as far as there is room. For the supervisor.
    pub fn set_members(&self, members: impl Iterator<Item = Member>) {
        self.roster.set_members(members);
    }

    /// The workers that are here.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.roster.members()
    }

    /// Records failed starts. For the supervisor.
    pub fn set_setback(&self, setback: Setback) {
        self.roster.set_setback(setback);
    }

    /// Failed starts, in a row.
    pub fn setback(&self) -> Setback {
        self.roster.setback()
    }
}

impl From<u64> for Taken {
    fn from(both: u64) -> Self {
        // Each half fits into 32 bits, so nothing is lost.
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
    /// Stamps a ticket. Returns whether there was room. 0 is no ticket, and cannot be stamped.
    fn put(&self, ticket: u32) -> bool {
        ticket != 0 && self.exchange(ticket, 0, ticket)
    }

    /// Takes a ticket away. Returns whether it was there.
    fn take(&self, ticket: u32) -> bool {
        ticket != 0 && self.exchange(ticket, ticket, 0)
    }

    /// Replaces the first entry that is `old`, searching from the index that belongs to `ticket`.
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
