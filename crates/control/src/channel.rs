//! A link between two processes that carries messages and descriptors.
//!
//! A message is one packet of a `SOCK_SEQPACKET` socket: it arrives completely or not at all, so
//! neither side has to find its end. A message that is too long for a packet is put into a file in
//! memory; the packet is empty then, and carries the descriptor of the file after all others.

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rights::receive_with_descriptors;

/// The descriptor at which a process that is started here finds its end of the link to its parent:
/// the supervisor the one to httpd's parent, a worker the one to the supervisor.
pub const LINK_FD: RawFd = 3;

/// The longest message that is sent as one packet, in bytes. It must fit into the socket's buffer,
/// which is larger by default on Linux.
pub const MAX_PACKET: usize = 128 << 10;

/// The longest message of all, in bytes.
const MAX_MESSAGE: usize = 64 << 20;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The system refused.
    #[error("the link to the other process failed: {0}")]
    Io(#[from] io::Error),
    /// The message is too long to send.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// Some of the descriptors of a message did not arrive.
    #[error("this process may open no more files, so descriptors of a message are lost")]
    Descriptors,
    /// Descriptors came with a message that must have none.
    #[error("the other process sent descriptors, which do not belong here")]
    Unwanted,
    /// The bytes that arrived are not a message.
    #[error("the other process sent something that is not a message: {0}")]
    Malformed(#[from] postcard::Error),
    /// The other end is closed.
    #[error("the other process closed the link")]
    Closed,
}

impl From<Errno> for ChannelError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A message that has arrived.
#[derive(Debug)]
pub struct Arrival<M> {
    /// What it says.
    pub message: M,
    /// The descriptors that came along, closed on exec; an error if some of them are missing.
    pub descriptors: Result<Vec<OwnedFd>, ChannelError>,
}

/// One end of a link.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Both ends of a new link, closed on exec.
    ///
    /// # Errors
    ///
    /// When the system gives no socket.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// One end of a link, as a parent process has passed it on.
    pub fn from_socket(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Sends a message, and copies of the descriptors. Does not wait: a worker that does not read
    /// must not block its supervisor.
    ///
    /// # Errors
    ///
    /// When the message is too long, the other end is gone, or its buffer is full.
    pub fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let bytes = postcard::to_stdvec(message)?;
        if bytes.len() > MAX_PACKET {
            return Err(ChannelError::TooLong(bytes.len()));
        }
        self.send_packet(&bytes, descriptors)
    }

    fn send_packet(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() {
            &rights[..0]
        } else {
            &rights[..]
        };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        retry(|| {
            sendmsg::<()>(
                self.socket.as_raw_fd(),
                &[IoSlice::new(bytes)],
                control,
                flags,
                None,
            )
        })
        .map_err(|error| match error {
            Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN => ChannelError::Closed,
            error => error.into(),
        })?;
        Ok(())
    }

    /// Sends a message of any length, for [`Channel::receive_any`]. Waits up to a few seconds if
    /// the buffer is full; for a peer that reads as soon as it can.
    ///
    /// # Errors
    ///
    /// As for [`Channel::send`], or when the system has no memory for a long message.
    pub fn send_waiting(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let bytes = postcard::to_stdvec(message)?;
        if bytes.len() <= MAX_PACKET {
            return self.send_packet_waiting(&bytes, descriptors);
        }
        let file = file_of(&bytes)?;
        let descriptors = [descriptors, &[file.as_fd()]].concat();
        self.send_packet_waiting(&[], &descriptors)
    }

    fn send_packet_waiting(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let patience = PollTimeout::from(5000_u16);
        loop {
            match self.send_packet(bytes, descriptors) {
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut socket = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
                    if retry(|| poll(&mut socket, patience))? == 0 {
                        return Err(ChannelError::Io(io::ErrorKind::TimedOut.into()));
                    }
                }
                result => return result,
            }
        }
    }

    /// Waits for a message and receives it, with its descriptors, which are closed on exec.
    ///
    /// # Errors
    ///
    /// When the other end is closed or sent something that is not a message.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<(M, Vec<OwnedFd>), ChannelError> {
        let packet = self.receive_packet(MsgFlags::empty())?;
        Ok((postcard::from_bytes(&packet.message)?, packet.descriptors?))
    }

    /// Waits for a message of any length and receives it. The other end must be trusted: it could
    /// make this process read a file that is endless, or that blocks.
    ///
    /// If some of the descriptors are lost, the message itself is still received, unless it was too
    /// long for a packet.
    ///
    /// # Errors
    ///
    /// As for [`Channel::receive`].
    pub fn receive_any<M: DeserializeOwned>(&self) -> Result<Arrival<M>, ChannelError> {
        let mut packet = self.receive_packet(MsgFlags::empty())?;
        if packet.message.is_empty() {
            let mut descriptors = packet.descriptors?;
            if let Some(file) = descriptors.pop() {
                packet.message = content_of(&File::from(file))?;
            }
            packet.descriptors = Ok(descriptors);
        }
        Ok(Arrival {
            message: postcard::from_bytes(&packet.message)?,
            descriptors: packet.descriptors,
        })
    }

    /// Receives a message without descriptors, if one has arrived. A message with descriptors is
    /// left in the socket: this is for a caller that must not be blocked by the other end, and
    /// closing a descriptor can block, such as that of a socket that lingers. They are closed
    /// together with the link.
    ///
    /// # Errors
    ///
    /// As for [`Channel::receive`], or when there are descriptors.
    pub fn try_receive<M: DeserializeOwned>(&self) -> Result<Option<M>, ChannelError> {
        let flags = MsgFlags::MSG_DONTWAIT;
        match self.next(flags) {
            Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
            Ok(Next {
                is_alone: false, ..
            }) => Err(ChannelError::Unwanted),
            Ok(_) => Ok(Some(postcard::from_bytes(
                &self.receive_packet(flags)?.message,
            )?)),
        }
    }

    fn receive_packet(&self, flags: MsgFlags) -> Result<Arrival<Vec<u8>>, ChannelError> {
        // Memory is allocated only when a message has arrived, and as much as it needs: most
        // messages are short, and waits are long.
        let Next { length, .. } = self.next(flags)?;
        let mut bytes = vec![0; length.min(MAX_PACKET)];
        let received = receive_with_descriptors(self.as_fd(), &mut bytes, flags);
        let received = received.map_err(broken)?;
        bytes.truncate(received.length);
        let brought_none = received.descriptors.is_empty() && !received.is_short;
        if bytes.is_empty() && brought_none && self.has_ended()? {
            return Err(ChannelError::Closed);
        }
        let descriptors = match received.is_short {
            true => Err(ChannelError::Descriptors),
            false => Ok(received.descriptors),
        };
        Ok(Arrival {
            message: bytes,
            descriptors,
        })
    }

    /// Looks at the next message without receiving it.
    fn next(&self, flags: MsgFlags) -> Result<Next, ChannelError> {
        let flags = flags | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        let next = retry(|| {
            let next = recvmsg::<()>(self.socket.as_raw_fd(), &mut [], None, flags)?;
            Ok(Next {
                length: next.bytes,
                // This call has no room for descriptors, so any are reported as truncated.
                is_alone: !next.flags.contains(MsgFlags::MSG_CTRUNC),
            })
        });
        next.map_err(broken)
    }

    /// Whether the other end is closed. Both that and an empty packet are received as no bytes.
    fn has_ended(&self) -> Result<bool, ChannelError> {
        // A flag that nix does not define.
        let end = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        let mut socket = [PollFd::new(self.as_fd(), end)];
        Ok(retry(|| poll(&mut socket, PollTimeout::ZERO))? > 0)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Facts of a message that has not been received yet.
struct Next {
    length: usize,
    /// Whether it has no descriptors.
    is_alone: bool,
}

/// The error of a failed `recvmsg`.
fn broken(error: Errno) -> ChannelError {
    match error {
        Errno::ECONNRESET => ChannelError::Closed,
        error => error.into(),
    }
}

/// A file in memory with a message in it.
fn file_of(bytes: &[u8]) -> Result<File, ChannelError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(ChannelError::TooLong(bytes.len()));
    }
    let mut file = File::from(memfd_create(c"mod_wsgi-message", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// The message in such a file.
fn content_of(file: &File) -> Result<Vec<u8>, ChannelError> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(ChannelError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (here, there) = Channel::pair().unwrap();
        let mut file = tempfile();
        file.write_all(b"shared").unwrap();
        here.send(&("hello".to_owned(), 7_u32), &[file.as_fd()])
            .unwrap();

        let (message, mut descriptors) = there.receive::<(String, u32)>().unwrap();
        assert_eq!(message, ("hello".to_owned(), 7));
        let mut copy = File::from(descriptors.remove(0));
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "shared");
    }

    #[test]
    fn the_end_of_the_other_process_is_told() {
        let (here, there) = Channel::pair().unwrap();
        drop(there);
        assert!(matches!(here.receive::<u32>(), Err(ChannelError::Closed)));
        assert!(matches!(here.send(&1_u32, &[]), Err(ChannelError::Closed)));
    }

    #[test]
    fn an_empty_packet_is_not_the_end() {
        let (here, there) = Channel::pair().unwrap();
        nix::sys::socket::send(here.socket.as_raw_fd(), b"", MsgFlags::empty()).unwrap();
        let error = there.receive::<u32>().unwrap_err();
        assert!(matches!(error, ChannelError::Malformed(_)), "{error}");
        here.send(&7_u32, &[]).unwrap();
        assert_eq!(there.receive::<u32>().unwrap().0, 7);
    }

    #[test]
    fn a_message_that_is_too_long_for_a_packet_comes_from_somebody_trusted_alone() {
        let (here, there) = Channel::pair().unwrap();
        let long = vec![7_u8; MAX_PACKET + 1];
        let error = here.send(&long, &[]).unwrap_err();
        assert!(matches!(error, ChannelError::TooLong(_)), "{error}");
        let null = File::open("/dev/null").unwrap();
        for _ in 0..2 {
            here.send_waiting(&long, &[null.as_fd()]).unwrap();
        }
        let arrival = there.receive_any::<Vec<u8>>().unwrap();
        let brought = arrival.descriptors.unwrap().len();
        assert_eq!((arrival.message == long, brought), (true, 1));
        let error = there.receive::<Vec<u8>>().unwrap_err();
        assert!(matches!(error, ChannelError::Malformed(_)), "{error}");
        let error = here
            .send_waiting(&vec![0_u8; MAX_MESSAGE], &[])
            .unwrap_err();
        assert!(matches!(error, ChannelError::TooLong(_)), "{error}");
    }

    #[test]
    fn descriptors_that_nobody_wants_stay_where_they_are() {
        let (here, there) = Channel::pair().unwrap();
        assert_eq!(there.try_receive::<u32>().unwrap(), None);
        here.send(&7_u32, &[]).unwrap();
        assert_eq!(there.try_receive::<u32>().unwrap(), Some(7));
        let (reader, writer) = nix::unistd::pipe().unwrap();
        here.send(&7_u32, &[writer.as_fd()]).unwrap();
        drop(writer);
        for _ in 0..2 {
            let error = there.try_receive::<u32>().unwrap_err();
            assert!(matches!(error, ChannelError::Unwanted), "{error}");
        }
        let mut ends = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ends, PollTimeout::ZERO), Ok(0), "it is open");
        drop(there);
        // The pipe ends once nobody has its other end.
        assert_eq!(poll(&mut ends, PollTimeout::from(5000_u16)), Ok(1));
    }

    #[test]
    fn a_peer_that_does_not_read_does_not_block() {
        let (here, _there) = Channel::pair().unwrap();
        let message = vec![0_u8; 60_000];
        let error = (0..100)
            .find_map(|_| here.send(&message, &[]).err())
            .unwrap();
        assert!(matches!(error, ChannelError::Io(_)), "{error}");
    }

    fn tempfile() -> File {
        let flags = MFdFlags::MFD_CLOEXEC;
        File::from(memfd_create(c"test", flags).unwrap())
    }
}
