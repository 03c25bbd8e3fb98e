//! Passing responses on to httpd, for both modes.

use httpd::{AprStatus, Brigade, Level, Request, Status};

use crate::log::{self, Id};

/// Sets the status and the status line.
pub(crate) fn set_status(request: Request<'_>, status: u16, line: &[u8]) {
    request.set_status(status.into(), Some(request.pool().copy(line)));
    // httpd serves a range of any response with the status 200. RFC 9110 defines ranges for GET
    // only.
    if !matches!(request.method().to_bytes(), b"GET" | b"HEAD") {
        request.headers_in().unset(c"Range");
    }
}

/// Sets a header of the response, if necessary through a function of httpd that also updates what
/// depends on it. Repeated headers stay separate.
pub(crate) fn set_header(request: Request<'_>, name: &[u8], value: &[u8]) {
    if !set_special(request, name, value) {
        let pool = request.pool();
        request.headers_out().add(pool.copy(name), pool.copy(value));
    }
}

/// Sets a header that httpd does not keep with the others. Returns whether it is one.
fn set_special(request: Request<'_>, name: &[u8], value: &[u8]) -> bool {
    let pool = request.pool();
    if is(name, b"Content-Type") {
        request.set_content_type(pool.copy(value));
    } else if is(name, b"Content-Length") {
        match parse_length(value) {
            Some(length) => request.set_content_length(length),
            None => request
                .headers_out()
                .set(c"Content-Length", pool.copy(value)),
        }
    } else if is(name, b"WWW-Authenticate") {
        // So that the header is also part of an error response of httpd's.
        request
            .err_headers_out()
            .add(pool.copy(name), pool.copy(value));
    } else {
        return false;
    }
    true
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

fn parse_length(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// The result of passing on a part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The filters have taken it.
    Taken,
    /// The client is gone, or a filter has answered something else.
    Unwanted,
    /// It could not be passed on, or a filter failed, which has been logged. The client waits.
    Failed,
}

/// Interprets the result of passing on a part of a response with this status. Logs a failure.
pub(crate) fn fate(request: Request<'_>, status: Status, result: Result<(), AprStatus>) -> Fate {
    let is_gone = request.connection().is_aborted();
    match result {
        Ok(()) if !is_gone => Fate::Taken,
        Err(error) if !is_gone && !is_end(error) && !is_refused(request, status) => {
            let text = format_args!(
                "The response cannot be sent: {error}. If a filter of httpd's has failed (SetOutputFilter and \
                 its like), there is a line of its own before this one."
            );
            log::script(request, Level::ERROR, Id(1222), text);
            Fate::Failed
        }
        _ => Fate::Unwanted,
    }
}

/// Whether httpd has answered with an error in place of a response with this status. A filter makes
/// httpd do so by an error bucket; mod_security's then also reports a failure.
fn is_refused(request: Request<'_>, status: Status) -> bool {
    let now = request.status();
    now != status && now.is_error()
}

/// Whether this result means that nothing more can or must be sent.
fn is_end(error: AprStatus) -> bool {
    error.is_disconnected() || error.is_time_up() || error == AprStatus::FILTER_ERROR
}

/// Gives up a response that has [failed](Fate::Failed). Returns the status for httpd: an error, if
/// the client has got nothing of the response yet.
pub(crate) fn give_up(request: Request<'_>) -> Status {
    if !request.is_head_sent() {
        // If the status is not 200, httpd takes this for a failed error document, and sends no
        // other. So the status that the application has set is reset.
        request.set_status(request.status_before().0, None);
        return Status::FILTER_ERROR;
    }
    // For an include, the outer page does this.
    if !request.is_included() {
        request.leave_content_filters();
    }
    abort(request);
    Status::OK
}

/// Aborts a response so that the client sees that it is incomplete, with any protocol. An error
/// bucket keeps the filters from ending the response properly, or becomes the response if nothing
/// was sent. If the end of the connection would mark the end of the response, the connection is
/// reset instead. Caching is forbidden, since a cache would take the response for complete.
pub(crate) fn abort(request: Request<'_>) {
    request.forbid_caching();
    let is_begun = request.is_head_sent();
    request.connection().close_after_request();
    let mut brigade = Brigade::new(request);
    // Some filters that change the content, such as mod_sed's, drop an error bucket.
    brigade.push_error(Status::BAD_GATEWAY);
    if brigade.pass_to_protocol().is_ok() {
        brigade.push_error(Status::BAD_GATEWAY);
        brigade.push_eos();
        // The connection may be broken already.
        let _ = brigade.pass();
    }
    if is_begun && request.ends_with_connection() {
        request.connection().reset();
    }
}
