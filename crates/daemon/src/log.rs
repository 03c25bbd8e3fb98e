//! Lines for the error log that belong to no request.
//!
//! httpd opened the file; this process appends to its descriptor in the format that httpd uses
//! where `ErrorLogFormat` is not set, and escapes what httpd does. Each line is one `write`, so that
//! lines of several processes do not mix in a file; in a pipe to a program those of more than 4 KiB may.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

pub(crate) use engine_abi::Level;

/// An error log.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    level: u8,
    zone: TimeZone,
}

impl Log {
    /// The log behind this descriptor, for lines up to this level.
    pub(crate) fn new(file: OwnedFd, level: u8) -> Self {
        Self {
            file: File::from(file),
            level,
            zone: TimeZone::system(),
        }
    }

    /// The main error log, which httpd leaves every program it starts as its standard error.
    ///
    /// # Errors
    ///
    /// When there is no standard error.
    pub(crate) fn inherited() -> io::Result<Self> {
        Ok(Self::new(
            io::stderr().as_fd().try_clone_to_owned()?,
            Level::Info as u8,
        ))
    }

    /// Writes a line, if its level is logged. An id other than 0 is printed in front.
    pub(crate) fn line(&self, level: Level, id: u16, text: impl fmt::Display) {
        self.numbered(level as u8, id, text);
    }

    /// Writes a line whose level is a number of httpd's, 0 (emerg) to 15 (trace8).
    pub(crate) fn numbered(&self, level: u8, id: u16, text: impl fmt::Display) {
        // Like httpd, which keeps no notice from a file.
        if level > self.level && level != Level::Notice as u8 {
            return;
        }
        let stamp = Zoned::new(Timestamp::now(), self.zone.clone());
        let line = format!(
            "[{}] [wsgi:{}] [pid {}:tid {}] {}{}\n",
            stamp.strftime("%a %b %d %H:%M:%S.%6f %Y"),
            name(level),
            std::process::id(),
            nix::unistd::gettid(),
            Id(id),
            Escaped(&text.to_string()),
        );
        // There is nowhere to complain to about a log that cannot be written.
        let _ = (&self.file).write_all(line.as_bytes());
    }

    /// The most verbose level that is logged.
    pub(crate) fn level(&self) -> u8 {
        self.level
    }
}

/// Tells a person at a terminal something.
pub(crate) fn to_stderr(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A message's id as it is printed.
struct Id(u16);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            id => write!(f, "WSGI{id:04}: "),
        }
    }
}

/// A text as httpd writes it into an error log: only what ASCII can show, so that nothing in it is a
/// line of its own or a command to the terminal that shows the log.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str(r"\\")?,
                ' '..='~' => f.write_char(character)?,
                '\u{8}' => f.write_str(r"\b")?,
                '\n' => f.write_str(r"\n")?,
                '\r' => f.write_str(r"\r")?,
                '\t' => f.write_str(r"\t")?,
                '\u{b}' => f.write_str(r"\v")?,
                _ => {
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        write!(f, r"\x{byte:02x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// httpd's name of a level.
fn name(level: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug", "trace1", "trace2",
        "trace3", "trace4", "trace5", "trace6", "trace7", "trace8",
    ];
    NAMES.get(usize::from(level)).unwrap_or(&"trace8")
}
