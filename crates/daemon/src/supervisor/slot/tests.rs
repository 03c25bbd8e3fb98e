//! What follows from what happens to a slot.

use super::*;

/// A slot whose worker 1 has been serving for a while, and the time it is then.
fn serving() -> (Slot, Instant) {
    let mut slot = Slot::default();
    let start = Instant::now();
    assert_eq!(slot.step(Event::Reload, start), [Action::Start]);
    slot.step(Event::Started(1), start);
    assert_eq!(slot.step(Event::Ready(1), start), [Action::Serve(1)]);
    (slot, start + STABLE)
}

#[test]
fn the_old_one_drains_when_the_new_one_is_ready() {
    let (mut slot, now) = serving();
    let cause = Replacement::MaximumRequests;
    assert_eq!(
        slot.step(Event::WantsSuccessor(1, cause), now),
        [Action::Start]
    );
    slot.step(Event::Started(2), now);
    assert!(slot.is_serving(1));
    let actions = slot.step(Event::Ready(2), now);
    assert_eq!(actions, [Action::Serve(2), Action::Drain(1, cause)]);
    assert_eq!(slot.step(Event::Exited(1), now), []);
    assert!(slot.is_serving(2));
}

#[test]
fn one_that_has_reached_its_maximum_serves_but_takes_no_requests() {
    for (cause, takes) in [
        (Replacement::MaximumRequests, false),
        (Replacement::RestartInterval, true),
    ] {
        let (mut slot, now) = serving();
        slot.step(Event::WantsSuccessor(1, cause), now);
        assert!(slot.is_serving(1));
        assert_eq!(slot.takes_requests(), takes);
    }
}

#[test]
fn a_second_wish_for_a_successor_starts_no_second_one() {
    let (mut slot, now) = serving();
    slot.step(Event::WantsSuccessor(1, Replacement::MaximumRequests), now);
    slot.step(Event::Started(2), now);
    let again = slot.step(Event::WantsSuccessor(1, Replacement::RestartInterval), now);
    assert_eq!(again, []);
}

#[test]
fn a_successor_that_was_prepared_stands_by_until_it_is_wanted() {
    let (mut slot, now) = serving();
    assert_eq!(slot.step(Event::Prepare(1), now), [Action::Start]);
    slot.step(Event::Started(2), now);
    assert_eq!(slot.step(Event::Ready(2), now), []);
    assert_eq!(slot.step(Event::Prepare(1), now), [], "one is enough");
    assert!(slot.is_serving(1));
    let cause = Replacement::MaximumRequests;
    assert_eq!(
        slot.step(Event::WantsSuccessor(1, cause), now),
        [Action::Serve(2), Action::Drain(1, cause)]
    );
    assert!(slot.is_serving(2));
}

#[test]
fn one_that_stands_by_takes_over_when_the_other_dies_and_goes_when_it_is_old() {
    let stands_by = || {
        let (mut slot, now) = serving();
        slot.step(Event::Prepare(1), now);
        slot.step(Event::Started(2), now);
        slot.step(Event::Ready(2), now);
        (slot, now)
    };
    let (mut slot, now) = stands_by();
    assert_eq!(slot.step(Event::Exited(1), now), [Action::Serve(2)]);
    let (mut slot, now) = stands_by();
    let cause = Replacement::GracefulSignal;
    assert_eq!(
        slot.step(Event::Reload, now),
        [Action::Drain(2, cause), Action::Start]
    );
    let (mut slot, now) = stands_by();
    assert_eq!(slot.step(Event::Exited(2), now), []);
    assert_eq!(slot.step(Event::Prepare(1), now), [Action::Start]);
    let (mut slot, now) = stands_by();
    let stop = Replacement::ShutdownSignal;
    slot.step(Event::End(stop), now);
    slot.step(Event::Exited(1), now);
    assert!(!slot.is_over());
    slot.step(Event::Exited(2), now);
    assert!(slot.is_over());
}

#[test]
fn one_that_can_serve_nobody_does_not_wait_for_its_successor() {
    let (mut slot, now) = serving();
    let cause = Replacement::DeadlockTimeout;
    let actions = slot.step(Event::WantsSuccessor(1, cause), now);
    assert_eq!(
        actions,
        [Action::Drain(1, cause), Action::Starting, Action::Start]
    );
}

