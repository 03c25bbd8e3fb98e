//! Lines for the error log that belong to no request.
//!
//! httpd opened the file. This process appends to its descriptor in the format that httpd uses if
//! `ErrorLogFormat` is not set, with the same escapes. Each line is one `write`, so that lines of
//! several processes do not mix in a file; in a pipe to a program, lines of more than 4 KiB may. If
//! httpd logs to syslog, each line is a message to syslog.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::LogForm;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use nix::unistd::dup2_stderr;

pub(crate) use engine_abi::Level;

/// Where syslog's daemon listens (`_PATH_LOG`).
const SYSLOG: &str = "/dev/log";

/// An error log. Writing to it takes no lock: an application may fork at any time, and in the new
/// process nobody would release the lock.
#[derive(Debug)]
pub(crate) struct Log {
    output: Output,
    level: u8,
    zone: TimeZone,
}

/// Where lines go.
#[derive(Debug)]
enum Output {
    File(File),
    Syslog {
        socket: UnixDatagram,
        facility: u8,
        ident: String,
    },
}

impl Output {
    fn new(descriptor: OwnedFd, form: LogForm) -> Self {
        match (form, syslog()) {
            (LogForm::Syslog { facility, ident }, Ok(socket)) => Self::Syslog {
                socket,
                facility,
                ident,
            },
            (LogForm::Lines | LogForm::Syslog { .. }, _) => Self::File(descriptor.into()),
        }
    }
}

/// A socket to syslog's daemon, which need not run yet. If the daemon does not keep up, lines are
/// lost; sending never blocks.
fn syslog() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let _ = socket.connect(SYSLOG);
    Ok(socket)
}

impl Log {
    /// The log behind `descriptor`, written in this form, for lines up to this level.
    pub(crate) fn new(descriptor: OwnedFd, form: LogForm, level: u8) -> Self {
        Self {
            output: Output::new(descriptor, form),
            level,
            zone: TimeZone::system(),
        }
    }

    /// Writes a line, if its level is logged. An id other than 0 is printed in front.
    pub(crate) fn line(&self, level: Level, id: u16, text: impl fmt::Display) {
        self.numbered(level as u8, id, text);
    }

    /// Writes a line whose level is a number of httpd's, 0 (emerg) to 15 (trace8).
    pub(crate) fn numbered(&self, level: u8, id: u16, text: impl fmt::Display) {
        // Like httpd, which always writes notices to a file.
        let is_notice = level == Level::Notice as u8 && matches!(self.output, Output::File(_));
        if level > self.level && !is_notice {
            return;
        }
        let now = Zoned::new(Timestamp::now(), self.zone.clone());
        let text = format_args!(
            "[wsgi:{}] [pid {}:tid {}] {}{}",
            name(level),
            std::process::id(),
            nix::unistd::gettid(),
            Id(id),
            Escaped(&text.to_string()),
        );
        // An error of the log cannot be reported anywhere.
        let _ = match &self.output {
            Output::File(file) => write_line(file, &now, text),
            Output::Syslog {
                socket,
                facility,
                ident,
            } => send_message(socket, facility | level.min(DEBUG), ident, &now, text),
        };
    }

    /// The most verbose level that is logged.
    pub(crate) fn level(&self) -> u8 {
        self.level
    }
}

/// The main error log, for a process that outlives a log: after a restart httpd may have another.
#[derive(Debug)]
pub(crate) struct MainLog {
    now: Mutex<Arc<Log>>,
    /// Whether standard error is the same file, and has to follow.
    is_stderr: bool,
}

impl MainLog {
    /// The log that httpd passes to each program it starts, as standard error.
    ///
    /// # Errors
    ///
    /// When there is no standard error.
    pub(crate) fn inherited() -> io::Result<Self> {
        let descriptor = io::stderr().as_fd().try_clone_to_owned()?;
        let log = Log::new(descriptor, LogForm::Lines, Level::Info as u8);
        Ok(Self {
            now: Mutex::new(Arc::new(log)),
            is_stderr: true,
        })
    }

    #[cfg(test)]
    pub(crate) fn of(log: Arc<Log>) -> Self {
        Self {
            now: Mutex::new(log),
            is_stderr: false,
        }
    }

    /// Uses another log from now on.
    pub(crate) fn replace(&self, descriptor: OwnedFd, form: LogForm) {
        if self.is_stderr {
            // On failure the old file stays open, which does no harm.
            let _ = dup2_stderr(&descriptor);
        }
        let log = Log::new(descriptor, form, Level::Info as u8);
        *self.lock() = Arc::new(log);
    }

    /// Writes a line, if its level is logged. An id other than 0 is printed in front.
    pub(crate) fn line(&self, level: Level, id: u16, text: impl fmt::Display) {
        let log = self.lock().clone();
        log.line(level, id, text);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Log>> {
        // After a panic there is either the old log or the new one.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The least urgent of syslog's levels. httpd's levels up to this one are the same.
const DEBUG: u8 = 7;

fn write_line(mut file: &File, now: &Zoned, text: fmt::Arguments<'_>) -> io::Result<()> {
    let time = now.strftime("%a %b %d %H:%M:%S.%6f %Y");
    file.write_all(format!("[{time}] {text}\n").as_bytes())
}

/// Sends a message as the C library's `syslog` would. That function is left to the application,
/// since its state is global.
fn send_message(
    socket: &UnixDatagram,
    priority: u8,
    ident: &str,
    now: &Zoned,
    text: fmt::Arguments<'_>,
) -> io::Result<()> {
    let time = now.strftime("%b %e %H:%M:%S");
    let message = format!("<{priority}>{time} {ident}[{}]: {text}", std::process::id());
    socket.send(message.as_bytes()).or_else(|_| {
        // syslog's daemon may have been restarted.
        socket.connect(SYSLOG)?;
        socket.send(message.as_bytes())
    })?;
    Ok(())
}

/// Prints a line for a person at a terminal.
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

/// A text as httpd writes it into an error log: only printable ASCII, so that it can neither begin
/// a line of its own nor control the terminal that shows the log.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_for_syslog_is_one_datagram() {
        let (here, there) = UnixDatagram::pair().unwrap();
        let log = Log {
            output: Output::Syslog {
                socket: there,
                facility: 184,
                ident: "shop".to_owned(),
            },
            level: Level::Warn as u8,
            zone: TimeZone::system(),
        };
        log.line(Level::Notice, 0, "not for a file");
        log.line(Level::Warn, 1216, "two\nlines");
        let mut message = [0; 200];
        let length = here.recv(&mut message).unwrap();
        let message = std::str::from_utf8(&message[..length]).unwrap();
        // 184 + 4, and the time.
        let (priority, rest) = message.split_at(5);
        let (time, rest) = rest.split_at(15);
        assert_eq!(priority, "<188>");
        assert!(time.split_whitespace().count() == 3, "{time}");
        let pid = std::process::id();
        let begin = format!(" shop[{pid}]: [wsgi:warn] [pid {pid}:tid ");
        assert!(rest.starts_with(&begin), "{rest}");
        assert!(rest.ends_with("] WSGI1216: two\\nlines"), "{rest}");
    }
}
