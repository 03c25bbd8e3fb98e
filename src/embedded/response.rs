//! The response: from what the engine sends to brigades in the request's output filters.
//!
//! Head, data and end that come together leave in one brigade, so that httpd can send a small
//! response with one system call and compute what the application left out, such as its length.

use std::os::fd::BorrowedFd;

use engine_abi::{Bytes, FileRegion, Head, Pair, Part, Sent};
use httpd::brigade::FilePart;
use httpd::{AprStatus, Brigade, Request, Status};

use super::InFlight;

/// Sends a part of a response.
pub(super) fn send(in_flight: &InFlight<'_>, part: &Part<'_>) -> Sent {
    if in_flight.is_answered() {
        return Sent::GONE;
    }
    let request = in_flight.request;
    // SAFETY: null, or a head that is valid as long as the part is.
    if let Some(head) = unsafe { part.head.as_ref() } {
        set_head(request, head);
    }
    match pass(in_flight, part) {
        Ok(()) if !request.connection().is_aborted() => Sent::OK,
        _ => Sent::GONE,
    }
}

fn pass(in_flight: &InFlight<'_>, part: &Part<'_>) -> Result<(), AprStatus> {
    let mut brigade = Brigade::new(in_flight.request);
    for data in part.data.get().iter().copied().map(Bytes::or_empty) {
        if !data.is_empty() {
            brigade.push_data(data);
        }
    }
    // SAFETY: null, or a region that is valid as long as the part is.
    if let Some(region) = unsafe { part.file.as_ref() } {
        brigade.push_file(file_part(region, in_flight.sendfile)?)?;
    }
    if part.flush {
        brigade.push_flush();
    }
    if part.end {
        brigade.push_eos();
    }
    brigade.pass()
}

/// The region as one that httpd owns: it may send it long after the application closed the file.
fn file_part(region: &FileRegion, sendfile: bool) -> Result<FilePart, AprStatus> {
    // SAFETY: the engine keeps the descriptor open until we return.
    let descriptor = unsafe { BorrowedFd::borrow_raw(region.fd) };
    let number = |number: u64| i64::try_from(number).map_err(|_| AprStatus::OUT_OF_RANGE);
    Ok(FilePart {
        file: descriptor.try_clone_to_owned()?,
        offset: number(region.offset)?,
        length: number(region.length)?,
        sendfile,
    })
}

fn set_head(request: Request<'_>, head: &Head<'_>) {
    let line = request.pool().copy(head.status_line.or_empty());
    request.set_status(head.status.into(), Some(line));
    for header in head.headers.get() {
        set_header(request, header);
    }
}

/// Sets a header of the response, through the functions of httpd's that know what else depends
/// on it.
fn set_header(request: Request<'_>, header: &Pair<'_>) {
    let (name, value) = (header.name.or_empty(), header.value.or_empty());
    let pool = request.pool();
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    if is(b"Content-Type") {
        request.set_content_type(pool.copy(value));
    } else if is(b"Content-Length") {
        match parse_length(value) {
            Some(length) => request.set_content_length(length),
            None => request
                .headers_out()
                .set(c"Content-Length", pool.copy(value)),
        }
    } else if is(b"WWW-Authenticate") {
        // A header of an error response, which httpd may make itself.
        request
            .err_headers_out()
            .add(pool.copy(name), pool.copy(value));
    } else {
        request.headers_out().add(pool.copy(name), pool.copy(value));
    }
}

fn parse_length(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Lets the client see that the response is cut short, whatever the protocol. An error bucket keeps
/// the filters from ending it properly; and where its end would be that of the connection, the
/// connection is broken off instead.
pub(super) fn abort(request: Request<'_>) {
    let mut brigade = Brigade::new(request);
    brigade.push_error(Status::BAD_GATEWAY);
    brigade.push_eos();
    request.connection().close_after_request();
    // It may be broken already, which is all right.
    let _ = brigade.pass();
    if request.ends_with_connection() {
        request.connection().reset();
    }
}
