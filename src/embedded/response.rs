//! The response: from what the engine sends to brigades in the request's output filters.
//!
//! Head, data and end that come together leave in one brigade, so that httpd can send a small
//! response with one system call and compute what the application left out, such as its length.

use std::os::fd::BorrowedFd;

use engine_abi::{Bytes, FileRegion, Head, Part, Sent};
use httpd::brigade::FilePart;
use httpd::{AprStatus, Brigade, Request};

use super::InFlight;
use crate::response::{self, Fate};

/// Sends a part of a response.
pub(super) fn send(in_flight: &InFlight<'_>, part: &Part<'_>) -> Sent {
    if in_flight.is_answered() || in_flight.has_failed.get() {
        return Sent::GONE;
    }
    let request = in_flight.request;
    // SAFETY: null, or a head that is valid as long as the part is.
    if let Some(head) = unsafe { part.head.as_ref() } {
        set_head(request, head);
        if !part.end {
            request.send_in_chunks();
        }
    }
    let status = request.status();
    match response::fate(request, status, pass(in_flight, part)) {
        Fate::Taken => Sent::OK,
        Fate::Unwanted => Sent::GONE,
        Fate::Failed => {
            in_flight.has_failed.set(true);
            Sent::GONE
        }
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
        brigade.push_file(file_part(in_flight, region)?)?;
    }
    // Behind the last part httpd reads what is left of the body, and a client that has not sent it
    // yet is not to wait for the response until it has.
    if part.flush || part.end && in_flight.body.borrow().may_go_on() {
        brigade.push_flush();
    }
    if part.end {
        brigade.push_eos();
    }
    brigade.pass()
}

/// The region as one that httpd owns: it may send it long after the application closed the file.
fn file_part(in_flight: &InFlight<'_>, region: &FileRegion) -> Result<FilePart, AprStatus> {
    let file = match region.reopened() {
        Some(file) => file,
        // SAFETY: the engine keeps the descriptor open until we return.
        None => unsafe { BorrowedFd::borrow_raw(region.fd) }.try_clone_to_owned()?,
    };
    let number = |number: u64| i64::try_from(number).map_err(|_| AprStatus::OUT_OF_RANGE);
    Ok(FilePart {
        file,
        offset: number(region.offset)?,
        length: number(region.length)?,
        sendfile: in_flight.sendfile,
        mmap: in_flight.request.may_map_files(),
    })
}

fn set_head(request: Request<'_>, head: &Head<'_>) {
    response::set_status(request, head.status, head.status_line.or_empty());
    for header in head.headers.get() {
        response::set_header(request, header.name.or_empty(), header.value.or_empty());
    }
}
