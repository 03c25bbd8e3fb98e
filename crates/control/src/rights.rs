//! Receiving bytes together with descriptors, without leaking any.
//!
//! If the kernel cannot create all the descriptors that were sent, it says so (`MSG_CTRUNC`), but
//! those that it has created are open and must be closed. nix does not return them in this case, so
//! this calls `recvmsg` directly.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::MsgFlags;

/// The most descriptors that Linux passes at a time (`SCM_MAX_FD`).
const MOST: u32 = 253;

/// The size of a control message with them, in words that are aligned for it.
const WORDS: usize = {
    // SAFETY: `CMSG_SPACE` only computes a number.
    let bytes = unsafe { libc::CMSG_SPACE(MOST * size_of::<RawFd>() as u32) };
    (bytes as usize).div_ceil(size_of::<u64>())
};

/// What was received.
#[derive(Debug)]
pub struct Received {
    /// The number of bytes.
    pub length: usize,
    /// The descriptors that came along, closed on exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether some of them are missing, because this process may open no more files.
    pub is_short: bool,
}

/// Receives bytes, and the descriptors that came with them.
///
/// # Errors
///
/// Those of `recvmsg`. It is repeated after an interruption.
pub fn receive_with_descriptors(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: MsgFlags,
) -> nix::Result<Received> {
    let flags = (flags | MsgFlags::MSG_CMSG_CLOEXEC).bits();
    let mut control = [0_u64; WORDS];
    let mut parts = [IoSliceMut::new(bytes)];
    loop {
        // SAFETY: a `msghdr` consists of numbers and pointers, for which zeros are valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // An `IoSliceMut` has the layout of an `iovec`.
        message.msg_iov = parts.as_mut_ptr().cast();
        message.msg_iovlen = parts.len();
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points to `parts` and `control`, which are writable and outlive the
        // call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(received) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(length) => {
                return Ok(Received {
                    length: usize::try_from(length).unwrap_or_default(),
                    // SAFETY: the kernel has just filled in this message, and this is the only call
                    // for it.
                    descriptors: unsafe { descriptors_of(&message) },
                    is_short: message.msg_flags & libc::MSG_CTRUNC != 0,
                });
            }
        }
    }
}

/// Takes over the descriptors of a message.
///
/// # Safety
///
/// The message must be one that the kernel has filled in, and this the first call for it.
unsafe fn descriptors_of(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has written well-formed control messages up to `msg_controllen`, and these
    // macros visit only those. One of this type contains as many descriptors as its length says.
    // The kernel has created them for this process, and nobody else owns them.
    unsafe {
        let mut part = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = part.as_ref() {
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let numbers = libc::CMSG_DATA(part).cast::<RawFd>();
                let size = header.cmsg_len - numbers.byte_offset_from_unsigned(part);
                descriptors.extend(
                    (0..size / size_of::<RawFd>())
                        .map(|index| OwnedFd::from_raw_fd(numbers.add(index).read_unaligned())),
                );
            }
            part = libc::CMSG_NXTHDR(message, part);
        }
    }
    descriptors
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::IoSlice;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, sendmsg};

    use super::*;

    #[test]
    fn as_many_arrive_as_can_be_sent() {
        let (here, there) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let rights = [null.as_raw_fd(); 253];
        let control = [ControlMessage::ScmRights(&rights)];
        let parts = [IoSlice::new(b"x")];
        let flags = MsgFlags::empty();
        sendmsg::<()>(here.as_raw_fd(), &parts, &control, flags, None).unwrap();
        let mut bytes = [0; 8];
        let received =
            receive_with_descriptors(there.as_fd(), &mut bytes, MsgFlags::empty()).unwrap();
        assert_eq!((received.length, received.is_short), (1, false));
        assert_eq!(received.descriptors.len(), 253);
    }
}
