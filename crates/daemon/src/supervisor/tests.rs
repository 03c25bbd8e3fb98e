//! What the supervisor does for many groups.

use super::*;

#[test]
fn whoever_has_many_to_start_keeps_nobody_waiting() {
    // A name, and how many of its own wait.
    let mut groups = [("many", 40), ("none", 0), ("few", 2), ("one", 1)];
    let mut turns = Vec::new();
    for _ in 0..7 {
        let (name, waiting) = next_in_turn(&mut groups, |(_, waiting)| *waiting > 0).unwrap();
        *waiting -= 1;
        turns.push(*name);
    }
    let expected = ["many", "few", "one", "many", "few", "many", "many"];
    assert_eq!(turns, expected);
    groups.iter_mut().for_each(|(_, waiting)| *waiting = 0);
    assert_eq!(next_in_turn(&mut groups, |(_, waiting)| *waiting > 0), None);
}
