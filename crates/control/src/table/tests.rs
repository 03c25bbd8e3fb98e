//! What one process writes into a table, others read.

use super::*;
use crate::messages::Replacement;
use crate::roster::Stage;

#[test]
fn what_one_mapping_writes_another_reads() {
    let ours = Table::new(3).unwrap();
    let theirs = Table::map(ours.as_fd().try_clone_to_owned().unwrap(), 3).unwrap();
    assert_eq!(theirs.slots().len(), 3);
    assert_eq!(theirs.slots()[1].state(), SlotState::Starting);

    ours.slots()[1].set_state(SlotState::Ready);
    ours.slots()[1].correct(0, 0, 4);
    let ending = Ending {
        pid: 77,
        status: 11,
        reason: Some(Replacement::ScriptReload),
        at: 1_795_000_000,
    };
    ours.slots()[1].set_ending(ending);
    let slot = &theirs.slots()[1];
    assert_eq!((slot.state(), slot.active()), (SlotState::Ready, 4));
    assert_eq!(slot.ending_of(77), Some(ending));
    assert_eq!(slot.ending_of(78), None);

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
    assert!(!slot.has_answered(), "nobody is there");
    slot.succeed();
    assert!(!slot.has_answered());
    slot.note_answer(2);
    assert!(!slot.has_answered(), "another one did");
    slot.note_answer(1);
    assert!(slot.has_answered());
    slot.succeed();
    assert!(!slot.has_answered());
}

#[test]
fn requests_are_counted_for_the_worker_that_took_them() {
    let table = Table::new(1).unwrap();
    let slot = &table.slots()[0];
    slot.count_request(0);
    slot.count_request(0);
    slot.succeed();
    assert_eq!((slot.requests(), slot.all_requests()), (0, 2));
    slot.count_request(1);
    slot.count_request(0);
    assert_eq!((slot.requests(), slot.all_requests()), (1, 4));
}

#[test]
fn as_many_workers_are_told_as_there_is_room_for() {
    let table = Table::new(2).unwrap();
    let member = |pid| Member {
        pid,
        stage: Stage::Draining,
        started: 1_795_000_000,
    };
    let [slot, other] = [0, 1].map(|number| &table.slots()[number]);
    slot.set_members((1..9).map(member));
    assert!(slot.members().eq((1..5).map(member)));
    slot.set_members([member(7)].into_iter());
    assert!(slot.members().eq([member(7)]));
    assert_eq!(other.members().count(), 0);
    assert_eq!(
        (other.ending(), other.setback()),
        (None, Setback::default())
    );
}

#[test]
fn whatever_a_worker_writes_can_be_read() {
    let table = Table::new(3).unwrap();
    let memory = table.memory.start();
    for byte in 0..table.memory.length() {
        // SAFETY: it lies in the mapping, to which there is no reference now.
        unsafe { memory.add(byte).write(0xff) };
    }
    for slot in table.slots() {
        assert_eq!(slot.members().count(), 4);
        assert_eq!(slot.ending().unwrap().reason, None);
        assert_eq!(slot.setback().failures, u32::MAX);
        assert_eq!(slot.all_requests(), u64::MAX);
    }
    assert_eq!(table.queue().look(0, |_| true).count, 256);
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
