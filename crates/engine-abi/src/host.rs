//! What a host does for an engine.

use std::ffi::{c_int, c_void};

use crate::{LogLine, Part, RequestHandle, Sent, TakeScoreboard};

/// What the engine needs from the process in which it runs. All functions may be called from any
/// thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// [`ABI_VERSION`](crate::ABI_VERSION).
    pub abi_version: u32,
    /// Whether the body of a request may be read while its response is being sent.
    pub is_duplex: bool,
    /// Writes a line to the request's log, or the server's log if `request` is null.
    pub log: unsafe extern "C" fn(request: RequestHandle, line: *const LogLine<'_>),
    /// The same while another thread is making a call for the request, which is not null. It must
    /// neither use what that call uses, nor wait for it.
    pub log_beside: unsafe extern "C" fn(request: RequestHandle, line: *const LogLine<'_>),
    /// The most verbose level that is logged for this request, or the server if null.
    pub log_level: unsafe extern "C" fn(request: RequestHandle) -> c_int,
    /// Reads some of the request's body into `buffer`: blocks until at least one byte is there.
    /// Returns the number of bytes, 0 at the end of the body, or a negative [`ReadError`]. With a
    /// zero `len` nothing is read, but a waiting client is told to continue. Rather than to block,
    /// it may return [`Host::NOT_YET`].
    pub read_body:
        unsafe extern "C" fn(request: RequestHandle, buffer: *mut u8, len: usize) -> isize,
    /// After [`Host::NOT_YET`]: blocks until there may be more of the body, or `end` is readable,
    /// but only for a limited time. `end` is a descriptor, or -1.
    pub await_body: unsafe extern "C" fn(request: RequestHandle, end: c_int),
    /// Sends a part of the response; see [`Part`].
    pub send: unsafe extern "C" fn(request: RequestHandle, part: *const Part<'_>) -> Sent,
    /// Sends a part as far as that is possible without blocking, for a thread that holds a GIL.
    /// `None` if sending may always block.
    pub try_send:
        Option<unsafe extern "C" fn(request: RequestHandle, part: *const Part<'_>) -> Sent>,
    /// Lends httpd's scoreboard: calls `take` with it and with `taker`, once, before it returns; or
    /// not at all, if there is none.
    pub scoreboard: unsafe extern "C" fn(take: TakeScoreboard, taker: *mut c_void),
    /// A request has its script, loaded by it or before. Called for the first one at least.
    pub loaded: unsafe extern "C" fn(),
}

impl Host {
    /// The result of [`Host::read_body`] if nothing has arrived. The caller must wait with
    /// [`Host::await_body`], during which other threads may use the request.
    pub const NOT_YET: isize = isize::MIN;
}

/// Why [`Host::read_body`] failed. After a failure every further read fails alike.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The client went away or the connection broke.
    Disconnected = -1,
    /// The client sent nothing for longer than the server waits.
    TimedOut = -2,
    /// The body is larger than `LimitRequestBody` allows.
    TooLarge = -3,
    /// The body's framing is broken, or an input filter refused it.
    Malformed = -4,
    /// The process that passes the body on to the host has ended, or its client is gone.
    Abandoned = -5,
}

impl ReadError {
    /// The error that a negative result of [`Host::read_body`] stands for; a number of a later
    /// version reads as [`ReadError::Malformed`].
    pub const fn from_result(result: isize) -> Option<Self> {
        match result {
            0.. => None,
            -1 => Some(Self::Disconnected),
            -2 => Some(Self::TimedOut),
            -3 => Some(Self::TooLarge),
            -5 => Some(Self::Abandoned),
            _ => Some(Self::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_results_map_to_errors() {
        assert_eq!(ReadError::from_result(0), None);
        assert_eq!(ReadError::from_result(17), None);
        assert_eq!(ReadError::from_result(-2), Some(ReadError::TimedOut));
        assert_eq!(ReadError::from_result(-5), Some(ReadError::Abandoned));
        assert_eq!(ReadError::from_result(-99), Some(ReadError::Malformed));
    }
}
