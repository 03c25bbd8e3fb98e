//! What the supervisor does for many groups.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd as _;

use control::LogForm;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::*;
use crate::testing;

/// A supervisor that starts nobody, and httpd's end of its link.
fn supervisor() -> (Supervisor, Channel) {
    let (parent, ours) = Channel::pair().unwrap();
    let signals = Signals {
        arrivals: UnixStream::pair().unwrap().0,
        terminated: Arc::default(),
    };
    (Supervisor::new(ours, signals), parent)
}

/// The group of this number.
fn spec(number: u32) -> Box<GroupSpec> {
    Box::new(GroupSpec {
        number,
        ..testing::group(&format!("group {number}"))
    })
}

/// A main log in memory.
fn main_log() -> (MainLog, File) {
    let (log, memory) = testing::log();
    (MainLog::of(log), memory)
}

/// Tells of the groups of these numbers.
fn tell(parent: &Channel, numbers: impl IntoIterator<Item = u32>) {
    let log_form = LogForm::Lines;
    parent.send(&ToSupervisor::Begin { log_form }, &[]).unwrap();
    for number in numbers {
        let equipment = testing::equipment();
        let descriptors: Vec<_> = equipment.iter().map(OwnedFd::as_fd).collect();
        let group = ToSupervisor::Group(spec(number));
        parent.send(&group, &descriptors).unwrap();
    }
}

/// Has it hear so many messages. Returns what is in the log then.
fn hear(supervisor: &mut Supervisor, count: usize) -> String {
    let (log, memory) = main_log();
    (0..count).for_each(|_| supervisor.hear_parent(&log));
    testing::lines(&memory)
}

/// Its groups, and whether they are to end.
fn groups(supervisor: &Supervisor) -> Vec<(u32, bool)> {
    let groups = supervisor.groups.iter();
    groups
        .map(|group| (group.number(), group.next_deadline().is_some()))
        .collect()
}

#[test]
fn a_group_whose_descriptors_are_missing_costs_no_other() {
    let (mut supervisor, parent) = supervisor();
    tell(&parent, [1, 2, 3]);
    parent.send(&ToSupervisor::Commit, &[]).unwrap();
    assert_eq!(hear(&mut supervisor, 5), "");

    tell(&parent, [1]);
    hear(&mut supervisor, 2);
    let missing = || Err(ChannelError::Descriptors);
    for number in [2, 4] {
        let (log, _) = main_log();
        supervisor.take(ToSupervisor::Group(spec(number)), missing(), &log);
    }
    parent.send(&ToSupervisor::Commit, &[]).unwrap();
    let told = hear(&mut supervisor, 1);
    assert!(
        told.contains("'group 2' goes on as it was: this process may open no more files"),
        "{told}"
    );
    assert!(
        told.contains("'group 4' cannot be started: this process may open no more files"),
        "{told}"
    );
    assert_eq!(groups(&supervisor), [(1, false), (2, false), (3, true)]);
    assert!(!supervisor.ending);
}

#[test]
fn no_group_ends_for_a_message_that_is_lost() {
    let (mut supervisor, parent) = supervisor();
    tell(&parent, [1, 2]);
    parent.send(&ToSupervisor::Commit, &[]).unwrap();
    hear(&mut supervisor, 4);

    parent.send(&ToSupervisor::Reconfiguring, &[]).unwrap();
    tell(&parent, [1]);
    // A long message that lies where it cannot be read.
    let unreadable = tempfile::NamedTempFile::new().unwrap();
    unreadable.as_file().set_len(10).unwrap();
    let unreadable = File::options().write(true).open(unreadable.path()).unwrap();
    let rights = [unreadable.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    let (link, parts, flags) = (parent.as_fd(), [IoSlice::new(&[])], MsgFlags::empty());
    sendmsg::<()>(link.as_raw_fd(), &parts, &control, flags, None).unwrap();
    parent.send(&ToSupervisor::Commit, &[]).unwrap();
    let told = hear(&mut supervisor, 5);
    assert!(told.contains("WSGI1202: part of what httpd says"), "{told}");
    assert_eq!(groups(&supervisor), [(1, false), (2, false)]);
    assert!(!supervisor.ending);

    tell(&parent, [1]);
    parent.send(&ToSupervisor::Commit, &[]).unwrap();
    assert_eq!(hear(&mut supervisor, 3), "");
    assert_eq!(groups(&supervisor), [(1, false), (2, true)]);
}

#[test]
fn what_it_has_to_say_goes_into_the_log_that_httpd_has_now() {
    let (mut supervisor, parent) = supervisor();
    let (before, memory) = main_log();
    let now = memfd_create(c"log", MFdFlags::empty()).unwrap();
    let log_form = LogForm::Lines;
    let begin = ToSupervisor::Begin { log_form };
    parent.send(&begin, &[now.as_fd()]).unwrap();
    parent.send(&u64::MAX, &[]).unwrap();
    (0..2).for_each(|_| supervisor.hear_parent(&before));
    assert_eq!(testing::lines(&memory), "");
    let told = testing::lines(&now.into());
    assert!(told.contains("WSGI1202"), "{told}");
}

#[test]
fn what_is_no_message_is_the_end() {
    let (mut supervisor, parent) = supervisor();
    tell(&parent, [1]);
    parent.send(&ToSupervisor::Commit, &[]).unwrap();
    parent.send(&u64::MAX, &[]).unwrap();
    let told = hear(&mut supervisor, 4);
    assert!(told.contains("WSGI1202"), "{told}");
    assert!(supervisor.ending);
}

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