#[test]
fn one_that_dies_is_replaced_at_once() {
    let (mut slot, now) = serving();
    assert_eq!(
        slot.step(Event::Exited(1), now),
        [Action::Starting, Action::Start]
    );
    assert_eq!(slot.failures(), 0);
}

#[test]
fn nobody_serves_when_one_dies_young_whose_successor_has_begun_to_start() {
    let mut slot = Slot::default();
    let now = Instant::now();
    slot.step(Event::Reload, now);
    slot.step(Event::Started(1), now);
    slot.step(Event::Ready(1), now);
    let cause = Replacement::ScriptReload;
    slot.step(Event::WantsSuccessor(1, cause), now);
    slot.step(Event::Started(2), now);
    assert_eq!(slot.step(Event::Exited(1), now), [Action::Starting]);
    assert_eq!(slot.step(Event::Ready(2), now), [Action::Serve(2)]);
}

#[test]
fn one_that_does_not_start_is_tried_again_later_and_later() {
    let mut slot = Slot::default();
    let mut now = Instant::now();
    slot.step(Event::Reload, now);
    let mut pauses = Vec::new();
    for worker in 1..=8 {
        slot.step(Event::Started(worker), now);
        assert_eq!(slot.step(Event::Exited(worker), now), [Action::Down]);
        assert_eq!(
            slot.step(Event::Tick, now),
            [],
            "not before the pause is over"
        );
        let retry = slot.retry().unwrap();
        pauses.push((retry - now).as_secs());
        now = retry;
        assert_eq!(slot.step(Event::Tick, now), [Action::Start]);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn one_that_dies_right_after_its_start_is_no_storm() {
    let (mut slot, now) = serving();
    assert_eq!(
        slot.step(Event::Exited(1), now - STABLE / 2),
        [Action::Down]
    );
    assert!(slot.retry().is_some());
}

#[test]
fn one_that_is_killed_as_it_starts_is_replaced_at_once_but_not_for_ever() {
    let (mut slot, now) = serving();
    let young = now - STABLE / 2;
    let at_once = [Action::Starting, Action::Start];
    assert_eq!(slot.step(Event::Killed(1), young), at_once);
    slot.step(Event::Started(2), young);
    assert_eq!(slot.step(Event::Killed(2), young), [Action::Down]);

    let (mut slot, now) = serving();
    assert_eq!(slot.step(Event::Killed(1), now), at_once);
    slot.step(Event::Started(2), now);
    assert_eq!(slot.step(Event::Killed(2), now), [Action::Start]);
    slot.step(Event::Started(3), now);
    slot.step(Event::Ready(3), now);
    assert_eq!(slot.step(Event::Killed(3), now), [Action::Down]);
}

#[test]
fn one_that_has_served_is_replaced_at_once_however_young_it_is() {
    let (mut slot, now) = serving();
    assert_eq!(
        slot.step(Event::Ended(1), now - STABLE),
        [Action::Starting, Action::Start]
    );
}

#[test]
fn a_failing_successor_leaves_the_old_one_serving() {
    let (mut slot, now) = serving();
    slot.step(Event::Reload, now);
    slot.step(Event::Started(2), now);
    assert_eq!(slot.step(Event::Exited(2), now), []);
    assert!(slot.is_serving(1));
    assert!(slot.retry().is_some());
}

#[test]
fn one_whose_successor_failed_is_replaced_at_once_all_the_same() {
    for event in [
        Event::Exited(1),
        Event::WantsSuccessor(1, Replacement::DeadlockTimeout),
    ] {
        let (mut slot, now) = serving();
        slot.step(Event::Reload, now);
        slot.step(Event::Started(2), now);
        slot.step(Event::Exited(2), now);
        let actions = slot.step(event, now);
        assert!(actions.ends_with(&[Action::Starting, Action::Start]));
    }
}

#[test]
fn a_new_configuration_does_not_wait_for_a_pause() {
    let mut slot = Slot::default();
    let now = Instant::now();
    slot.step(Event::Reload, now);
    slot.step(Event::Started(1), now);
    slot.step(Event::Exited(1), now);
    assert_eq!(slot.step(Event::Reload, now), [Action::Start]);
}

#[test]
fn of_two_that_run_scripts_the_old_one_goes_first() {
    let (mut slot, now) = serving();
    slot.set_alone(true);
    let cause = Replacement::GracefulSignal;
    assert_eq!(slot.step(Event::Reload, now), [Action::Drain(1, cause)]);
    assert_eq!(slot.step(Event::Tick, now), []);
    assert_eq!(slot.step(Event::Finished(1), now), [Action::Start]);
}

#[test]
fn one_that_waited_for_a_script_to_end_is_started_once() {
    let (mut slot, now) = serving();
    slot.set_alone(true);
    let cause = Replacement::GracefulSignal;
    assert_eq!(slot.step(Event::Reload, now), [Action::Drain(1, cause)]);
    // It serves requests again before the script has ended.
    slot.set_alone(false);
    assert_eq!(slot.step(Event::Reload, now), [Action::Start]);
    slot.step(Event::Started(2), now);
    assert_eq!(slot.step(Event::Ready(2), now), [Action::Serve(2)]);
    assert_eq!(slot.step(Event::Exited(1), now), [], "one is enough");
}

#[test]
fn one_whose_script_has_ended_is_started_again() {
    let (mut slot, now) = serving();
    slot.set_alone(true);
    assert_eq!(slot.step(Event::Finished(1), now), [Action::Start]);
    slot.step(Event::Started(2), now);
    slot.step(Event::Ready(2), now);
    assert_eq!(slot.step(Event::Finished(2), now), [], "not so soon");
    assert_eq!(slot.step(Event::Tick, now + STABLE), [Action::Start]);
    assert_eq!(slot.failures(), 0);
}

#[test]
fn the_end_reaches_all_and_nothing_starts_any_more() {
    let (mut slot, now) = serving();
    slot.step(Event::Reload, now);
    slot.step(Event::Started(2), now);
    let stop = Replacement::ShutdownSignal;
    let actions = slot.step(Event::End(stop), now);
    assert_eq!(actions, [Action::Drain(2, stop), Action::Drain(1, stop)]);
    slot.step(Event::Exited(1), now);
    assert!(!slot.is_over());
    assert_eq!(slot.step(Event::Exited(2), now), []);
    assert!(slot.is_over());
}

#[test]
fn what_went_wrong_before_a_worker_served_says_nothing_of_its_successor() {
    let mut slot = Slot::default();
    let mut now = Instant::now();
    slot.step(Event::Reload, now);
    slot.step(Event::Started(1), now);
    assert_eq!(slot.step(Event::Killed(1), now), [Action::Start]);
    slot.step(Event::Started(2), now);
    slot.step(Event::Exited(2), now);
    assert_eq!((slot.failures(), slot.forgives()), (1, false));
    now = slot.retry().unwrap();
    slot.step(Event::Tick, now);
    slot.step(Event::Started(3), now);
    slot.step(Event::Ready(3), now);
    assert_eq!((slot.failures(), slot.forgives()), (0, true));

    now += STABLE;
    slot.step(Event::WantsSuccessor(3, Replacement::RestartInterval), now);
    slot.step(Event::Started(4), now);
    slot.step(Event::Exited(4), now);
    assert_eq!(slot.retry(), Some(now + Duration::from_secs(1)));
}

#[test]
fn one_that_starts_and_dies_over_and_over_is_tried_again_later_and_later() {
    let mut slot = Slot::default();
    let mut now = Instant::now();
    slot.step(Event::Reload, now);
    let mut pauses = Vec::new();
    for worker in 1..=3 {
        slot.step(Event::Started(worker), now);
        slot.step(Event::Ready(worker), now);
        slot.step(Event::Exited(worker), now);
        let retry = slot.retry().unwrap();
        pauses.push((retry - now).as_secs());
        now = retry;
        slot.step(Event::Tick, now);
    }
    assert_eq!(pauses, [1, 2, 4]);
}
