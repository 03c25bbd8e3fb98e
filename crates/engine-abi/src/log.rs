//! Lines for httpd's error log.

use crate::Bytes;

/// The levels of httpd's `LogLevel` (`APLOG_*` in `http_log.h`), most severe first.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server is unusable.
    Emerg = 0,
    /// Action must be taken at once.
    Alert = 1,
    /// A critical condition.
    Crit = 2,
    /// An error: something failed.
    Error = 3,
    /// Something an administrator should look at.
    Warn = 4,
    /// Normal but significant.
    Notice = 5,
    /// Informational: the life cycle of interpreters and scripts.
    Info = 6,
    /// For debugging.
    Debug = 7,
    /// For debugging, a line for every request.
    Trace1 = 8,
}

/// One line for the error log. The text has no newline.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Its level.
    pub level: Level,
    /// Its stable id: 174 is printed as `WSGI0174`. Zero for lines without one.
    pub id: u16,
    /// Whether the line names the script (`[script PATH]`), which the host then adds.
    pub names_script: bool,
    /// The text, without id and script; arbitrary bytes, usually UTF-8.
    pub text: Bytes<'a>,
    /// The source file to name as the origin of the line, if `LogLevel` or `ErrorLogFormat` ask
    /// for it.
    pub file: Bytes<'a>,
    /// The line in that file; zero if unknown.
    pub line: u32,
}
