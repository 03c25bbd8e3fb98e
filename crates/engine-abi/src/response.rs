//! A response on its way from an engine to its host: a head, then data, then the end.

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::OwnedFd;

use crate::{Bytes, Pair, Slice};

/// How a [`Host::send`](crate::Host::send) went.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent(pub i32);

impl Sent {
    /// The part is on its way, or buffered where the host will send it.
    pub const OK: Self = Self(0);
    /// The client is gone or the connection failed; nothing more can be sent.
    pub const GONE: Self = Self(1);
    /// Only of [`Host::try_send`](crate::Host::try_send): the part was taken, but is not on its
    /// way. [`Host::send`](crate::Host::send) must be called with a part without data, to wait for
    /// it.
    pub const PENDING: Self = Self(2);
    /// Only of [`Host::try_send`](crate::Host::try_send): nothing was taken.
    pub const REFUSED: Self = Self(3);
}

/// The head of a response, validated by the engine: no byte in it can split a response.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The status code, 100..=999.
    pub status: u16,
    /// The status as the application gave it, code and reason: `200 OK`.
    pub status_line: Bytes<'a>,
    /// The headers, in the application's order, duplicates kept.
    pub headers: Slice<'a, Pair<'a>>,
}

/// A region of an open file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FileRegion {
    /// The descriptor. It stays the engine's; the host duplicates it if it keeps it past the call.
    pub fd: c_int,
    /// The offset of the first byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
}

impl FileRegion {
    /// The same file with a position of its own: whoever reads from it later must not move that of
    /// the application. `None` if it cannot be opened again. To be called before the call that the
    /// region came with returns.
    pub fn reopened(&self) -> Option<OwnedFd> {
        let file = File::open(format!("/proc/self/fd/{}", self.fd));
        file.ok().map(OwnedFd::from)
    }
}

/// A part of a response: the head (in the first part), then data or a file, then perhaps the end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The head, in a response's first part only; null otherwise.
    pub head: *const Head<'a>,
    /// Data, in pieces. They may be large; the host copies what it cannot send at once.
    pub data: Slice<'a, Bytes<'a>>,
    /// A region of a file to send after the data, or null.
    pub file: *const FileRegion,
    /// Whether the client must be able to see this part before the engine goes on.
    pub flush: bool,
    /// Whether the response is complete with this part. A response that never gets such a part
    /// is one that failed, and must look so to the client.
    pub end: bool,
}
