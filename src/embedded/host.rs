//! The host's side of the engine's ABI: what the engine calls while an application runs.
//!
//! Called from the thread that has the request, or from one the application made; of one request
//! never from two at a time, but for [`log_beside`], [`log_level`] and [`await_body`]. No GIL is
//! held, so anything here may block.

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::slice;

use engine_abi::{
    ABI_VERSION, Host, LogLine, Part, ReadError, RequestHandle, Sent, TakeScoreboard,
};
use httpd::{InputError, Level, Log, panic, process};

use super::beside::beside;
use super::{InFlight, response};
use crate::Wsgi;
use crate::log::Id;
use crate::scoreboard;

/// The table that the engine gets.
pub(super) static HOST: Host = Host {
    abi_version: ABI_VERSION,
    // Filters of a request, in and out, are for one thread at a time.
    is_duplex: false,
    log,
    log_beside,
    log_level,
    read_body,
    await_body,
    send,
    // A filter may do anything.
    try_send: None,
    scoreboard: lend_scoreboard,
    loaded,
};

/// The request a handle stands for.
///
/// # Safety
///
/// - `handle` must be null or one that was given to the engine with a request it still serves.
/// - No other thread uses that request during `'a`, but for what is
///   [`Beside`](super::beside::Beside).
pub(super) unsafe fn in_flight<'a>(handle: RequestHandle) -> Option<&'a InFlight<'a>> {
    // SAFETY: handles are made from an `InFlight`, which lives until the request is served.
    unsafe { handle.cast::<InFlight<'a>>().as_ref() }
}

/// Runs `body` with the log of a request or, without one, of the base server.
fn with_log<T>(in_flight: Option<&InFlight<'_>>, body: impl FnOnce(Log<'_>) -> T) -> Option<T> {
    match in_flight {
        Some(in_flight) => Some(body(Log::of_request::<Wsgi>(in_flight.request))),
        None => process::with_base_server(|server| body(Log::of_server::<Wsgi>(server))),
    }
}

unsafe extern "C" fn log(handle: RequestHandle, line: *const LogLine<'_>) {
    panic::guard((), || {
        // SAFETY: the engine passes a line and a handle that are valid until we return, and uses no
        // more than what is `Beside` of the request meanwhile.
        let (line, in_flight) = unsafe { (&*line, in_flight(handle)) };
        let level = Level::from_number(line.level as u8);
        with_log(in_flight, |log| {
            if log.enabled(level) {
                let script = in_flight.map(|in_flight| in_flight.beside.script);
                write(log, level, line, &text(line, script));
            }
        });
    });
}

fn write(log: Log<'_>, level: Level, line: &LogLine<'_>, text: &CString) {
    let number = c_int::try_from(line.line).unwrap_or_default();
    let file = line.file.get().unwrap_or_default();
    crate::log::with_origin(file, number, |origin| log.write(level, Some(origin), text));
}

/// The whole line: the script, the id, and what the engine says.
fn text(line: &LogLine<'_>, script: Option<&CStr>) -> CString {
    let named = script.filter(|_| line.names_script);
    crate::log::text(Id(line.id), named, line.text.or_empty())
}

/// httpd's functions for lines of a request look into its tables and may take memory from its pool,
/// which the other thread may be changing. So this is a line of the request's server, made to look
/// like one of the request.
unsafe extern "C" fn log_beside(handle: RequestHandle, line: *const LogLine<'_>) {
    panic::guard((), || {
        // SAFETY: the engine passes a line and a handle that are valid until we return.
        let (line, beside) = unsafe { (&*line, beside(handle)) };
        let Some(beside) = beside else {
            return;
        };
        let level = Level::from_number(line.level as u8);
        if level <= beside.level {
            let text = text(line, Some(beside.script));
            let text = [beside.client_tag().as_bytes(), text.as_bytes()].concat();
            let text = CString::new(text).unwrap_or_default();
            write(beside.log(), level, line, &text);
        }
    });
}

unsafe extern "C" fn log_level(handle: RequestHandle) -> c_int {
    panic::guard(Level::NOTICE.number(), || {
        // SAFETY: the handle is valid until we return.
        let level = match unsafe { beside(handle) } {
            Some(beside) => Some(beside.level),
            None => with_log(None, |log| log.level()),
        };
        level.unwrap_or(Level::NOTICE).number()
    })
}

unsafe extern "C" fn read_body(handle: RequestHandle, buffer: *mut u8, length: usize) -> isize {
    panic::guard(ReadError::Malformed as isize, || {
        // SAFETY: as in `log`.
        let Some(in_flight) = (unsafe { in_flight(handle) }) else {
            return ReadError::Malformed as isize;
        };
        let buffer = match length {
            0 => &mut [],
            // SAFETY: the engine passes a buffer of that length that it does not use meanwhile.
            // It may be uninitialised, but is only written to.
            length => unsafe { slice::from_raw_parts_mut(buffer, length) },
        };
        match in_flight.read(buffer) {
            Ok(Some(length)) => isize::try_from(length).unwrap_or(isize::MAX),
            Ok(None) => Host::NOT_YET,
            Err(error) => {
                // What is left of the body could be taken for the next request.
                in_flight.request.connection().close_after_request();
                code(error) as isize
            }
        }
    })
}

unsafe extern "C" fn await_body(handle: RequestHandle, end: c_int) {
    panic::guard((), || {
        // SAFETY: the engine passes a handle that is valid until we return, and a descriptor that
        // is open as long, or -1.
        let end = (end >= 0).then(|| unsafe { BorrowedFd::borrow_raw(end) });
        // SAFETY: as above.
        if let Some(beside) = unsafe { beside(handle) } {
            beside.awaited.wait(end);
        }
    });
}

fn code(error: InputError) -> ReadError {
    match error {
        InputError::Disconnected => ReadError::Disconnected,
        InputError::TimedOut => ReadError::TimedOut,
        InputError::TooLarge => ReadError::TooLarge,
        _ => ReadError::Malformed,
    }
}

unsafe extern "C" fn send(handle: RequestHandle, part: *const Part<'_>) -> Sent {
    panic::guard(Sent::GONE, || {
        // SAFETY: as in `log`; what the part points to is valid until we return, too.
        let (part, in_flight) = unsafe { (&*part, in_flight(handle)) };
        match in_flight {
            Some(in_flight) => response::send(in_flight, part),
            None => Sent::GONE,
        }
    })
}

unsafe extern "C" fn lend_scoreboard(take: TakeScoreboard, taker: *mut c_void) {
    panic::guard((), || {
        if let Some(copy) = scoreboard::copy() {
            // SAFETY: the engine has given the two together, and what is lent lives for the call.
            copy.lend(|lent| unsafe { take(taker, lent) });
        }
    });
}

/// A child of httpd has no time to load scripts in.
unsafe extern "C" fn loaded() {}
