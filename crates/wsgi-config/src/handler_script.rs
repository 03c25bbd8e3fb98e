//! The arguments of `WSGIHandlerScript`.

use crate::script_options::{ScriptOptionError, ScriptOptions, next_option};
use crate::words::Words;

/// The options' names.
pub const OPTIONS: &[&str] = &["process-group", "application-group", "pass-authorization"];

/// A handler that a script implements, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerScript {
    /// The name, for `SetHandler` and its relatives.
    pub name: Vec<u8>,
    /// The script, verbatim.
    pub script: Vec<u8>,
    /// What was said about how to run it.
    pub options: ScriptOptions,
}

/// Why the arguments of `WSGIHandlerScript` were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerScriptError {
    /// There are fewer than two words, or one of the first two is empty.
    #[error(
        "two arguments are needed, the name of the handler and the script that implements it, as \
         in \"report-handler /srv/report/handler.py\""
    )]
    TooFewArguments,
    /// An option is unknown, or has a value it cannot have.
    #[error(transparent)]
    Option(#[from] ScriptOptionError),
}

impl HandlerScript {
    /// Reads the arguments of `WSGIHandlerScript`. A later option of the same name wins.
    ///
    /// # Errors
    ///
    /// When they are too few, or an option is unknown or has a value it cannot have.
    pub fn parse(arguments: &[u8]) -> Result<Self, HandlerScriptError> {
        let mut words = Words::new(arguments);
        let (name, script) = (words.next_word(), words.next_word());
        if name.is_empty() || script.is_empty() {
            return Err(HandlerScriptError::TooFewArguments);
        }
        let mut options = ScriptOptions::default();
        while let Some(option) = next_option(&mut words, OPTIONS)? {
            options.set(&option, OPTIONS)?;
        }
        Ok(Self {
            name,
            script,
            options,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;

    fn parse(arguments: &str) -> Result<HandlerScript, HandlerScriptError> {
        HandlerScript::parse(arguments.as_bytes())
    }

    #[test]
    fn a_handler_has_a_name_and_a_script() {
        let read = parse(" 'my handler' \"/w/a b.py\" ").unwrap();
        assert_eq!(read.name, b"my handler");
        assert_eq!(read.script, b"/w/a b.py");
        assert_eq!(read.options, ScriptOptions::default());
    }

    #[test]
    fn options_are_read_in_any_order_and_the_last_one_wins() {
        let read = parse(
            "h /w/h.py pass-authorization=oN application-group='%{ENV:A}' process-group=one \
             process-group=%{GLOBAL}",
        )
        .unwrap()
        .options;
        assert_eq!(read.process_group, Some(Group::global()));
        assert_eq!(read.application_group, Group::parse(b"%{ENV:A}"));
        assert_eq!(read.pass_authorization, Some(true));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "two arguments are needed"),
            ("h", "two arguments are needed"),
            ("'' /w/h.py", "two arguments are needed"),
            (
                "h /w/h.py process-group=",
                "the option process-group= needs a value",
            ),
            (
                "h /w/h.py application-group=''",
                "the option application-group= needs a value",
            ),
            (
                "h /w/h.py pass-authorization=",
                "the option pass-authorization= needs a value",
            ),
            ("h /w/h.py pass-authorization=yes", "pass-authorization="),
            (
                "h /w/h.py word",
                "\"word\" is not of the form option=value; options are written",
            ),
            (
                "h /w/h.py callable-object=x",
                "the option \"callable-object\" is not one of process-group, application-group, \
                 pass-authorization",
            ),
        ];
        for (arguments, message) in cases {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.starts_with(message), "{arguments}: {error}");
        }
    }
}
