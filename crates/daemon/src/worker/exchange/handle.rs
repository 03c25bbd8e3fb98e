//! What the engine calls with the handle of a request: see [`engine_abi::Host`].

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine_abi::{Host, LogLine, Part, ReadError, RequestHandle, Sent};

use super::Exchange;

/// The exchange behind a handle.
///
/// # Safety
///
/// `request` must be the handle of a request that the engine is handling.
unsafe fn exchange<'h>(request: RequestHandle) -> &'h Exchange<'h> {
    const fn is_for_any_thread<T: Sync>() {}
    const { is_for_any_thread::<Exchange<'_>>() };
    // SAFETY: the handle is a pointer to an `Exchange`, which lives until the engine returns, and
    // which is `Sync`, as checked above.
    unsafe { &*request.cast::<Exchange<'h>>() }
}

/// [`engine_abi::Host::read_body`].
pub(in crate::worker) unsafe extern "C" fn read_body(
    request: RequestHandle,
    buffer: *mut u8,
    len: usize,
) -> isize {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let buffer = if len == 0 {
            &mut []
        } else {
            // SAFETY: the engine passes `len` writable bytes, which no other thread uses during the
            // call.
            unsafe { std::slice::from_raw_parts_mut(buffer, len) }
        };
        // SAFETY: under the rules of the ABI, the engine passes the handle of a request that it is
        // handling.
        unsafe { exchange(request) }.read(buffer)
    }));
    match read {
        Ok(Ok(Some(count))) => isize::try_from(count).unwrap_or(isize::MAX),
        Ok(Ok(None)) => Host::NOT_YET,
        Ok(Err(error)) => error as isize,
        Err(_) => ReadError::Malformed as isize,
    }
}

/// [`engine_abi::Host::await_body`].
pub(in crate::worker) unsafe extern "C" fn await_body(request: RequestHandle, end: c_int) {
    // After a panic, the next read reports the state of the connection.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the engine passes a descriptor that is open until this returns, or -1.
        let end = (end >= 0).then(|| unsafe { BorrowedFd::borrow_raw(end) });
        // SAFETY: as in `read_body`.
        unsafe { exchange(request) }.await_body(end);
    }));
}

/// [`engine_abi::Host::send`].
pub(in crate::worker) unsafe extern "C" fn send(
    request: RequestHandle,
    part: *const Part<'_>,
) -> Sent {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as in `read_body`; the part lives until this returns.
        unsafe { exchange(request).send(&*part) }
    }))
    .unwrap_or(Sent::GONE)
}

/// [`engine_abi::Host::try_send`].
pub(in crate::worker) unsafe extern "C" fn try_send(
    request: RequestHandle,
    part: *const Part<'_>,
) -> Sent {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as in `read_body`; the part lives until this returns.
        unsafe { exchange(request).try_send(&*part) }
    }))
    .unwrap_or(Sent::GONE)
}

/// The most verbose level that is logged for the request.
///
/// # Safety
///
/// As for every function of the host that takes a handle; see [`exchange`].
pub(in crate::worker) unsafe fn log_level(request: RequestHandle) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { exchange(request) }.log_level
}

/// Sends a line to the request's log. Returns false if the connection is broken.
///
/// # Safety
///
/// As for every function of the host that takes a handle; see [`exchange`].
pub(in crate::worker) unsafe fn log(request: RequestHandle, line: &LogLine<'_>) -> bool {
    // SAFETY: the caller's promise.
    unsafe { exchange(request) }.log(line)
}
