//! The arguments of `WSGIImportScript`.

use crate::nearest::UnknownWord;
use crate::words::{OptionSyntaxError, Words};

/// The options' names. Both are needed.
pub const OPTIONS: &[&str] = &["process-group", "application-group"];

/// A script that is to be loaded when a process starts, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportScript {
    /// The script.
    pub script: Vec<u8>,
    /// The process group; empty for the processes of httpd itself.
    pub process_group: Vec<u8>,
    /// The application group; empty for the main interpreter.
    pub application_group: Vec<u8>,
}

/// Why the arguments of `WSGIImportScript` were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportScriptError {
    /// There is no script.
    #[error(
        "the script is missing, as in \"/srv/blog/app.wsgi process-group=blog \
         application-group=%{{GLOBAL}}\""
    )]
    NoScript,
    /// A word is no option at all.
    #[error("{0}; options are written option=value")]
    NotAnOption(#[from] OptionSyntaxError),
    /// The option is none of ours.
    #[error("the option {0}")]
    UnknownOption(UnknownWord),
    /// The option needs a value.
    #[error("the option {0}= needs a value: %{{GLOBAL}} or a name")]
    EmptyValue(&'static str),
    /// An option is missing.
    #[error("the option {0}= is missing: it says where the script is to be loaded")]
    Missing(&'static str),
}

impl ImportScript {
    /// Reads the arguments of `WSGIImportScript`. There is no request that a name could depend on,
    /// so all names but `%{GLOBAL}` are literal.
    ///
    /// # Errors
    ///
    /// When the script or an option is missing, or an option is unknown or has no value.
    pub fn parse(arguments: &[u8]) -> Result<Self, ImportScriptError> {
        let mut words = Words::new(arguments);
        let script = words.next_word();
        if script.is_empty() {
            return Err(ImportScriptError::NoScript);
        }
        let (mut process_group, mut application_group) = (None, None);
        while let Some(option) = words.next_option()? {
            let (slot, name) = match option.key {
                b"process-group" => (&mut process_group, "process-group"),
                b"application-group" => (&mut application_group, "application-group"),
                unknown => {
                    let unknown = UnknownWord::new(unknown, OPTIONS);
                    return Err(ImportScriptError::UnknownOption(unknown));
                }
            };
            *slot = match option.value.as_slice() {
                b"" => return Err(ImportScriptError::EmptyValue(name)),
                b"%{GLOBAL}" => Some(Vec::new()),
                _ => Some(option.value),
            };
        }
        Ok(Self {
            script,
            process_group: process_group.ok_or(ImportScriptError::Missing("process-group"))?,
            application_group: application_group
                .ok_or(ImportScriptError::Missing("application-group"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<ImportScript, ImportScriptError> {
        ImportScript::parse(arguments.as_bytes())
    }

    #[test]
    fn both_groups_are_read() {
        let cases = [
            ("process-group=a application-group=b", "a", "b"),
            ("application-group='b c' process-group=%{GLOBAL}", "", "b c"),
            (
                "process-group=%{ENV:X} application-group=%{GLOBAL}",
                "%{ENV:X}",
                "",
            ),
        ];
        for (options, process_group, application_group) in cases {
            let read = parse(&format!("\"/w/a b.wsgi\" {options}")).unwrap();
            assert_eq!(read.script, b"/w/a b.wsgi");
            assert_eq!(read.process_group, process_group.as_bytes());
            assert_eq!(read.application_group, application_group.as_bytes());
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "the script is missing"),
            ("/a", "the option process-group= is missing"),
            (
                "/a process-group=x",
                "the option application-group= is missing",
            ),
            (
                "/a process-group= ",
                "the option process-group= needs a value",
            ),
            ("/a word", "\"word\" is not of the form option=value"),
            (
                "/a proces-group=x",
                "the option \"proces-group\" (did you mean \"process-group\"?) is not one of process-group, application-group",
            ),
        ];
        for (arguments, message) in cases {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.starts_with(message), "{arguments}: {error}");
        }
    }
}
