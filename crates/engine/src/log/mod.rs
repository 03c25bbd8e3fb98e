//! What applications and the engine write to the error log.
//!
//! - [`streams`]: `wsgi.errors`, `sys.stdout` and `sys.stderr`
//! - [`lines`]: cutting what they write into lines
//! - [`context`]: which request a thread writes for
//! - [`remedy`]: what mends an exception, where we know
//! - this file: the engine's own lines, and Python exceptions
//!
//! Lines leave through the host, always without the GIL.

mod context;
mod lines;
mod remedy;
mod streams;

use engine_abi::{Bytes, Level, LogLine};

use crate::host::{self, Exchange};
use crate::interpreter::Interpreter;
use crate::python::{Attached, Detached, Exception, Raised};

pub(crate) use context::{Context, errors};
pub(crate) use lines::Unfinished;
pub(crate) use streams::{ErrorsOf, Streams};

/// A line for the server's log, by a thread without the GIL.
pub(crate) fn server(detached: &Detached, level: Level, id: u16, text: &str) {
    host::log(detached, &log_line(level, id, false, text.as_bytes()));
}

/// A line for a request's log, naming its script, by a thread without the GIL.
pub(crate) fn request(detached: &Detached, exchange: &Exchange, level: Level, id: u16, text: &str) {
    exchange.log(detached, &log_line(level, id, true, text.as_bytes()));
}

/// A line for the server's log, by an attached thread.
pub(crate) fn notice(py: Attached<'_>, level: Level, id: u16, text: &str) {
    py.detach(|detached| server(detached, level, id, text));
}

/// A line that names the request's script, for the request's log.
pub(crate) fn line(py: Attached<'_>, exchange: &Exchange, level: Level, id: u16, text: &str) {
    let line = log_line(level, id, true, text.as_bytes());
    py.detach(|detached| exchange.log(detached, &line));
}

/// A line for the request's log that names its script in its own words.
pub(crate) fn unnamed_line(py: Attached<'_>, exchange: &Exchange, level: Level, text: &str) {
    let line = log_line(level, 0, false, text.as_bytes());
    py.detach(|detached| exchange.log(detached, &line));
}

/// An exception of an application: what was raised, for which script, with the traceback.
pub(crate) fn exception(py: Attached<'_>, exchange: &Exchange, script: &[u8], raised: &Raised<'_>) {
    let report = Report::new(py, script, raised);
    py.detach(|detached| {
        exchange.log(
            detached,
            &log_line(Level::Error, report.id, true, report.head.as_bytes()),
        );
        for line in &report.traceback {
            exchange.log(detached, &log_line(Level::Error, 0, false, line.as_bytes()));
        }
        if let Some(remedy) = &report.remedy {
            let line = log_line(Level::Error, REMEDY, true, remedy.as_bytes());
            exchange.log(detached, &line);
        }
    });
}

/// An exception outside any request: while a script is preloaded, or in a callback.
pub(crate) fn server_exception(py: Attached<'_>, id: u16, head: &str, raised: &Raised<'_>) {
    let traceback = raised.traceback();
    py.detach(|detached| {
        server(detached, Level::Error, id, head);
        for line in &traceback {
            server(detached, Level::Error, 0, line);
        }
    });
}

/// Where a line comes from, if it is not the engine.
pub(crate) struct Origin {
    /// A source file; empty if it is not known.
    pub(crate) file: String,
    /// The line in it, or zero.
    pub(crate) line: u32,
}

/// Whether lines of this level are logged for the request that the thread serves, or the server.
pub(crate) fn is_logged(py: Attached<'_>, level: Level) -> bool {
    let exchange = context::exchange();
    let most = py.detach(|detached| match &exchange {
        Some(exchange) => exchange.log_level(detached),
        None => host::log_level(detached),
    });
    i32::from(level as u8) <= most
}

/// Logs a text of an application, line by line, for the request that the thread serves, or the
/// server. An empty text has no lines.
pub(crate) fn record(py: Attached<'_>, level: Level, text: &str, origin: &Origin) {
    if text.is_empty() {
        return;
    }
    let exchange = context::exchange();
    py.detach(|detached| {
        for text in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            let line = LogLine {
                level,
                id: 0,
                names_script: exchange.is_some(),
                text: Bytes::new(text.as_bytes()),
                file: Some(origin.file.as_bytes())
                    .filter(|file| !file.is_empty())
                    .into(),
                line: origin.line,
            };
            match &exchange {
                Some(exchange) => exchange.log(detached, &line),
                None => host::log(detached, &line),
            }
        }
    });
}

/// An exception of a callback: for the log of the request that the thread serves, or the server's.
pub(crate) fn callback_exception(py: Attached<'_>, id: u16, head: &str, raised: &Raised<'_>) {
    let Some(exchange) = context::exchange() else {
        return server_exception(py, id, head, raised);
    };
    let traceback = raised.traceback();
    py.detach(|detached| {
        exchange.log(detached, &log_line(Level::Error, id, true, head.as_bytes()));
        for line in &traceback {
            exchange.log(detached, &log_line(Level::Error, 0, false, line.as_bytes()));
        }
    });
}

/// The exception of a script that was loaded outside any request.
pub(crate) fn script_exception(py: Attached<'_>, script: &[u8], raised: &Raised<'_>) {
    let report = Report::new(py, script, raised);
    server_exception(py, report.id, &report.head, raised);
    if let Some(remedy) = &report.remedy {
        notice(py, Level::Error, REMEDY, remedy);
    }
}

/// The id of the line that says what mends an exception.
const REMEDY: u16 = 1403;

/// An exception of an application, as it is reported.
struct Report {
    id: u16,
    head: String,
    traceback: Vec<String>,
    /// What mends it, if that is known.
    remedy: Option<String>,
}

impl Report {
    fn new(py: Attached<'_>, script: &[u8], raised: &Raised<'_>) -> Self {
        let script = String::from_utf8_lossy(script);
        let place = Interpreter::current(py).map(|place| format!(" for {place}"));
        let place = place.unwrap_or_default();
        let (id, head) = if raised.is(Exception::SystemExit) {
            let head =
                format!("SystemExit exception raised by WSGI script '{script}'{place}; ignored.");
            (175, head)
        } else {
            let kind = raised.value().type_name();
            let head = format!("{kind} exception raised processing WSGI script '{script}'{place}.");
            (174, head)
        };
        Self {
            id,
            head,
            traceback: raised.traceback(),
            remedy: remedy::of(py, raised),
        }
    }
}

fn log_line(level: Level, id: u16, names_script: bool, text: &[u8]) -> LogLine<'_> {
    LogLine {
        level,
        id,
        names_script,
        text: Bytes::new(text),
        file: Bytes::NONE,
        line: 0,
    }
}
