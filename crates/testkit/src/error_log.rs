//! The error log of a running httpd: what was written since a mark, and what must not be there.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::subject::is_reference;
use crate::wait::wait_until;

/// What a healthy server never logs. `exit signal` is how httpd reports a child that crashed,
/// `died of signal` how we report a worker, and WSGI1204 is one that had to be killed.
const ALARMS: [&str; 7] = [
    ":crit]",
    ":alert]",
    ":emerg]",
    "panicked",
    "exit signal",
    "died of signal",
    "did not end in time and is killed",
];

/// The page that explains the ids of our messages.
const EXPLAINED: &str = include_str!("../../../docs/errors.md");

/// The error log of a server.
#[derive(Debug)]
pub struct ErrorLog {
    path: PathBuf,
    expected: Mutex<Vec<String>>,
}

/// A position in an error log.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Mark {
    /// The beginning of the log.
    pub const START: Self = Self(0);
}

impl ErrorLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            expected: Mutex::new(Vec::new()),
        }
    }

    /// The whole log.
    pub fn text(&self) -> String {
        // Not there yet: nothing logged yet.
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// The position after everything logged so far.
    pub fn mark(&self) -> Mark {
        Mark(self.text().len())
    }

    /// The complete lines logged since `mark`.
    pub fn since(&self, mark: Mark) -> Vec<String> {
        let text = self.text();
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        let new = text.get(mark.0..complete).unwrap_or_default();
        new.lines().map(str::to_owned).collect()
    }

    /// The lines since `mark` that contain `text`.
    pub fn matching(&self, mark: Mark, text: &str) -> Vec<String> {
        let mut lines = self.since(mark);
        lines.retain(|line| line.contains(text));
        lines
    }

    /// Waits for a line that contains `text` to be logged after `mark`, and returns it.
    pub fn wait_for(&self, mark: Mark, text: &str) -> String {
        wait_until(&format!("`{text}` in the error log"), || {
            self.matching(mark, text).into_iter().next()
        })
    }

    /// Says that an alarming line that contains `text` is what this test is about.
    pub fn expect_alarm(&self, text: &str) {
        let mut expected = self.expected.lock().expect("no panic while locked");
        expected.push(text.to_owned());
    }

    /// The lines that tell of a crash and that no test announced, and those with an id that the
    /// documentation does not explain.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let expected = self.expected.lock().expect("no panic while locked");
        let mut lines = self.since(Mark::START);
        lines.retain(|line| {
            let alarming = ALARMS.iter().any(|alarm| line.contains(alarm));
            let announced = expected.iter().any(|text| line.contains(text));
            alarming && !announced || is_unexplained(line)
        });
        lines
    }
}

/// Whether a line of ours has an id that is not on the page.
fn is_unexplained(line: &str) -> bool {
    id(line).is_some_and(|id| !EXPLAINED.contains(id) && !is_reference())
}

/// The id that a message begins with: `WSGI0174`.
fn id(line: &str) -> Option<&str> {
    let start = line.find("WSGI")?;
    let (id, rest) = line.get(start..)?.split_once(':')?;
    let number = id.strip_prefix("WSGI")?;
    let is_id = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_id && rest.starts_with(' ')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::{id, is_unexplained};

    #[test]
    fn ids() {
        let line = "[wsgi:error] [pid 1] [client ::1:80] WSGI0174: [script /a] text: more";
        assert_eq!(id(line), Some("WSGI0174"));
        assert_eq!(id("[wsgi:info] [pid 1] Loading WSGI script '/a'"), None);
        assert_eq!(id("AH00526: WSGIScriptAlias: no"), None);
        assert!(!is_unexplained(line));
    }
}
