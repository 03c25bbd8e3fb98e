//! What the responses of both modes have in common on their way into httpd.

use httpd::{AprStatus, Brigade, Level, Request, Status};

use crate::log::{self, Id};

/// Sets the status, and the words for it.
pub(crate) fn set_status(request: Request<'_>, status: u16, line: &[u8]) {
    request.set_status(status.into(), Some(request.pool().copy(line)));
    // httpd serves a range of whatever is there as a whole. RFC 9110 means what is got, not what
    // another method answers.
    if !matches!(request.method().to_bytes(), b"GET" | b"HEAD") {
        request.headers_in().unset(c"Range");
    }
}

/// Sets a header of the response, through the functions of httpd's that know what else depends
/// on it. Repeated headers stay apart.
pub(crate) fn set_header(request: Request<'_>, name: &[u8], value: &[u8]) {
    if !set_special(request, name, value) {
        let pool = request.pool();
        request.headers_out().add(pool.copy(name), pool.copy(value));
    }
}

/// Sets a header that httpd keeps elsewhere than with the others. Returns whether it did.
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
        // A header of an error response, which httpd may make itself.
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

/// What became of a part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The filters have taken it.
    Taken,
    /// Nobody is left to read it, or a filter has answered something else.
    Unwanted,
    /// It could not be passed on, or a filter failed, which the log has. The client waits.
    Failed,
}

/// What became of a part that was passed on with this result.
pub(crate) fn fate(request: Request<'_>, result: Result<(), AprStatus>) -> Fate {
    let is_gone = request.connection().is_aborted();
    match result {
        Ok(()) if !is_gone => Fate::Taken,
        Err(error) if !is_gone && !is_end(error) => {
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

/// Whether a filter says by this that nothing more can be sent, and nothing has to be.
fn is_end(error: AprStatus) -> bool {
    error.is_disconnected() || error.is_time_up() || error == AprStatus::FILTER_ERROR
}

/// What httpd is to do with a response that has [failed](Fate::Failed): answer an error, if the
/// client has nothing of it yet.
pub(crate) fn give_up(request: Request<'_>) -> Status {
    if !request.is_head_sent() {
        // httpd takes a status that is not 200 for that of an error whose document this is, and
        // answers such a failure without another document. The one that the application has set is
        // none of these.
        request.set_status(request.status_before().0, None);
        return Status::FILTER_ERROR;
    }
    // Those of an include are left by the page.
    if !request.is_included() {
        request.leave_content_filters();
    }
    abort(request);
    Status::OK
}

/// Lets the client see that the response is cut short, whatever the protocol. An error bucket keeps
/// the filters from ending it properly, or is answered in its place if nothing of it was sent; and
/// where its end would be that of the connection, the connection is broken off instead. A cache
/// would take the end for that of the whole.
pub(crate) fn abort(request: Request<'_>) {
    request.forbid_caching();
    let is_begun = request.is_head_sent();
    let mut brigade = Brigade::new(request);
    brigade.push_error(Status::BAD_GATEWAY);
    brigade.push_eos();
    request.connection().close_after_request();
    // It may be broken already, which is all right.
    let _ = brigade.pass();
    if is_begun && request.ends_with_connection() {
        request.connection().reset();
    }
}
