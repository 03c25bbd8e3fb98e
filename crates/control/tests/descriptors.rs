//! Descriptors for which a process has no room. In a process of their own, whose limit they change.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs::File;
use std::io::{IoSlice, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use control::{Channel, ChannelError, receive_with_descriptors};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Sends the writing end of a pipe so many times. Returns the reading end.
fn send(socket: &UnixStream, count: usize) -> File {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let rights = vec![writer.as_raw_fd(); count];
    let control = [ControlMessage::ScmRights(&rights)];
    let parts = [IoSlice::new(b"x")];
    let flags = MsgFlags::empty();
    sendmsg::<()>(socket.as_raw_fd(), &parts, &control, flags, None).unwrap();
    File::from(reader)
}

/// Held by each test from its beginning: their process has one limit.
static ALONE: Mutex<()> = Mutex::new(());

/// Calls it where this process has room for a few more descriptors.
fn almost_full<R>(call: impl FnOnce() -> R) -> R {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let next = File::open("/dev/null").unwrap();
    let room = u64::try_from(next.as_raw_fd()).unwrap() + 20;
    setrlimit(Resource::RLIMIT_NOFILE, room, hard).unwrap();
    let result = call();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    result
}

#[test]
fn those_that_came_are_closed_even_if_some_could_not() {
    let _alone = ALONE.lock();
    let (here, there) = UnixStream::pair().unwrap();
    let mut reader = send(&here, 200);
    let received =
        almost_full(|| receive_with_descriptors(there.as_fd(), &mut [0; 8], MsgFlags::empty()));
    let received = received.unwrap();
    assert!(received.is_short && !received.descriptors.is_empty());
    drop(received);
    // The pipe ends once nobody has its other end.
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn what_a_message_says_is_known_although_its_descriptors_are_missing() {
    let _alone = ALONE.lock();
    let (here, there) = Channel::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    here.send(&7_u32, &[null.as_fd(); 200]).unwrap();
    let arrival = almost_full(|| there.receive_any::<u32>()).unwrap();
    assert_eq!(arrival.message, 7);
    let error = arrival.descriptors.unwrap_err();
    assert!(matches!(error, ChannelError::Descriptors), "{error}");

    here.send(&7_u32, &[null.as_fd(); 200]).unwrap();
    let error = almost_full(|| there.receive::<u32>()).unwrap_err();
    assert!(matches!(error, ChannelError::Descriptors), "{error}");
}
