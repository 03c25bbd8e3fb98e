//! The error log of a server, for the supervisor and the workers, which write to it themselves.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use control::LogForm;
use httpd::{Server, process};

/// An error log, and the format of its lines.
#[derive(Debug)]
pub(super) struct ErrorLog {
    /// The log; `/dev/null` for syslog, to which each process connects itself.
    pub(super) descriptor: OwnedFd,
    pub(super) form: LogForm,
}

impl ErrorLog {
    /// The error log of a server, or that of the base server if it has none of its own.
    pub(super) fn of(server: Server<'_>, base: Server<'_>) -> io::Result<Self> {
        if let Some(log) = server.error_log() {
            return Ok(Self {
                descriptor: log.try_clone_to_owned()?,
                form: LogForm::Lines,
            });
        }
        let name = server.error_log_name().or_else(|| base.error_log_name());
        let syslog = name.and_then(|name| syslog(name.to_bytes(), process::name()));
        Ok(Self {
            descriptor: File::options().write(true).open("/dev/null")?.into(),
            form: syslog.unwrap_or_default(),
        })
    }
}

/// `ErrorLog syslog`, `syslog:facility` or `syslog:facility:tag`, as httpd reads it.
fn syslog(name: &[u8], program: &CStr) -> Option<LogForm> {
    let (syslog, rest) = name.split_at_checked(6)?;
    if !syslog.eq_ignore_ascii_case(b"syslog") {
        return None;
    }
    let mut parts = rest.splitn(3, |byte| *byte == b':').skip(1);
    let facility = parts.next().filter(|name| !name.is_empty());
    let tag = parts.next().filter(|tag| !tag.is_empty());
    Some(LogForm::Syslog {
        facility: facility.map_or(Some(LOCAL7), number)?,
        ident: String::from_utf8_lossy(tag.unwrap_or(program.to_bytes())).into_owned(),
    })
}

/// The facility if none is named.
const LOCAL7: u8 = low(libc::LOG_LOCAL7);

/// The facilities that httpd knows. httpd takes the first one that begins with the given word.
const FACILITIES: [(&[u8], u8); 20] = [
    (b"auth", low(libc::LOG_AUTH)),
    (b"authpriv", low(libc::LOG_AUTHPRIV)),
    (b"cron", low(libc::LOG_CRON)),
    (b"daemon", low(libc::LOG_DAEMON)),
    (b"ftp", low(libc::LOG_FTP)),
    (b"kern", low(libc::LOG_KERN)),
    (b"lpr", low(libc::LOG_LPR)),
    (b"mail", low(libc::LOG_MAIL)),
    (b"news", low(libc::LOG_NEWS)),
    (b"syslog", low(libc::LOG_SYSLOG)),
    (b"user", low(libc::LOG_USER)),
    (b"uucp", low(libc::LOG_UUCP)),
    (b"local0", low(libc::LOG_LOCAL0)),
    (b"local1", low(libc::LOG_LOCAL1)),
    (b"local2", low(libc::LOG_LOCAL2)),
    (b"local3", low(libc::LOG_LOCAL3)),
    (b"local4", low(libc::LOG_LOCAL4)),
    (b"local5", low(libc::LOG_LOCAL5)),
    (b"local6", low(libc::LOG_LOCAL6)),
    (b"local7", LOCAL7),
];

/// The lowest byte of a facility: it is a five-bit number, shifted by three.
const fn low(facility: i32) -> u8 {
    facility.to_le_bytes()[0]
}

fn number(word: &[u8]) -> Option<u8> {
    let begins = |name: &[u8]| {
        let start = name.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let known = FACILITIES.iter().find(|(name, _)| begins(name))?;
    Some(known.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facility_and_tag_are_what_httpd_takes_them_for() {
        for (name, expected) in [
            ("syslog", Some((LOCAL7, "httpd"))),
            ("SysLog:", Some((LOCAL7, "httpd"))),
            ("syslog::shop", Some((LOCAL7, "shop"))),
            ("syslog:user", Some((low(libc::LOG_USER), "httpd"))),
            ("syslog:USER:", Some((low(libc::LOG_USER), "httpd"))),
            ("syslog:local1:a:b", Some((low(libc::LOG_LOCAL1), "a:b"))),
            ("syslog:loc", Some((low(libc::LOG_LOCAL0), "httpd"))),
            ("syslog:nobody", None),
            ("logs/syslog", None),
            ("|log", None),
        ] {
            let form = expected.map(|(facility, ident)| LogForm::Syslog {
                facility,
                ident: ident.to_owned(),
            });
            assert_eq!(syslog(name.as_bytes(), c"httpd"), form, "{name}");
        }
    }
}
