//! Descriptors for which a process has no room. Alone in its process, whose limit it changes.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs::File;
use std::io::{IoSlice, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;

use control::receive_with_descriptors;
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

#[test]
fn those_that_came_are_closed_even_if_some_could_not() {
    let (here, there) = UnixStream::pair().unwrap();
    let mut reader = send(&here, 200);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let highest = File::open("/dev/null").unwrap();
    let room = u64::try_from(highest.as_raw_fd()).unwrap() + 20;
    setrlimit(Resource::RLIMIT_NOFILE, room, hard).unwrap();
    let received = receive_with_descriptors(there.as_fd(), &mut [0; 8], MsgFlags::empty());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    let received = received.unwrap();
    assert!(received.is_short && !received.descriptors.is_empty());
    drop(received);
    // The pipe ends once nobody has its other end.
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}
