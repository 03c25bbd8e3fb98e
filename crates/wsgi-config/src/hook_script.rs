//! The arguments of the directives that name a hook script: `WSGIAccessScript`,
//! `WSGIAuthUserScript`, `WSGIAuthGroupScript` and `WSGIDispatchScript`.

use crate::nearest::UnknownWord;
use crate::words::{OptionSyntaxError, Words};

/// The options' names.
pub const OPTIONS: &[&str] = &["application-group"];

/// A script whose functions decide about requests, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookScript {
    /// The script.
    pub script: Vec<u8>,
    /// The application group; empty for the main interpreter.
    pub application_group: Vec<u8>,
}

/// Why the arguments were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookScriptError {
    /// There is no script.
    #[error("the script is missing, as in \"/srv/site/access.py application-group=%{{GLOBAL}}\"")]
    NoScript,
    /// A word is no option at all.
    #[error("{0}; options are written option=value")]
    NotAnOption(#[from] OptionSyntaxError),
    /// The option is none of ours.
    #[error("the option {0}")]
    UnknownOption(UnknownWord),
    /// The option needs a value.
    #[error("the option application-group= needs a value: %{{GLOBAL}} or a name")]
    EmptyValue,
}

impl HookScript {
    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// When the script is missing, or an option is unknown or has no value.
    pub fn parse(arguments: &[u8]) -> Result<Self, HookScriptError> {
        let mut words = Words::new(arguments);
        let script = words.next_word();
        if script.is_empty() {
            return Err(HookScriptError::NoScript);
        }
        let mut application_group = Vec::new();
        while let Some(option) = words.next_option()? {
            application_group = match (option.key, option.value.as_slice()) {
                (b"application-group", b"") => return Err(HookScriptError::EmptyValue),
                (b"application-group", b"%{GLOBAL}") => Vec::new(),
                (b"application-group", _) => option.value,
                (unknown, _) => {
                    let unknown = UnknownWord::new(unknown, OPTIONS);
                    return Err(HookScriptError::UnknownOption(unknown));
                }
            };
        }
        Ok(Self {
            script,
            application_group,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_and_its_group_are_read() {
        for (arguments, script, group) in [
            ("/w/a.py", "/w/a.py", ""),
            ("\"/w/a b.py\" application-group=auth", "/w/a b.py", "auth"),
            ("/w/a.py application-group=%{GLOBAL}", "/w/a.py", ""),
            (
                "/w/a.py application-group=%{SERVER}",
                "/w/a.py",
                "%{SERVER}",
            ),
            ("/w/a.py application-group='a b'", "/w/a.py", "a b"),
        ] {
            let read = HookScript::parse(arguments.as_bytes()).unwrap();
            assert_eq!(read.script, script.as_bytes(), "{arguments}");
            assert_eq!(read.application_group, group.as_bytes(), "{arguments}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, message) in [
            ("", "the script is missing"),
            ("\"\"", "the script is missing"),
            ("/a word", "\"word\" is not of the form option=value"),
            (
                "/a application-group=",
                "the option application-group= needs a value",
            ),
            (
                "/a aplication-group=x",
                "the option \"aplication-group\" (did you mean \"application-group\"?) is not one of application-group",
            ),
            (
                "/a process-group=x",
                "the option \"process-group\" is not one of",
            ),
        ] {
            let error = HookScript::parse(arguments.as_bytes()).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with(message), "{arguments}: {error}");
        }
    }
}
