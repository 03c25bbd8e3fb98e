//! The head of a worker's response, as httpd takes over that of a CGI script.
//!
//! This is how mod_wsgi does it, where a process group sends what a CGI script would: of some
//! headers the last one counts, others are joined, `Status` is the status, and httpd replaces some
//! responses. The worker is not trusted: a head that could split the response is refused, even if
//! the engine has checked it.

use std::ffi::CStr;

use httpd::{Request, Status};
use wire::ResponseHead;

use crate::response;

/// The configuration that applies to the head of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `WSGIErrorOverride`
    pub(super) error_override: bool,
    /// `header-buffer-size`: the longest line, in bytes.
    pub(super) longest_line: usize,
}

/// What to do with a response whose head was taken over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict<'r> {
    /// Send it to the client.
    Relay,
    /// Drop its data, and send this instead.
    Replace(Replacement<'r>),
}

/// What is sent instead of a response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Replacement<'r> {
    /// httpd's error response with this status.
    Error(Status),
    /// The resource at this path of the same server.
    Redirect(&'r CStr),
    /// An error, because the head cannot be passed on.
    Unfit(Unfit),
}

/// Why a head cannot be passed on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(
        "The head of the worker's response is invalid and not passed on: it could split the \
         response, or it states more than one length of the body or none that can be read."
    )]
    Splits,
    #[error(
        "A line of the response's head is longer than {0} bytes, the header-buffer-size of the \
         process group."
    )]
    TooLong(usize),
    #[error(
        "The status line of the response is \"200 Error\", which from a process group means that \
         the application failed."
    )]
    Failed,
}

impl Unfit {
    /// The status of the error response and the id of the message.
    pub(super) fn answer(self) -> (Status, u16) {
        match self {
            Self::Splits => (Status::BAD_GATEWAY, 1221),
            Self::TooLong(_) => (Status::INTERNAL_SERVER_ERROR, 144),
            Self::Failed => (Status::INTERNAL_SERVER_ERROR, 1321),
        }
    }
}

/// Takes over the head. Returns what to do with the response.
pub(super) fn take_over<'r>(
    request: Request<'r>,
    head: &ResponseHead<'_>,
    rules: Rules,
) -> Verdict<'r> {
    if let Err(unfit) = check(head, rules.longest_line) {
        return Verdict::Replace(Replacement::Unfit(unfit));
    }
    set(request, head);
    let status = request.status();
    let location = request.headers_out().get(c"Location").unwrap_or_default();
    let replacement = if status == Status::HTTP_OK && request.status_line() == Some(c"200 Error") {
        Replacement::Unfit(Unfit::Failed)
    } else if status == Status::HTTP_OK && location.to_bytes().starts_with(b"/") {
        Replacement::Redirect(location)
    } else if rules.error_override && (400..600).contains(&status.0) {
        Replacement::Error(status)
    } else {
        return Verdict::Relay;
    };
    // Reset for httpd's own response.
    request.set_status(Status::HTTP_OK.0, None);
    Verdict::Replace(replacement)
}

/// Checks for whatever could split the response, and for lines that are too long.
fn check(head: &ResponseHead<'_>, longest_line: usize) -> Result<(), Unfit> {
    let headers = head.headers.ok_or(Unfit::Splits)?;
    let headers = || {
        headers
            .iter()
            .map(|(name, value)| (name, value.unwrap_or_default()))
    };
    let splits = headers().any(|(name, value)| {
        name.is_empty()
            || has_control(name)
            || has_line_break(value)
            || is(name, b"Status") && has_control(value)
    });
    // httpd frames the body. Only the length may be stated, at most once.
    let misframes = headers().any(|(name, _)| is(name, b"Transfer-Encoding"))
        || lengths(head).count() > 1
        || lengths(head).any(|length| length.is_none());
    // A status below 200 is not a final response.
    if splits || misframes || head.status < 200 || has_control(head.status_line) {
        return Err(Unfit::Splits);
    }
    // 4 for the colon and space after the name, and the line end.
    let too_long = |(name, value): (&[u8], &[u8])| name.len() + value.len() + 4 > longest_line;
    if headers()
        .chain([(&b"Status"[..], head.status_line)])
        .any(too_long)
    {
        return Err(Unfit::TooLong(longest_line));
    }
    Ok(())
}

/// The length of the body that the head states, if it does. The head must have been checked.
pub(super) fn announced(head: &ResponseHead<'_>) -> Option<u64> {
    lengths(head).flatten().next()
}

/// The lengths that the head states; `None` for one that is not a number.
fn lengths(head: &ResponseHead<'_>) -> impl Iterator<Item = Option<u64>> {
    let headers = head.headers.iter().flat_map(|headers| headers.iter());
    headers
        .filter(|(name, _)| is(name, b"Content-Length"))
        .map(|(_, value)| parse_length(value.unwrap_or_default()))
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    // `parse` would accept a sign.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten()
}

/// Sets status and headers.
fn set(request: Request<'_>, head: &ResponseHead<'_>) {
    response::set_status(request, head.status, head.status_line);
    let headers = head.headers.iter().flat_map(|headers| headers.iter());
    for (name, value) in headers {
        set_header(request, name, value.unwrap_or_default().trim_ascii_start());
    }
}

fn set_header(request: Request<'_>, name: &[u8], value: &[u8]) {
    let pool = request.pool();
    let is_one_of = |known: &[&[u8]]| known.iter().any(|known| is(name, known));
    if is(name, b"Status") {
        set_status(request, value);
    } else if is(name, b"Content-Type") {
        request.set_content_type(pool.copy(&content_type(value)));
    } else if is(name, b"Last-Modified") {
        // httpd corrects a date in the future or an invalid one, which would confuse caches.
        request.set_last_modified(pool.copy(value));
    } else if is_one_of(&[b"Set-Cookie", b"Content-Length", b"WWW-Authenticate"]) {
        response::set_header(request, name, value);
    } else if is_one_of(&[b"Location", b"Content-Range"]) {
        request.headers_out().set(pool.copy(name), pool.copy(value));
    } else {
        request
            .headers_out()
            .merge(pool.copy(name), pool.copy(value));
    }
}

/// Sets the status from the header `Status`. An invalid one becomes an error.
fn set_status(request: Request<'_>, line: &[u8]) {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0_i32, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(i32::from(digit - b'0'))
    });
    // A status below 200 is not a final response.
    if (200..=999).contains(&number) {
        request.set_status(number, Some(request.pool().copy(line)));
    } else {
        request.set_status(Status::INTERNAL_SERVER_ERROR.0, None);
    }
}

/// The media type in lower case. Its parameters keep their case.
fn content_type(value: &[u8]) -> Vec<u8> {
    let mut value = value.trim_ascii_end().to_vec();
    let end = value.iter().position(|&byte| byte == b';');
    let end = end.unwrap_or(value.len());
    value
        .iter_mut()
        .take(end)
        .for_each(u8::make_ascii_lowercase);
    value
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().any(u8::is_ascii_control)
}

fn has_line_break(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'))
}
