//! Where in the configuration a directive stands, for messages that come when it was read.

use std::fmt;

use httpd::Parms;

/// The file and the line.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    file: String,
    line: u32,
}

impl Source {
    /// That of the directive being read.
    pub(super) fn of(parms: &Parms<'_>) -> Self {
        Self {
            file: parms
                .file()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            line: parms.line(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
