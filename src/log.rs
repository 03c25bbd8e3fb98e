//! Writing lines to httpd's error log: `[script /srv/app.wsgi] WSGI0135: text`.
//!
//! An id always names the same event; docs/errors.md lists them. Lines below `warn` have none. May
//! be used on any thread, in any phase.

use std::ffi::{CStr, CString};
use std::fmt;
use std::panic::Location;

use httpd::log::Origin;
use httpd::{Level, Log, Request, Server};

use crate::Wsgi;

/// The stable number of an event; zero for lines that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) u16);

impl Id {
    /// For lines without one.
    pub(crate) const NONE: Self = Self(0);

    /// Whether it precedes the script of a request. It does for exceptions, as in mod_wsgi, since
    /// log searches rely on that.
    fn comes_first(self) -> bool {
        matches!(self, Self(174 | 175))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            &Self::NONE => Ok(()),
            Self(number) => write!(f, "WSGI{number:04}: "),
        }
    }
}

/// Writes a line to a server's log.
#[track_caller]
pub(crate) fn server(server: Server<'_>, level: Level, id: Id, text: impl fmt::Display) {
    line(Log::of_server::<Wsgi>(server), level, id, text);
}

/// Writes a line to a log.
#[track_caller]
pub(crate) fn line(log: Log<'_>, level: Level, id: Id, text: impl fmt::Display) {
    write(log, level, format_args!("{id}{text}"));
}

/// Writes a line about a request and its script to the request's log.
#[track_caller]
pub(crate) fn script(request: Request<'_>, level: Level, id: Id, text: impl fmt::Display) {
    let script = request.filename().unwrap_or_default().to_string_lossy();
    let log = Log::of_request::<Wsgi>(request);
    match id.comes_first() {
        true => write(log, level, format_args!("{id}[script {script}] {text}")),
        false => write(log, level, format_args!("[script {script}] {id}{text}")),
    }
}

/// The most verbose level that is logged for a request, in httpd's numbers.
pub(crate) fn level(request: Request<'_>) -> u8 {
    let level = Log::of_request::<Wsgi>(request).level();
    u8::try_from(level.number()).unwrap_or(u8::MAX)
}

/// Writes a line that a worker sent, about the request it is working on.
pub(crate) fn worker_line(request: Request<'_>, line: &wire::LogLine<'_>) {
    let log = Log::of_request::<Wsgi>(request).relayed();
    let level = Level::from_number(line.level);
    if !log.enabled(level) {
        return;
    }
    let script = line
        .names_script
        .then(|| request.filename().unwrap_or_default());
    let text = text(Id(line.id), script, line.text);
    let number = i32::try_from(line.line).unwrap_or_default();
    with_origin(line.file, number, |origin| {
        log.write(level, Some(origin), &text)
    });
}

/// A complete line of the engine's: the script of a request, if one is given, the id, and the text.
pub(crate) fn text(id: Id, script: Option<&CStr>, text: &[u8]) -> CString {
    let script = script.map_or_else(Vec::new, |script| {
        [b"[script ", script.to_bytes(), b"] "].concat()
    });
    let prefix = id.to_string().into_bytes();
    let line = match id.comes_first() {
        true => [&prefix, &script, text].concat(),
        false => [&script, &prefix, text].concat(),
    };
    without_nul(line)
}

/// The text as a C string, without NUL bytes, which would end it early. httpd escapes other bytes.
fn without_nul(mut text: Vec<u8>) -> CString {
    text.retain(|byte| *byte != 0);
    CString::new(text).unwrap_or_default()
}

/// Lends the origin of a line. If the file is not known, it is `mod_wsgi`: without a file, httpd
/// omits the whole field of an `ErrorLogFormat` that contains it.
pub(crate) fn with_origin(file: &[u8], line: i32, lend: impl FnOnce(Origin<'_>)) {
    let file = CString::new(file).ok().filter(|file| !file.is_empty());
    let file = file.as_deref().unwrap_or(c"mod_wsgi");
    lend(Origin { file, line });
}

/// Writes a line, with the line of the caller as its origin.
#[track_caller]
fn write(log: Log<'_>, level: Level, line: fmt::Arguments<'_>) {
    if !log.enabled(level) {
        return;
    }
    let caller = Location::caller();
    let file = CString::new(caller.file()).unwrap_or_default();
    let origin = Origin {
        file: &file,
        line: i32::try_from(caller.line()).unwrap_or_default(),
    };
    log.write(
        level,
        Some(origin),
        &without_nul(line.to_string().into_bytes()),
    );
}
