//! This worker's slot in the table of its group, and the tickets with which children reserve places
//! there.
//!
//! A child that reserves a place stamps the ticket of the connection over which the request will
//! come. The worker takes the stamp away when it reads the request. If the child dies in between,
//! the ticket is still stamped when its connection ends, and the worker gives the place back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use control::{Slot, Table};

/// The slot of this worker.
#[derive(Debug)]
pub(super) struct OwnSlot {
    table: Table,
    number: usize,
    /// The number of this worker among those of the slot.
    incarnation: AtomicU32,
    /// How many tickets have been issued.
    tickets: AtomicU32,
}

impl OwnSlot {
    /// The slot with this number in the table.
    pub(super) fn new(table: Table, number: usize) -> Self {
        Self {
            table,
            number,
            incarnation: AtomicU32::new(0),
            tickets: AtomicU32::new(0),
        }
    }

    /// This worker serves in the slot from now on, with this incarnation. (The table may have that
    /// of a successor already.)
    pub(super) fn take_over(&self, incarnation: u32) {
        self.incarnation.store(incarnation, Ordering::Relaxed);
    }

    /// The slot in the table.
    pub(super) fn get(&self) -> Option<&Slot> {
        self.table.slots().get(self.number)
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }

    /// The incarnation of this worker.
    pub(super) fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// Whether another worker serves in the slot now.
    pub(super) fn is_succeeded(&self) -> bool {
        let own = self.incarnation();
        self.get().is_some_and(|slot| slot.incarnation() != own)
    }

    /// Sets how many places are taken to `count`, if that is still `counted`.
    pub(super) fn correct(&self, counted: u32, count: u32) {
        if let Some(slot) = self.get() {
            slot.correct(self.incarnation(), counted, count);
        }
    }

    /// Counts a request that was taken.
    pub(super) fn count_request(&self) {
        if let Some(slot) = self.get() {
            slot.count_request(self.incarnation());
        }
    }

    /// Takes a place, even if none is free.
    pub(super) fn occupy(&self) {
        if let Some(slot) = self.get() {
            slot.occupy(self.incarnation());
        }
    }

    /// Gives a place back, unless a successor has taken over the slot.
    pub(super) fn vacate(&self) {
        if let Some(slot) = self.get() {
            slot.vacate(self.incarnation());
        }
    }

    /// A ticket for a new connection. It differs from those of all open connections, including
    /// connections to the predecessor, which children may still have.
    pub(super) fn issue(self: &Arc<Self>) -> Ticket {
        const BITS: u32 = 24;
        const MOST: u32 = (1 << BITS) - 1;
        let count = self.tickets.fetch_add(1, Ordering::Relaxed);
        Ticket {
            // 0 is no ticket.
            number: self.incarnation() << BITS | (count % MOST + 1),
            slot: self.clone(),
        }
    }
}

/// Identifies a connection, and the place that is reserved for the request on it.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u32,
    slot: Arc<OwnSlot>,
}

impl Ticket {
    /// The number that the child stamps.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The request for which a place was reserved has come. Returns whether it has the place: a
    /// place that was reserved with the predecessor does not count.
    pub(super) fn redeem(&self) -> bool {
        let slot = self.slot.get();
        slot.is_some_and(|slot| slot.take_stamp(self.number))
    }
}

impl Drop for Ticket {
    /// The connection ends: gives back a place that was reserved and not used.
    fn drop(&mut self) {
        let slot = self.slot.get();
        if slot.is_some_and(|slot| slot.take_stamp(self.number)) {
            self.slot.vacate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_slot() -> Arc<OwnSlot> {
        let slot = OwnSlot::new(Table::new(1).unwrap(), 0);
        slot.get().unwrap().succeed();
        slot.take_over(1);
        Arc::new(slot)
    }

    #[test]
    fn what_was_reserved_and_not_used_is_given_back_once() {
        let own = own_slot();
        let slot = own.get().unwrap();
        let (used, unused, idle) = (own.issue(), own.issue(), own.issue());
        for ticket in [&used, &unused] {
            assert!(slot.reserve(1, 8, ticket.number()));
        }
        assert!(used.redeem());
        drop(idle);
        drop(used);
        assert_eq!(
            slot.active(),
            2,
            "of a request that came the server sees to it"
        );
        let number = unused.number();
        drop(unused);
        assert_eq!(slot.active(), 1);
        assert!(!slot.take_stamp(number), "its child does not, too");
    }

    #[test]
    fn what_was_reserved_with_a_predecessor_is_no_place_of_the_successor() {
        let own = own_slot();
        let slot = own.get().unwrap();
        let [used, unused] = [own.issue(), own.issue()];
        for ticket in [&used, &unused] {
            assert!(slot.reserve(1, 8, ticket.number()));
        }
        slot.succeed();
        assert!(slot.reserve(2, 8, 1));
        assert!(!used.redeem());
        drop([used, unused]);
        assert_eq!(slot.active(), 1);
    }

    #[test]
    fn a_worker_that_hears_late_that_it_is_to_serve_is_not_its_successor() {
        let own = OwnSlot::new(Table::new(1).unwrap(), 0);
        let slot = own.get().unwrap();
        slot.succeed();
        slot.succeed();
        own.take_over(1);
        assert!(own.is_succeeded());
        own.occupy();
        assert_eq!(slot.active(), 0, "its successor has no request");
    }

    #[test]
    fn each_ticket_is_another() {
        let own = own_slot();
        let mut numbers: Vec<_> = (0..100).map(|_| own.issue().number()).collect();
        own.get().unwrap().succeed();
        own.take_over(2);
        numbers.extend((0..100).map(|_| own.issue().number()));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 200);
        assert!(!numbers.contains(&0));
    }

    #[test]
    fn a_worker_whose_number_leaves_nothing_in_its_tickets_issues_none_twice() {
        let own = own_slot();
        (1..256).for_each(|_| own.get().unwrap().succeed());
        own.take_over(256);
        let mut numbers: Vec<_> = (0..100).map(|_| own.issue().number()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), 100);
        assert!(!numbers.contains(&0));
    }
}
